//! One record's bytes.
//!
//! ```text
//! offset size  record header, 64 bytes, on a multiple of 8; little endian
//!      0    4  magic "whR\n"
//!      4    4  CRC-32 of 8..64, continued from the CRC-32 of the segment's salt: neither text in a payload nor a
//!              stale record of another segment passes
//!      8    4  body length (ciphertext and tag)
//!     12    4  CRC-32 of the body as it lies there: checking needs no key
//!     16    8  sequence number: of this data record; else of the next one
//!     24    4  index in the segment, from 0, ascending over all kinds
//!     28    1  kind: 1 data, 2 state, 3 seal; others are passed over (4 is kept for losses)
//!     29    1  flags: bit 0, the body begins with a section
//!     30    1  lane
//!     31    1  codec: 0 plain, 1 one zstd frame
//!     32    4  item count
//!     36    4  uncompressed length of the payload: the bound on decompression
//!     40    8  ingest time, ns since the epoch
//!     48    4  number of the source's name
//!     52    4  number of the label
//!     56    4  synced: how many indexes of this segment were durable when this record was written
//!     60    4  place among the data records of its lane in this segment, from 0; its ordinal is this plus the
//!              segment's first ordinal of the lane
//!     64       body: [section length u32, section,] payload, tag; zero to a multiple of 8
//! ```
//!
//! The section of a data record holds its checkpoint, in the entries of `state`. A state record's body is such
//! entries and nothing else. A seal's body is described in `SealBody`.

use super::{
    encrypt::{SegmentCipher, TAG_LEN},
    header::{NUMBERS_END, u32_at, u64_at},
};
use crate::options::{LANES, MAX_CHECKPOINT, MAX_RECORD};

pub(crate) const RECORD_HEADER_LEN: usize = 64;
/// "whR\n"
const MAGIC: u32 = u32::from_le_bytes(*b"whR\n");
/// Records begin on multiples of this.
pub(crate) const ALIGN: u64 = 8;
/// Longest body a header is believed to have, bytes. Bounds what damage can make a reader allocate.
pub(crate) const MAX_BODY: usize = 48 * 1024 * 1024;
const FLAG_SECTION: u8 = 1;
/// The header's fields as the diagram has them: name, offset, length. For showing a record.
pub(crate) const FIELDS: [(&str, usize, usize); 17] = [
    ("magic", 0, 4),
    ("header_crc", 4, 4),
    ("body_length", 8, 4),
    ("body_crc", 12, 4),
    ("sequence", 16, 8),
    ("index", 24, 4),
    ("kind", 28, 1),
    ("flags", 29, 1),
    ("lane", 30, 1),
    ("codec", 31, 1),
    ("items", 32, 4),
    ("uncompressed_length", 36, 4),
    ("ingest_ns", 40, 8),
    ("source_number", 48, 4),
    ("label_number", 52, 4),
    ("synced", 56, 4),
    ("lane_index", 60, 4),
];

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Data = 1,
    State = 2,
    Seal = 3,
}

/// A record header whose CRC is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RecordHeader {
    pub(crate) body_len: u32,
    pub(crate) body_crc: u32,
    pub(crate) sequence: u64,
    pub(crate) index: u32,
    pub(crate) kind: u8,
    pub(crate) has_section: bool,
    pub(crate) lane: u8,
    pub(crate) codec: u8,
    pub(crate) items: u32,
    pub(crate) uncompressed_len: u32,
    pub(crate) ingest_ns: u64,
    pub(crate) source: u32,
    pub(crate) label: u32,
    pub(crate) synced: u32,
    pub(crate) lane_index: u32,
}

impl RecordHeader {
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.kind {
            1 => Some(Kind::Data),
            2 => Some(Kind::State),
            3 => Some(Kind::Seal),
            _ => None,
        }
    }

    /// Bytes of the whole record on disk.
    pub(crate) fn stride(&self) -> u64 {
        stride(self.body_len as usize)
    }

    fn encode(&self, crc_seed: u32) -> [u8; RECORD_HEADER_LEN] {
        let mut out = [0; RECORD_HEADER_LEN];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&self.body_len.to_le_bytes());
        out[12..16].copy_from_slice(&self.body_crc.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        out[24..28].copy_from_slice(&self.index.to_le_bytes());
        out[28] = self.kind;
        out[29] = if self.has_section { FLAG_SECTION } else { 0 };
        out[30] = self.lane;
        out[31] = self.codec;
        out[32..36].copy_from_slice(&self.items.to_le_bytes());
        out[36..40].copy_from_slice(&self.uncompressed_len.to_le_bytes());
        out[40..48].copy_from_slice(&self.ingest_ns.to_le_bytes());
        out[48..52].copy_from_slice(&self.source.to_le_bytes());
        out[52..56].copy_from_slice(&self.label.to_le_bytes());
        out[56..60].copy_from_slice(&self.synced.to_le_bytes());
        out[60..64].copy_from_slice(&self.lane_index.to_le_bytes());
        let crc = header_crc(&out, crc_seed);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header in these bytes; `None` unless its magic, its CRC and its bounds are right.
    pub(crate) fn decode(bytes: &[u8; RECORD_HEADER_LEN], crc_seed: u32) -> Option<Self> {
        if u32_at(bytes, 0) != MAGIC || u32_at(bytes, 4) != header_crc(bytes, crc_seed) {
            return None;
        }
        let header = Self {
            body_len: u32_at(bytes, 8),
            body_crc: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            index: u32_at(bytes, 24),
            kind: bytes[28],
            has_section: bytes[29] & FLAG_SECTION != 0,
            lane: bytes[30],
            codec: bytes[31],
            items: u32_at(bytes, 32),
            uncompressed_len: u32_at(bytes, 36),
            ingest_ns: u64_at(bytes, 40),
            source: u32_at(bytes, 48),
            label: u32_at(bytes, 52),
            synced: u32_at(bytes, 56),
            lane_index: u32_at(bytes, 60),
        };
        let data_is_sane = usize::from(header.lane) < LANES && header.uncompressed_len as usize <= MAX_RECORD;
        let sane = header.body_len as usize <= MAX_BODY
            && header.sequence < NUMBERS_END
            && (header.kind() != Some(Kind::Data) || data_is_sane);
        sane.then_some(header)
    }
}

/// Whether a record header may begin with these bytes: cheap, for stepping through damage.
pub(crate) fn may_begin(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|first| u32::from_le_bytes(*first) == MAGIC)
}

fn header_crc(header: &[u8; RECORD_HEADER_LEN], crc_seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc_seed);
    hasher.update(&header[8..]);
    hasher.finalize()
}

/// Bytes on disk of a record with a body of this length.
pub(crate) fn stride(body_len: usize) -> u64 {
    ((RECORD_HEADER_LEN + body_len) as u64).next_multiple_of(ALIGN)
}

/// Body length, before sealing, of a data record.
pub(crate) fn data_len(section: Option<&[u8]>, payload: usize) -> usize {
    section.map_or(0, |section| 4 + section.len()) + payload
}

/// Appends a record to `buffer`: `section` and `payload` become its body, sealed in place. Lengths, CRCs and the
/// section flag of `header` are set here. Returns the tag that continues the chain, for a seal.
pub(crate) fn write_record(
    buffer: &mut Vec<u8>,
    cipher: &SegmentCipher,
    crc_seed: u32,
    kind: Kind,
    mut header: RecordHeader,
    section: Option<&[u8]>,
    payload: &[u8],
) -> [u8; TAG_LEN] {
    let body_len = data_len(section, payload.len()) + cipher.overhead();
    header.kind = kind as u8;
    header.has_section = section.is_some();
    header.body_len = u32::try_from(body_len).expect("a body is below MAX_BODY");

    let start = buffer.len();
    buffer.reserve(stride(body_len) as usize);
    // Bytes 16..64, which the tag covers, are final here; lengths and CRCs are filled in below.
    let associated = header.encode(crc_seed);
    buffer.extend_from_slice(&associated);
    if let Some(section) = section {
        buffer.extend_from_slice(&(section.len() as u32).to_le_bytes());
        buffer.extend_from_slice(section);
    }
    buffer.extend_from_slice(payload);
    let body = start + RECORD_HEADER_LEN;
    if let Some(tag) = cipher.seal(kind, header.index, &associated, &mut buffer[body..]) {
        buffer.extend_from_slice(&tag);
    }
    header.body_crc = crc32fast::hash(&buffer[body..]);
    let encoded = header.encode(crc_seed);
    buffer[start..body].copy_from_slice(&encoded);
    let chain = if kind == Kind::Seal { cipher.chain_tag(&encoded, &buffer[body..]) } else { [0; TAG_LEN] };
    buffer.resize(start + stride(body_len) as usize, 0);
    chain
}

/// The header's bytes again, as sealing saw them.
pub(crate) fn reencode(header: &RecordHeader, crc_seed: u32) -> [u8; RECORD_HEADER_LEN] {
    header.encode(crc_seed)
}

/// Parts the plaintext body of a data record: where its section and its payload lie.
pub(crate) fn part_body(header: &RecordHeader, body: &[u8]) -> Option<(std::ops::Range<usize>, usize)> {
    if !header.has_section {
        return Some((0..0, 0));
    }
    let len = u32::from_le_bytes(*body.first_chunk()?) as usize;
    let end = 4usize.checked_add(len).filter(|end| *end <= body.len() && len <= MAX_CHECKPOINT + 64)?;
    Some((4..end, end))
}

/// The body of a seal: what the segment holds, so that it need not be read to be known.
///
/// ```text
/// offset size
///      0    8  last sequence number plus one
///      8    8  bytes of the segment up to the seal
///     16    4  records before the seal, of every kind
///     20    4  zero
///     24   32  data records of each lane, 4 x u64 (the fourth is kept for later)
///     56   32  items of each lane, likewise
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SealBody {
    pub(crate) next_sequence: u64,
    pub(crate) bytes: u64,
    pub(crate) records: u32,
    pub(crate) lane_records: [u64; LANES],
    pub(crate) lane_items: [u64; LANES],
}

impl SealBody {
    pub(crate) const LEN: usize = 88;

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[0..8].copy_from_slice(&self.next_sequence.to_le_bytes());
        out[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.records.to_le_bytes());
        for lane in 0..LANES {
            out[24 + lane * 8..][..8].copy_from_slice(&self.lane_records[lane].to_le_bytes());
            out[56 + lane * 8..][..8].copy_from_slice(&self.lane_items[lane].to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let bytes = body.first_chunk::<{ Self::LEN }>()?;
        let seal = Self {
            next_sequence: u64_at(bytes, 0),
            bytes: u64_at(bytes, 8),
            records: u32_at(bytes, 16),
            lane_records: std::array::from_fn(|lane| u64_at(bytes, 24 + lane * 8)),
            lane_items: std::array::from_fn(|lane| u64_at(bytes, 56 + lane * 8)),
        };
        let numbers = [seal.next_sequence].into_iter().chain(seal.lane_records);
        numbers.max().is_some_and(|number| number < NUMBERS_END).then_some(seal)
    }

    /// Bytes on disk of a seal record.
    pub(crate) fn stride(cipher: &SegmentCipher) -> u64 {
        stride(Self::LEN + cipher.overhead())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::header::tests::example;

    fn header() -> RecordHeader {
        RecordHeader {
            sequence: 0x0102_0304,
            index: 5,
            lane: 2,
            codec: 1,
            items: 6,
            uncompressed_len: 7,
            ingest_ns: 8,
            source: 9,
            label: 10,
            synced: 11,
            lane_index: 12,
            ..RecordHeader::default()
        }
    }

    fn plain() -> (SegmentCipher, u32) {
        let mut header = example();
        header.encrypted = false;
        (SegmentCipher::create(&[1; 32], &mut header), header.crc_seed())
    }

    #[test]
    fn the_bytes_of_format_version_1_stay() {
        let (cipher, seed) = plain();
        let mut bytes = Vec::new();
        write_record(&mut bytes, &cipher, seed, Kind::Data, header(), Some(b"se"), b"payload");
        let mut golden = b"whR\n".to_vec();
        golden.extend_from_slice(&[0; 4]);
        golden.extend_from_slice(&13u32.to_le_bytes());
        golden.extend_from_slice(&crc32fast::hash(b"\x02\0\0\0sepayload").to_le_bytes());
        golden.extend_from_slice(&0x0102_0304u64.to_le_bytes());
        golden.extend_from_slice(b"\x05\0\0\0\x01\x01\x02\x01\x06\0\0\0\x07\0\0\0\x08\0\0\0\0\0\0\0");
        golden.extend_from_slice(b"\x09\0\0\0\x0a\0\0\0\x0b\0\0\0\x0c\0\0\0");
        // CRC-32 of the salt and the header's rest: what the continued CRC means.
        let salt: Vec<u8> = (0..32u8).chain(golden[8..64].iter().copied()).collect();
        let crc = crc32fast::hash(&salt);
        golden[4..8].copy_from_slice(&crc.to_le_bytes());
        golden.extend_from_slice(b"\x02\0\0\0sepayload\0\0\0");
        assert_eq!(bytes, golden);
        assert_eq!(bytes.len() as u64, stride(13));
        let read = RecordHeader::decode(bytes.first_chunk().unwrap(), seed).unwrap();
        assert_eq!(part_body(&read, &bytes[64..77]), Some((4..6, 6)));
    }

    #[test]
    fn the_fields_cover_the_header_without_a_gap() {
        let mut at = 0;
        for (name, offset, len) in FIELDS {
            assert_eq!(offset, at, "{name}");
            at += len;
        }
        assert_eq!(at, RECORD_HEADER_LEN);
    }

    #[test]
    fn a_flip_of_any_bit_of_a_header_is_found() {
        let (cipher, seed) = plain();
        let mut bytes = Vec::new();
        write_record(&mut bytes, &cipher, seed, Kind::Data, header(), None, b"payload");
        let good: [u8; 64] = *bytes.first_chunk().unwrap();
        assert!(RecordHeader::decode(&good, seed).is_some());
        assert!(RecordHeader::decode(&good, seed ^ 1).is_none(), "a record of another segment");
        for bit in 0..RECORD_HEADER_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordHeader::decode(&bad, seed).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_would_cost_memory_or_overflow_is_refused() {
        let seed = 1;
        let huge = RecordHeader { body_len: MAX_BODY as u32 + 1, kind: 1, ..header() };
        assert!(RecordHeader::decode(&huge.encode(seed), seed).is_none());
        let bomb = RecordHeader { uncompressed_len: MAX_RECORD as u32 + 1, kind: 1, ..header() };
        assert!(RecordHeader::decode(&bomb.encode(seed), seed).is_none());
        let last = RecordHeader { sequence: NUMBERS_END, ..header() };
        assert!(RecordHeader::decode(&last.encode(seed), seed).is_none(), "it would overflow");
        let lane = RecordHeader { lane: LANES as u8, kind: 1, ..header() };
        assert!(RecordHeader::decode(&lane.encode(seed), seed).is_none());
    }

    #[test]
    fn a_section_never_reaches_past_its_body() {
        let header = RecordHeader { has_section: true, ..header() };
        for (body, parts) in [
            (&b""[..], None),
            (b"\x01\0\0", None),
            (b"\x01\0\0\0", None),
            (b"\xff\xff\xff\xffx", None),
            (b"\x01\0\0\0x", Some((4..5, 5))),
            (b"\0\0\0\0x", Some((4..4, 4))),
        ] {
            assert_eq!(part_body(&header, body), parts, "{body:?}");
        }
    }

    #[test]
    fn a_seal_is_read_as_written() {
        let seal = SealBody {
            next_sequence: 1,
            bytes: 2,
            records: 3,
            lane_records: [4, 5, 6],
            lane_items: [7, 8, 9],
        };
        assert_eq!(SealBody::decode(&seal.encode()), Some(seal));
        assert_eq!(SealBody::decode(&seal.encode()[1..]), None);
    }
}
