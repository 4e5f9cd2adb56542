//! What a WAL is opened with, and the limits that no option changes.
//!
//! Every field has a default that is safe; `Options::new` is a working configuration but for the key.

use std::time::Duration;

use crate::key::KeyRing;

/// Lanes a WAL has. The agent maps metrics, logs and traces to 0, 1 and 2.
pub const LANES: usize = 3;

/// Longest payload of a record, uncompressed, bytes: 3.5 MiB, because most receivers refuse messages over 4 MiB.
pub const MAX_RECORD: usize = 3_670_016;

/// Longest checkpoint a record may carry, bytes.
pub const MAX_CHECKPOINT: usize = 256 * 1024;

/// Longest name of a source, a label or a consumer, bytes.
pub const MAX_NAME: usize = 255;

/// Most names (sources and labels together) that one segment may know.
pub const MAX_NAMES: usize = 4096;

/// Most consumers, those that left the configuration included.
pub const MAX_CONSUMERS: usize = 64;

/// Smallest `Options::max_size`, bytes.
pub const MIN_MAX_SIZE: u64 = 1024 * 1024;

/// When an append is answered, and when its record becomes visible to consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// After `fdatasync`, by group commit: nothing answered is lost, not even when power fails.
    Always,
    /// Answered when written, synced on the WAL's own timer: a power loss costs at most one interval, the end
    /// of a process nothing. Visible once synced.
    Interval {
        /// Longest time between an append and its sync.
        every: Duration,
        /// Most bytes written and not yet synced.
        bytes: u64,
    },
    /// Answered and visible when written, synced when a segment is sealed: a power loss costs what was
    /// appended since then, the end of a process nothing.
    Never,
}

impl SyncPolicy {
    /// `Interval` with the documented default: 200 ms or 4 MiB.
    pub const fn interval() -> Self {
        Self::Interval { every: Duration::from_millis(200), bytes: 4 * 1024 * 1024 }
    }
}

/// How record bodies are sealed.
#[derive(Debug, Clone)]
pub enum Encryption {
    /// AES-256-GCM under a key per segment, derived from the ring's current key.
    Aes256Gcm(KeyRing),
    /// In the clear. Cursors and seals are still authenticated, by a key derived from the store's own uuid:
    /// that finds accidents, not forgery.
    None,
}

/// What to do when the WAL was written under a key that the ring does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnWrongKey {
    /// Don't open; nothing is changed.
    Refuse,
    /// Move the old WAL whole into a directory beside it (`NAME.aside-N`), report it, start a new one.
    SetAside,
}

/// Where a consumer begins that has no cursor yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest record that is still there.
    #[default]
    Oldest,
    /// With what is appended from now on.
    Now,
}

/// A consumer that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// Names its cursor; 1 to 128 bytes.
    pub name: String,
    /// How far it may lag when it lags *alone*, bytes; beyond, it loses its oldest records, counted. `None` (default):
    /// 80 % of [`Options::max_size`].
    pub max_lag: Option<u64>,
    /// Where it begins when it has no cursor yet. Default: at the oldest record.
    pub start: Start,
}

impl<T: Into<String>> From<T> for ConsumerOptions {
    fn from(name: T) -> Self {
        Self { name: name.into(), max_lag: None, start: Start::Oldest }
    }
}

/// What a WAL is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Default `Always`.
    pub sync: SyncPolicy,
    /// Disk use of the whole directory, bytes: segments, spare, quarantine and cursors included. Default 2 GiB,
    /// at least [`MIN_MAX_SIZE`].
    pub max_size: u64,
    /// Size at which a segment is sealed, bytes. Default 64 MiB; in effect at most `max_size / 16`, at least
    /// 64 KiB.
    pub segment_size: u64,
    /// zstd level. Default 1; 0 stores payloads plainly.
    pub zstd_level: i32,
    /// No default: a key must be given, or its absence said.
    pub encryption: Encryption,
    /// Whether segments in the clear are read while a key is configured; otherwise they are quarantined, because
    /// anyone could have put them there. Default no.
    pub accept_plain: bool,
    /// Default `Refuse`.
    pub on_wrong_key: OnWrongKey,
    /// The consumers there are. One that is no longer named keeps its cursor, holds its records, and is the first to
    /// lose when space is short, until it is [forgotten](crate::Wal::forget). Default none.
    pub consumers: Vec<ConsumerOptions>,
    /// How long segments are kept that every consumer has passed, by the wall clock, for
    /// [rewinding](crate::Consumer::rewind); they are the first to go when room is needed. Default zero.
    pub retain: Duration,
    /// Bytes of appends not yet answered, above which [`append`](crate::Wal::append) refuses. Default 16 MiB.
    pub max_queued: u64,
    /// Longest time an acknowledgement stays unsynced. Default 5 s: after a power loss (not after the end of the
    /// process) so much may be delivered again.
    pub cursor_sync: Duration,
}

impl Options {
    /// Options with every default but the encryption.
    pub fn new(encryption: Encryption) -> Self {
        Self {
            sync: SyncPolicy::Always,
            max_size: 2 * 1024 * 1024 * 1024,
            segment_size: 64 * 1024 * 1024,
            zstd_level: 1,
            encryption,
            accept_plain: false,
            on_wrong_key: OnWrongKey::Refuse,
            consumers: Vec::new(),
            retain: Duration::ZERO,
            max_queued: 16 * 1024 * 1024,
            cursor_sync: Duration::from_secs(5),
        }
    }

    /// The size at which a segment is sealed in effect, bytes.
    pub fn effective_segment_size(&self) -> u64 {
        self.segment_size.min(self.max_size / 16).max(64 * 1024)
    }

    /// The options of a configured consumer.
    pub(crate) fn consumer(&self, name: &str) -> Option<&ConsumerOptions> {
        self.consumers.iter().find(|consumer| consumer.name == name)
    }

    /// How far a consumer that lags alone may lag, bytes.
    pub(crate) fn effective_max_lag(&self, consumer: &str) -> u64 {
        let own = self.consumer(consumer).and_then(|consumer| consumer.max_lag);
        own.unwrap_or(self.max_size / 10 * 8)
    }
}
