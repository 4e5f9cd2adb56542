//! The files of a test's host: in memory, as a system keeps them. A name leads to a file; a file lives as long as a
//! name or somebody who has it open; the identity of one that is gone is used again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::files::{Entry, Error, Identity, Kind, Metadata, join, split};

/// Folders with files, shared by all clones. Its calls are those of the program that a test plays: nothing it does is
/// refused, and paths are absolute.
#[derive(Clone, Debug, Default)]
pub struct Files(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    granted: Vec<String>,
    names: BTreeMap<String, Open>,
    /// All that were made; those that live have a number that no other gets.
    made: Vec<Weak<Mutex<Content>>>,
    /// Which disk it is: its numbers begin above those of the one before.
    disk: u64,
    refused: BTreeMap<String, Error>,
    clock_ns: u64,
}

/// A file that is open.
#[derive(Clone, Debug)]
pub(crate) struct Open(Arc<Mutex<Content>>);

#[derive(Debug)]
struct Content {
    number: u64,
    bytes: Vec<u8>,
    modified_ns: u64,
}

/// Nothing that is done under these locks can leave half of it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    /// No files, in one granted folder.
    #[must_use]
    pub fn granting(folder: &str) -> Self {
        let files = Self::default();
        lock(&files.0).granted.push(folder.to_owned());
        files
    }

    /// Makes or replaces the content of a file; who has it open sees that.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        self.change(path, |bytes| *bytes = content.as_ref().to_vec());
    }

    /// Appends to a file, and makes it if it is not there.
    pub fn append(&self, path: &str, content: impl AsRef<[u8]>) {
        self.change(path, |bytes| bytes.extend_from_slice(content.as_ref()));
    }

    /// Cuts a file to a length.
    pub fn truncate(&self, path: &str, len: usize) {
        self.change(path, |bytes| bytes.truncate(len));
    }

    /// What is in a file; `None` if it is not there.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        lock(&self.0).names.get(path).map(|file| lock(&file.0).bytes.clone())
    }

    /// Gives a file another name; what had it is gone.
    pub fn rename(&self, from: &str, to: &str) {
        let mut disk = lock(&self.0);
        if let Some(file) = disk.names.remove(from) {
            disk.names.insert(to.to_owned(), file);
        }
    }

    /// Gives a file a name more.
    pub fn link(&self, from: &str, to: &str) {
        let mut disk = lock(&self.0);
        if let Some(file) = disk.names.get(from).cloned() {
            disk.names.insert(to.to_owned(), file);
        }
    }

    /// Takes a name away.
    pub fn remove(&self, path: &str) {
        lock(&self.0).names.remove(path);
    }

    /// A plugin that uses this path is given this error; `None`: no more.
    pub fn refuse(&self, path: &str, error: Option<Error>) {
        let mut disk = lock(&self.0);
        match error {
            Some(error) => disk.refused.insert(path.to_owned(), error),
            None => disk.refused.remove(path),
        };
    }

    /// All files get other identities, as after a move to another disk. Who has one open keeps the old file.
    pub fn renumber(&self) {
        let mut disk = lock(&self.0);
        disk.disk += 1;
        let Disk { names, made, disk, .. } = &mut *disk;
        for file in names.values_mut() {
            let (bytes, modified_ns) = {
                let content = lock(&file.0);
                (content.bytes.clone(), content.modified_ns)
            };
            // Before the old one is given up: its number is still used, and this is another.
            *file = Open::make(made, *disk, bytes, modified_ns);
        }
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = lock(&self.0);
        disk.clock_ns += 1;
        let now = disk.clock_ns;
        let Disk { names, made, disk, .. } = &mut *disk;
        let file = names.entry(path.to_owned()).or_insert_with(|| Open::make(made, *disk, Vec::new(), now));
        let mut content = lock(&file.0);
        change(&mut content.bytes);
        content.modified_ns = now;
    }

    pub(crate) fn open(&self, path: &str) -> Result<Open, Error> {
        lock(&self.0).look(path).cloned()
    }

    pub(crate) fn metadata(&self, path: &str) -> Result<Metadata, Error> {
        lock(&self.0).look(path).map(Open::metadata)
    }

    pub(crate) fn list(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        let disk = lock(&self.0);
        disk.check(folder)?;
        let mut entries = BTreeSet::new();
        for path in disk.names.keys() {
            let (parent, name) = split(path);
            if parent == folder {
                entries.insert(Entry { name: name.to_owned(), kind: Kind::File });
            } else if let Some(below) = path.strip_prefix(&join(folder, ""))
                && let Some((name, _)) = below.split_once('/')
            {
                entries.insert(Entry { name: name.to_owned(), kind: Kind::Folder });
            }
        }
        if entries.is_empty() && !disk.granted.iter().any(|granted| granted == folder) {
            return Err(Error::NotFound(folder.to_owned()));
        }
        Ok(entries.into_iter().collect())
    }
}

impl Disk {
    fn check(&self, path: &str) -> Result<(), Error> {
        let within = |folder: &String| path == folder || path.starts_with(&join(folder, ""));
        if !self.granted.iter().any(within) {
            return Err(Error::NotGranted(path.to_owned()));
        }
        self.refused.get(path).cloned().map_or(Ok(()), Err)
    }

    fn look(&self, path: &str) -> Result<&Open, Error> {
        self.check(path)?;
        self.names.get(path).ok_or_else(|| Error::NotFound(path.to_owned()))
    }
}

impl Open {
    /// A new file, under the lowest number that no living one has.
    fn make(made: &mut Vec<Weak<Mutex<Content>>>, disk: u64, bytes: Vec<u8>, modified_ns: u64) -> Self {
        let mut used = BTreeSet::new();
        made.retain(|file| file.upgrade().is_some_and(|file| used.insert(lock(&file).number)));
        let number = ((disk << 32) + 1..).find(|number| !used.contains(number)).unwrap_or(u64::MAX);
        let file = Arc::new(Mutex::new(Content { number, bytes, modified_ns }));
        made.push(Arc::downgrade(&file));
        Self(file)
    }

    pub(crate) fn read_at(&self, offset: u64, len: usize) -> Vec<u8> {
        let content = lock(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.bytes.len());
        content.bytes[from..content.bytes.len().min(from.saturating_add(len))].to_vec()
    }

    pub(crate) fn metadata(&self) -> Metadata {
        let content = lock(&self.0);
        Metadata {
            kind: Kind::File,
            size: content.bytes.len() as u64,
            modified_ns: content.modified_ns,
            identity: Identity([content.number, !content.number]),
        }
    }
}
