//! The errors of the crate's public calls: one enum each, with predicates for those who decide.

use std::{io, path::PathBuf, sync::Arc};

use crate::record::RecordId;

/// Why a WAL could not be opened. Nothing on disk was changed, unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another handle in this one) has it open.
    #[error("the WAL in {} is in use by another process", dir.display())]
    Locked {
        /// The WAL's directory.
        dir: PathBuf,
    },
    /// A segment or a cursor was written under a key that was not given.
    #[error(
        "the WAL in {} was written under another key: {} needs key {needed:08x}, given {}",
        dir.display(), file.display(), key_list(given)
    )]
    WrongKey {
        /// The WAL's directory.
        dir: PathBuf,
        /// The segment or cursor that needs it.
        file: PathBuf,
        /// Id of the missing key.
        needed: u32,
        /// Ids of the keys given; none with `Encryption::None`.
        given: Vec<u32>,
    },
    /// An option is out of its limits.
    #[error("{0}")]
    Options(String),
    /// The operating system refused something without which no WAL can be kept: the directory is missing or
    /// read-only, or a device failed.
    #[error("{action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

impl OpenError {
    /// Another process has it open: try later, or stop the other.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }

    /// It is under another key: give that key, or set the WAL aside.
    pub fn is_wrong_key(&self) -> bool {
        matches!(self, Self::WrongKey { .. })
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause }
    }
}

fn key_list(ids: &[u32]) -> String {
    if ids.is_empty() {
        return "none".to_owned();
    }
    ids.iter().map(|id| format!("{id:08x}")).collect::<Vec<_>>().join(", ")
}

/// Why a record was not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The payload is over [`MAX_RECORD`](crate::MAX_RECORD): part it.
    #[error("a record of {len} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Its length, bytes.
        len: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// The checkpoint is over its limit, or all checkpoints together are over a quarter of a segment.
    #[error("a checkpoint of {len} bytes is over the limit of {limit} bytes")]
    CheckpointTooLarge {
        /// Its length, or that of all of them, bytes.
        len: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// A source or a label is longer than [`MAX_NAME`](crate::MAX_NAME).
    #[error("a name of {len} bytes is over the limit of {limit} bytes")]
    NameTooLong {
        /// Its length, bytes.
        len: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// More sources and labels than [`MAX_NAMES`](crate::MAX_NAMES) in one segment.
    #[error("more than {limit} different sources and labels")]
    TooManyNames {
        /// The limit.
        limit: usize,
    },
    /// zstd failed.
    #[error("zstd: {0}")]
    Compress(String),
    /// No room within `max_size`, or on the disk, and the append was not to make any.
    #[error("the WAL is full: {used} of {max_size} bytes are used{}", if *disk { ", and the disk has no room" } else { "" })]
    Full {
        /// Bytes in use.
        used: u64,
        /// The cap.
        max_size: u64,
        /// The operating system refused (`ENOSPC`, `EDQUOT`, `EROFS`), not the cap.
        disk: bool,
    },
    /// Too many bytes wait to be answered.
    #[error("{queued} bytes already wait to be appended, the limit is {limit}")]
    Overloaded {
        /// Bytes waiting.
        queued: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// Writing failed on this and on fresh segments. The record may or may not be found after a restart.
    #[error("{action}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// The WAL is closed, or being closed.
    #[error("the WAL is closed")]
    Closed,
}

impl AppendError {
    /// There was no room: the source should try later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Overloaded { .. })
    }

    /// The same record can never be appended.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::CheckpointTooLarge { .. } | Self::NameTooLong { .. })
    }

    /// The WAL is closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }
}

/// Why records could not be read. Damaged records are no error: they are counted and passed over.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The operating system failed to read a segment: try again.
    #[error("reading {} at {offset}: {cause}", path.display())]
    Io {
        /// The segment's file.
        path: PathBuf,
        /// Where in it, bytes.
        offset: u64,
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// A stored frame does not hold what its header says, though its tag is right: the record was made wrong.
    #[error("record {id}: {cause}")]
    Decompress {
        /// The record.
        id: RecordId,
        /// What zstd or the check said.
        cause: String,
    },
}

impl ReadError {
    /// The bytes are there but wrong; reading again will not help.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Decompress { .. })
    }
}

/// Why a cursor was not moved. The cursor is as before.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CursorError {
    /// The slot could not be written, to the cursor's file or to a new one.
    #[error("writing the cursor {}: {cause}", path.display())]
    Io {
        /// The cursor's file.
        path: PathBuf,
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// More separate ranges above the low-water mark than a cursor can hold: acknowledge older records first.
    #[error("more than {limit} separate ranges of acknowledged records above the oldest pending one")]
    TooManyRanges {
        /// The limit.
        limit: usize,
    },
    /// More requests in flight than a cursor can hold.
    #[error("more than {limit} requests in flight in one lane")]
    TooManyPlans {
        /// The limit.
        limit: usize,
    },
    /// The ids are not of visible records of this lane, or a plan's last id is before its first.
    #[error("record {id} is not a visible record of lane {lane}")]
    NotVisible {
        /// The id.
        id: RecordId,
        /// The lane.
        lane: u8,
    },
    /// The WAL is closed.
    #[error("the WAL is closed")]
    Closed,
}

/// Why the keys were not rotated.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RotateError {
    /// Something still needs a key that the new ring does not hold. Nothing was changed: put the key in the ring, or
    /// wait until what needs it is delivered.
    #[error(
        "key {id:08x} is still needed, by {segments} segments and {cursors} cursors: keep it among the older keys until they are delivered"
    )]
    InUse {
        /// Id of the key.
        id: u32,
        /// Segments sealed with it.
        segments: usize,
        /// Cursors signed with it.
        cursors: usize,
    },
    /// The WAL is in the clear: there is no key to rotate. Nothing was changed.
    #[error("the WAL is in the clear, it has no key; a key is given when it is opened")]
    Plain,
    /// A file failed before the new ring was taken (`taken` is false: the old one goes on), or after it: new segments
    /// are under it, a cursor may not be. Try again with the same ring.
    #[error("{action}: {cause}; {}", if *taken { "new segments go under the new key all the same: try again" } else { "the keys are as before: try again" })]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why not.
        cause: Arc<io::Error>,
        /// Whether the new ring is in effect.
        taken: bool,
    },
    /// The WAL is closed, or being closed.
    #[error("the WAL is closed")]
    Closed,
}

impl RotateError {
    /// A key that is still needed is not in the ring.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }
}

/// Why closing was not clean. The lock is released all the same, and recovery will find everything answered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("closing the WAL: {action}: {cause}")]
pub struct CloseError {
    /// What failed.
    pub action: &'static str,
    /// Why.
    pub cause: Arc<io::Error>,
}

/// Why a WAL could not be verified or inspected at all. Damage found is no error: it is in the report.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {cause}", path.display())]
pub struct VerifyError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    pub cause: io::Error,
}

/// Why records of a WAL could not be given. Damaged records are no error: they are passed over, and told.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The directory or a file in it cannot be read.
    #[error(transparent)]
    Read(#[from] VerifyError),
    /// A segment that is wanted is sealed with a key that was not given.
    #[error(
        "{} needs key {needed:08x}, given {}: give that key too, or choose other segments",
        segment.display(), key_list(given)
    )]
    NoKey {
        /// The segment.
        segment: PathBuf,
        /// Id of the missing key.
        needed: u32,
        /// Ids of the keys given.
        given: Vec<u32>,
    },
    /// There is no cursor of this consumer that can be believed.
    #[error("{consumer:?} has no cursor here; there are {}", name_list(known))]
    NoCursor {
        /// The consumer.
        consumer: String,
        /// Those that have a cursor's file.
        known: Vec<String>,
    },
    /// There is no segment of this number.
    #[error("there is no segment {segment:016x}")]
    NoSegment {
        /// Its number.
        segment: u64,
    },
}

impl DumpError {
    /// The key that is needed was not given.
    pub fn is_wrong_key(&self) -> bool {
        matches!(self, Self::NoKey { .. })
    }
}

fn name_list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
