//! Doing what was planned. Each step is durable before the next one begins.

use std::{io, path::Path};

use super::{
    Deed, RepairError, Step,
    plan::{COPYING, Plan, plan_in},
};
use crate::{
    cursor::slot::SLOT_LEN,
    notes,
    segment::encrypt::Masters,
    shared::{LOCK, QUARANTINE, parent},
    storage::{Access, Storage, read_around_damage, write_all_at, write_zeros},
    survey::name_lock,
    verify::Progress,
};

/// Takes the lock, sees that the steps are still what is to be done, and does them.
pub(crate) fn repair_in(
    storage: &dyn Storage,
    dir: &Path,
    masters: &Masters,
    max_size: u64,
    steps: &[Step],
    progress: &mut dyn FnMut(Progress),
) -> Result<(), RepairError> {
    if steps.is_empty() {
        return Ok(());
    }
    let fail = |action, path: &Path, done| {
        let path = path.to_owned();
        move |cause| RepairError::Io { action, path, done, cause }
    };
    let lock = dir.join(LOCK);
    let held = storage
        .lock(&lock)
        .map_err(fail("locking", &lock, 0))?
        .ok_or_else(|| RepairError::Locked { dir: dir.to_owned() })?;
    let plan = plan_in(storage, dir, masters, max_size, progress)?;
    if plan.steps != steps {
        return Err(RepairError::Changed { dir: dir.to_owned() });
    }
    let quarantine = dir.join(QUARANTINE);
    if steps.iter().any(|step| matches!(step.deed, Deed::Move { .. } | Deed::Copy { .. })) {
        storage.create_dir(&quarantine).and_then(|()| storage.sync_dir(dir)).map_err(fail(
            "making the directory",
            &quarantine,
            0,
        ))?;
    }
    for (done, step) in steps.iter().enumerate() {
        let (action, result) = carry_out(storage, dir, masters, &plan, step);
        result.map_err(fail(action, &step.path, done))?;
    }
    drop(held);
    Ok(())
}

fn carry_out(
    storage: &dyn Storage,
    dir: &Path,
    masters: &Masters,
    plan: &Plan,
    step: &Step,
) -> (&'static str, io::Result<()>) {
    let path = &step.path;
    match &step.deed {
        Deed::Move { to } => ("moving", move_file(storage, path, to)),
        Deed::Copy { to } => ("copying", copy_file(storage, path, to)),
        Deed::Cut { len } => ("cutting", cut(storage, path, *len)),
        Deed::Blank { offset } => ("blanking a slot of", blank(storage, path, *offset)),
        Deed::Remove => ("removing", remove(storage, path)),
        Deed::Note => ("writing", notes::write(storage, dir, masters, &plan.uuid, &plan.marks)),
        Deed::Name => ("writing", name_lock(storage, path, &plan.uuid)),
    }
}

fn move_file(storage: &dyn Storage, from: &Path, to: &Path) -> io::Result<()> {
    storage.rename(from, to)?;
    storage.sync_dir(parent(to))?;
    storage.sync_dir(parent(from))
}

/// Under another name until it is whole.
fn copy_file(storage: &dyn Storage, from: &Path, to: &Path) -> io::Result<()> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(COPYING);
    let unfinished = Path::new(&unfinished);
    let source = storage.open(from, Access::Read)?;
    let copy = storage.open(unfinished, Access::Create)?;
    let mut chunk = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        let read = read_around_damage(source.as_ref(), &mut chunk, at)?;
        if read == 0 {
            break;
        }
        write_all_at(copy.as_ref(), &chunk[..read], at)?;
        at += read as u64;
    }
    copy.sync_all()?;
    storage.rename(unfinished, to)?;
    storage.sync_dir(parent(to))
}

fn cut(storage: &dyn Storage, path: &Path, len: u64) -> io::Result<()> {
    let file = storage.open(path, Access::Write)?;
    file.set_len(len)?;
    file.sync_all()
}

fn blank(storage: &dyn Storage, path: &Path, offset: u64) -> io::Result<()> {
    let file = storage.open(path, Access::Write)?;
    write_zeros(file.as_ref(), offset, offset + SLOT_LEN as u64)?;
    file.sync_all()
}

fn remove(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    match storage.remove(path) {
        // Writing the notes has put away what was left of them.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    storage.sync_dir(parent(path))
}
