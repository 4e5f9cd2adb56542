//! When a write or a sync failed: that file is never written or synced again, and what was not yet visible is written to a
//! fresh segment.

use std::{io, sync::Arc, time::Instant};

use super::{
    core::{Core, Refusal},
    segments::Previous,
};
use crate::{
    options::{MAX_NAMES, SyncPolicy},
    segment::encrypt::TAG_LEN,
    shared::lock,
    storage::is_no_room,
};

/// How many fresh segments are tried when writing fails.
pub(super) const ATTEMPTS: usize = 3;

impl Core {
    /// Gives up the active segment as an object; what was framed and is not visible is carried over.
    pub(super) fn forget_active(&mut self) {
        self.active = None;
        self.clear_buffer();
        self.carry.extend(std::mem::take(&mut self.unseen).into_iter().map(|framed| framed.pending));
        let tail = self.shared.tail();
        self.next_sequence = tail.next_sequence;
        self.next_ordinal = tail.lane_end;
        self.sync_due = None;
        self.unsynced_bytes = 0;
    }

    /// After a failed write or sync: abandons the segment and writes what is not visible to a fresh one. What can't be
    /// written is answered so; what was answered before (under `interval`) is kept for the next attempt.
    pub(crate) fn fail_over(&mut self, action: &'static str, cause: io::Error) {
        self.note_error(action, &cause);
        if let Some(mut active) = self.active.take() {
            let visible = active.segment.visible();
            self.previous = Previous { count: visible.index_end, tag: [0; TAG_LEN] };
            lock(&self.shared.figures).counters.rewritten += 1;
            // What is behind the visible end does not count: the next header says so. Cutting it off only saves space.
            self.usage.segments = self.usage.segments.saturating_sub(active.cut(visible.end));
        }
        self.forget_active();
        if self.carry.is_empty() {
            return;
        }
        let mut last = Refusal::io(action)(cause);
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            match self.begin_segment() {
                Ok(()) => return,
                Err(refusal) => {
                    if let Refusal::Io { action, cause } = &refusal {
                        self.note_error(action, cause);
                    }
                    let no_room = matches!(refusal, Refusal::NoRoom { .. });
                    last = refusal;
                    if !no_room {
                        attempts += 1;
                    } else if !self.reclaim() && !self.reclaim_retained() {
                        break;
                    }
                }
            }
        }
        let (used, max_size) = (self.usage.total(), self.shared.options.max_size);
        let error = match last {
            Refusal::NoRoom { disk } => crate::AppendError::Full { used, max_size, disk },
            Refusal::Io { action, cause } => crate::AppendError::Io { action, cause: Arc::new(cause) },
            Refusal::TooManyNames => crate::AppendError::TooManyNames { limit: MAX_NAMES },
        };
        let mut kept = Vec::new();
        for mut pending in std::mem::take(&mut self.carry) {
            if pending.is_answered() {
                kept.push(pending);
            } else {
                lock(&self.shared.figures).counters.failed += 1;
                self.answer(&mut pending, Err(error.clone()));
            }
        }
        self.carry = kept;
        if !self.carry.is_empty()
            && let SyncPolicy::Interval { every, .. } = self.shared.options.sync
        {
            self.sync_due = Some(Instant::now() + every);
        }
    }

    pub(crate) fn note_error(&self, action: &str, cause: &io::Error) {
        let mut figures = lock(&self.shared.figures);
        figures.full |= is_no_room(cause);
        figures.failing = true;
        figures.last_error = Some(format!("{action}: {cause}"));
    }
}
