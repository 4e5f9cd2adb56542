//! Doing what was decided.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
};

use crate::{
    consumer::ConsumerState,
    cursor::file::{CursorFile, file_name},
    cursor::lane::Fate,
    error::OpenError,
    mutants::{Mutant, is_on},
    options::{Encryption, Options},
    scan::{Scan, make_durable},
    segment::encrypt::Masters,
    shared::{CURSORS, Figures, LOCK, QUARANTINE, Shared},
    status::OpenReport,
    storage::{Access, Environment, Storage, is_no_room},
    survey::{Survey, name_lock},
    writer::{core::Core, names::Names, queue::Queue, room::Usage, segments::Previous},
};

use super::decide::{Decided, Known};

impl Decided {
    /// Does what was decided.
    pub(super) fn carry_out(
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
            let former = std::mem::replace(&mut slot.key_id, key_id);
            let existing = places.map(|places| (storage.open(&path, Access::Write), places));
            let mut file = match existing {
                Some((Ok(file), (newest, synced))) => {
                    CursorFile::opened(path, file, key.clone(), newest, synced)
                }
                _ => CursorFile::absent(path, key.clone()),
            };
            if former != key_id {
                file.rekey(former, key);
            }
            consumers.push(Arc::new(ConsumerState::new(slot, file, configured)));
        }
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            queue: Queue::new(options.max_queued),
            // The ring is the masters' alone: a key that is retired must not live on here.
            options: Options { encryption: Encryption::None, ..options },
            masters: RwLock::new(Arc::new(masters)),
            store_uuid: self.store_uuid,
            segments: RwLock::new(self.segments.into_iter().map(Arc::new).collect::<VecDeque<_>>()),
            tail: Mutex::new(self.tail),
            names: RwLock::default(),
            checkpoints: RwLock::default(),
            consumers: RwLock::new(consumers.into()),
            figures: Mutex::new(Figures::default()),
            env,
        });
        for consumer in shared.consumers().iter() {
            let path = || cursor_dir.join(file_name(&consumer.name));
            consumer.rewrite(&shared).map_err(OpenError::io("writing the cursor", path()))?;
            consumer.sync(&shared).map_err(OpenError::io("syncing the cursor", path()))?;
        }
        shared.count_lost(Fate::Missing, self.missing);
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
        match name_lock(storage, &path, &self.store_uuid) {
            // A full disk must not keep a WAL from opening; the headers say the same.
            Err(e) if is_no_room(&e) => Ok(()),
            written => written.map_err(OpenError::io("writing", path)),
        }
    }

    /// Cuts the last segment to its end and makes it durable: only then may its records be seen.
    fn cut_last(&self, storage: &dyn Storage) -> Result<(), OpenError> {
        let (Some(segment), Some(scan)) = (self.segments.last(), self.scans.last()) else { return Ok(()) };
        let cut = storage.open(&segment.path, Access::Write).and_then(|file| {
            if file.len()? > scan.end && !is_on(Mutant::ForgetTornTail) {
                file.set_len(scan.end)?;
            }
            if is_on(Mutant::BelieveUnsynced) {
                return Ok(());
            }
            make_durable(file.as_ref(), &segment.header, scan)
        });
        cut.map_err(OpenError::io("cutting and syncing", &segment.path))
    }
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
