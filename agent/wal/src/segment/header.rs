//! The segment header.
//!
//! A segment is the file `%016x.wal` (its number). All integers are little endian.
//!
//! ```text
//! byte    0  header            192 bytes, zero to 4096
//!      4096  the same again    192 bytes, zero to 8192
//!      8192  records, each on a multiple of 8
//!
//! offset size  header
//!      0    8  magic "whimwal\n"
//!      8    2  format version, 1
//!     10    2  header length, 192
//!     12    4  flags: bit 0, bodies are sealed with AES-256-GCM
//!     16   16  store uuid
//!     32    8  segment number; must equal the file's name
//!     40    8  sequence number of the first data record
//!     48    8  created, ns since the epoch (information only, never order)
//!     56    4  key id; 0 in the clear
//!     60    4  how many record indexes of the previous segment (number - 1) count
//!     64   32  salt; its first 16 bytes are the segment's uid
//!     96   32  key commitment
//!    128   16  tag of the previous segment's seal; zero if it has none
//!    144   32  ordinal of the first record of each lane, 4 x u64 (the fourth is kept for later)
//!    176   12  zero
//!    188    4  CRC-32 of 0..188
//! ```
//!
//! The ordinals are what makes counting exact: a lane of this segment ends where it begins in the next one, so that
//! a missing or unreadable segment is still known by its number of records, lane by lane.

use crate::options::LANES;

pub(crate) const MAGIC: [u8; 8] = *b"whimwal\n";
pub(crate) const VERSION: u16 = 1;
pub(crate) const HEADER_LEN: usize = 192;
/// Distance between the two copies.
pub(crate) const HEADER_PAGE: u64 = 4096;
/// Where records begin.
pub(crate) const RECORDS_START: u64 = 2 * HEADER_PAGE;
/// Sequence numbers and ordinals from here on are not believed, so that no sum of them overflows: at a million records a
/// second they would take 146,000 years.
pub(crate) const NUMBERS_END: u64 = 1 << 62;
const FLAG_ENCRYPTED: u32 = 1;
const CRC_AT: usize = HEADER_LEN - 4;

/// A segment header, checked by its CRC only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) encrypted: bool,
    pub(crate) store_uuid: [u8; 16],
    pub(crate) segment: u64,
    pub(crate) first_sequence: u64,
    pub(crate) created_ns: u64,
    pub(crate) key_id: u32,
    pub(crate) previous_count: u32,
    pub(crate) salt: [u8; 32],
    pub(crate) commitment: [u8; 32],
    pub(crate) previous_tag: [u8; 16],
    pub(crate) lane_first: [u64; LANES],
}

/// Why bytes are no segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("it does not begin as a segment does")]
    Magic,
    #[error("its header's CRC is wrong")]
    Crc,
    #[error("it is of format version {0}, this program reads version {VERSION}")]
    Version(u16),
    #[error("its header asks for something this program does not know")]
    Unknown,
    #[error("its header begins with record {0}, beyond the limit of {NUMBERS_END}")]
    OutOfBounds(u64),
}

impl SegmentHeader {
    /// The segment's uid: the first half of the salt.
    pub(crate) fn uid(&self) -> [u8; 16] {
        let mut uid = [0; 16];
        uid.copy_from_slice(&self.salt[..16]);
        uid
    }

    /// Id of the master key its keys are derived from.
    pub(crate) fn master_id(&self) -> u32 {
        if self.encrypted { self.key_id } else { 0 }
    }

    /// What record header CRCs of this segment begin with.
    pub(crate) fn crc_seed(&self) -> u32 {
        crc32fast::hash(&self.salt)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let flags = if self.encrypted { FLAG_ENCRYPTED } else { 0 };
        out[0..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[10..12].copy_from_slice(&(HEADER_LEN as u16).to_le_bytes());
        out[12..16].copy_from_slice(&flags.to_le_bytes());
        out[16..32].copy_from_slice(&self.store_uuid);
        out[32..40].copy_from_slice(&self.segment.to_le_bytes());
        out[40..48].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[48..56].copy_from_slice(&self.created_ns.to_le_bytes());
        out[56..60].copy_from_slice(&self.key_id.to_le_bytes());
        out[60..64].copy_from_slice(&self.previous_count.to_le_bytes());
        out[64..96].copy_from_slice(&self.salt);
        out[96..128].copy_from_slice(&self.commitment);
        out[128..144].copy_from_slice(&self.previous_tag);
        for (lane, first) in self.lane_first.iter().enumerate() {
            out[144 + lane * 8..][..8].copy_from_slice(&first.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderError> {
        if bytes[0..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        if crc32fast::hash(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Err(HeaderError::Crc);
        }
        let version = u16_at(bytes, 8);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let flags = u32_at(bytes, 12);
        if flags & !FLAG_ENCRYPTED != 0 || usize::from(u16_at(bytes, 10)) != HEADER_LEN {
            return Err(HeaderError::Unknown);
        }
        let header = Self {
            encrypted: flags & FLAG_ENCRYPTED != 0,
            store_uuid: array_at(bytes, 16),
            segment: u64_at(bytes, 32),
            first_sequence: u64_at(bytes, 40),
            created_ns: u64_at(bytes, 48),
            key_id: u32_at(bytes, 56),
            previous_count: u32_at(bytes, 60),
            salt: array_at(bytes, 64),
            commitment: array_at(bytes, 96),
            previous_tag: array_at(bytes, 128),
            lane_first: std::array::from_fn(|lane| u64_at(bytes, 144 + lane * 8)),
        };
        let numbers = [header.first_sequence].into_iter().chain(header.lane_first);
        match numbers.max().filter(|number| *number >= NUMBERS_END) {
            Some(number) => Err(HeaderError::OutOfBounds(number)),
            None => Ok(header),
        }
    }
}

/// The `N` bytes at an offset that is known to be within bounds.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> SegmentHeader {
        SegmentHeader {
            encrypted: true,
            store_uuid: [0x11; 16],
            segment: 0x2233,
            first_sequence: 0x4455,
            created_ns: 0x6677,
            key_id: 0x8899_aabb,
            previous_count: 0xccdd,
            salt: std::array::from_fn(|i| i as u8),
            commitment: [0xee; 32],
            previous_tag: [0xff; 16],
            lane_first: [1, 2, 3],
        }
    }

    #[test]
    fn the_bytes_of_format_version_1_stay() {
        let mut golden = Vec::new();
        golden.extend_from_slice(b"whimwal\n\x01\x00\xc0\x00\x01\x00\x00\x00");
        golden.extend_from_slice(&[0x11; 16]);
        golden.extend_from_slice(
            b"\x33\x22\0\0\0\0\0\0\x55\x44\0\0\0\0\0\0\x77\x66\0\0\0\0\0\0\xbb\xaa\x99\x88\xdd\xcc\0\0",
        );
        golden.extend(0..32u8);
        golden.extend_from_slice(&[0xee; 32]);
        golden.extend_from_slice(&[0xff; 16]);
        golden.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
        golden.extend_from_slice(&[0; 20]);
        golden.extend_from_slice(&crc32fast::hash(&golden).to_le_bytes());
        assert_eq!(example().encode().as_slice(), golden);
        assert_eq!(u32_at(&golden, CRC_AT), 0x7c34_a7d8, "computed by another program");
    }

    #[test]
    fn the_crc_is_ieee_crc_32() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(SegmentHeader::decode(&example().encode()), Ok(example()));
    }

    #[test]
    fn a_flip_of_any_bit_is_found() {
        let good = example().encode();
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    /// Found by fuzzing: the next append added to it.
    #[test]
    fn numbers_that_would_overflow_are_refused() {
        for lane in 0..LANES {
            let mut header = example();
            header.lane_first[lane] = NUMBERS_END;
            assert_eq!(SegmentHeader::decode(&header.encode()), Err(HeaderError::OutOfBounds(NUMBERS_END)));
        }
        let last = SegmentHeader { first_sequence: u64::MAX, ..example() };
        assert_eq!(SegmentHeader::decode(&last.encode()), Err(HeaderError::OutOfBounds(u64::MAX)));
    }

    #[test]
    fn another_version_is_named_not_misread() {
        let mut newer = example().encode();
        newer[8] = 2;
        let crc = crc32fast::hash(&newer[..CRC_AT]);
        newer[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderError::Version(2)));
    }
}
