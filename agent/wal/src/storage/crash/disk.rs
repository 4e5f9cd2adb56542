//! What is on the disk, what is only in the page cache, and what is to fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::random::Random;

pub(super) const SECTOR: usize = 512;

/// Operations that can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    Write,
    Sync,
    SetLen,
    Rename,
    Remove,
    SyncDir,
    Read,
}

/// The next operation of this kind, after `skip` others on paths that contain `path`, fails so.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) op: Op,
    pub(crate) path: &'static str,
    pub(crate) skip: u32,
    pub(crate) times: u32,
    pub(crate) kind: io::ErrorKind,
}

#[derive(Default)]
pub(super) struct Disk {
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) durable_names: BTreeMap<PathBuf, usize>,
    pub(super) journal: Vec<DirOp>,
    pub(super) locks: BTreeSet<PathBuf>,
    /// Handles of another boot are dead.
    pub(super) boot: u64,
    pub(super) faults: Vec<Fault>,
    /// Percent of writes, syncs and the like that fail.
    pub(super) fault_percent: u64,
    pub(super) random: Option<Random>,
    pub(super) capacity: Option<u64>,
    /// Changing operations left until the power goes.
    pub(super) fuse: Option<u64>,
    pub(super) off: bool,
    pub(super) operations: u64,
    pub(super) wall_ns: u64,
    /// Where the random numbers of the surroundings go on.
    pub(super) drawn: u64,
}

#[derive(Debug, Clone)]
pub(super) enum DirOp {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl DirOp {
    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Inode {
    pub(super) content: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) dirty: BTreeSet<usize>,
    /// Sectors that can't be read.
    pub(super) broken: BTreeSet<usize>,
}

impl Inode {
    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.content);
        self.dirty.clear();
    }

    pub(super) fn power_loss(&mut self, random: &mut Random) {
        let len = if random.chance(50) { self.content.len() } else { self.durable.len() };
        let mut survived = self.durable.clone();
        survived.resize(len, 0);
        for sector in &self.dirty {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(len).min(self.content.len());
            if start < end && random.chance(50) {
                survived[start..end].copy_from_slice(&self.content[start..end]);
            }
        }
        self.content = survived;
        self.sync();
    }
}

impl Disk {
    pub(super) fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].content.len() as u64).sum()
    }

    /// Counts a changing operation, and fails it if the power is off or a fault says so.
    pub(super) fn enter(&mut self, op: Op, path: &Path) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        if op != Op::Read {
            self.operations += 1;
            if let Some(fuse) = &mut self.fuse {
                *fuse = fuse.saturating_sub(1);
                if *fuse == 0 {
                    self.off = true;
                    return Err(io::Error::other("the power goes off"));
                }
            }
        }
        let text = path.to_string_lossy().into_owned();
        for fault in &mut self.faults {
            if fault.op == op && fault.times > 0 && text.contains(fault.path) {
                if fault.skip > 0 {
                    fault.skip -= 1;
                } else {
                    fault.times -= 1;
                    return Err(fault.kind.into());
                }
            }
        }
        if op != Op::Read
            && self.fault_percent > 0
            && let Some(random) = &mut self.random
            && random.chance(self.fault_percent)
        {
            let kinds = [
                io::ErrorKind::Other,
                io::ErrorKind::StorageFull,
                io::ErrorKind::QuotaExceeded,
                io::ErrorKind::ReadOnlyFilesystem,
            ];
            let kind = kinds[random.below(kinds.len() as u64) as usize];
            return Err(kind.into());
        }
        Ok(())
    }
}
