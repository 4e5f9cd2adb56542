//! What a WAL tells about itself: counts, sizes, losses. Plain data, cheap to make, without secrets.

use std::{path::PathBuf, time::Duration};

use crate::{
    cursor::lane::{Fate, LaneCursor, Tally},
    options::LANES,
};

/// A WAL at one moment.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The directory.
    pub dir: PathBuf,
    /// Names this WAL for ever.
    pub store_uuid: [u8; 16],
    /// Disk use, bytes: everything that `max_size` bounds.
    pub disk_bytes: u64,
    /// The part of it that is quarantined, bytes.
    pub quarantine_bytes: u64,
    /// The cap, bytes.
    pub max_size: u64,
    /// Segments, the active one included.
    pub segments: usize,
    /// Whether the last append found no room.
    pub full: bool,
    /// Whether the last write failed; the cause is in `last_error`.
    pub failing: bool,
    /// The last error of the disk, as text.
    pub last_error: Option<String>,
    /// The next data record's sequence number.
    pub next_sequence: u64,
    /// Each consumer, configured ones first, each part by name.
    pub consumers: Vec<ConsumerStatus>,
    /// Counted since the WAL was opened.
    pub counters: Counters,
    /// Lost since the WAL was opened, over all consumers, by cause, in records. What consumers gave up themselves is
    /// not in it. Each consumer's own, since its first record: [`LaneStatus::losses`].
    pub losses: Losses,
}

/// Counts since the WAL was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Data records answered.
    pub appended_records: u64,
    /// Their items.
    pub appended_items: u64,
    /// Their bytes as stored, before encryption.
    pub appended_bytes: u64,
    /// Appends refused because there was no room.
    pub refused_full: u64,
    /// Appends refused because too many waited.
    pub refused_overloaded: u64,
    /// Appends that failed because of the disk.
    pub failed: u64,
    /// Writes of one or more records.
    pub commits: u64,
    /// `fdatasync` calls on segments.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// The longest of them.
    pub sync_longest: Duration,
    /// Writes and syncs that failed and were made good in a new segment.
    pub rewritten: u64,
    /// Segments begun.
    pub segments_created: u64,
    /// Segments deleted.
    pub segments_deleted: u64,
}

/// Records lost, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Dropped unread to make room.
    pub dropped_for_space: u64,
    /// Dropped because one consumer lagged alone.
    pub dropped_for_lag: u64,
    /// Given up by the consumer itself.
    pub given_up: u64,
    /// The body's CRC was wrong.
    pub body_damaged: u64,
    /// The CRC was right, the authentication tag wrong: altered on purpose, or by this program's fault.
    pub not_authentic: u64,
    /// Gone with a header, a segment or the end of one.
    pub missing: u64,
}

impl Losses {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.dropped() + self.corrupt()
    }

    /// Those that were whole and are not delivered.
    pub fn dropped(&self) -> u64 {
        self.dropped_for_space + self.dropped_for_lag + self.given_up
    }

    /// Those that the disk lost or altered.
    pub fn corrupt(&self) -> u64 {
        self.body_damaged + self.not_authentic + self.missing
    }

    pub(crate) fn of(tally: &Tally) -> Self {
        Self {
            dropped_for_space: tally.of(Fate::DroppedForSpace),
            dropped_for_lag: tally.of(Fate::DroppedForLag),
            given_up: tally.of(Fate::GivenUp),
            body_damaged: tally.of(Fate::BodyDamaged),
            not_authentic: tally.of(Fate::NotAuthentic),
            missing: tally.of(Fate::Missing),
        }
    }

    pub(crate) fn add(&mut self, fate: Fate, records: u64) {
        *match fate {
            Fate::DroppedForSpace => &mut self.dropped_for_space,
            Fate::DroppedForLag => &mut self.dropped_for_lag,
            Fate::GivenUp => &mut self.given_up,
            Fate::BodyDamaged => &mut self.body_damaged,
            Fate::NotAuthentic => &mut self.not_authentic,
            Fate::Missing => &mut self.missing,
            Fate::Delivered | Fate::Skipped | Fate::DeadLettered => return,
        } += records;
    }
}

impl std::ops::Add for Losses {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            dropped_for_space: self.dropped_for_space + other.dropped_for_space,
            dropped_for_lag: self.dropped_for_lag + other.dropped_for_lag,
            given_up: self.given_up + other.given_up,
            body_damaged: self.body_damaged + other.body_damaged,
            not_authentic: self.not_authentic + other.not_authentic,
            missing: self.missing + other.missing,
        }
    }
}

/// One consumer.
#[derive(Debug, Clone, Default)]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// Whether the options name it; otherwise it left the configuration and holds its records still.
    pub configured: bool,
    /// Bytes of the segments it holds.
    pub lag_bytes: u64,
    /// How often its cursor was found unusable and began again at the oldest record.
    pub resets: u32,
    /// Id of the key its cursor is signed with; 0 in the clear.
    pub key_id: u32,
    /// Its lanes.
    pub lanes: [LaneStatus; LANES],
}

impl ConsumerStatus {
    /// The sum over the lanes; `oldest_pending_ns` is the oldest of them.
    pub fn total(&self) -> LaneStatus {
        self.lanes.iter().fold(LaneStatus::default(), |sum, lane| LaneStatus {
            seen: sum.seen + lane.seen,
            delivered: sum.delivered + lane.delivered,
            skipped: sum.skipped + lane.skipped,
            dead_lettered: sum.dead_lettered + lane.dead_lettered,
            losses: sum.losses + lane.losses,
            rewound: sum.rewound + lane.rewound,
            pending: sum.pending + lane.pending,
            oldest_pending_ns: match (sum.oldest_pending_ns, lane.oldest_pending_ns) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        })
    }
}

/// One lane of one consumer, in records since the consumer's first. This sum always holds:
/// seen + rewound = delivered + skipped + `dead_lettered` + dropped + corrupt + pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Became visible to it.
    pub seen: u64,
    /// Acknowledged as delivered.
    pub delivered: u64,
    /// Acknowledged as not for it.
    pub skipped: u64,
    /// Acknowledged as refused by the receiver and kept elsewhere.
    pub dead_lettered: u64,
    /// Dropped, or lost to damage, by cause.
    pub losses: Losses,
    /// Counted above, and set back to be delivered again.
    pub rewound: u64,
    /// Still to come.
    pub pending: u64,
    /// When the oldest of those came in, nanoseconds since the epoch; `None` when nothing is pending or it can't
    /// be read.
    pub oldest_pending_ns: Option<u64>,
}

impl LaneStatus {
    /// Whether every record is accounted for.
    pub fn adds_up(&self) -> bool {
        let parts = [self.delivered, self.skipped, self.dead_lettered, self.losses.total(), self.pending];
        self.seen + self.rewound == parts.iter().sum::<u64>()
    }

    /// Lost for want of space, or given up.
    pub fn dropped(&self) -> u64 {
        self.losses.dropped()
    }

    /// Lost to damage.
    pub fn corrupt(&self) -> u64 {
        self.losses.corrupt()
    }

    pub(crate) fn of(cursor: &LaneCursor, end: u64) -> Self {
        // What became visible and was acknowledged since `end` was looked up is not below it.
        let end = end.max(cursor.reach());
        let tally = cursor.tally();
        Self {
            seen: end.saturating_sub(cursor.first),
            delivered: tally.of(Fate::Delivered),
            skipped: tally.of(Fate::Skipped),
            dead_lettered: tally.of(Fate::DeadLettered),
            losses: Losses::of(&tally),
            rewound: cursor.rewound,
            pending: cursor.pending(end),
            oldest_pending_ns: None,
        }
    }
}

/// What opening found and did.
#[derive(Debug, Clone, Default)]
pub struct OpenReport {
    /// No WAL was there before.
    pub created: bool,
    /// Segments kept.
    pub segments: usize,
    /// Segments that were not sealed, and read through.
    pub recovered: usize,
    /// Data records found in those.
    pub recovered_records: u64,
    /// Bytes cut from the ends of unsealed segments: writes that a crash interrupted.
    pub torn_bytes: u64,
    /// Data records damaged or missing below what was known to be durable: the disk lost or altered them.
    pub lost_records: u64,
    /// Cursors found unusable; their consumers begin again at the oldest record.
    pub cursors_reset: Vec<String>,
    /// Consumers seen for the first time.
    pub consumers_added: Vec<String>,
    /// Files moved to `quarantine/`, with the reason.
    pub quarantined: Vec<(PathBuf, String)>,
    /// Files that are none of ours and were left alone.
    pub foreign: Vec<PathBuf>,
    /// Where a WAL under another key was moved to.
    pub set_aside: Option<PathBuf>,
    /// The disk had no room for a new segment: nothing can be appended until there is.
    pub full: bool,
    /// How long opening took.
    pub took: Duration,
}

impl OpenReport {
    /// Whether anything durable was lost or damaged.
    pub fn is_damaged(&self) -> bool {
        self.lost_records > 0 || !self.quarantined.is_empty() || !self.cursors_reset.is_empty()
    }
}
