//! What the writer, the consumers and the handles share: the table of segments, names, checkpoints, figures.
//!
//! The writer alone adds and removes; the others look. Every lock here is held for a few instructions, never over a
//! file operation.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    consumer::ConsumerState,
    cursor::{file::CURSOR_FILE_LEN, lane::Fate},
    error::RotateError,
    options::{LANES, Options},
    segment::frame::Kind,
    segment::{
        encrypt::{Masters, SegmentCipher},
        header::{RECORDS_START, SegmentHeader},
        state::{self, Entry},
        walk::{Step, Walker},
    },
    status::{Counters, Losses},
    storage::{Access, Environment, StoredFile},
    writer::queue::Queue,
};

/// Names in the WAL's directory.
pub(crate) const LOCK: &str = "lock";
pub(crate) const CURSORS: &str = "cursors";
pub(crate) const QUARANTINE: &str = "quarantine";
pub(crate) const SPARE_PREFIX: &str = "spare-";
const SEGMENT_SUFFIX: &str = ".wal";

/// A segment's file name.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("{segment:016x}{SEGMENT_SUFFIX}")
}

/// The number a segment's file name says.
pub(crate) fn segment_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

/// Takes a lock; a panic elsewhere does not make what it guards useless, because no guard here spans a half change.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What there is in a segment to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Visible {
    /// Bytes below this.
    pub(crate) end: u64,
    /// Indexes below this.
    pub(crate) index_end: u32,
    /// Ordinals below these.
    pub(crate) lane_end: [u64; LANES],
    /// Length of the file.
    pub(crate) file_len: u64,
}

/// A segment in the table.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) path: PathBuf,
    pub(crate) visible: Mutex<Visible>,
    /// Something durable in it was found damaged: when it goes, it goes to the quarantine.
    pub(crate) damaged: AtomicBool,
    /// Its file is being removed.
    going: AtomicBool,
    /// Its names are in the table of names.
    named: AtomicBool,
    open: Mutex<Weak<OpenSegment>>,
}

/// A segment's file and keys, shared by those who read it.
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<dyn StoredFile>,
    pub(crate) cipher: SegmentCipher,
    pub(crate) crc_seed: u32,
}

impl Segment {
    pub(crate) fn new(header: SegmentHeader, path: PathBuf, visible: Visible) -> Self {
        Self {
            header,
            path,
            visible: Mutex::new(visible),
            damaged: AtomicBool::new(false),
            going: AtomicBool::new(false),
            named: AtomicBool::new(false),
            open: Mutex::default(),
        }
    }

    pub(crate) fn visible(&self) -> Visible {
        *lock(&self.visible)
    }

    pub(crate) fn set_going(&self, going: bool) {
        self.going.store(going, Ordering::Release);
    }

    pub(crate) fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// Lets readers use the writer's own handle.
    pub(crate) fn share(&self, open: &Arc<OpenSegment>) {
        *lock(&self.open) = Arc::downgrade(open);
        self.named.store(true, Ordering::Relaxed);
    }

    /// Opens it, or gives the handle that is open already.
    pub(crate) fn open(&self, shared: &Shared) -> io::Result<Arc<OpenSegment>> {
        if let Some(open) = lock(&self.open).upgrade() {
            return Ok(open);
        }
        let file = shared.env.storage.open(&self.path, Access::Read)?;
        let master = shared
            .masters()
            .get(self.header.master_id(), &shared.store_uuid)
            .ok_or_else(|| io::Error::other("its key is not in the ring any more"))?;
        let cipher = SegmentCipher::of(&master, &self.header)
            .ok_or_else(|| io::Error::other("its header does not commit to its key"))?;
        let open = Arc::new(OpenSegment { file, cipher, crc_seed: self.header.crc_seed() });
        *lock(&self.open) = Arc::downgrade(&open);
        Ok(open)
    }

    /// Reads the names that stand at its head into the table.
    pub(crate) fn learn_names(&self, shared: &Shared, open: &OpenSegment) -> io::Result<()> {
        if self.named.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let end = self.visible().end;
        let mut walker = Walker::new(open.file.as_ref(), open.crc_seed, RECORDS_START, end, u32::MAX);
        // The head is two copies of one state record; damage in the first leaves the second.
        for _ in 0..4 {
            match walker.step()? {
                Some(Step::Record { offset, header }) if header.kind() == Some(Kind::State) => {
                    if let Ok(body) = walker.body(offset, &header, &open.cipher)? {
                        shared.learn(&body);
                        return Ok(());
                    }
                }
                Some(Step::Gap { .. }) => {}
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Figures for the status.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) counters: Counters,
    pub(crate) losses: Losses,
    pub(crate) disk_bytes: u64,
    pub(crate) quarantine_bytes: u64,
    pub(crate) full: bool,
    pub(crate) failing: bool,
    pub(crate) last_error: Option<String>,
}

/// The visible end of the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tail {
    pub(crate) next_sequence: u64,
    pub(crate) lane_end: [u64; LANES],
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) env: Environment,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    /// The only place that holds master keys while the WAL is open; a rotation puts others in.
    pub(crate) masters: RwLock<Arc<Masters>>,
    pub(crate) store_uuid: [u8; 16],
    /// In order; the last one is the active one, if there is one.
    pub(crate) segments: RwLock<VecDeque<Arc<Segment>>>,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) names: RwLock<HashMap<u32, Arc<str>>>,
    /// The last durable one of each source.
    pub(crate) checkpoints: RwLock<HashMap<Arc<str>, Arc<[u8]>>>,
    /// Those configured, then those that left the configuration.
    pub(crate) consumers: RwLock<Arc<[Arc<ConsumerState>]>>,
    pub(crate) figures: Mutex<Figures>,
    pub(crate) queue: Queue,
}

impl Shared {
    pub(crate) fn tail(&self) -> Tail {
        *lock(&self.tail)
    }

    /// The keys, as they are now.
    pub(crate) fn masters(&self) -> Arc<Masters> {
        self.masters.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many segments and cursors need each key, by its id; what is in the clear is left out.
    pub(crate) fn key_use(&self) -> BTreeMap<u32, KeyUse> {
        let mut used: BTreeMap<u32, KeyUse> = BTreeMap::new();
        for segment in self.segments() {
            used.entry(segment.header.master_id()).or_default().segments += 1;
        }
        for id in self.consumers().iter().flat_map(|consumer| consumer.key_ids()) {
            used.entry(id).or_default().cursors += 1;
        }
        used.remove(&0);
        used
    }

    /// Whether keys of these ids suffice for what is there.
    pub(crate) fn check_keys(&self, ids: &[u32]) -> Result<(), RotateError> {
        match self.key_use().into_iter().find(|(id, _)| !ids.contains(id)) {
            Some((id, KeyUse { segments, cursors })) => Err(RotateError::InUse { id, segments, cursors }),
            None => Ok(()),
        }
    }

    /// The segments, in order, as they are now.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The consumers as they are now.
    pub(crate) fn consumers(&self) -> Arc<[Arc<ConsumerState>]> {
        self.consumers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn oldest(&self) -> Option<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).front().cloned()
    }

    /// The first segment that holds, or should hold, an ordinal at or above this one.
    pub(crate) fn segment_with(&self, lane: usize, ordinal: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let at = segments.partition_point(|segment| segment.visible().lane_end[lane] <= ordinal);
        segments.get(at).cloned()
    }

    /// The segment after this one.
    pub(crate) fn segment_after(&self, segment: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let at = segments.partition_point(|other| other.header.segment <= segment);
        segments.get(at).cloned()
    }

    /// The segment of this number.
    pub(crate) fn segment(&self, number: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let at = segments.partition_point(|other| other.header.segment < number);
        segments.get(at).filter(|segment| segment.header.segment == number).cloned()
    }

    /// Whether a segment could not be read because it was deleted meanwhile: everybody has passed it, or its records were
    /// given up and counted.
    pub(crate) fn was_unlinked(&self, segment: &Segment, cause: &io::Error) -> bool {
        let is_gone =
            || segment.going.load(Ordering::Acquire) || self.segment(segment.header.segment).is_none();
        cause.kind() == io::ErrorKind::NotFound && is_gone()
    }

    /// Takes names from the body of a state record.
    pub(crate) fn learn(&self, body: &[u8]) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        for entry in state::entries(body) {
            if let Entry::Name { number, name } = entry {
                names.entry(number).or_insert_with(|| name.into());
            }
        }
    }

    pub(crate) fn add_name(&self, number: u32, name: &Arc<str>) {
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(number, name.clone());
    }

    /// The name behind a number. One that no state record tells any more is shown as `?NUMBER`.
    pub(crate) fn name(&self, number: u32, segment: u64) -> Arc<str> {
        let known = || self.names.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        if let Some(name) = known() {
            return name;
        }
        // The state record that introduced it is damaged; the next segment's head repeats it.
        if let Some(next) = self.segment_after(segment)
            && let Ok(open) = next.open(self)
            && next.learn_names(self, &open).is_ok()
            && let Some(name) = known()
        {
            return name;
        }
        format!("?{number}").into()
    }

    /// Counts records that a consumer lost without having asked for it.
    pub(crate) fn count_lost(&self, fate: Fate, records: u64) {
        lock(&self.figures).losses.add(fate, records);
    }

    /// Disk use of the lock and the cursors; each may be there twice while it is replaced.
    pub(crate) fn fixed_bytes(&self) -> u64 {
        4096 + self.consumers().len() as u64 * 2 * CURSOR_FILE_LEN
    }
}

/// What needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KeyUse {
    pub(crate) segments: usize,
    pub(crate) cursors: usize,
}

/// The directory of a path, for syncing it.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_segments_own_name_is_a_segments_name() {
        assert_eq!(segment_of(&segment_name(0xabc)), Some(0xabc));
        for foreign in
            ["1.wal", "00000000000000AB.wal", "+000000000000001.wal", "0000000000000001.wal.bak", "x"]
        {
            assert_eq!(segment_of(foreign), None, "{foreign}");
        }
    }
}
