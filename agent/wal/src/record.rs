//! What goes in and what comes out: records, their ids and their lanes.
//!
//! A record's payload is opaque here. Its lane, source, label and item count stand in the clear in its header, so
//! that a consumer can pass over it without reading it and a damaged one can still be counted.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    compress::{self, Codec},
    error::ReadError,
    options::LANES,
};

/// One of the [`LANES`] independent orders of records; each consumer has a cursor in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(u8);

impl Lane {
    /// Every lane, in order.
    pub const ALL: [Self; LANES] = [Self(0), Self(1), Self(2)];

    /// The lane of this number; `None` from [`LANES`] on.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < LANES { Some(Self(number)) } else { None }
    }

    /// Its number, below [`LANES`].
    pub const fn number(self) -> u8 {
        self.0
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names one record for ever: the segment's uid and the index in it. Its text is the dedup id.
///
/// Equality, order and hash follow the position in the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    segment: u64,
    index: u32,
    segment_uid: [u8; 16],
    sequence: u64,
    ordinal: u64,
}

impl RecordId {
    /// An id from its parts; only useful to stand in for a WAL in tests.
    pub const fn from_parts(
        segment_uid: [u8; 16],
        segment: u64,
        index: u32,
        sequence: u64,
        ordinal: u64,
    ) -> Self {
        Self { segment, index, segment_uid, sequence, ordinal }
    }

    /// The segment's uid: random, unique for ever.
    pub const fn segment_uid(&self) -> [u8; 16] {
        self.segment_uid
    }

    /// The segment's number: the hexadecimal name of its file.
    pub const fn segment(&self) -> u64 {
        self.segment
    }

    /// Place in the segment, counted over records of every type.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Place among all data records of the WAL, of every lane.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Place among the data records of its lane. Consecutive records of a lane have consecutive ordinals.
    pub const fn ordinal(&self) -> u64 {
        self.ordinal
    }
}

/// The dedup id: 32 hexadecimal digits of the segment's uid, a dash, the index in decimal.
impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{}", u128::from_be_bytes(self.segment_uid), self.index)
    }
}

/// What an append does when the WAL is at `max_size` (or the disk is full).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Wait so long for a consumer to free space; then the append fails with
    /// [`AppendError::is_full`](crate::AppendError::is_full).
    Block {
        /// Longest wait. Zero answers at once.
        up_to: Duration,
    },
    /// Move lagging cursors forward, counting what they lose, until there is room.
    DropOldest,
    /// Fail at once with [`AppendError::is_full`](crate::AppendError::is_full).
    DropNewest,
}

/// A record to be appended, borrowed from the caller.
///
/// With a checkpoint, no items and an empty payload it only moves the checkpoint: consumers never see it.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    /// Its order.
    pub lane: Lane,
    /// Who made it: a configured name, at most [`MAX_NAME`](crate::MAX_NAME) bytes.
    pub source: &'a str,
    /// What the routes said, at most [`MAX_NAME`](crate::MAX_NAME) bytes; may be empty.
    pub label: &'a str,
    /// Data points, log records or spans in the payload: what a loss is counted in.
    pub items: u32,
    /// When it came in, nanoseconds since the epoch.
    pub ingest_ns: u64,
    /// At most [`MAX_RECORD`](crate::MAX_RECORD) bytes.
    pub payload: &'a [u8],
    /// The source's position, durable together with the payload; at most
    /// [`MAX_CHECKPOINT`](crate::MAX_CHECKPOINT) bytes.
    pub checkpoint: Option<&'a [u8]>,
    /// What to do when there is no room.
    pub when_full: WhenFull,
}

/// A record that is checked and compressed, ready to be appended. Made by [`Wal::prepare`](crate::Wal::prepare).
#[derive(Debug)]
pub struct Prepared {
    pub(crate) lane: Lane,
    pub(crate) codec: Codec,
    pub(crate) source: Box<str>,
    pub(crate) label: Box<str>,
    pub(crate) items: u32,
    pub(crate) ingest_ns: u64,
    pub(crate) uncompressed_len: u32,
    pub(crate) stored: Vec<u8>,
    pub(crate) checkpoint: Option<Box<[u8]>>,
    pub(crate) when_full: WhenFull,
    /// Nothing but a checkpoint: stored as a state record.
    pub(crate) state_only: bool,
}

impl Prepared {
    /// Bytes of the payload as it will be stored, before encryption.
    pub fn stored_len(&self) -> usize {
        self.stored.len()
    }

    /// What it holds in memory, bytes.
    pub(crate) fn footprint(&self) -> u64 {
        let fixed = size_of::<Self>() + self.source.len() + self.label.len();
        (fixed + self.stored.len() + self.checkpoint.as_ref().map_or(0, |c| c.len())) as u64
    }
}

/// A record as a consumer reads it: authenticated and decrypted, not decompressed.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its id, for acknowledging it and for the receiver to know a repeat.
    pub id: RecordId,
    /// Its lane.
    pub lane: Lane,
    /// Who made it.
    pub source: Arc<str>,
    /// What the routes said at append.
    pub label: Arc<str>,
    /// Items in the payload.
    pub items: u32,
    /// When it came in, nanoseconds since the epoch.
    pub ingest_ns: u64,
    /// Length of the payload, bytes.
    pub uncompressed_len: u32,
    pub(crate) codec: Codec,
    pub(crate) stored: Bytes,
}

impl Record {
    /// The payload's zstd frame (one, with content size, without dictionary), where it was stored as one; it can
    /// go out untouched.
    pub fn frame(&self) -> Option<Bytes> {
        (self.codec == Codec::Zstd).then(|| self.stored.clone())
    }

    /// Bytes of the payload as stored.
    pub fn stored_len(&self) -> usize {
        self.stored.len()
    }

    /// The payload, decompressed if need be, never to more than [`uncompressed_len`](Self::uncompressed_len).
    ///
    /// # Errors
    /// [`ReadError::Decompress`] when the frame does not hold what its header says.
    pub fn payload(&self) -> Result<Bytes, ReadError> {
        match self.codec {
            Codec::Plain => Ok(self.stored.clone()),
            Codec::Zstd => compress::decompress(&self.stored, self.uncompressed_len)
                .map(Bytes::from)
                .map_err(|cause| ReadError::Decompress { id: self.id, cause }),
        }
    }
}
