//! The handle on a consumer: reads records of a lane in order, says which request is about to be sent, acknowledges.

use std::{io, sync::Arc};

use super::{
    read,
    rewind::{self, RewindTo},
    state::ConsumerState,
};
use crate::{
    cursor::lane::{Fate, LaneFault, MAX_PLANS, MAX_RANGES, PlanMark},
    error::{CursorError, ReadError},
    options::LANES,
    record::{Lane, Record, RecordId},
    shared::Shared,
    status::{ConsumerStatus, LaneStatus},
};

/// What became of acknowledged records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has them.
    Delivered,
    /// They are not for this consumer.
    Skipped,
    /// The receiver refused them; they are kept elsewhere.
    DeadLettered,
    /// Given up.
    Dropped,
}

/// A request that is about to be sent: consecutive pending records of one lane. It is written before sending, so
/// that after the end of the process the identical request goes out under the identical key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Its first record.
    pub first: RecordId,
    /// Its last record.
    pub last: RecordId,
    /// How many records it holds; those between first and last that are skipped do not count.
    pub count: u32,
    /// Which routes it was made under.
    pub generation: u32,
}

/// How much one read may return; at least one record is returned if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Most records.
    pub records: usize,
    /// Most bytes of payload, uncompressed.
    pub uncompressed_bytes: u64,
}

/// What a filtered read found.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// Wanted records, in order.
    pub records: Vec<Record>,
    /// How many were passed over, not wanted, and are thereby acknowledged as skipped.
    pub skipped: u64,
    /// The last record looked at, wanted or not: where to read on.
    pub last: Option<RecordId>,
}

/// A handle on one consumer's cursor. Calls on different lanes don't wait for each other, but for the moment in which
/// the cursor is written.
#[derive(Clone)]
pub struct Consumer {
    shared: Arc<Shared>,
    state: Arc<ConsumerState>,
}

impl Consumer {
    pub(crate) fn new(shared: Arc<Shared>, state: Arc<ConsumerState>) -> Self {
        Self { shared, state }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Calls this after each commit that made records visible, on the WAL's own thread: it must only wake somebody.
    /// Replaces the one before.
    pub fn on_visible(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.state.set_wake(Arc::new(wake));
    }

    /// Pending records of a lane, in order, from the one after `after` (`None`: from the first unacknowledged).
    /// Acknowledged ones are left out; damaged ones are counted and left out.
    ///
    /// # Errors
    /// [`ReadError::Io`]: try again later.
    pub fn read(
        &self,
        lane: Lane,
        after: Option<RecordId>,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, ReadError> {
        self.read_where(lane, after, limit, &|_, _| true).map(|read| read.records)
    }

    /// As [`read`](Self::read), but only records whose source and label (in this order) are wanted; the others are
    /// acknowledged as [`Outcome::Skipped`] without being read or decrypted.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_where(
        &self,
        lane: Lane,
        after: Option<RecordId>,
        limit: ReadLimit,
        wanted: &dyn Fn(&str, &str) -> bool,
    ) -> Result<Read, ReadError> {
        let from = after.map_or(0, |id| id.ordinal().saturating_add(1));
        read::read_lane(&self.shared, &self.state, lane, (from, u64::MAX), limit, wanted)
    }

    /// The records of a plan, from its first to its last, those acknowledged left out. If there are not
    /// [`Plan::count`] of them and they are all wanted, one was damaged meanwhile, and the request can't be repeated
    /// identically.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_plan(&self, lane: Lane, plan: &Plan) -> Result<Vec<Record>, ReadError> {
        let span = (plan.first.ordinal(), plan.last.ordinal().saturating_add(1));
        let limit = ReadLimit { records: usize::MAX, uncompressed_bytes: u64::MAX };
        read::read_lane(&self.shared, &self.state, lane, span, limit, &|_, _| true).map(|read| read.records)
    }

    /// Notes a request before it is sent. Replaces plans that it overlaps. Survives the end of the process when it
    /// returns; a power loss may undo it.
    ///
    /// # Errors
    /// [`CursorError::TooManyPlans`], [`CursorError::NotVisible`], [`CursorError::Io`].
    pub fn plan(&self, lane: Lane, plan: Plan) -> Result<(), CursorError> {
        let end = self.shared.tail().lane_end[lane.index()];
        for id in [plan.first, plan.last] {
            if id.ordinal() >= end || plan.first.ordinal() > plan.last.ordinal() {
                return Err(CursorError::NotVisible { id, lane: lane.number() });
            }
        }
        let mark = PlanMark {
            first: plan.first.ordinal(),
            last: plan.last.ordinal(),
            count: plan.count,
            generation: plan.generation,
        };
        self.state.change(lane.index(), &self.shared, |cursor| cursor.plan(mark).map_err(fault))
    }

    /// Requests that were in flight when the process ended, oldest first: to be sent again, identically, before
    /// anything else. One whose first or last record is not there any more is left out.
    ///
    /// # Errors
    /// [`ReadError::Io`]: try again later; a request that is put together anew would bear another key.
    pub fn plans(&self, lane: Lane) -> Result<Vec<Plan>, ReadError> {
        let marks = self.state.look(lane.index(), |cursor| cursor.plans.clone());
        let find = |ordinal| {
            let found = read::find(&self.shared, &self.state, lane, ordinal);
            found.map(|found| found.map(|(id, _)| id)).map_err(|cause| ReadError::Io {
                path: self.shared.dir.clone(),
                offset: 0,
                cause: Arc::new(cause),
            })
        };
        let mut plans = Vec::new();
        for mark in marks {
            if let (Some(first), Some(last)) = (find(mark.first)?, find(mark.last)?) {
                plans.push(Plan { first, last, count: mark.count, generation: mark.generation });
            }
        }
        Ok(plans)
    }

    /// Sets the cursor back, so that what was acknowledged, and is still there (see
    /// [`retain`](crate::Options::retain)), is delivered again. Returns how many records are pending again. Reads that
    /// go on [after](Self::read) a record go on there: whoever reads begins anew. Durable when it returns. What is
    /// acknowledged of requests in flight counts as it would have.
    ///
    /// # Errors
    /// [`CursorError::Io`]: after a restart it may turn out to be set back all the same. [`CursorError::Closed`].
    pub fn rewind(&self, to: RewindTo) -> Result<u64, CursorError> {
        rewind::rewind(&self.shared, &self.state, to)
    }

    /// How many records of a lane were set back so far, as [`LaneStatus::rewound`]: durable, and more after each
    /// [`rewind`](Self::rewind) that made acknowledged records pending again, so that what is sent from then on can be told
    /// from what was sent before.
    pub fn rewound(&self, lane: Lane) -> u64 {
        self.state.look(lane.index(), |cursor| cursor.rewound)
    }

    /// Acknowledges records, in any order; those acknowledged before are left as they are. Drops the plan they
    /// belong to (a skipped record does not): pass all records of a plan in one call. Survives the end of the process
    /// when it returns; after a power loss the last [`cursor_sync`](crate::Options::cursor_sync) may be delivered
    /// again. `Skipped` ones between pending ones are kept in memory only, and decided again after a restart.
    ///
    /// # Errors
    /// [`CursorError::TooManyRanges`], [`CursorError::NotVisible`], [`CursorError::Io`].
    pub fn acknowledge(&self, lane: Lane, records: &[RecordId], outcome: Outcome) -> Result<(), CursorError> {
        let end = self.shared.tail().lane_end[lane.index()];
        if let Some(id) = records.iter().find(|id| id.ordinal() >= end) {
            return Err(CursorError::NotVisible { id: *id, lane: lane.number() });
        }
        let mut ordinals: Vec<u64> = records.iter().map(RecordId::ordinal).collect();
        ordinals.sort_unstable();
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for ordinal in ordinals {
            match spans.last_mut() {
                Some((_, end)) if *end == ordinal => *end += 1,
                Some((_, end)) if *end > ordinal => {}
                _ => spans.push((ordinal, ordinal + 1)),
            }
        }
        let fate = match outcome {
            Outcome::Delivered => Fate::Delivered,
            Outcome::Skipped => Fate::Skipped,
            Outcome::DeadLettered => Fate::DeadLettered,
            Outcome::Dropped => Fate::GivenUp,
        };
        let acknowledge =
            |cursor: &mut crate::cursor::lane::LaneCursor| cursor.acknowledge(spans, fate).map_err(fault);
        self.state.change(lane.index(), &self.shared, acknowledge).map(drop)
    }
}

fn fault(fault: LaneFault) -> CursorError {
    match fault {
        LaneFault::TooManyRanges => CursorError::TooManyRanges { limit: MAX_RANGES },
        LaneFault::TooManyPlans => CursorError::TooManyPlans { limit: MAX_PLANS },
    }
}

/// A consumer's figures.
pub(crate) fn status(shared: &Shared, state: &ConsumerState) -> ConsumerStatus {
    let mut lanes = [LaneStatus::default(); LANES];
    for lane in Lane::ALL {
        let end = shared.tail().lane_end[lane.index()];
        let (figures, oldest) = state.look(lane.index(), |cursor| {
            (LaneStatus::of(cursor, end), cursor.first_pending(end.max(cursor.reach())))
        });
        let oldest = oldest.map_or(Ok(None), |ordinal| read::find(shared, state, lane, ordinal));
        lanes[lane.index()] = LaneStatus { oldest_pending_ns: ingest_of(oldest), ..figures };
    }
    ConsumerStatus {
        name: state.name.clone(),
        configured: state.configured,
        lag_bytes: state.lag_bytes(shared),
        resets: state.resets(),
        key_id: state.key_id(),
        lanes,
    }
}

fn ingest_of(found: io::Result<Option<(RecordId, u64)>>) -> Option<u64> {
    // What can't be read now has no time that could be told.
    found.ok().flatten().map(|(_, ingest_ns)| ingest_ns)
}
