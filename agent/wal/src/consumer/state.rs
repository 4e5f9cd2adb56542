//! A consumer's cursor in memory and on disk, and where in the WAL it last read.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use zeroize::Zeroizing;

use crate::{
    cursor::{
        file::CursorFile,
        lane::{Fate, LaneCursor},
        slot::Slot,
    },
    error::CursorError,
    options::LANES,
    shared::{Segment, Shared, lock},
};

/// Places remembered a lane.
const PLACES: usize = 16;

type Wake = Arc<dyn Fn() + Send + Sync>;

/// One consumer, shared by its handles and the writer.
pub(crate) struct ConsumerState {
    pub(crate) name: String,
    pub(crate) configured: bool,
    cursor: Mutex<Cursor>,
    places: [Mutex<VecDeque<Place>>; LANES],
    wake: Mutex<Option<Wake>>,
}

struct Cursor {
    slot: Slot,
    file: CursorFile,
    /// The low-water marks as of the last sync.
    synced_low: [u64; LANES],
    closed: bool,
}

/// Where the record of an ordinal, or what comes before it, begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) ordinal: u64,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl ConsumerState {
    pub(crate) fn new(slot: Slot, file: CursorFile, configured: bool) -> Self {
        let cursor = Cursor { file, synced_low: [0; LANES], closed: false, slot };
        Self {
            name: cursor.slot.name.clone(),
            configured,
            cursor: Mutex::new(cursor),
            places: Default::default(),
            wake: Mutex::default(),
        }
    }

    pub(crate) fn set_wake(&self, wake: Wake) {
        *lock(&self.wake) = Some(wake);
    }

    /// Tells whoever waits that records became visible.
    pub(crate) fn wake(&self) {
        let wake = lock(&self.wake).clone();
        if let Some(wake) = wake {
            // Its panic must not end the writer.
            let woken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wake()));
            drop(woken);
        }
    }

    /// Looks at one lane.
    pub(crate) fn look<T>(&self, lane: usize, look: impl FnOnce(&LaneCursor) -> T) -> T {
        look(&lock(&self.cursor).slot.lanes[lane])
    }

    pub(crate) fn resets(&self) -> u32 {
        lock(&self.cursor).slot.resets
    }

    pub(crate) fn lows(&self) -> [u64; LANES] {
        let cursor = lock(&self.cursor);
        std::array::from_fn(|lane| cursor.slot.lanes[lane].low)
    }

    pub(crate) fn has_passed(&self, segment: &Segment) -> bool {
        passed(&self.lows(), &segment.visible().lane_end)
    }

    pub(crate) fn has_durably_passed(&self, segment: &Segment) -> bool {
        passed(&lock(&self.cursor).synced_low, &segment.visible().lane_end)
    }

    /// Bytes of the segments it has not passed.
    pub(crate) fn lag_bytes(&self, shared: &Shared) -> u64 {
        let lows = self.lows();
        let segments = shared.segments.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        segments
            .iter()
            .map(|segment| segment.visible())
            .filter(|visible| !passed(&lows, &visible.lane_end))
            .map(|visible| visible.file_len)
            .sum()
    }

    pub(crate) fn is_dirty(&self) -> bool {
        lock(&self.cursor).file.is_dirty()
    }

    /// Changes one lane and writes what changed; on an error everything is as before.
    pub(crate) fn change<T>(
        &self,
        lane: usize,
        shared: &Shared,
        change: impl FnOnce(&mut LaneCursor) -> Result<T, CursorError>,
    ) -> Result<T, CursorError> {
        let mut cursor = lock(&self.cursor);
        let before = cursor.slot.lanes[lane].clone();
        let result = match change(&mut cursor.slot.lanes[lane]) {
            Ok(result) => result,
            Err(error) => {
                cursor.slot.lanes[lane] = before;
                return Err(error);
            }
        };
        if cursor.slot.lanes[lane].is_written_as(&before) {
            return Ok(result);
        }
        if cursor.closed {
            cursor.slot.lanes[lane] = before;
            return Err(CursorError::Closed);
        }
        if let Err(cause) = cursor.write(shared) {
            cursor.slot.lanes[lane] = before;
            return Err(CursorError::Io { path: cursor.file.path().to_owned(), cause: Arc::new(cause) });
        }
        let low = cursor.slot.lanes[lane].low;
        drop(cursor);
        shared.queue.hint_cursor();
        let passed = shared.oldest().is_some_and(|oldest| {
            let end = oldest.visible().lane_end[lane];
            before.low < end && end <= low
        });
        if passed {
            shared.queue.hint_reclaim();
        }
        Ok(result)
    }

    /// Moves the marks to at least these ordinals; what was pending has this fate. Returns how many records that were.
    pub(crate) fn give_up_below(&self, to: [u64; LANES], shared: &Shared, fate: Fate) -> io::Result<u64> {
        let mut cursor = lock(&self.cursor);
        let before = cursor.slot.lanes.clone();
        let lanes = cursor.slot.lanes.iter_mut();
        let lost = lanes.zip(to).map(|(lane, to)| lane.give_up_below(to, fate)).sum();
        if cursor.slot.lanes != before
            && let Err(cause) = cursor.write(shared)
        {
            cursor.slot.lanes = before;
            return Err(cause);
        }
        Ok(lost)
    }

    /// Sets lanes back; `None` leaves one as it is. Returns how many records are pending again. On an error everything is
    /// as before.
    pub(crate) fn rewind(&self, to: [Option<u64>; LANES], shared: &Shared) -> Result<u64, CursorError> {
        let mut cursor = lock(&self.cursor);
        if cursor.closed {
            return Err(CursorError::Closed);
        }
        let before = cursor.slot.lanes.clone();
        let lanes = cursor.slot.lanes.iter_mut().zip(to);
        let again = lanes.filter_map(|(lane, to)| Some(lane.rewind(to?))).sum();
        if cursor.slot.lanes != before
            && let Err(cause) = cursor.write(shared)
        {
            cursor.slot.lanes = before;
            return Err(CursorError::Io { path: cursor.file.path().to_owned(), cause: Arc::new(cause) });
        }
        Ok(again)
    }

    pub(crate) fn path(&self) -> PathBuf {
        lock(&self.cursor).file.path().to_owned()
    }

    /// Id of the key that it is signed with.
    pub(crate) fn key_id(&self) -> u32 {
        lock(&self.cursor).slot.key_id
    }

    /// Ids of the keys that its file is signed with: one, or others too while it is being signed anew.
    pub(crate) fn key_ids(&self) -> Vec<u32> {
        let cursor = lock(&self.cursor);
        let mut ids = vec![cursor.slot.key_id];
        ids.extend(cursor.file.former_keys().iter().filter(|id| **id != cursor.slot.key_id));
        ids
    }

    /// Writes the slot under this key; until that is synced, the one before is needed too. When it fails, the next
    /// write is under this key all the same.
    pub(crate) fn sign(&self, key_id: u32, key: Zeroizing<[u8; 32]>, shared: &Shared) -> io::Result<()> {
        let mut cursor = lock(&self.cursor);
        let former = std::mem::replace(&mut cursor.slot.key_id, key_id);
        cursor.file.rekey(former, key);
        cursor.write(shared)
    }

    /// Writes the slot as it is, under the current key.
    pub(crate) fn rewrite(&self, shared: &Shared) -> io::Result<()> {
        lock(&self.cursor).write(shared)
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self, shared: &Shared) -> io::Result<()> {
        let mut cursor = lock(&self.cursor);
        let Cursor { file, slot, synced_low, .. } = &mut *cursor;
        file.sync(shared.env.storage.as_ref(), slot)?;
        *synced_low = std::array::from_fn(|lane| slot.lanes[lane].low);
        Ok(())
    }

    /// No change is written any more: the lock is about to be released.
    pub(crate) fn close(&self) {
        lock(&self.cursor).closed = true;
    }

    /// Where to look for an ordinal: the nearest remembered place before it, in the segment it is in.
    pub(crate) fn place(&self, lane: usize, ordinal: u64, segment: u64) -> Option<Place> {
        let places = lock(&self.places[lane]);
        places
            .iter()
            .filter(|place| place.segment == segment && place.ordinal <= ordinal)
            .max_by_key(|place| place.ordinal)
            .copied()
    }

    pub(crate) fn remember(&self, lane: usize, place: Place) {
        let mut places = lock(&self.places[lane]);
        places.retain(|other| other.ordinal != place.ordinal);
        if places.len() >= PLACES {
            places.pop_front();
        }
        places.push_back(place);
    }
}

impl Cursor {
    fn write(&mut self, shared: &Shared) -> io::Result<()> {
        self.slot.generation += 1;
        self.file.write(shared.env.storage.as_ref(), &mut self.slot)?;
        if !self.file.is_dirty() {
            // In a new file, and so durable already: no sync will come to say so.
            self.synced_low = std::array::from_fn(|lane| self.slot.lanes[lane].low);
        }
        Ok(())
    }
}

fn passed(lows: &[u64; LANES], ends: &[u64; LANES]) -> bool {
    lows.iter().zip(ends).all(|(low, end)| low >= end)
}
