//! What waits for the writer: appends, and hints that something changed. Bounded in bytes; adding never blocks.

use std::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::core::Core;
use crate::{
    error::{AppendError, CloseError},
    record::{Prepared, RecordId},
    shared::lock,
};

type Done = Box<dyn FnOnce(Result<RecordId, AppendError>) + Send>;

/// An append that waits for its answer. It is answered exactly once, at the latest when it is dropped.
pub(crate) struct Pending {
    pub(crate) record: Prepared,
    pub(crate) since: Instant,
    done: Option<Done>,
}

impl Pending {
    pub(crate) fn new(record: Prepared, done: Done) -> Self {
        Self { record, since: Instant::now(), done: Some(done) }
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.done.is_none()
    }

    /// Answers; a panic of the one answered is its own.
    pub(crate) fn answer(&mut self, result: Result<RecordId, AppendError>) {
        if let Some(done) = self.done.take() {
            let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| done(result)));
            drop(answered);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.answer(Err(AppendError::Closed));
    }
}

/// Something to be done by the writer, between commits.
pub(crate) type Task = Box<dyn FnOnce(&mut Core) + Send>;

type Closed = Box<dyn FnOnce(Result<(), CloseError>) + Send>;

/// What the writer finds when it looks.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) appends: Vec<Pending>,
    /// A consumer has passed a segment.
    pub(crate) reclaim: bool,
    /// A cursor was written and is not synced.
    pub(crate) cursor_dirty: bool,
    /// There is something to be done that nobody added.
    pub(crate) look: bool,
    pub(crate) tasks: Vec<Task>,
    pub(crate) close: Option<Closed>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.appends.is_empty()
            && !self.reclaim
            && !self.cursor_dirty
            && !self.look
            && self.tasks.is_empty()
            && self.close.is_none()
    }
}

#[derive(Default)]
struct State {
    work: Work,
    closed: bool,
}

/// See the module.
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    /// Of appends that wait here or in the writer.
    queued_bytes: AtomicU64,
    limit: u64,
}

impl Queue {
    pub(crate) fn new(limit: u64) -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), queued_bytes: AtomicU64::new(0), limit }
    }

    /// Adds an append, or answers it at once. `false`: nobody need be told.
    pub(crate) fn add(&self, mut pending: Pending) -> bool {
        let bytes = pending.record.footprint();
        let queued = self.queued_bytes.load(Ordering::Relaxed);
        // One is always let in, or a record over the limit never could be.
        if queued > 0 && queued + bytes > self.limit {
            pending.answer(Err(AppendError::Overloaded { queued, limit: self.limit }));
            return false;
        }
        let mut state = lock(&self.state);
        if state.closed {
            drop(state);
            pending.answer(Err(AppendError::Closed));
            return false;
        }
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        state.work.appends.push(pending);
        true
    }

    /// Tells the writer's thread that something was added.
    pub(crate) fn tell(&self) {
        self.ready.notify_one();
    }

    /// Adds an append for the writer's thread, or answers it at once.
    pub(crate) fn push(&self, pending: Pending) {
        if self.add(pending) {
            self.tell();
        }
    }

    /// The bytes of an append are no longer waiting.
    pub(crate) fn release(&self, bytes: u64) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn hint_reclaim(&self) {
        lock(&self.state).work.reclaim = true;
        self.ready.notify_one();
    }

    /// Something is due earlier than the writer's thread knows.
    pub(crate) fn hint_look(&self) {
        lock(&self.state).work.look = true;
        self.ready.notify_one();
    }

    pub(crate) fn hint_cursor(&self) {
        let mut state = lock(&self.state);
        if !state.work.cursor_dirty {
            state.work.cursor_dirty = true;
            self.ready.notify_one();
        }
    }

    /// Has the writer do something after what was appended before; dropped undone when the WAL is closed.
    pub(crate) fn task(&self, task: Task) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.work.tasks.push(task);
            self.ready.notify_one();
        }
    }

    /// Asks the writer to end; nothing is added any more. `false` when that was asked before, and `done` is not called.
    pub(crate) fn close(&self, done: Closed) -> bool {
        let mut state = lock(&self.state);
        if state.closed {
            return false;
        }
        state.closed = true;
        state.work.close = Some(done);
        self.ready.notify_one();
        true
    }

    /// The writer is gone: nothing may wait for it.
    pub(crate) fn abandon(&self) {
        let work = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.work)
        };
        drop(work);
    }

    /// Waits for work, at most so long (`None`: without end).
    pub(crate) fn wait(&self, at_most: Option<Duration>) {
        let until = at_most.map(|time| Instant::now() + time);
        let mut state = lock(&self.state);
        while state.work.is_empty() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.ready.wait_timeout(state, left).unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
                None => self.ready.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
            };
        }
    }

    /// Takes what waits; by whoever has the core's turn, so that nothing overtakes.
    pub(crate) fn take(&self) -> Work {
        std::mem::take(&mut lock(&self.state).work)
    }

    /// Takes what waits, but for the end, which is the thread's.
    pub(crate) fn take_but_close(&self) -> Work {
        let mut state = lock(&self.state);
        let close = state.work.close.take();
        std::mem::replace(&mut state.work, Work { close, ..Work::default() })
    }

    /// Whether nothing waits now.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).work.is_empty()
    }
}
