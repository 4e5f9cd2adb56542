//! For the fuzz targets in `fuzz/`: what readers and recovery make of bytes, without a disk. Compiled with
//! `--cfg fuzzing` only.
//!
//! CRCs and tags would stop a fuzzer at the door. The readers are not weakened for it: the harness puts the right CRCs,
//! and where the input asks for it the right tags, into what the fuzzer made up.

#![expect(
    clippy::unwrap_used,
    reason = "a target may stop at the first thing that fails: that is its purpose"
)]

mod cursor;
mod open;
mod segment;

#[path = "../tests/rig.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod rig;

pub use cursor::cursor;
pub use open::open;
pub use segment::segment;

use crate::{
    segment::{
        encrypt::SegmentCipher,
        frame::{Kind, RECORD_HEADER_LEN, may_begin, stride},
        header::{HEADER_LEN, u32_at},
    },
    status::Status,
};

/// Left as it is: the reader shall find it damaged.
const LEAVE: u8 = 0x80;
/// Sealed, so that it opens.
const SEAL: u8 = 0x40;

/// Makes records of what looks like some. The upper bits of a record's flags, which mean nothing, say what to mend.
fn mend_records(region: &mut [u8], cipher: &SegmentCipher, crc_seed: u32) {
    let mut at = 0;
    while at + RECORD_HEADER_LEN <= region.len() {
        let record = &mut region[at..];
        let wish = record[29];
        if !may_begin(record) || wish & LEAVE != 0 {
            at += 8;
            continue;
        }
        let len = (u32_at(record, 8) as usize).min(record.len() - RECORD_HEADER_LEN);
        record[8..12].copy_from_slice(&(len as u32).to_le_bytes());
        record[29] &= 1;
        let (header, body) = record.split_first_chunk_mut::<RECORD_HEADER_LEN>().unwrap();
        let body = &mut body[..len];
        let kind = [Kind::Data, Kind::State, Kind::Seal].into_iter().find(|kind| *kind as u8 == header[28]);
        let sealed = if wish & SEAL != 0 { kind } else { None };
        if let Some(kind) = sealed
            && let Some(text_len) = len.checked_sub(cipher.overhead())
        {
            let (text, rest) = body.split_at_mut(text_len);
            if let Some(tag) = cipher.seal(kind, u32_at(header, 24), header, text) {
                rest.copy_from_slice(&tag);
            }
        }
        let body_crc = crc32fast::hash(body);
        header[12..16].copy_from_slice(&body_crc.to_le_bytes());
        mend_record_header(header, crc_seed);
        at += stride(len) as usize;
    }
}

fn mend_record_header(header: &mut [u8; RECORD_HEADER_LEN], crc_seed: u32) {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc_seed);
    hasher.update(&header[8..]);
    header[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
}

fn mend_header(header: &mut [u8]) {
    if header.len() >= HEADER_LEN {
        let crc = crc32fast::hash(&header[..HEADER_LEN - 4]);
        header[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Promise 3, without the times: they are of no account here.
fn sums(status: &Status) -> Vec<(String, [[u64; 7]; 3])> {
    let consumers = status.consumers.iter();
    consumers
        .map(|consumer| {
            let lanes = consumer.lanes.map(|lane| {
                assert!(lane.adds_up(), "{}: {lane:?}", consumer.name);
                [
                    lane.seen,
                    lane.delivered,
                    lane.skipped,
                    lane.dead_lettered,
                    lane.dropped(),
                    lane.corrupt(),
                    lane.pending,
                ]
            });
            (consumer.name.clone(), lanes)
        })
        .collect()
}
