//! Room: what is used, what can be given back, who loses when nothing can.
//!
//! A segment is unlinked when every lane of every consumer has passed it, and their cursors that say so are synced. In
//! want of room, in this order: segments everybody has passed, the spare, the quarantine; then, if a configured
//! consumer has passed the oldest segment, those that have not lose it; then the append's own policy. Acknowledging
//! and deleting need no room: cursors are preallocated.

use std::{io, path::PathBuf, sync::Arc, sync::atomic::Ordering, time::Duration};

use super::core::{Core, Refusal};
use crate::{
    cursor::lane::Fate,
    mutants::{Mutant, is_on},
    options::SyncPolicy,
    record::{Prepared, WhenFull},
    shared::{QUARANTINE, Segment, Shared, lock},
};

/// Bytes in use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    /// Segments and spares.
    pub(crate) segments: u64,
    /// Quarantined files, the oldest first, with their lengths.
    pub(crate) quarantine: Vec<(PathBuf, u64)>,
    /// Files that are of no use and could not be removed yet: their possible names, and the length.
    pub(crate) leftovers: Vec<(Vec<PathBuf>, u64)>,
    /// Cursors and the lock.
    pub(crate) fixed: u64,
}

impl Usage {
    pub(crate) fn quarantined(&self) -> u64 {
        self.quarantine.iter().map(|(_, len)| len).sum()
    }

    pub(crate) fn total(&self) -> u64 {
        let leftovers: u64 = self.leftovers.iter().map(|(_, len)| len).sum();
        self.segments + self.quarantined() + leftovers + self.fixed
    }

    /// Whether so much more stays within the cap.
    pub(crate) fn fits(&self, growth: u64, shared: &Shared) -> bool {
        self.total() + growth <= shared.options.max_size
    }
}

/// Bytes the quarantine may hold.
pub(crate) fn quarantine_limit(max_size: u64) -> u64 {
    max_size / 16
}

impl Core {
    /// Makes sure that a record can be framed, making room as its policy allows.
    pub(crate) fn place(&mut self, record: &Prepared) -> Result<(), Refusal> {
        loop {
            let refusal = match self.try_place(record) {
                Err(Refusal::NoRoom { disk }) => Refusal::NoRoom { disk },
                done => {
                    self.show_usage();
                    return done;
                }
            };
            if !self.make_room(record.when_full) {
                lock(&self.shared.figures).full = true;
                self.show_usage();
                return Err(refusal);
            }
        }
    }

    /// Gives back the least that can be spared; `false` when nothing can.
    fn make_room(&mut self, when_full: WhenFull) -> bool {
        if self.reclaim() || self.remove_leftovers() || self.reclaim_retained() {
            return true;
        }
        if let Some(spare) = self.spare.take() {
            self.discard(&spare);
            return true;
        }
        // Empty files in it give no room back.
        if let Some(less) = self.usage.quarantined().checked_sub(1)
            && self.shrink_quarantine(less)
        {
            return true;
        }
        let Some(oldest) = self.droppable() else { return false };
        let consumers = self.shared.consumers();
        let configured = || consumers.iter().filter(|consumer| consumer.configured);
        let holds = |consumer: &crate::consumer::ConsumerState| !consumer.has_passed(&oldest);
        if configured().next().is_none() && consumers.iter().any(|c| holds(c))
            || configured().any(|consumer| !holds(consumer))
        {
            return self.give_up(&oldest, Fate::DroppedForLag);
        }
        when_full == WhenFull::DropOldest && self.give_up(&oldest, Fate::DroppedForSpace)
    }

    /// The oldest segment, if it may go: the last one holds names and checkpoints.
    fn droppable(&self) -> Option<Arc<Segment>> {
        let segments = self.shared.segments.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        (segments.len() > 1).then(|| segments.front().cloned()).flatten()
    }

    /// Moves every cursor past a segment, durably, counting what is lost, and unlinks it.
    fn give_up(&mut self, segment: &Arc<Segment>, why: Fate) -> bool {
        let ends = segment.visible().lane_end;
        for consumer in self.shared.consumers().iter() {
            match consumer.give_up_below(ends, &self.shared, why) {
                Ok(lost) => self.shared.count_lost(why, lost),
                Err(cause) => {
                    self.note_error("writing a cursor", &cause);
                    return false;
                }
            }
        }
        self.sync_cursors() && self.unlink(segment)
    }

    /// A consumer that lags alone, by more than its limit, loses its oldest, though another may hold the same segments.
    pub(crate) fn enforce_max_lag(&mut self) {
        let shared = self.shared.clone();
        let consumers = shared.consumers();
        let configured = || consumers.iter().filter(|consumer| consumer.configured);
        let lags = |consumer: &crate::consumer::ConsumerState| {
            consumer.lag_bytes(&shared) > shared.options.effective_max_lag(&consumer.name)
        };
        if configured().all(|consumer| lags(consumer)) {
            return;
        }
        let segments = shared.segments();
        let Some((_last, droppable)) = segments.split_last() else { return };
        for laggard in configured().filter(|consumer| lags(consumer)) {
            for segment in droppable.iter().filter(|segment| !laggard.has_passed(segment)) {
                match laggard.give_up_below(segment.visible().lane_end, &shared, Fate::DroppedForLag) {
                    Ok(lost) => shared.count_lost(Fate::DroppedForLag, lost),
                    Err(cause) => return self.note_error("writing a cursor", &cause),
                }
                if !lags(laggard) {
                    break;
                }
            }
        }
    }

    /// Unlinks what everybody has durably passed and nothing keeps any longer. `true` if that was anything.
    pub(crate) fn reclaim(&mut self) -> bool {
        let mut any = false;
        while self.retention_left().is_none_or(|left| left.is_zero()) && self.reclaim_oldest() {
            any = true;
        }
        any
    }

    /// Unlinks the oldest segment if everybody has passed it, though it is still to be kept for rewinding.
    pub(crate) fn reclaim_retained(&mut self) -> bool {
        !self.shared.options.retain.is_zero() && self.reclaim_oldest()
    }

    /// How long the oldest segment is still to be kept though everybody has passed it; `None` without retention, or while
    /// somebody needs it.
    pub(crate) fn retention_left(&self) -> Option<Duration> {
        let retain = self.shared.options.retain;
        if retain.is_zero() {
            return None;
        }
        let oldest = self.droppable()?;
        let next = self.shared.segment_after(oldest.header.segment)?;
        let consumers = self.shared.consumers();
        if consumers.is_empty() || !consumers.iter().all(|consumer| consumer.has_passed(&oldest)) {
            return None;
        }
        // It was written until the next one was begun.
        let age = (self.shared.env.wall_ns)().saturating_sub(next.header.created_ns);
        Some(retain.saturating_sub(Duration::from_nanos(age)))
    }

    /// Unlinks the oldest segment if everybody has durably passed it.
    fn reclaim_oldest(&mut self) -> bool {
        let Some(oldest) = self.droppable() else { return false };
        let consumers = self.shared.consumers();
        if consumers.is_empty() || !consumers.iter().all(|consumer| consumer.has_passed(&oldest)) {
            return false;
        }
        let durably = || consumers.iter().all(|consumer| consumer.has_durably_passed(&oldest));
        let passed = durably() || (self.sync_cursors() && durably());
        if !passed && !is_on(Mutant::UnlinkBeforeCursor) {
            return false;
        }
        let damaged = oldest.damaged.load(Ordering::Relaxed);
        let gone = if damaged { self.quarantine(&oldest) } else { self.unlink(&oldest) };
        if gone {
            self.show_usage();
        }
        gone
    }

    /// Removes what is of no use; `true` if any of it went.
    pub(crate) fn remove_leftovers(&mut self) -> bool {
        let before = self.usage.leftovers.len();
        let storage = &self.shared.env.storage;
        let is_gone = |path: &PathBuf| match storage.remove(path) {
            Ok(()) => true,
            Err(cause) => cause.kind() == io::ErrorKind::NotFound,
        };
        self.usage.leftovers.retain(|(paths, _)| !paths.iter().all(is_gone));
        self.usage.leftovers.len() < before
    }

    fn unlink(&mut self, segment: &Arc<Segment>) -> bool {
        // A reader that finds no file now need not be told of an error.
        segment.set_going(true);
        match self.shared.env.storage.remove(&segment.path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                segment.set_going(false);
                self.note_error("removing a segment", &cause);
                return false;
            }
            _ => {}
        }
        self.forget_segment(segment);
        true
    }

    /// Keeps a damaged segment for a look at it, within bounds.
    fn quarantine(&mut self, segment: &Arc<Segment>) -> bool {
        let len = segment.visible().file_len;
        let limit = quarantine_limit(self.shared.options.max_size);
        let dir = self.shared.dir.join(QUARANTINE);
        let name = segment.path.file_name().unwrap_or_default();
        let target = dir.join(name);
        if len > limit || !self.shrink_quarantine(limit - len) {
            return self.unlink(segment);
        }
        let storage = &self.shared.env.storage;
        segment.set_going(true);
        if storage.create_dir(&dir).and_then(|()| storage.rename(&segment.path, &target)).is_err() {
            return self.unlink(segment);
        }
        self.usage.quarantine.push((target, len));
        self.forget_segment(segment);
        true
    }

    /// Removes the oldest quarantined files until at most so many bytes are left.
    pub(crate) fn shrink_quarantine(&mut self, limit: u64) -> bool {
        while self.usage.quarantined() > limit {
            let (path, _) = &self.usage.quarantine[0];
            match self.shared.env.storage.remove(path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    self.note_error("removing a quarantined file", &cause);
                    return false;
                }
                _ => self.usage.quarantine.remove(0),
            };
        }
        true
    }

    /// Makes every cursor durable; `false` when one can't be. Under `never` the WAL first: no cursor is durable beyond
    /// what it counts.
    pub(crate) fn sync_cursors(&mut self) -> bool {
        let dirty = self.shared.consumers().iter().any(|consumer| consumer.is_dirty());
        if !dirty {
            return true;
        }
        if self.shared.options.sync == SyncPolicy::Never
            && let Some(active) = &mut self.active
            && active.synced < active.next_index
            && let Err(cause) = active.sync(&self.shared)
        {
            self.fail_over("syncing a segment", cause);
        }
        let mut all = true;
        for consumer in self.shared.consumers().iter() {
            if let Err(cause) = consumer.sync(&self.shared) {
                self.note_error("syncing a cursor", &cause);
                all = false;
            }
        }
        all
    }

    pub(crate) fn show_usage(&self) {
        let mut figures = lock(&self.shared.figures);
        figures.disk_bytes = self.usage.total();
        figures.quarantine_bytes = self.usage.quarantined();
    }
}
