//! What came from registries, on disk, by the SHA-256 of its content.
//!
//! ```text
//! DIR/                          mode 0700
//!   blobs/<64 hex digits>       a manifest or a plugin: the name is its SHA-256
//!   refs/<64 hex digits>        text, "sha256:<manifest>\n<reference>\n": what a reference named last;
//!                               the name is the SHA-256 of the reference
//! ```
//!
//! Every read is hashed again: a file that was changed or cut off is dropped and counts as not there. Files are
//! written under a temporary name, synced and renamed, so that a full disk or a crash leaves nothing that looks whole;
//! and if it did, its hash would not fit. Beyond the limit what was used longest ago goes, but never what is in use.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use whimbrel_plugin_host::registry::{
    Digest, Manifest, Reference,
    fetch::{Fetched, MAX_MANIFEST},
};

/// A reference and a digest.
const MAX_RECORD: u64 = 4 << 10;
const TEMPORARY: &str = ".tmp-";
/// A temporary file of this age was left by a crash.
const STALE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// Of all blobs together, bytes.
    limit: u64,
}

/// A plugin in the store, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Of the manifest.
    pub(super) digest: Digest,
    pub(super) manifest: Manifest,
    pub(super) bytes: Vec<u8>,
}

impl Store {
    /// One in this folder, which is made when something is kept.
    pub(super) fn new(dir: PathBuf, limit: u64) -> Store {
        Store { dir, limit }
    }

    /// What the reference names, as far as it is here: by its digest, or as its tag was last seen.
    ///
    /// # Errors
    /// The disk's. What is not there, or not whole, is `None`.
    pub(super) fn find(&self, reference: &Reference, largest: u64) -> io::Result<Option<Kept>> {
        let Some(digest) = (match reference.digest {
            Some(digest) => Some(digest),
            None => self.recorded(reference)?,
        }) else {
            return Ok(None);
        };
        let Some(bytes) = self.blob(digest, MAX_MANIFEST as u64)? else { return Ok(None) };
        // It hashes to what it is called, so it was read once before; another version may read it otherwise.
        let Ok(manifest) = Manifest::read(&bytes) else { return Ok(None) };
        let plugin = self.blob(manifest.digest, largest)?;
        Ok(plugin.map(|bytes| Kept { digest, manifest, bytes }))
    }

    /// Keeps what came, and what the reference names from now on. `in_use` are manifests that stay.
    ///
    /// # Errors
    /// The disk's; then the reference names what it named before.
    pub(super) fn keep(&self, reference: &Reference, fetched: &Fetched, in_use: &[Digest]) -> io::Result<()> {
        for folder in ["blobs", "refs"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.dir.join(folder))?;
        }
        if let Some(plugin) = &fetched.plugin {
            let digest = Digest::of(plugin);
            let room = (plugin.len() + fetched.manifest.len()) as u64;
            let mut staying: HashSet<Digest> = HashSet::from([fetched.digest, digest]);
            for manifest in in_use {
                staying.insert(*manifest);
                let bytes = self.blob(*manifest, MAX_MANIFEST as u64)?;
                staying.extend(bytes.and_then(|bytes| Some(Manifest::read(&bytes).ok()?.digest)));
            }
            self.prune(room, &staying)?;
            self.write(&self.blob_path(digest), plugin)?;
        }
        self.write(&self.blob_path(fetched.digest), &fetched.manifest)?;
        if reference.digest.is_none() {
            let record = format!("{}\n{reference}\n", fetched.digest);
            self.write(&self.record_path(reference), record.as_bytes())?;
        }
        Ok(())
    }

    /// The manifest that the reference's tag named last.
    fn recorded(&self, reference: &Reference) -> io::Result<Option<Digest>> {
        let Some(bytes) = read(&self.record_path(reference), MAX_RECORD)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let digest = lines.next().and_then(|line| line.parse().ok());
        Ok(digest.filter(|_| lines.next() == Some(reference.to_string().as_str())))
    }

    /// The content of that hash. What does not hash to its name is removed.
    fn blob(&self, digest: Digest, largest: u64) -> io::Result<Option<Vec<u8>>> {
        let path = self.blob_path(digest);
        let Some(bytes) = read(&path, largest)? else { return Ok(None) };
        let found = Digest::of(&bytes);
        if found != digest {
            tracing::warn!(
                file = %path.display(), %found,
                "a plugin in the store was changed or cut off: it is dropped, and fetched again"
            );
            remove(&path)?;
            return Ok(None);
        }
        if let Ok(file) = File::open(&path) {
            // Only an order for `prune`; a file system that can't do it is no failure.
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Some(bytes))
    }

    /// Makes room for so many bytes.
    fn prune(&self, room: u64, staying: &HashSet<Digest>) -> io::Result<()> {
        let staying: HashSet<String> = staying.iter().map(|digest| digest.to_hex()).collect();
        let mut files = Vec::new();
        // With everything, and with what has to stay.
        let (mut total, mut least) = (room, room);
        for entry in fs::read_dir(self.dir.join("blobs"))? {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue }; // It went away just now.
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(TEMPORARY) {
                if used.elapsed().is_ok_and(|age| age > STALE) {
                    remove(&entry.path())?;
                }
                continue;
            }
            total = total.saturating_add(meta.len());
            if staying.contains(&name) {
                least = least.saturating_add(meta.len());
            } else {
                files.push((used, meta.len(), entry.path()));
            }
        }
        if least > self.limit {
            let limit = self.limit;
            return Err(io::Error::other(format!(
                "plugins.store.max_size ({limit} bytes) is less than what is in use"
            )));
        }
        files.sort();
        for (_, length, path) in files {
            if total <= self.limit {
                break;
            }
            remove(&path)?;
            total -= length;
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = path.parent().unwrap_or(&self.dir);
        let name = format!("{TEMPORARY}{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let temporary = folder.join(name);
        remove(&temporary)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        let renamed = written.and_then(|()| fs::rename(&temporary, path));
        if renamed.is_err() {
            // What is left is dropped later by age; the first error is the one to tell.
            let _ = remove(&temporary);
        }
        renamed
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.to_hex())
    }

    fn record_path(&self, reference: &Reference) -> PathBuf {
        self.dir.join("refs").join(Digest::of(reference.to_string().as_bytes()).to_hex())
    }
}

/// A file that has at most so many bytes; a larger one is as good as none.
fn read(path: &Path, largest: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(largest.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= largest).then_some(bytes))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u64 = 1 << 20;

    fn fetched(plugin: &[u8]) -> Fetched {
        let manifest = format!(
            r#"{{"layers":[{{"mediaType":"application/wasm","digest":"{}","size":{}}}]}}"#,
            Digest::of(plugin),
            plugin.len()
        )
        .into_bytes();
        Fetched { digest: Digest::of(&manifest), manifest, plugin: Some(plugin.to_vec()) }
    }

    fn tagged(tag: &str) -> Reference {
        Reference::parse(&format!("oci://127.0.0.1:5000/x:{tag}")).unwrap()
    }

    fn pinned(digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..tagged("x") }
    }

    fn bytes(store: &Store, reference: &Reference) -> Option<Vec<u8>> {
        store.find(reference, LARGEST).unwrap().map(|kept| kept.bytes)
    }

    #[test]
    fn what_is_kept_is_found_by_tag_and_by_digest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("a/store"), LARGEST);
        assert_eq!(bytes(&store, &tagged("1")), None);
        let (one, two) = (fetched(b"one"), fetched(b"two"));
        store.keep(&tagged("1"), &one, &[]).unwrap();
        assert_eq!(bytes(&store, &tagged("1")).unwrap(), b"one");
        assert_eq!(bytes(&store, &tagged("2")), None, "another tag");
        store.keep(&tagged("1"), &two, &[]).unwrap();
        assert_eq!(bytes(&store, &tagged("1")).unwrap(), b"two", "the tag has moved");
        assert_eq!(bytes(&store, &pinned(one.digest)).unwrap(), b"one");
    }

    #[test]
    fn a_file_that_was_changed_or_cut_off_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned(), LARGEST);
        let one = fetched(b"one");
        for broken in [store.blob_path(Digest::of(b"one")), store.blob_path(one.digest)] {
            for content in [&b"onf"[..], b"on", b"", b"onee"] {
                store.keep(&tagged("1"), &one, &[]).unwrap();
                assert!(bytes(&store, &tagged("1")).is_some());
                fs::write(&broken, content).unwrap();
                assert_eq!(bytes(&store, &tagged("1")), None);
                assert!(!broken.exists(), "and is dropped");
            }
        }
    }

    #[test]
    fn a_record_of_another_reference_or_of_nothing_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned(), LARGEST);
        store.keep(&tagged("1"), &fetched(b"one"), &[]).unwrap();
        let record = store.record_path(&tagged("1"));
        fs::copy(&record, store.record_path(&tagged("2"))).unwrap();
        assert_eq!(bytes(&store, &tagged("2")), None);
        for content in ["", "sha256:1\n", "junk"] {
            fs::write(&record, content).unwrap();
            assert_eq!(bytes(&store, &tagged("1")), None, "{content}");
        }
    }

    #[test]
    fn it_stays_within_its_size_and_keeps_what_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let size = 1000;
        let store = Store::new(dir.path().to_owned(), 3 * size as u64 + 1000);
        let all: Vec<Fetched> = (0..4u8).map(|n| fetched(&vec![n; size])).collect();
        for (n, one) in all[..3].iter().enumerate() {
            store.keep(&pinned(one.digest), one, &[]).unwrap();
            for blob in [one.digest, Digest::of(one.plugin.as_ref().unwrap())] {
                let age = SystemTime::now() - Duration::from_secs(60 - n as u64);
                File::open(store.blob_path(blob)).unwrap().set_modified(age).unwrap();
            }
        }
        store.keep(&pinned(all[3].digest), &all[3], &[all[0].digest]).unwrap();
        let there: Vec<bool> = all.iter().map(|one| bytes(&store, &pinned(one.digest)).is_some()).collect();
        assert_eq!(there, [true, false, true, true], "the oldest that is not in use went");
        let small = Store::new(dir.path().to_owned(), 100);
        assert!(small.keep(&pinned(all[1].digest), &all[1], &[]).is_err());
        assert!(bytes(&store, &pinned(all[3].digest)).is_some(), "what does not fit drives nothing out");
    }

    #[test]
    fn a_disk_that_takes_nothing_leaves_what_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned(), LARGEST);
        store.keep(&tagged("1"), &fetched(b"one"), &[]).unwrap();
        // A folder in the place of the record: nothing can be renamed onto it.
        let record = store.record_path(&tagged("2"));
        fs::create_dir(&record).unwrap();
        assert!(store.keep(&tagged("2"), &fetched(b"two"), &[]).is_err());
        assert_eq!(bytes(&store, &tagged("1")).unwrap(), b"one");
        let left = fs::read_dir(dir.path().join("refs")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.filter(|name| name.to_string_lossy().starts_with(TEMPORARY)).count(), 0);
    }
}
