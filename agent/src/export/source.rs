//! Where an exporter's records come from and where they are acknowledged: the WAL behind a small trait, so that
//! the lanes can be tried over memory, and the dead letters likewise.
//!
//! Both traits are synchronous, because the WAL is; the lanes call them where blocking is allowed.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use whimbrel_otlp::Signal;
pub use whimbrel_wal::{Plan, ReadLimit, RecordId, RewindTo};

/// One exporter's view of the durable records, with its own cursor for each signal.
pub trait Source: Send + Sync + 'static {
    /// The unacknowledged records of a signal that lie behind `after` (`None`: from the first), in order, up to
    /// the limit, but at least one if there is any. Records that can't be read are skipped and counted there.
    ///
    /// # Errors
    /// If the store can't be read now; the lane tries again later.
    fn read(
        &self,
        signal: Signal,
        after: Option<RecordId>,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, SourceError>;

    /// Notes a request before it is sent, so that it survives the death of the process. It takes the place of
    /// the plans that it overlaps.
    ///
    /// # Errors
    /// If it can't be written; nothing is sent then. [`SourceError::is_gone`] if its records are no longer there.
    fn plan(&self, signal: Signal, plan: Plan) -> Result<(), SourceError>;

    /// The requests that were in flight when the last process died.
    ///
    /// # Errors
    /// As [`read`](Source::read).
    fn plans(&self, signal: Signal) -> Result<Vec<Plan>, SourceError>;

    /// The unacknowledged records of such a request.
    ///
    /// # Errors
    /// As [`read`](Source::read).
    fn read_plan(&self, signal: Signal, plan: &Plan) -> Result<Vec<Record>, SourceError>;

    /// Ends the source's responsibility for these records, and with it the plan that names them. Records that
    /// are no longer there (dropped when the disk was full) are passed over.
    ///
    /// # Errors
    /// If it can't be written; the lane tries again later, and sends nothing meanwhile.
    fn acknowledge(&self, signal: Signal, records: &[RecordId], settled: Settled) -> Result<(), SourceError>;

    /// Sets the cursor of every signal back, durably, and drops the plans of those that it moves. Returns how many records
    /// are unacknowledged again. Nobody reads or acknowledges meanwhile.
    ///
    /// # Errors
    /// If it can't be written. It may have been set back all the same.
    fn rewind(&self, to: RewindTo) -> Result<u64, SourceError>;

    /// How many records of a signal were set back so far: durable, and more after each rewinding that moved the cursor.
    fn rewound(&self, signal: Signal) -> u64;
}

/// Where records go that the receiver refuses for what they hold.
pub trait DeadLetters: Send + Sync + 'static {
    /// Keeps one record; durable when it returns.
    ///
    /// # Errors
    /// If it can't be kept; the exporter is held until it can, and the record stays where it is.
    fn put(&self, exporter: &str, signal: Signal, record: &Record, reason: &str) -> Result<(), SourceError>;
}

/// One batch as it is stored: an OTLP export request.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its name for ever.
    pub id: RecordId,
    /// Who made it: a configured name.
    pub source: Arc<str>,
    /// What the routes said when it was stored.
    pub label: Arc<str>,
    /// Data points, log records or spans.
    pub items: u32,
    /// When it entered, ns since 1970.
    pub ingest_ns: u64,
    /// Bytes of the export request.
    pub uncompressed_len: u32,
    /// The export request itself.
    pub stored: Stored,
}

/// How a record's bytes are stored.
#[derive(Debug, Clone)]
pub enum Stored {
    /// One zstd frame.
    Frame(Bytes),
    /// As they are.
    Plain(Bytes),
}

/// How a record's way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// The receiver has it.
    Delivered,
    /// The dead letters have it.
    DeadLettered,
    /// Given up after `retry.give_up_after`, or beyond `max_age`.
    Dropped,
}

/// What a source or the dead letters could not do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    message: String,
    gone: bool,
}

impl SourceError {
    /// Says what failed, where, and why. Trying again may help.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), gone: false }
    }

    /// The records that were named are no longer there: read again, don't try again.
    pub fn gone(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), gone: true }
    }

    /// Whether it is about records that are no longer there.
    pub fn is_gone(&self) -> bool {
        self.gone
    }
}
