//! Opening: everything is read and decided first, then the disk is changed.
//!
//! Reads the headers, the cursors, and the last segment (or those at the end whose state can't be read), nothing else.
//! A segment counts as far as the next one says; only the last one has to be read through to know its end. It is cut
//! there and never written again: the first thing an open WAL does is to begin a new segment.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
    time::Instant,
};

use crate::{
    consumer::ConsumerState,
    cursor::{
        file::{CURSOR_FILE_LEN, CursorFile, FoundSlot, file_name},
        lane::{Fate, LaneCursor},
        slot::{MAX_CONSUMER_NAME, Slot, is_authentic},
    },
    error::OpenError,
    options::{LANES, MAX_CONSUMERS, MIN_MAX_SIZE, OnWrongKey, Options, SyncPolicy},
    scan::{Bounds, Depth, Scan, make_durable, scan},
    segment::{
        encrypt::{Masters, SegmentCipher},
        header::SegmentHeader,
    },
    shared::{CURSORS, Figures, LOCK, Lost, QUARANTINE, Segment, Shared, Tail, Visible, parent},
    status::OpenReport,
    storage::{Access, Environment, Storage, write_all_at},
    survey::{SegmentFile, Survey, lock_text, survey},
    writer::{
        core::{Core, Refusal},
        names::Names,
        queue::Queue,
        room::{Usage, quarantine_limit},
        segments::Previous,
    },
};

/// An opened WAL: its core, its lock, and what was found.
pub(crate) type Opened = (Core, Box<dyn Send + Sync>, OpenReport);

/// Opens a WAL.
pub(crate) fn open(env: Environment, dir: &Path, options: Options) -> Result<Opened, OpenError> {
    let begin = Instant::now();
    check(&options)?;
    let storage = env.storage.clone();
    storage.create_dir(dir).map_err(OpenError::io("making the directory", dir))?;
    let lock_path = dir.join(LOCK);
    let held = storage
        .lock(&lock_path)
        .map_err(OpenError::io("locking", &lock_path))?
        .ok_or_else(|| OpenError::Locked { dir: dir.to_owned() })?;
    let mut report = OpenReport::default();
    let masters = Masters::new(&options.encryption);
    let look = || survey(storage.as_ref(), dir).map_err(OpenError::io("reading", dir));
    let mut found = look()?;
    if let Some(error) = wrong_key(&found, &masters, dir) {
        if options.on_wrong_key == OnWrongKey::Refuse {
            return Err(error);
        }
        report.set_aside = Some(set_aside(storage.as_ref(), dir, &found)?);
        found = look()?;
        found.lock_uuid = None;
    }
    report.foreign = std::mem::take(&mut found.foreign);
    let decided = Decided::from(&found, &masters, &options, &env, &mut report)?;
    let mut core = decided.carry_out(env, dir, options, masters, found, &mut report)?;
    start(&mut core, &mut report)?;
    report.took = begin.elapsed();
    Ok((core, held, report))
}

fn check(options: &Options) -> Result<(), OpenError> {
    let refuse = |text: String| Err(OpenError::Options(text));
    if options.max_size < MIN_MAX_SIZE {
        return refuse(format!("max_size is {} bytes, at least {MIN_MAX_SIZE} are needed", options.max_size));
    }
    if !(0..=22).contains(&options.zstd_level) {
        return refuse(format!("zstd_level is {}, it must be 0 to 22", options.zstd_level));
    }
    if let SyncPolicy::Interval { every, bytes } = options.sync
        && (every.is_zero() || bytes == 0)
    {
        return refuse("an interval of sync must be above zero".to_owned());
    }
    if options.consumers.len() > MAX_CONSUMERS {
        return refuse(format!(
            "{} consumers, at most {MAX_CONSUMERS} are possible",
            options.consumers.len()
        ));
    }
    for (at, name) in options.consumers.iter().enumerate() {
        if !(1..=MAX_CONSUMER_NAME).contains(&name.len()) {
            return refuse(format!("a consumer's name has 1 to {MAX_CONSUMER_NAME} bytes, {name:?} has not"));
        }
        if options.consumers[..at].contains(name) {
            return refuse(format!("two consumers are named {name:?}"));
        }
    }
    Ok(())
}

/// The first segment of this WAL whose key is not there.
fn wrong_key(found: &Survey, masters: &Masters, dir: &Path) -> Option<OpenError> {
    let uuid = found.store_uuid()?;
    let headers =
        found.segments.iter().filter_map(|file| file.header.as_ref().ok().map(|header| (file, header)));
    headers
        .filter(|(_, header)| header.store_uuid == uuid && header.encrypted)
        .find(|(_, header)| !masters.ids().contains(&header.key_id))
        .map(|(file, header)| OpenError::WrongKey {
            dir: dir.to_owned(),
            segment: file.path.clone(),
            needed: header.key_id,
            given: masters.ids(),
        })
}

/// Moves everything into a directory beside this one. Segments last: as long as one is left, the next attempt sees that
/// the key is wrong.
fn set_aside(storage: &dyn Storage, dir: &Path, found: &Survey) -> Result<PathBuf, OpenError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let taken = storage.list(parent(dir)).map_err(OpenError::io("reading", parent(dir)))?;
    let target = (1..)
        .map(|n| parent(dir).join(format!("{name}.aside-{n}")))
        .find(|path| !taken.iter().any(|entry| entry.path.starts_with(path)))
        .unwrap_or_else(|| dir.with_extension("aside"));
    let cursors = found.cursors.iter().map(|cursor| (&cursor.path, CURSORS));
    let quarantine = found.quarantine.iter().map(|(path, _)| (path, QUARANTINE));
    let leftovers = found.leftovers.iter().map(|(path, _)| (path, ""));
    let segments = found.segments.iter().map(|segment| (&segment.path, ""));
    let moves: Vec<_> = cursors.chain(quarantine).chain(leftovers).chain(segments).collect();
    for (path, sub) in moves {
        let into = if sub.is_empty() { target.clone() } else { target.join(sub) };
        let to = into.join(path.file_name().unwrap_or_default());
        storage
            .create_dir(&into)
            .and_then(|()| storage.rename(path, &to))
            .map_err(OpenError::io("moving aside", path))?;
    }
    for synced in [target.as_path(), dir, parent(dir)] {
        storage.sync_dir(synced).map_err(OpenError::io("syncing", synced))?;
    }
    Ok(target)
}

/// What is to be done, before anything is done.
struct Decided {
    store_uuid: [u8; 16],
    /// Segments that are kept, in order.
    segments: Vec<Segment>,
    quarantine: Vec<(PathBuf, u64, String)>,
    /// Of the last segment, and of those before it whose state was needed; the last one last.
    scans: Vec<Scan>,
    tail: Tail,
    consumers: Vec<Known>,
    /// Records that consumers had not seen and that are gone with their segments.
    missing: u64,
    next_segment: u64,
}

/// A consumer, with the slot it begins with.
struct Known {
    slot: Slot,
    /// Where the newest and the oldest valid slot lie; `None`: there is no usable file.
    places: Option<(usize, usize)>,
    configured: bool,
}

impl Decided {
    fn from(
        found: &Survey,
        masters: &Masters,
        options: &Options,
        env: &Environment,
        report: &mut OpenReport,
    ) -> Result<Self, OpenError> {
        let known = found.store_uuid();
        report.created = known.is_none();
        let store_uuid = match known {
            Some(uuid) => uuid,
            None => {
                let mut uuid = [0; 16];
                (env.random)(&mut uuid)
                    .map_err(|e| OpenError::Options(format!("no random numbers for a new WAL: {e}")))?;
                uuid
            }
        };
        let mut quarantine = Vec::new();
        let mut kept: Vec<(&SegmentFile, &SegmentHeader, SegmentCipher)> = Vec::new();
        for file in &found.segments {
            match usable(file, &store_uuid, masters, options) {
                Ok((header, cipher)) => kept.push((file, header, cipher)),
                Err(reason) => quarantine.push((file.path.clone(), file.len, reason)),
            }
        }
        let scans = read_end(&kept, env.storage.as_ref())?;
        let segments = visible_segments(&kept, scans.last());
        let mut tail = match scans.last() {
            Some(last) => Tail { next_sequence: last.next_sequence, lane_end: last.lane_end },
            None => Tail { next_sequence: 1, lane_end: [1; LANES] },
        };
        if let Some(last) = scans.last() {
            report.torn_bytes = last.torn_bytes;
            report.recovered = usize::from(last.seal.is_none());
            report.recovered_records = if last.seal.is_none() { last.records.iter().sum() } else { 0 };
            if last.is_damaged() {
                report.lost_records += last.missing();
            }
        }
        report.segments = segments.len();

        let mut consumers = read_cursors(found, masters, &store_uuid, options, report, &mut quarantine);
        // A cursor that says more than the WAL holds (the end of it was lost): ordinals go on behind it, and what is
        // in between is missing for everybody who had not seen it.
        for Known { slot, .. } in &consumers {
            for lane in 0..LANES {
                let ahead = slot.lanes[lane].reach().saturating_sub(tail.lane_end[lane]);
                tail.lane_end[lane] += ahead;
                tail.next_sequence += ahead;
                report.lost_records += ahead;
            }
        }
        let oldest = segments.first().map_or(tail.lane_end, |segment| segment.header.lane_first);
        for name in &options.consumers {
            if !consumers.iter().any(|known| known.slot.name == *name) {
                let resets = u32::from(report.cursors_reset.contains(name));
                if resets == 0 {
                    report.consumers_added.push(name.clone());
                }
                let lanes = oldest.map(LaneCursor::starting_at);
                let slot = Slot { store_uuid, name: name.clone(), resets, lanes, ..Slot::default() };
                consumers.push(Known { slot, places: None, configured: true });
            }
        }
        // Segments that are gone and that not everybody had passed.
        let mut missing = 0;
        for Known { slot, .. } in &mut consumers {
            let lanes = slot.lanes.iter_mut().zip(oldest);
            let lost: u64 = lanes.map(|(lane, oldest)| lane.give_up_below(oldest, Fate::Corrupt)).sum();
            report.lost_records = report.lost_records.max(lost);
            missing += lost;
        }
        let order = |name: &str| options.consumers.iter().position(|other| other == name);
        consumers
            .sort_by_key(|known| (order(&known.slot.name).unwrap_or(usize::MAX), known.slot.name.clone()));
        let next_segment = kept.last().map_or(1, |(file, _, _)| file.number + 1);
        Ok(Self { store_uuid, segments, quarantine, scans, tail, consumers, missing, next_segment })
    }

    /// Does what was decided.
    fn carry_out(
        mut self,
        env: Environment,
        dir: &Path,
        options: Options,
        masters: Masters,
        found: Survey,
        report: &mut OpenReport,
    ) -> Result<Core, OpenError> {
        let storage = env.storage.clone();
        self.write_lock(storage.as_ref(), dir, found.lock_uuid)?;
        self.cut_last(storage.as_ref())?;
        let mut usage = Usage { quarantine: found.quarantine, ..Usage::default() };
        let moved = move_to_quarantine(storage.as_ref(), dir, &self.quarantine, &mut usage)?;
        report.quarantined = moved;
        for (path, len) in &found.leftovers {
            if storage.remove(path).is_err() {
                // It takes room until it can be removed.
                usage.leftovers.push((vec![path.clone()], *len));
            }
        }
        usage.segments += self.segments.iter().map(|segment| segment.visible().file_len).sum::<u64>();

        let cursor_dir = dir.join(CURSORS);
        storage.create_dir(&cursor_dir).map_err(OpenError::io("making the directory", &cursor_dir))?;
        storage.sync_dir(dir).map_err(OpenError::io("syncing", dir))?;
        let key_id = masters.current_id();
        let mut consumers = Vec::new();
        for Known { mut slot, places, configured } in std::mem::take(&mut self.consumers) {
            let path = cursor_dir.join(file_name(&slot.name));
            let key = masters
                .cursor_key(key_id, &self.store_uuid)
                .ok_or_else(|| OpenError::Options("the current key is not in the ring".to_owned()))?;
            let resigned = slot.key_id != key_id;
            slot.key_id = key_id;
            let existing = places.map(|places| (storage.open(&path, Access::Write), places));
            let file = match existing {
                Some((Ok(file), (newest, oldest))) if !resigned => {
                    CursorFile::opened(path, file, key, newest, oldest)
                }
                _ => CursorFile::absent(path, key),
            };
            consumers.push(Arc::new(ConsumerState::new(slot, file, configured)));
        }
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            queue: Queue::new(options.max_queued),
            options,
            masters,
            store_uuid: self.store_uuid,
            segments: RwLock::new(self.segments.into_iter().map(Arc::new).collect::<VecDeque<_>>()),
            tail: Mutex::new(self.tail),
            names: RwLock::default(),
            checkpoints: RwLock::default(),
            consumers,
            figures: Mutex::new(Figures::default()),
            env,
        });
        for consumer in &shared.consumers {
            let path = || cursor_dir.join(file_name(&consumer.name));
            consumer.rewrite(&shared).map_err(OpenError::io("writing the cursor", path()))?;
            consumer.sync(&shared).map_err(OpenError::io("syncing the cursor", path()))?;
        }
        shared.count_lost(Lost::Missing, self.missing);
        usage.fixed = shared.fixed_bytes();
        let mut names = Names::new(1);
        restore_state(&self.scans, &shared, &mut names, self.next_segment.saturating_sub(1));
        let previous = self.scans.last().map_or_else(Previous::default, |last| match last.seal {
            Some((index, tag)) => Previous { count: index, tag },
            None => Previous { count: last.index_end, ..Previous::default() },
        });
        Ok(Core::new(shared, names, usage, previous, self.next_segment))
    }

    /// The lock file says whose it is.
    fn write_lock(&self, storage: &dyn Storage, dir: &Path, said: Option<[u8; 16]>) -> Result<(), OpenError> {
        if said == Some(self.store_uuid) {
            return Ok(());
        }
        let path = dir.join(LOCK);
        let text = lock_text(&self.store_uuid);
        let written = storage.open(&path, Access::Write).and_then(|file| {
            write_all_at(file.as_ref(), text.as_bytes(), 0)?;
            file.set_len(text.len() as u64)?;
            file.sync_all()
        });
        match written {
            // A full disk must not keep a WAL from opening; the headers say the same.
            Err(e) if e.kind() == io::ErrorKind::StorageFull => Ok(()),
            written => written.map_err(OpenError::io("writing", path)),
        }
    }

    /// Cuts the last segment to its end and makes it durable: only then may its records be seen.
    fn cut_last(&self, storage: &dyn Storage) -> Result<(), OpenError> {
        let (Some(segment), Some(scan)) = (self.segments.last(), self.scans.last()) else { return Ok(()) };
        let cut = storage.open(&segment.path, Access::Write).and_then(|file| {
            if file.len()? > scan.end {
                file.set_len(scan.end)?;
            }
            make_durable(file.as_ref(), &segment.header, scan)
        });
        cut.map_err(OpenError::io("cutting and syncing", &segment.path))
    }
}

/// The header and keys of a segment of this WAL, or why it is to be put away.
fn usable<'a>(
    file: &'a SegmentFile,
    store_uuid: &[u8; 16],
    masters: &Masters,
    options: &Options,
) -> Result<(&'a SegmentHeader, SegmentCipher), String> {
    let header = file.header.as_ref().map_err(Clone::clone)?;
    if header.store_uuid != *store_uuid {
        return Err("it belongs to another WAL".to_owned());
    }
    if !header.encrypted && masters.encrypts() && !options.accept_plain {
        return Err("it is in the clear, and a key is configured (see accept_plain)".to_owned());
    }
    if file.number >= u64::MAX / 2 {
        return Err("its number is out of bounds".to_owned());
    }
    let master = masters.get(header.master_id(), store_uuid).ok_or("its key is not in the ring")?;
    let cipher =
        SegmentCipher::of(&master, header).ok_or("its header was altered: it does not commit to its key")?;
    Ok((header, cipher))
}

/// Scans the last segment, and those before it as long as no head could be read.
fn read_end(
    kept: &[(&SegmentFile, &SegmentHeader, SegmentCipher)],
    storage: &dyn Storage,
) -> Result<Vec<Scan>, OpenError> {
    let mut scans = Vec::new();
    for (at, (file, header, cipher)) in kept.iter().enumerate().rev() {
        let bounds = kept.get(at + 1).map_or(Bounds::NONE, |(_, next, _)| bounds_of(header, next));
        let scanned = storage
            .open(&file.path, Access::Read)
            .and_then(|open| scan(open.as_ref(), header, Depth::State(cipher), file.len, bounds, &mut |_| {}))
            .map_err(OpenError::io("reading", &file.path))?;
        let head = scanned.head;
        scans.insert(0, scanned);
        if head {
            break;
        }
    }
    Ok(scans)
}

/// What counts of a segment, as the next one there says.
pub(crate) fn bounds_of(header: &SegmentHeader, next: &SegmentHeader) -> Bounds {
    let index = if next.segment == header.segment + 1 { next.previous_count } else { u32::MAX };
    Bounds { index, lanes: next.lane_first }
}

fn visible_segments(
    kept: &[(&SegmentFile, &SegmentHeader, SegmentCipher)],
    last: Option<&Scan>,
) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(kept.len());
    for (at, (file, header, _)) in kept.iter().enumerate() {
        let visible = match (kept.get(at + 1), last) {
            (Some((_, next, _)), _) => {
                let Bounds { index, lanes } = bounds_of(header, next);
                // Never backwards, whatever a header says.
                let lane_end = std::array::from_fn(|lane| lanes[lane].max(header.lane_first[lane]));
                Visible { end: file.len, index_end: index, lane_end, file_len: file.len }
            }
            (None, Some(scan)) => Visible {
                end: scan.end,
                index_end: scan.index_end,
                lane_end: scan.lane_end,
                file_len: file.len.min(scan.end),
            },
            (None, None) => Visible::default(),
        };
        segments.push(Segment::new((*header).clone(), file.path.clone(), visible));
    }
    segments
}

/// The newest authentic slot of each cursor.
fn read_cursors(
    found: &Survey,
    masters: &Masters,
    store_uuid: &[u8; 16],
    options: &Options,
    report: &mut OpenReport,
    quarantine: &mut Vec<(PathBuf, u64, String)>,
) -> Vec<Known> {
    let mut consumers = Vec::new();
    for entry in &found.cursors {
        let configured = options.consumers.contains(&entry.consumer);
        let valid = entry.slots.iter().find(|FoundSlot { slot, bytes, .. }| {
            let key = masters.cursor_key(slot.key_id, &slot.store_uuid);
            slot.store_uuid == *store_uuid
                && slot.name == entry.consumer
                && key.is_some_and(|key| is_authentic(bytes, &key))
        });
        match valid {
            Some(FoundSlot { at, slot, .. }) if consumers.len() < MAX_CONSUMERS => {
                let oldest = entry.slots.last().map_or(*at, |found| found.at);
                consumers.push(Known { slot: slot.clone(), places: Some((*at, oldest)), configured });
            }
            Some(_) => quarantine.push((
                entry.path.clone(),
                CURSOR_FILE_LEN,
                "there are too many consumers".to_owned(),
            )),
            None => {
                let reason = "no slot of this cursor is whole and authentic".to_owned();
                quarantine.push((entry.path.clone(), CURSOR_FILE_LEN, reason));
                report.cursors_reset.push(entry.consumer.clone());
            }
        }
    }
    consumers
}

fn move_to_quarantine(
    storage: &dyn Storage,
    dir: &Path,
    files: &[(PathBuf, u64, String)],
    usage: &mut Usage,
) -> Result<Vec<(PathBuf, String)>, OpenError> {
    let mut moved = Vec::new();
    if files.is_empty() {
        return Ok(moved);
    }
    let target_dir = dir.join(QUARANTINE);
    storage.create_dir(&target_dir).map_err(OpenError::io("making the directory", &target_dir))?;
    for (path, len, reason) in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let target = (0..)
            .map(|n| target_dir.join(if n == 0 { name.clone() } else { format!("{name}.{n}") }))
            .find(|target| !usage.quarantine.iter().any(|(other, _)| other == target))
            .unwrap_or_else(|| target_dir.join(&name));
        storage.rename(path, &target).map_err(OpenError::io("moving to the quarantine", path))?;
        usage.quarantine.push((target.clone(), *len));
        moved.push((target, reason.clone()));
    }
    for synced in [target_dir.as_path(), dir] {
        storage.sync_dir(synced).map_err(OpenError::io("syncing", synced))?;
    }
    Ok(moved)
}

/// Names and checkpoints, as the last head and the records after it say.
fn restore_state(scans: &[Scan], shared: &Shared, names: &mut Names, segment: u64) {
    let mut by_number: HashMap<u32, Arc<str>> = HashMap::new();
    let mut next = 1;
    for scan in scans {
        next = next.max(scan.next_number);
        for (number, name) in &scan.names {
            by_number.entry(*number).or_insert_with(|| name.as_str().into());
        }
    }
    *names = Names::new(next);
    for (number, name) in &by_number {
        names.restore(*number, name.clone(), segment);
        shared.add_name(*number, name);
    }
    let mut checkpoints = shared.checkpoints.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    for scan in scans {
        for (source, position) in &scan.checkpoints {
            if let Some(name) = by_number.get(source) {
                checkpoints.insert(name.clone(), position.as_slice().into());
            }
        }
    }
}

/// The first segment of this opening, and what can be deleted.
fn start(core: &mut Core, report: &mut OpenReport) -> Result<(), OpenError> {
    core.shrink_quarantine(quarantine_limit(core.shared.options.max_size));
    for _ in 0..2 {
        match core.begin_segment() {
            Ok(()) => break,
            Err(Refusal::NoRoom { .. }) => {
                report.full = !core.reclaim();
                if report.full {
                    break;
                }
            }
            Err(Refusal::Io { action, cause }) => {
                return Err(OpenError::Io { action, path: core.shared.dir.clone(), cause });
            }
            Err(Refusal::TooManyNames) => break,
        }
    }
    core.reclaim();
    core.show_usage();
    Ok(())
}
