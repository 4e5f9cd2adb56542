//! One consumer: reads records of a lane in order, says which request it is about to send, acknowledges.

use crate::{
    error::{CursorError, ReadError},
    record::{Lane, Record, RecordId},
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

/// A handle on one consumer's cursor.
#[derive(Clone)]
pub struct Consumer {
    inner: std::sync::Arc<()>,
}

impl Consumer {
    /// Calls this after each commit that made records visible, on the WAL's own thread: it must only wake somebody.
    /// Replaces the one before.
    pub fn on_visible(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = (wake, &self.inner);
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

    /// As [`read`](Self::read), but only records whose source and label are wanted; the others are acknowledged as
    /// [`Outcome::Skipped`] without reading them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_where(
        &self,
        _lane: Lane,
        _after: Option<RecordId>,
        _limit: ReadLimit,
        _wanted: &dyn Fn(&str, &str) -> bool,
    ) -> Result<Read, ReadError> {
        Ok(Read::default())
    }

    /// The records of a plan, from its first to its last, those acknowledged left out.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_plan(&self, _lane: Lane, _plan: &Plan) -> Result<Vec<Record>, ReadError> {
        Ok(Vec::new())
    }

    /// Notes a request before it is sent. Replaces plans that it overlaps. Survives the end of the process when it
    /// returns; a power loss may undo it.
    ///
    /// # Errors
    /// [`CursorError::TooManyPlans`], [`CursorError::NotVisible`], [`CursorError::Io`].
    pub fn plan(&self, _lane: Lane, _plan: Plan) -> Result<(), CursorError> {
        Err(CursorError::Closed)
    }

    /// Requests that were in flight when the process ended, oldest first: to be sent again, identically, before
    /// anything else.
    pub fn plans(&self, _lane: Lane) -> Vec<Plan> {
        Vec::new()
    }

    /// Acknowledges records, in any order; those acknowledged before are left as they are. Drops the plan they
    /// belong to: pass all records of a plan in one call. Survives the end of the process when it returns; after a
    /// power loss the last [`cursor_sync`](crate::Options::cursor_sync) may be delivered again.
    ///
    /// # Errors
    /// [`CursorError::TooManyRanges`], [`CursorError::NotVisible`], [`CursorError::Io`].
    pub fn acknowledge(
        &self,
        _lane: Lane,
        _records: &[RecordId],
        _outcome: Outcome,
    ) -> Result<(), CursorError> {
        Err(CursorError::Closed)
    }
}
