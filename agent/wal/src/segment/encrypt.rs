//! Sealing: AES-256-GCM under a key per segment, or nothing.
//!
//! ```text
//! PRK        = HKDF-SHA-256-Extract(salt = segment salt, ikm = master key)
//! info       = segment header bytes 0..96 and 128..188
//! record key = Expand(PRK, "whimbrel wal record v1" | info, 32)
//! commitment = Expand(PRK, "whimbrel wal commit v1" | info, 32)
//! nonce      = u32be domain (1 data, 2 seal, 3 state) | u64be record index
//! associated = store uuid | segment number (u64le) | record header bytes 16..64
//! ```
//!
//! The nonce is a counter and never repeats, because a segment is never opened for writing twice and no index is
//! given twice. Sources: NIST SP 800-38D, RFC 5869; the Tink streaming AEAD and the AWS Encryption SDK message
//! format for the derivation and the commitment.
//!
//! Not detectable without an anchor outside the directory: rolling the whole directory back to an older state,
//! cutting the unsealed tail above the synced mark, deleting everything. Compression before encryption shows the
//! compressed length of each batch.

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::AeadInOut as _};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    frame::{Kind, RECORD_HEADER_LEN},
    header::{HEADER_LEN, SegmentHeader},
};
use crate::{
    key::{KeyRing, derivation},
    mutants::{Mutant, is_on},
    options::Encryption,
};

/// Length of an AES-GCM tag, bytes.
pub(crate) const TAG_LEN: usize = 16;

/// Where master keys come from. Replaced as a whole at a rotation.
pub(crate) struct Masters(Option<KeyRing>);

impl Masters {
    pub(crate) fn new(encryption: &Encryption) -> Self {
        match encryption {
            Encryption::Aes256Gcm(ring) => Self(Some(ring.clone())),
            Encryption::None => Self(None),
        }
    }

    pub(crate) fn of_ring(ring: Option<&KeyRing>) -> Self {
        Self(ring.cloned())
    }

    /// Id of the key that new segments and cursors are made under; 0 in the clear.
    pub(crate) fn current_id(&self) -> u32 {
        self.0.as_ref().map_or(0, KeyRing::current_id)
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        self.0.as_ref().map(KeyRing::ids).unwrap_or_default()
    }

    pub(crate) fn encrypts(&self) -> bool {
        self.0.is_some()
    }

    /// The master key of this id. Id 0 is the integrity key of a store in the clear, derived from its uuid: it finds
    /// accidents, not forgery.
    pub(crate) fn get(&self, id: u32, store_uuid: &[u8; 16]) -> Option<Zeroizing<[u8; 32]>> {
        if id == 0 {
            let mut key = Zeroizing::new([0; 32]);
            derivation(None, store_uuid)
                .expand(b"whimbrel wal integrity v1", key.as_mut_slice())
                .expect("32 bytes are less than HKDF's limit");
            return Some(key);
        }
        self.0.as_ref()?.get(id).map(|key| Zeroizing::new(*key.bytes()))
    }

    /// The key that authenticates cursors.
    pub(crate) fn cursor_key(&self, id: u32, store_uuid: &[u8; 16]) -> Option<Zeroizing<[u8; 32]>> {
        let master = self.get(id, store_uuid)?;
        let mut key = Zeroizing::new([0; 32]);
        derivation(Some(store_uuid), master.as_slice())
            .expand(b"whimbrel wal cursor v1", key.as_mut_slice())
            .expect("32 bytes are less than HKDF's limit");
        Some(key)
    }
}

/// Seals and opens the records of one segment.
pub(crate) struct SegmentCipher {
    aead: Option<Box<Aes256Gcm>>,
    /// Authenticates the seal of a segment in the clear.
    integrity: Zeroizing<[u8; 32]>,
    store_uuid: [u8; 16],
    segment: u64,
    /// What was sealed, to prove that no nonce is used twice; `None` where nothing may be sealed.
    #[cfg(test)]
    sealed: Option<std::sync::Mutex<std::collections::HashSet<[u8; 12]>>>,
}

impl SegmentCipher {
    /// The cipher of a new segment; sets the header's commitment.
    pub(crate) fn create(master: &[u8; 32], header: &mut SegmentHeader) -> Self {
        let (cipher, commitment) = Self::derive(master, header);
        header.commitment = commitment;
        #[cfg(test)]
        let cipher = Self { sealed: Some(std::sync::Mutex::default()), ..cipher };
        cipher
    }

    /// The cipher of a segment that is there; `None` when the header does not commit to this key: it was altered,
    /// or two keys share an id.
    pub(crate) fn of(master: &[u8; 32], header: &SegmentHeader) -> Option<Self> {
        let (cipher, commitment) = Self::derive(master, header);
        let differ = commitment.iter().zip(&header.commitment).fold(0, |sum, (a, b)| sum | (a ^ b));
        (differ == 0).then_some(cipher)
    }

    fn derive(master: &[u8; 32], header: &SegmentHeader) -> (Self, [u8; 32]) {
        let bytes = header.encode();
        let info = [&bytes[0..96], &bytes[128..HEADER_LEN - 4]];
        let prk = derivation(Some(&header.salt), master);
        let expand = |label: &[u8], out: &mut [u8]| {
            prk.expand_multi_info(&[label, info[0], info[1]], out)
                .expect("32 bytes are less than HKDF's limit");
        };
        let mut key = Zeroizing::new([0; 32]);
        let mut commitment = [0; 32];
        expand(b"whimbrel wal record v1", key.as_mut_slice());
        expand(b"whimbrel wal commit v1", &mut commitment);
        let aead = header.encrypted.then(|| Box::new(Aes256Gcm::new((&*key).into())));
        let cipher = Self {
            aead,
            integrity: key,
            store_uuid: header.store_uuid,
            segment: header.segment,
            #[cfg(test)]
            sealed: None,
        };
        (cipher, commitment)
    }

    /// Bytes that sealing adds to a body.
    pub(crate) fn overhead(&self) -> usize {
        if self.aead.is_some() { TAG_LEN } else { 0 }
    }

    /// Seals `body` in place and returns its tag; `None` in the clear.
    pub(crate) fn seal(
        &self,
        kind: Kind,
        index: u32,
        header: &[u8; RECORD_HEADER_LEN],
        body: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        let aead = self.aead.as_ref()?;
        let associated = self.associated(header);
        #[cfg(test)]
        {
            let sealed = self.sealed.as_ref().expect("a segment that is read is never sealed into");
            assert!(
                sealed.lock().expect("no panic here").insert(nonce(kind, index)),
                "a nonce is used twice"
            );
        }
        let tag = aead
            .encrypt_inout_detached(&nonce(kind, index).into(), &associated, body.into())
            .expect("a body is far below AES-GCM's limit of 64 GiB");
        Some(tag.into())
    }

    /// Opens a sealed body (ciphertext, then tag) in place and returns the plaintext's length; `None` when it is not
    /// what was sealed here.
    pub(crate) fn open(
        &self,
        kind: Kind,
        index: u32,
        header: &[u8; RECORD_HEADER_LEN],
        body: &mut [u8],
    ) -> Option<usize> {
        let Some(aead) = &self.aead else { return Some(body.len()) };
        let (text, tag) = body.split_last_chunk_mut::<TAG_LEN>()?;
        let len = text.len();
        let associated = self.associated(header);
        aead.decrypt_inout_detached(&nonce(kind, index).into(), &associated, text.into(), &(*tag).into())
            .ok()?;
        Some(len)
    }

    /// The tag that the next segment's header repeats: the seal's own, or in the clear a MAC over it.
    pub(crate) fn chain_tag(&self, header: &[u8; RECORD_HEADER_LEN], body: &[u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        if self.aead.is_some() {
            if let Some(last) = body.last_chunk() {
                tag = *last;
            }
            return tag;
        }
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.integrity.as_slice()).expect("HMAC takes any key length");
        mac.update(&self.associated(header));
        mac.update(body);
        tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG_LEN]);
        tag
    }

    fn associated(&self, header: &[u8; RECORD_HEADER_LEN]) -> [u8; 72] {
        let mut out = [0; 72];
        out[..16].copy_from_slice(&self.store_uuid);
        out[16..24].copy_from_slice(&self.segment.to_le_bytes());
        out[24..].copy_from_slice(&header[16..]);
        out
    }
}

fn nonce(kind: Kind, index: u32) -> [u8; 12] {
    let domain: u32 = match kind {
        Kind::Data => 1,
        Kind::Seal => 2,
        Kind::State => 3,
    };
    let index = if is_on(Mutant::ReuseNonce) { index & !1 } else { index };
    let mut out = [0; 12];
    out[..4].copy_from_slice(&domain.to_be_bytes());
    out[4..].copy_from_slice(&u64::from(index).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::header::tests::example;

    const MASTER: [u8; 32] = [0x42; 32];

    #[test]
    fn a_body_opens_only_where_it_was_sealed() {
        let mut header = example();
        let cipher = SegmentCipher::create(&MASTER, &mut header);
        let record = [7; RECORD_HEADER_LEN];
        let mut body = b"body".to_vec();
        let tag = cipher.seal(Kind::Data, 3, &record, &mut body).unwrap();
        body.extend_from_slice(&tag);
        assert_ne!(&body[..4], b"body");

        let open = |cipher: &SegmentCipher, kind, index, record: &[u8; 64]| {
            let mut copy = body.clone();
            cipher.open(kind, index, record, &mut copy).map(|len| copy[..len].to_vec())
        };
        assert_eq!(open(&cipher, Kind::Data, 3, &record).unwrap(), b"body");
        assert_eq!(open(&cipher, Kind::Data, 4, &record), None, "another place");
        assert_eq!(open(&cipher, Kind::State, 3, &record), None, "another kind");
        let mut other_record = record;
        other_record[63] ^= 1;
        assert_eq!(open(&cipher, Kind::Data, 3, &other_record), None, "another header");
        let mut other = header.clone();
        other.segment += 1;
        let other = SegmentCipher::create(&MASTER, &mut other);
        assert_eq!(open(&other, Kind::Data, 3, &record), None, "another segment");
        assert_eq!(cipher.open(Kind::Data, 3, &record, &mut [0; 15]), None, "too short for a tag");
    }

    #[test]
    fn a_header_commits_to_its_key_and_to_itself() {
        let mut header = example();
        SegmentCipher::create(&MASTER, &mut header);
        assert!(SegmentCipher::of(&MASTER, &header).is_some());
        assert!(SegmentCipher::of(&[0x43; 32], &header).is_none());
        let mut altered = header.clone();
        altered.lane_first[2] += 1;
        assert!(SegmentCipher::of(&MASTER, &altered).is_none());
    }

    /// Fixed for ever: what version 1 wrote must stay readable.
    #[test]
    fn derivation_and_sealing_of_version_1_stay() {
        let mut header = example();
        let cipher = SegmentCipher::create(&MASTER, &mut header);
        let mut body = b"golden".to_vec();
        let tag = cipher.seal(Kind::Data, 1, &[0; RECORD_HEADER_LEN], &mut body).unwrap();
        body.extend_from_slice(&tag);
        let hex: String = header.commitment[..8].iter().chain(&body).map(|b| format!("{b:02x}")).collect();
        // Computed by another program (Python's hmac and OpenSSL's AES-GCM).
        assert_eq!(hex, "9e20db22aa5dbaa14a74617fb76e168f834d61fc976f48a9761facd03204");
    }

    #[test]
    fn the_nonces_of_two_kinds_never_meet() {
        assert_eq!(nonce(Kind::Data, 0x0102), [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(nonce(Kind::Seal, 0), [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(nonce(Kind::State, 0), [0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
