//! The trait, and what can be said over any implementation of it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A source of random bytes.
type Draw = dyn Fn(&mut [u8]) -> io::Result<()> + Send + Sync;

/// What a WAL needs from its surroundings; tests put their own in.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) storage: Arc<dyn Storage>,
    /// Nanoseconds since the epoch; information only, never order.
    pub(crate) wall_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Fills with random bytes.
    pub(crate) random: Arc<Draw>,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Must not exist.
    Create,
}

/// A directory's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) is_file: bool,
}

/// A file system.
pub(crate) trait Storage: Send + Sync {
    /// Makes the directory and its parents; theirs to read only for this user. No error where it is already.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Entries in no order; those that vanish meanwhile are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StoredFile>>;
    /// Replaces what is at `to`. Durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Durable after `sync_dir`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock on this file, making it if need be; `None` when another holds it. Held until dropped.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// An open file.
pub(crate) trait StoredFile: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    /// May read less than asked; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// May write less than asked.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Content, and what is needed to read it back (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Content and all metadata (`fsync`).
    fn sync_all(&self) -> io::Result<()>;
}

/// Writes all of it.
pub(crate) fn write_all_at(file: &dyn StoredFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends, and says how much that was.
pub(crate) fn read_full_at(file: &dyn StoredFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// As `read_full_at`, but sectors that the device can't read become zeros, so that damage costs only the records that
/// touch it: their CRCs are wrong then.
pub(crate) fn read_around_damage(file: &dyn StoredFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    const SECTOR: usize = 512;
    match read_full_at(file, buffer, offset) {
        Err(e) if is_damage(&e) => {}
        result => return result,
    }
    let len = (file.len()?.saturating_sub(offset)).min(buffer.len() as u64) as usize;
    // The device's own sectors: a piece that reached over two would lose the good one with the broken one.
    let first = (SECTOR - (offset % SECTOR as u64) as usize).min(len);
    let (head, rest) = buffer[..len].split_at_mut(first);
    let mut at = offset;
    for sector in std::iter::once(head).chain(rest.chunks_mut(SECTOR)) {
        match read_full_at(file, sector, at) {
            Err(e) if is_damage(&e) => sector.fill(0),
            result => drop(result?),
        }
        at += sector.len() as u64;
    }
    Ok(len)
}

/// Whether the device can't read what is there: reading again will not help.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    /// `EIO`, the same on every Unix.
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}

/// Writes zeros to `from..to`.
pub(crate) fn write_zeros(file: &dyn StoredFile, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = from;
    while at < to {
        let len = (to - at).min(ZEROS.len() as u64);
        write_all_at(file, &ZEROS[..len as usize], at)?;
        at += len;
    }
    Ok(())
}

/// Whether the operating system refuses for want of room or of the right to write: the road of a full WAL.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::crash::CrashStorage;

    /// Found by fuzzing: read from elsewhere, good bytes before and behind the sector were lost with it.
    #[test]
    fn a_broken_sector_costs_the_same_bytes_wherever_a_read_begins() {
        let disk = CrashStorage::new();
        let path = Path::new("/file");
        disk.put(path, vec![7; 2000]);
        disk.break_sector(path, 600);
        let file = disk.open(path, Access::Read).unwrap();
        for offset in 0..2000 {
            let mut read = [1; 1500];
            let len = read_around_damage(file.as_ref(), &mut read, offset).unwrap();
            assert_eq!(len, 1500.min(2000 - offset as usize));
            for (at, byte) in (offset..).zip(&read[..len]) {
                let good = !(512..1024).contains(&at);
                assert_eq!(*byte, if good { 7 } else { 0 }, "byte {at} read from {offset}");
            }
        }
    }
}
