//! The WAL's counts as `whimbrel status` and `whimbrel wal status` print them.

use std::path::PathBuf;

use serde::Serialize;
use whimbrel_otlp::Signal;

use crate::store::lane_of;

/// The WAL at one moment.
#[derive(Debug, Serialize)]
pub struct WalStatus {
    /// Its folder.
    pub folder: PathBuf,
    /// All that `max_size_bytes` bounds.
    pub disk_bytes: u64,
    /// The part of it that is quarantined.
    pub quarantine_bytes: u64,
    /// The cap.
    pub max_size_bytes: u64,
    /// Files, the one being written included.
    pub segments: usize,
    /// Whether the last append found no room.
    pub full: bool,
    /// Whether the last write failed.
    pub failing: bool,
    /// What the disk last said.
    pub last_error: Option<String>,
    /// Records made durable since the agent started.
    pub appended_records: u64,
    /// Data points, log records, spans in them.
    pub appended_items: u64,
    /// Their bytes as stored.
    pub appended_bytes: u64,
    /// Appends refused because there was no room.
    pub refused_full: u64,
    /// Appends refused because too many waited.
    pub refused_overloaded: u64,
    /// Appends that failed because of the disk.
    pub failed: u64,
    /// Writes of one or more records.
    pub commits: u64,
    /// Calls of `fdatasync`.
    pub syncs: u64,
    /// Microseconds spent in them.
    pub sync_time_us: u64,
    /// The longest of them, microseconds.
    pub sync_longest_us: u64,
    /// Lost since the agent started, over all exporters, in records.
    pub losses: WalLosses,
    /// One an exporter that has a cursor.
    pub consumers: Vec<WalConsumer>,
}

/// Records lost, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WalLosses {
    /// Dropped unread to make room.
    pub dropped_for_space: u64,
    /// Dropped because one exporter lagged alone.
    pub dropped_for_lag: u64,
    /// Given up by the exporter itself.
    pub given_up: u64,
    /// The body's CRC was wrong.
    pub body_damaged: u64,
    /// The authentication tag was wrong.
    pub not_authentic: u64,
    /// Gone with a header or a file.
    pub missing: u64,
}

impl WalLosses {
    /// Each cause with its count.
    pub fn by_cause(&self) -> [(&'static str, u64); 6] {
        [
            ("dropped_for_space", self.dropped_for_space),
            ("dropped_for_lag", self.dropped_for_lag),
            ("given_up", self.given_up),
            ("body_damaged", self.body_damaged),
            ("not_authentic", self.not_authentic),
            ("missing", self.missing),
        ]
    }
}

impl From<whimbrel_wal::Losses> for WalLosses {
    fn from(losses: whimbrel_wal::Losses) -> Self {
        Self {
            dropped_for_space: losses.dropped_for_space,
            dropped_for_lag: losses.dropped_for_lag,
            given_up: losses.given_up,
            body_damaged: losses.body_damaged,
            not_authentic: losses.not_authentic,
            missing: losses.missing,
        }
    }
}

/// One exporter's cursor.
#[derive(Debug, Clone, Serialize)]
pub struct WalConsumer {
    /// The exporter.
    pub name: String,
    /// Whether the configuration names it; otherwise its records wait for it all the same.
    pub configured: bool,
    /// Bytes of the segments it holds.
    pub lag_bytes: u64,
    /// Metrics, logs, traces.
    pub lanes: Vec<LaneCounts>,
}

/// One signal of one exporter, in records since the exporter's first. This sum always holds: seen + rewound =
/// delivered + skipped + `dead_lettered` + dropped + corrupt + pending.
#[derive(Debug, Clone, Serialize)]
pub struct LaneCounts {
    /// `metrics`, `logs`, `traces`.
    pub signal: &'static str,
    /// Became visible to it.
    pub seen: u64,
    /// Taken by the receiver.
    pub delivered: u64,
    /// Not for it.
    pub skipped: u64,
    /// Refused by the receiver, kept among the dead letters.
    pub dead_lettered: u64,
    /// Lost for want of space, or given up.
    pub dropped: u64,
    /// Lost to damage.
    pub corrupt: u64,
    /// The last two by cause.
    pub losses: WalLosses,
    /// Counted, and set back to be delivered again.
    pub rewound: u64,
    /// Still to come.
    pub pending: u64,
    /// When the oldest of those came in, nanoseconds since the epoch.
    pub oldest_pending_ns: Option<u64>,
}

impl From<whimbrel_wal::Status> for WalStatus {
    fn from(status: whimbrel_wal::Status) -> Self {
        let (counters, losses) = (status.counters, status.losses);
        Self {
            folder: status.dir,
            disk_bytes: status.disk_bytes,
            quarantine_bytes: status.quarantine_bytes,
            max_size_bytes: status.max_size,
            segments: status.segments,
            full: status.full,
            failing: status.failing,
            last_error: status.last_error,
            appended_records: counters.appended_records,
            appended_items: counters.appended_items,
            appended_bytes: counters.appended_bytes,
            refused_full: counters.refused_full,
            refused_overloaded: counters.refused_overloaded,
            failed: counters.failed,
            commits: counters.commits,
            syncs: counters.syncs,
            sync_time_us: micros(counters.sync_time),
            sync_longest_us: micros(counters.sync_longest),
            losses: losses.into(),
            consumers: status.consumers.iter().map(WalConsumer::from).collect(),
        }
    }
}

impl From<&whimbrel_wal::ConsumerStatus> for WalConsumer {
    fn from(consumer: &whimbrel_wal::ConsumerStatus) -> Self {
        let lanes = Signal::ALL
            .into_iter()
            .map(|signal| {
                let lane = &consumer.lanes[usize::from(lane_of(signal).number())];
                LaneCounts {
                    signal: signal.name(),
                    seen: lane.seen,
                    delivered: lane.delivered,
                    skipped: lane.skipped,
                    dead_lettered: lane.dead_lettered,
                    dropped: lane.dropped(),
                    corrupt: lane.corrupt(),
                    losses: lane.losses.into(),
                    rewound: lane.rewound,
                    pending: lane.pending,
                    oldest_pending_ns: lane.oldest_pending_ns,
                }
            })
            .collect();
        Self {
            name: consumer.name.clone(),
            configured: consumer.configured,
            lag_bytes: consumer.lag_bytes,
            lanes,
        }
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
