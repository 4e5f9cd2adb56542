//! The course of an opening: options, lock, key, decision, deeds, the first segment.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    cursor::slot::MAX_CONSUMER_NAME,
    error::OpenError,
    options::{ConsumerOptions, MAX_CONSUMERS, MIN_MAX_SIZE, OnWrongKey, Options, SyncPolicy},
    segment::encrypt::Masters,
    shared::{CURSORS, LOCK, QUARANTINE, parent},
    status::OpenReport,
    storage::{Environment, Storage},
    survey::{Survey, survey},
    writer::{
        core::{Core, Refusal},
        room::quarantine_limit,
    },
};

use super::decide::Decided;

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
    for (at, ConsumerOptions { name, .. }) in options.consumers.iter().enumerate() {
        if !(1..=MAX_CONSUMER_NAME).contains(&name.len()) {
            return refuse(format!("a consumer's name has 1 to {MAX_CONSUMER_NAME} bytes, {name:?} has not"));
        }
        if options.consumers[..at].iter().any(|other| other.name == *name) {
            return refuse(format!("two consumers are named {name:?}"));
        }
    }
    Ok(())
}

/// The first segment of this WAL, or else the first cursor, whose key is not there. An older slot of such a cursor may
/// be under a key that is: to go by it would deliver again what was acknowledged.
fn wrong_key(found: &Survey, masters: &Masters, dir: &Path) -> Option<OpenError> {
    let uuid = found.store_uuid()?;
    let headers =
        found.segments.iter().filter_map(|file| file.header.as_ref().ok().map(|header| (file, header)));
    let segments = headers
        .filter(|(_, header)| header.store_uuid == uuid && header.encrypted)
        .map(|(file, header)| (&file.path, header.key_id));
    let cursors = found.cursors.iter().filter_map(|cursor| {
        let slots = cursor.found.slots.iter().map(|found| &found.slot);
        let newest = slots.clone().find(|slot| slot.store_uuid == uuid && slot.name == cursor.consumer)?;
        Some((&cursor.path, newest.key_id))
    });
    segments.chain(cursors.filter(|(_, id)| *id != 0)).find(|(_, id)| !masters.ids().contains(id)).map(
        |(path, needed)| OpenError::WrongKey {
            dir: dir.to_owned(),
            file: path.clone(),
            needed,
            given: masters.ids(),
        },
    )
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

/// The first segment of this opening, and what can be deleted.
fn start(core: &mut Core, report: &mut OpenReport) -> Result<(), OpenError> {
    core.shrink_quarantine(quarantine_limit(core.shared.options.max_size));
    loop {
        match core.begin_segment() {
            Ok(()) => break,
            Err(Refusal::NoRoom { .. }) => {
                report.full = !core.reclaim() && !core.reclaim_retained();
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
