//! Walking over the records of a segment, past damage.
//!
//! A record is where a header with a right CRC, an index that can be there and a body within bounds is. Elsewhere the walk steps
//! 8 bytes on until it finds one. Bodies are not looked at here unless asked for.

use std::io;

use super::{
    encrypt::SegmentCipher,
    frame::{ALIGN, Kind, RECORD_HEADER_LEN, RecordHeader, may_begin, reencode},
    header::RECORDS_START,
};
use crate::storage::{StoredFile, read_around_damage};

/// Bytes read ahead.
const CHUNK: usize = 32 * 1024;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Record {
        offset: u64,
        header: RecordHeader,
    },
    /// Bytes in which no record is.
    Gap {
        offset: u64,
        len: u64,
    },
}

/// Why a body can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    Crc,
    Tag,
    /// Authentic, and yet not of the shape its header says.
    Shape,
}

/// Reads a segment from one offset to another.
pub(crate) struct Walker<'a> {
    file: &'a dyn StoredFile,
    crc_seed: u32,
    at: u64,
    end: u64,
    /// Indexes below this are stale.
    next_index: u32,
    /// Indexes from this on don't count.
    index_end: u32,
    /// A record found at the end of a gap.
    found: Option<RecordHeader>,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(file: &'a dyn StoredFile, crc_seed: u32, from: u64, to: u64, index_end: u32) -> Self {
        Self {
            file,
            crc_seed,
            at: from,
            end: to,
            next_index: 0,
            index_end,
            found: None,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    /// Where the next step begins.
    pub(crate) fn offset(&self) -> u64 {
        self.at
    }

    /// The next record or gap; `None` at the end.
    pub(crate) fn step(&mut self) -> io::Result<Option<Step>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let start = self.at;
        if let Some(header) = self.found.take() {
            return Ok(Some(self.take(start, header)));
        }
        if let Some(header) = self.header_at(start)? {
            return Ok(Some(self.take(start, header)));
        }
        let mut at = start + ALIGN;
        while at < self.end {
            if let Some(header) = self.header_at(at)? {
                self.found = Some(header);
                break;
            }
            at += ALIGN;
        }
        self.at = at.min(self.end);
        Ok(Some(Step::Gap { offset: start, len: self.at - start }))
    }

    fn take(&mut self, offset: u64, header: RecordHeader) -> Step {
        self.at = offset + header.stride();
        self.next_index = header.index.saturating_add(1);
        Step::Record { offset, header }
    }

    fn header_at(&mut self, offset: u64) -> io::Result<Option<RecordHeader>> {
        if self.end - offset < RECORD_HEADER_LEN as u64 {
            return Ok(None);
        }
        let (seed, end, indexes) = (self.crc_seed, self.end, self.next_index..self.index_end);
        let bytes = self.bytes_at(offset, RECORD_HEADER_LEN)?;
        let Some(bytes) = bytes.filter(|bytes| may_begin(bytes)).and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        // Each index takes a header at least: so a forged one can't use up indexes or ordinals.
        let possible = offset.saturating_sub(RECORDS_START) / RECORD_HEADER_LEN as u64;
        Ok(RecordHeader::decode(bytes, seed).filter(|header| {
            indexes.contains(&header.index)
                && u64::from(header.index) <= possible
                && header.lane_index <= header.index
                && header.stride() <= end - offset
        }))
    }

    /// Bytes from the chunk, which is read anew if they are not in it; `None` past the file's end.
    fn bytes_at(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let inside =
            offset >= self.chunk_at && offset + len as u64 <= self.chunk_at + self.chunk.len() as u64;
        if !inside {
            let want = (self.end - offset).min(CHUNK as u64) as usize;
            self.chunk.resize(want, 0);
            self.chunk_at = offset;
            let read = read_around_damage(self.file, &mut self.chunk, offset);
            self.chunk.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        let start = (offset - self.chunk_at) as usize;
        Ok(self.chunk.get(start..start + len))
    }

    /// Reads the body of a record that a step found. CRC and tag are not looked at.
    pub(crate) fn raw_body(&mut self, offset: u64, header: &RecordHeader) -> io::Result<Vec<u8>> {
        let (at, len) = (offset + RECORD_HEADER_LEN as u64, header.body_len as usize);
        let chunk_end = self.chunk_at + self.chunk.len() as u64;
        if at >= self.chunk_at && at < chunk_end {
            let start = (at - self.chunk_at) as usize;
            let have = len.min(self.chunk.len() - start);
            let mut body = vec![0; len];
            body[..have].copy_from_slice(&self.chunk[start..start + have]);
            let read = read_around_damage(self.file, &mut body[have..], at + have as u64)?;
            body.truncate(have + read);
            return Ok(body);
        }
        let mut body = vec![0; len];
        let read = read_around_damage(self.file, &mut body, at)?;
        body.truncate(read);
        Ok(body)
    }

    /// Reads, checks and opens a body.
    pub(crate) fn body(
        &mut self,
        offset: u64,
        header: &RecordHeader,
        cipher: &SegmentCipher,
    ) -> io::Result<Result<Vec<u8>, BodyFault>> {
        let mut body = self.raw_body(offset, header)?;
        if !crc_is_right(header, &body) {
            return Ok(Err(BodyFault::Crc));
        }
        // An unknown kind is passed over by its header and never opened.
        let Some(kind) = header.kind() else { return Ok(Err(BodyFault::Shape)) };
        Ok(match open_body(header, kind, self.crc_seed, cipher, &mut body) {
            Some(len) => {
                body.truncate(len);
                Ok(body)
            }
            None => Err(BodyFault::Tag),
        })
    }
}

/// Whether a body is what its header says, by CRC.
pub(crate) fn crc_is_right(header: &RecordHeader, body: &[u8]) -> bool {
    body.len() == header.body_len as usize && crc32fast::hash(body) == header.body_crc
}

fn open_body(
    header: &RecordHeader,
    kind: Kind,
    crc_seed: u32,
    cipher: &SegmentCipher,
    body: &mut [u8],
) -> Option<usize> {
    cipher.open(kind, header.index, &reencode(header, crc_seed), body)
}
