//! Records to the body of one request.
//!
//! What is stored as it must travel goes out untouched: a zstd frame, several frames where the receiver reads on,
//! plain bytes. Everything else is unpacked, joined (protobuf's repeated fields join by joining bytes) and
//! compressed as one: cheaper for both sides than a request a record, and the way of a backlog to a receiver that
//! reads one frame only.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression as GzipLevel, write::GzEncoder};

use super::{
    source::{Record, Stored},
    transport::Encoding,
};

/// A fast level: the stored frames are level 1 too.
const ZSTD_LEVEL: i32 = 1;

/// One record is not what its header says. Its bytes passed the WAL's checks, so it was stored like that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Unreadable {
    /// Which one of the records.
    pub(super) index: usize,
    /// What is wrong with it.
    pub(super) reason: String,
}

/// The body without touching a byte, if the records are stored that way. `many_frames`: the receiver reads on
/// after the first frame.
pub(super) fn untouched(records: &[Record], encoding: Encoding, many_frames: bool) -> Option<Vec<Bytes>> {
    if encoding == Encoding::Zstd && records.len() > 1 && !many_frames {
        return None;
    }
    records
        .iter()
        .map(|record| match (&record.stored, encoding) {
            (Stored::Frame(frame), Encoding::Zstd) => Some(frame.clone()),
            (Stored::Plain(bytes), Encoding::Identity) => Some(bytes.clone()),
            _ => None,
        })
        .collect()
}

/// The body by unpacking, joining and compressing: milliseconds for a full request, so not on the runtime's thread.
///
/// # Errors
/// The first record that can't be unpacked to its stated length.
pub(super) fn recode(records: &[Record], encoding: Encoding) -> Result<Bytes, Unreadable> {
    let mut joined = Vec::with_capacity(records.iter().map(|record| record.uncompressed_len as usize).sum());
    let mut unpacker = None;
    for (index, record) in records.iter().enumerate() {
        unpack(record, &mut unpacker, &mut joined).map_err(|reason| Unreadable { index, reason })?;
    }
    // Compressing into memory fails only where there is a bug; the first record then stands for it.
    let blame_first = |error: std::io::Error| Unreadable { index: 0, reason: error.to_string() };
    match encoding {
        Encoding::Identity => Ok(joined.into()),
        Encoding::Zstd => zstd::bulk::compress(&joined, ZSTD_LEVEL).map(Bytes::from).map_err(blame_first),
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(joined.len() / 4 + 64), GzipLevel::fast());
            encoder.write_all(&joined).map_err(blame_first)?;
            encoder.finish().map(Bytes::from).map_err(blame_first)
        }
    }
}

fn unpack(
    record: &Record,
    unpacker: &mut Option<zstd::bulk::Decompressor<'static>>,
    joined: &mut Vec<u8>,
) -> Result<(), String> {
    let frame = match &record.stored {
        Stored::Plain(bytes) => {
            joined.extend_from_slice(bytes);
            return Ok(());
        }
        Stored::Frame(frame) => frame,
    };
    let unpacker = match unpacker {
        Some(unpacker) => unpacker,
        None => unpacker.insert(zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?),
    };
    let start = joined.len();
    let expected = record.uncompressed_len as usize;
    joined.resize(start + expected, 0);
    match unpacker.decompress_to_buffer(frame, &mut joined[start..]) {
        Ok(length) if length == expected => Ok(()),
        Ok(length) => Err(format!("unpacks to {length} bytes instead of {expected}")),
        Err(error) => Err(format!("does not unpack: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::export::RecordId;

    fn record(stored: Stored, uncompressed_len: usize) -> Record {
        let id = RecordId::from_parts([0; 16], 0, 0, 0, 0);
        Record {
            id,
            source: "".into(),
            label: "".into(),
            items: 1,
            ingest_ns: 0,
            uncompressed_len: uncompressed_len as u32,
            stored,
        }
    }

    fn frame(bytes: &[u8]) -> Record {
        record(Stored::Frame(zstd::bulk::compress(bytes, 1).unwrap().into()), bytes.len())
    }

    fn plain(bytes: &[u8]) -> Record {
        record(Stored::Plain(Bytes::copy_from_slice(bytes)), bytes.len())
    }

    fn decode(body: &[u8], encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Identity => body.to_vec(),
            Encoding::Zstd => zstd::decode_all(body).unwrap(),
            Encoding::Gzip => {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
                plain
            }
        }
    }

    #[test]
    fn stored_frames_travel_untouched() {
        let records = [frame(b"one"), frame(b"two")];
        let Stored::Frame(first) = &records[0].stored else { unreachable!() };
        let alone = untouched(&records[..1], Encoding::Zstd, false).expect("one frame");
        assert_eq!(alone[0].as_ptr(), first.as_ptr(), "not even copied");
        assert_eq!(untouched(&records, Encoding::Zstd, false), None, "a receiver may stop after the first");
        let joined = untouched(&records, Encoding::Zstd, true).expect("a receiver that reads on");
        assert_eq!(decode(&joined.concat(), Encoding::Zstd), b"onetwo");
        assert_eq!(untouched(&records, Encoding::Gzip, true), None);
        assert_eq!(untouched(&[frame(b"one"), plain(b"two")], Encoding::Zstd, true), None);
        assert!(untouched(&[plain(b"one"), plain(b"two")], Encoding::Identity, false).is_some());
    }

    #[test]
    fn every_encoding_holds_all_records_in_order_as_one() {
        let records = [frame(b"one"), plain(b"two"), frame(b""), frame(&[3; 100_000])];
        let expected = [&b"onetwo"[..], &[3; 100_000]].concat();
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let body = recode(&records, encoding).unwrap();
            assert_eq!(decode(&body, encoding), expected, "{encoding:?}");
        }
        let body = recode(&records, Encoding::Zstd).unwrap();
        let first = zstd::zstd_safe::find_frame_compressed_size(&body).unwrap();
        assert_eq!(first, body.len(), "one frame");
    }

    #[test]
    fn a_record_that_is_not_what_it_says_is_named() {
        let longer = record(Stored::Frame(zstd::bulk::compress(&[7; 100], 1).unwrap().into()), 99);
        let shorter = record(Stored::Frame(zstd::bulk::compress(&[7; 100], 1).unwrap().into()), 101);
        let garbage = record(Stored::Frame(Bytes::from_static(b"garbage")), 3);
        for bad in [longer, shorter, garbage] {
            let error = recode(&[frame(b"good"), bad], Encoding::Gzip).unwrap_err();
            assert_eq!(error.index, 1, "{error}");
        }
    }
}
