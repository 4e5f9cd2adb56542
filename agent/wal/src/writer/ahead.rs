//! Files and zeros ahead of the writer: a growing file costs twice the `fdatasync` of one that is overwritten.

use std::{io, path::PathBuf, sync::Arc};

use super::core::{Core, Refusal};
use crate::{
    segment::{frame::SealBody, header::RECORDS_START},
    shared::{SPARE_PREFIX, lock},
    storage::{Access, StoredFile, write_zeros},
};

/// Zeros written ahead: at first, and at most. It follows what has been written to the segment, so that an idle agent
/// or one that restarts in a loop writes little.
pub(super) const AHEAD_MIN: u64 = 64 * 1024;
const AHEAD_MAX: u64 = 4 * 1024 * 1024;

/// A file prepared for the next segment.
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn StoredFile>,
    pub(crate) len: u64,
}

impl Core {
    /// A file of at least this length, zeros from the header pages on: the spare, or a new one.
    pub(super) fn spare(&mut self, len: u64) -> Result<Spare, Refusal> {
        if let Some(spare) = self.spare.take() {
            if spare.len >= len {
                return Ok(spare);
            }
            return self.lengthen(spare, len);
        }
        let shared = self.shared.clone();
        // A name of its own each time: an earlier one may wait to be removed.
        self.next_spare += 1;
        let path = shared.dir.join(format!("{SPARE_PREFIX}{:x}-{:x}", self.next_segment, self.next_spare));
        if !self.usage.fits(len, &shared) {
            return Err(Refusal::NoRoom { disk: false });
        }
        match shared.env.storage.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Refusal::io("removing a spare")(e)),
            _ => {}
        }
        let file =
            shared.env.storage.open(&path, Access::Create).map_err(Refusal::io("creating a segment"))?;
        self.lengthen(Spare { path, file, len: 0 }, len)
    }

    fn lengthen(&mut self, spare: Spare, len: u64) -> Result<Spare, Refusal> {
        let growth = len - spare.len;
        if !self.usage.fits(growth, &self.shared) {
            self.spare = Some(spare);
            return Err(Refusal::NoRoom { disk: false });
        }
        self.usage.segments += growth;
        let lengthened = Spare { len, ..spare };
        match write_zeros(lengthened.file.as_ref(), spare.len, len) {
            Ok(()) => Ok(lengthened),
            Err(cause) => {
                self.discard(&lengthened);
                Err(Refusal::io("filling a segment ahead")(cause))
            }
        }
    }

    /// Removes a file that will not be used. What can't be removed now is tried again when room is needed.
    pub(crate) fn discard(&mut self, spare: &Spare) {
        self.discard_names(vec![spare.path.clone()], spare.len);
    }

    /// Removes a file that may have any of these names, none of which is ever used again.
    pub(super) fn discard_names(&mut self, names: Vec<PathBuf>, len: u64) {
        self.usage.segments = self.usage.segments.saturating_sub(len);
        self.usage.leftovers.push((names, len));
        self.remove_leftovers();
    }

    /// Zeros that are to be written ahead now: up to where; `None` if there are enough.
    fn zeros_wanted(&self) -> Option<u64> {
        let target_len = self.shared.options.effective_segment_size();
        let active = self.active.as_ref()?;
        let ahead = active.used().clamp(AHEAD_MIN, AHEAD_MAX);
        let wanted = active.filled - active.tail < ahead / 2 && active.filled < target_len;
        wanted.then(|| (active.tail + ahead).min(target_len).max(active.filled))
    }

    fn spare_is_wanted(&self) -> bool {
        let target_len = self.shared.options.effective_segment_size();
        let half_full = self.active.as_ref().is_some_and(|active| active.tail > target_len / 2);
        half_full && self.spare.is_none() && self.carry.is_empty()
    }

    /// Whether `prepare_ahead` has something to do.
    pub(crate) fn wants_ahead(&self) -> bool {
        self.zeros_wanted().is_some() || self.spare_is_wanted()
    }

    /// Zero-fills ahead of the writer, and makes a spare when the segment is half full. Only speeds up what follows:
    /// called when nothing waits.
    pub(crate) fn prepare_ahead(&mut self) {
        if let Some(to) = self.zeros_wanted() {
            self.fill_ahead(to);
        }
        // An error here will come again when the segment is needed, and be told then.
        if self.spare_is_wanted()
            && let Ok(spare) = self.spare(RECORDS_START + AHEAD_MIN)
        {
            match spare.file.sync_data() {
                Ok(()) => self.spare = Some(spare),
                Err(_) => self.discard(&spare),
            }
        }
    }

    fn fill_ahead(&mut self, to: u64) {
        let Some(from) = self.active.as_ref().map(|active| active.filled) else { return };
        let growth = to.saturating_sub(from);
        while !self.usage.fits(growth, &self.shared) {
            if !self.reclaim_retained() {
                return;
            }
        }
        let Some(active) = &mut self.active else { return };
        match write_zeros(active.open.file.as_ref(), from, to) {
            // The next commit syncs them with what it writes: a sync of their own was measured, and cost more in all.
            Ok(()) => {
                self.usage.segments += growth;
                active.filled = to;
                lock(&active.segment.visible).file_len = to;
            }
            // The next append that needs the room will say so.
            Err(_) => {
                if active.open.file.set_len(from).is_err() {
                    self.usage.segments += growth;
                    active.filled = to;
                }
            }
        }
    }

    /// Makes sure that the active segment has zeros enough before its tail for so many bytes and a seal.
    pub(super) fn grow_for(&mut self, need: u64) -> Result<(), Refusal> {
        let limit = self.shared.options.effective_segment_size();
        let Some(active) = &self.active else { return Err(Refusal::NoRoom { disk: false }) };
        let end = active.tail + self.buffer.len() as u64 + need + SealBody::stride(&active.open.cipher);
        if end <= active.filled {
            return Ok(());
        }
        // A little more than is needed, or, where there is no room for that, what is needed. Much more at once was measured,
        // and was slower.
        match self.grow_to(end.max((end + AHEAD_MIN).min(limit))) {
            Err(Refusal::NoRoom { .. }) => self.grow_to(end),
            grown => grown,
        }
    }

    fn grow_to(&mut self, to: u64) -> Result<(), Refusal> {
        let Some(active) = &mut self.active else { return Err(Refusal::NoRoom { disk: false }) };
        let growth = to - active.filled;
        if !self.usage.fits(growth, &self.shared) {
            return Err(Refusal::NoRoom { disk: false });
        }
        let written = write_zeros(active.open.file.as_ref(), active.filled, to);
        // Zeros behind the tail harm nobody, but they take room.
        if written.is_ok() || active.open.file.set_len(active.filled).is_err() {
            self.usage.segments += growth;
            active.filled = to;
        }
        written.map_err(|cause| {
            self.note_error("growing a segment", &cause);
            Refusal::io("growing a segment")(cause)
        })
    }
}
