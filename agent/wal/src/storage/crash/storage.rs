//! The storage over the disk, and what tests do to it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::{
    super::{Access, Entry, Environment, Storage, StoredFile},
    disk::{DirOp, Disk, Fault, Inode, Op, SECTOR},
    random::Random,
};

/// The file system; clones are the same one.
#[derive(Clone)]
pub(crate) struct CrashStorage(Arc<Mutex<Disk>>);

impl CrashStorage {
    /// An empty one. What its surroundings draw at random is different for each one of a thread, and the same in every
    /// run.
    pub(crate) fn new() -> Self {
        std::thread_local! {
            static MADE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
        }
        let made = MADE.get() + 1;
        MADE.set(made);
        let new = Self(Arc::default());
        new.draw_from(made);
        new
    }

    /// Surroundings with this file system. The wall clock stands but for `pass`; what is drawn at random is the same in
    /// every run.
    pub(crate) fn environment(&self) -> Environment {
        let (clock, source) = (self.clone(), self.clone());
        Environment {
            storage: Arc::new(self.clone()),
            wall_ns: Arc::new(move || clock.disk().wall_ns),
            random: Arc::new(move |bytes| {
                let mut disk = source.disk();
                let mut random = Random::new(disk.drawn);
                bytes.fill_with(|| random.next() as u8);
                disk.drawn = random.next();
                Ok(())
            }),
        }
    }

    /// What is drawn at random goes on from here.
    pub(crate) fn draw_from(&self, seed: u64) {
        self.disk().drawn = seed;
    }

    pub(crate) fn wall_ns(&self) -> u64 {
        self.disk().wall_ns
    }

    pub(crate) fn set_wall_ns(&self, wall_ns: u64) {
        self.disk().wall_ns = wall_ns;
    }

    /// The wall clock goes on.
    pub(crate) fn pass(&self, time: std::time::Duration) {
        self.disk().wall_ns += time.as_nanos() as u64;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.disk().faults.push(fault);
    }

    /// From now on so many percent of the changing operations fail; 0 ends it, and clears single faults.
    pub(crate) fn fail_randomly(&self, percent: u64, seed: u64) {
        let mut disk = self.disk();
        disk.faults.clear();
        disk.fault_percent = percent;
        disk.random = Some(Random::new(seed));
    }

    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// The power goes off after so many more changing operations.
    pub(crate) fn light_fuse(&self, operations: u64) {
        self.disk().fuse = Some(operations);
    }

    pub(crate) fn put_out_fuse(&self) {
        self.disk().fuse = None;
    }

    pub(crate) fn is_off(&self) -> bool {
        self.disk().off
    }

    pub(crate) fn used(&self) -> u64 {
        self.disk().used()
    }

    fn reboot(disk: &mut Disk) {
        disk.boot += 1;
        disk.locks.clear();
        disk.fuse = None;
        disk.off = false;
        disk.faults.clear();
        disk.fault_percent = 0;
    }

    /// The process ends at once; the page cache stays.
    pub(crate) fn kill(&self) {
        Self::reboot(&mut self.disk());
    }

    /// The machine loses power.
    pub(crate) fn power_loss(&self, random: &mut Random) {
        let mut disk = self.disk();
        Self::reboot(&mut disk);
        let survive = random.below(disk.journal.len() as u64 + 1) as usize;
        let journal = std::mem::take(&mut disk.journal);
        let mut names = std::mem::take(&mut disk.durable_names);
        for op in &journal[..survive] {
            op.apply(&mut names);
        }
        disk.names.clone_from(&names);
        disk.durable_names = names;
        for inode in &mut disk.inodes {
            inode.power_loss(random);
        }
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.disk().names.keys().cloned().collect()
    }

    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        let disk = self.disk();
        disk.inodes[disk.names[path]].content.clone()
    }

    /// Puts a file there, durable.
    pub(crate) fn put(&self, path: &Path, content: Vec<u8>) {
        let mut disk = self.disk();
        let inode = Inode { durable: content.clone(), content, ..Inode::default() };
        disk.inodes.push(inode);
        let number = disk.inodes.len() - 1;
        disk.names.insert(path.to_owned(), number);
        disk.durable_names.insert(path.to_owned(), number);
    }

    /// Makes the sector at this offset unreadable.
    pub(crate) fn break_sector(&self, path: &Path, offset: u64) {
        let mut disk = self.disk();
        let inode = disk.names[path];
        disk.inodes[inode].broken.insert(offset as usize / SECTOR);
    }

    /// Takes a file away, durably.
    pub(crate) fn take(&self, path: &Path) {
        let mut disk = self.disk();
        disk.names.remove(path);
        disk.durable_names.remove(path);
    }

    /// A copy that goes its own way: for trying many kinds of damage on one state.
    pub(crate) fn fork(&self) -> Self {
        let disk = self.disk();
        let copy = Self::new();
        for (path, inode) in &disk.names {
            copy.put(path, disk.inodes[*inode].content.clone());
        }
        copy
    }
}

impl Storage for CrashStorage {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk().enter(Op::Create, dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut disk = self.disk();
        disk.enter(Op::Read, dir)?;
        Ok(disk
            .names
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir))
            .map(|(path, inode)| Entry {
                path: path.clone(),
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                len: disk.inodes[*inode].content.len() as u64,
                is_file: true,
            })
            .collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StoredFile>> {
        let mut disk = self.disk();
        disk.enter(if access == Access::Create { Op::Create } else { Op::Read }, path)?;
        let known = disk.names.get(path).copied();
        let inode = match (known, access) {
            (Some(_), Access::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, Access::Create) => {
                disk.inodes.push(Inode::default());
                let inode = disk.inodes.len() - 1;
                disk.names.insert(path.to_owned(), inode);
                disk.journal.push(DirOp::Link(path.to_owned(), inode));
                inode
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(CrashFile { disk: self.clone(), inode, boot: disk.boot, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.enter(Op::Rename, from)?;
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let op = DirOp::Rename(from.to_owned(), to.to_owned());
        op.apply(&mut disk.names);
        disk.journal.push(op);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.enter(Op::Remove, path)?;
        if disk.names.remove(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.journal.push(DirOp::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.enter(Op::SyncDir, dir)?;
        disk.durable_names = disk.names.clone();
        disk.journal.clear();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut disk = self.disk();
        disk.enter(Op::Create, path)?;
        if !disk.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        if !disk.names.contains_key(path) {
            disk.inodes.push(Inode::default());
            let inode = disk.inodes.len() - 1;
            disk.names.insert(path.to_owned(), inode);
            disk.journal.push(DirOp::Link(path.to_owned(), inode));
        }
        Ok(Some(Box::new(CrashLock { disk: self.clone(), path: path.to_owned(), boot: disk.boot })))
    }
}

struct CrashLock {
    disk: CrashStorage,
    path: PathBuf,
    boot: u64,
}

impl Drop for CrashLock {
    fn drop(&mut self) {
        let mut disk = self.disk.disk();
        if disk.boot == self.boot {
            disk.locks.remove(&self.path);
        }
    }
}

struct CrashFile {
    disk: CrashStorage,
    inode: usize,
    boot: u64,
    path: PathBuf,
}

impl CrashFile {
    fn enter(&self, op: Op) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk.disk();
        if disk.boot != self.boot {
            return Err(io::Error::other("a file of an earlier boot"));
        }
        // Renamed since it was opened, perhaps.
        let name = disk.names.iter().find(|(_, inode)| **inode == self.inode).map(|(path, _)| path.clone());
        disk.enter(op, name.as_ref().unwrap_or(&self.path))?;
        Ok(disk)
    }
}

impl StoredFile for CrashFile {
    fn len(&self) -> io::Result<u64> {
        let disk = self.enter(Op::Read)?;
        Ok(disk.inodes[self.inode].content.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.enter(Op::Read)?;
        let inode = &disk.inodes[self.inode];
        let touched = offset as usize / SECTOR..(offset as usize + buffer.len()).div_ceil(SECTOR);
        if inode.broken.range(touched).next().is_some() {
            return Err(io::Error::from_raw_os_error(5));
        }
        let content = &inode.content;
        let start = (offset as usize).min(content.len());
        let len = buffer.len().min(content.len() - start);
        buffer[..len].copy_from_slice(&content[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let was_off = self.disk.disk().off;
        let mut disk = match self.enter(Op::Write) {
            Ok(disk) => disk,
            Err(e) => {
                // The write in which the power went, or the disk failed, may have begun.
                let mut disk = self.disk.disk();
                if !was_off && disk.boot == self.boot {
                    let part = bytes.len() / 2;
                    write(&mut disk.inodes[self.inode], &bytes[..part], offset as usize);
                }
                return Err(e);
            }
        };
        let mut len = bytes.len();
        if let Some(capacity) = disk.capacity {
            let growth = (offset + len as u64).saturating_sub(disk.inodes[self.inode].content.len() as u64);
            let room = capacity.saturating_sub(disk.used());
            if growth > room {
                len = len.saturating_sub((growth - room) as usize);
                if len == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
        }
        // Short writes are legal and happen.
        if len > 4096 && disk.operations % 7 == 0 {
            len = len / 2 + 1;
        }
        write(&mut disk.inodes[self.inode], &bytes[..len], offset as usize);
        Ok(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.enter(Op::SetLen)?;
        let inode = &mut disk.inodes[self.inode];
        inode.content.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.enter(Op::Sync) {
            Ok(mut disk) => {
                // Pages that an earlier failed sync dropped are not dirty any more, and stay unwritten.
                let inode = &mut disk.inodes[self.inode];
                let len = inode.content.len();
                inode.durable.resize(len, 0);
                for sector in std::mem::take(&mut inode.dirty) {
                    let start = (sector * SECTOR).min(len);
                    let end = (start + SECTOR).min(len);
                    inode.durable[start..end].copy_from_slice(&inode.content[start..end]);
                }
                Ok(())
            }
            Err(e) => {
                let mut disk = self.disk.disk();
                if !disk.off && disk.boot == self.boot {
                    disk.inodes[self.inode].dirty.clear();
                }
                Err(e)
            }
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}

fn write(inode: &mut Inode, bytes: &[u8], offset: usize) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if inode.content.len() < end {
        inode.content.resize(end, 0);
    }
    inode.content[offset..end].copy_from_slice(bytes);
    inode.dirty.extend(offset / SECTOR..=(end - 1) / SECTOR);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::write_all_at;

    #[test]
    fn what_is_not_synced_may_be_lost_and_what_is_synced_stays() {
        let (mut lost, mut kept) = (false, false);
        for seed in 0..50 {
            let disk = CrashStorage::new();
            let dir = Path::new("/d");
            let file = disk.open(Path::new("/d/f"), Access::Create).unwrap();
            write_all_at(file.as_ref(), &[1; 1024], 0).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(dir).unwrap();
            write_all_at(file.as_ref(), &[2; 1024], 0).unwrap();
            disk.power_loss(&mut Random::new(seed));
            let content = disk.content(Path::new("/d/f"));
            for sector in content.chunks(SECTOR) {
                assert!(sector.iter().all(|b| *b == sector[0]));
                lost |= sector[0] == 1;
                kept |= sector[0] == 2;
            }
        }
        assert!(lost && kept);
    }

    #[test]
    fn a_name_is_not_durable_before_its_directory() {
        let gone = (0..50).any(|seed| {
            let disk = CrashStorage::new();
            let file = disk.open(Path::new("/d/f"), Access::Create).unwrap();
            file.sync_all().unwrap();
            disk.power_loss(&mut Random::new(seed));
            disk.paths().is_empty()
        });
        assert!(gone);
    }

    #[test]
    fn a_failed_sync_drops_the_pages_and_the_next_succeeds() {
        let disk = CrashStorage::new();
        let file = disk.open(Path::new("/d/f"), Access::Create).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        write_all_at(file.as_ref(), &[1; 512], 0).unwrap();
        disk.fail(Fault { op: Op::Sync, path: "", skip: 0, times: 1, kind: io::ErrorKind::Other });
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        disk.power_loss(&mut Random::new(1));
        assert!(disk.content(Path::new("/d/f")).iter().all(|b| *b == 0));
    }
}
