//! Putting a damaged WAL in order: first said, step by step, then done.
//!
//! Nothing is rewritten and nothing that could hold a record is deleted. What can't be used goes to `quarantine/`; a
//! segment with damaged records is copied there as it is and stays, because the records around the damage are wanted,
//! and the damage is noted so that verifying knows it. A segment under a key that was not given is no damage. Every
//! step is durable before the next one begins, and a repair that was interrupted ends the same when it is run again.

mod apply;
mod plan;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    error::VerifyError,
    key::KeyRing,
    segment::encrypt::Masters,
    shared::LOCK,
    storage::{environment, is_locked},
    verify::Progress,
};

pub(crate) use apply::repair_in;
pub(crate) use plan::plan_in;

/// One step of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The file.
    pub path: PathBuf,
    /// What is done with it.
    pub deed: Deed,
    /// Why, and what it means.
    pub why: String,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Move it, as it is.
    Move {
        /// There.
        to: PathBuf,
    },
    /// Copy it, as it is; it stays.
    Copy {
        /// There.
        to: PathBuf,
    },
    /// Cut it to a length.
    Cut {
        /// Bytes that stay.
        len: u64,
    },
    /// Fill a slot of a cursor, 4096 bytes, with zeros; another one holds.
    Blank {
        /// Where it begins, bytes.
        offset: u64,
    },
    /// Remove it.
    Remove,
    /// Write what is damaged and stays where it is.
    Note,
    /// Write whose WAL this is.
    Name,
}

/// Why a repair could not be planned or done. Steps before the one that failed are done and durable.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Another process has the WAL open.
    #[error("the WAL in {} is in use by another process: stop that first", dir.display())]
    Locked {
        /// The WAL's directory.
        dir: PathBuf,
    },
    /// The directory or a file in it cannot be read.
    #[error(transparent)]
    Read(#[from] VerifyError),
    /// The WAL is not as it was when the steps were planned; nothing was done.
    #[error("the WAL in {} has changed since the repair was planned: plan it again", dir.display())]
    Changed {
        /// The WAL's directory.
        dir: PathBuf,
    },
    /// A step failed.
    #[error("{action} {}: {cause}; {done} steps are done, repair again once that is put right", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// How many steps were done.
        done: usize,
        /// Why not.
        cause: io::Error,
    },
}

impl RepairError {
    /// Another process has it open: stop that first.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }
}

/// What a repair would do, in order; empty where nothing is to be done. Changes nothing. `max_size` is what the WAL is
/// opened with, bytes: the quarantine is bounded by it. Without the keys only what CRCs find is known.
///
/// # Errors
/// [`RepairError::Locked`] where the WAL is in use, [`RepairError::Read`].
pub fn plan_repair(
    dir: &Path,
    keys: Option<&KeyRing>,
    max_size: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Step>, RepairError> {
    if is_locked(&dir.join(LOCK)) {
        return Err(RepairError::Locked { dir: dir.to_owned() });
    }
    let plan = plan_in(environment().storage.as_ref(), dir, &Masters::of_ring(keys), max_size, progress)?;
    Ok(plan.steps)
}

/// Does what was planned, with the same keys and `max_size`, while nobody else can open the WAL. It is read again
/// first.
///
/// # Errors
/// [`RepairError::Locked`] and [`RepairError::Changed`]: nothing was done. [`RepairError::Io`]: plan and repair again.
pub fn repair(
    dir: &Path,
    keys: Option<&KeyRing>,
    max_size: u64,
    steps: &[Step],
    progress: &mut dyn FnMut(Progress),
) -> Result<(), RepairError> {
    repair_in(environment().storage.as_ref(), dir, &Masters::of_ring(keys), max_size, steps, progress)
}
