//! Compiled plugins on disk: one file a component, engine and CPU.
//!
//! Compiled code is native code, so a file is only used when its MAC shows that an agent with this cache's
//! key wrote it, for exactly the component that is asked for. A file that was changed, cut off, renamed or
//! left by another version is refused, and the component compiled again.
//!
//! ```text
//! DIR/                    mode 0700
//!   mac.key               32 random bytes, mode 0600; the compiler's process never gets it
//!   <64 hex digits>.cwasm
//!
//!  0        8                 40            72         76      80
//!  +--------+-----------------+-------------+----------+-------+-------------------+---------------+
//!  | magic  | HMAC-SHA256 of  | cache key   | json len | zero  | JSON: Description | compiled code |
//!  | 8      | all that        | 32          | u32 LE   | u32   | json len bytes    | to the end    |
//!  |        | follows: 32     |             |          |       |                   |               |
//!  +--------+-----------------+-------------+----------+-------+-------------------+---------------+
//! ```
//!
//! The cache key is the SHA-256 of the engine's fingerprint, a zero byte and the component's SHA-256; the
//! name of the file is its hexadecimal form. Files are written under a temporary name and renamed; nothing
//! is synced, because what a crash leaves half-written fails its MAC.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{description::Description, error::HostError, native::Verified, text::hex};

/// The last byte is the version of the layout.
const MAGIC: [u8; 8] = *b"WHCODE\0\x01";
const MAC: std::ops::Range<usize> = 8..40;
const KEY: std::ops::Range<usize> = 40..72;
const JSON_LENGTH: std::ops::Range<usize> = 72..76;
const HEADER: usize = 80;

const KEY_FILE: &str = "mac.key";
const SUFFIX: &str = "cwasm";
const TEMPORARY: &str = ".tmp-";
/// A temporary file of this age was left by a crash.
const STALE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    /// Of all files together, in bytes.
    limit: u64,
}

/// Which component, engine and CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheKey([u8; 32]);

impl CacheKey {
    pub(crate) fn new(component_sha256: &[u8; 32], fingerprint: &str) -> CacheKey {
        let mut hash = Sha256::new();
        hash.update(fingerprint.as_bytes());
        hash.update([0]);
        hash.update(component_sha256);
        CacheKey(hash.finalize().into())
    }
}

/// A file that is there and can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("it was cut off, or is of another kind")]
    Shape,
    #[error("its code fails authentication: it was changed, or written under another key")]
    Mac,
    #[error("its description can't be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the engine refuses it: {0}")]
    Engine(wasmtime::Error),
}

impl Cache {
    /// Opens the cache, or makes it.
    pub(crate) fn open(dir: &Path, limit: u64) -> Result<Cache, HostError> {
        let failed = |what| move |source| HostError::Cache { path: dir.to_path_buf(), what, source };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed("it can't be created"))?;
        let meta = fs::metadata(dir).map_err(failed("it can't be read"))?;
        let us = rustix::process::geteuid().as_raw();
        if meta.uid() != us {
            return Err(HostError::ForeignCache { path: dir.to_path_buf(), owner: meta.uid(), us });
        }
        if meta.permissions().mode() & 0o777 != 0o700 {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
                .map_err(failed("its mode can't be set to 0700"))?;
        }
        let key = open_key(dir).map_err(failed("its key can't be read or written"))?;
        Ok(Cache { dir: dir.to_path_buf(), key, limit })
    }

    /// The component, if it is here. The file's time is renewed, which keeps it from being dropped.
    pub(crate) fn load(
        &self,
        key: &CacheKey,
        engine: &wasmtime::Engine,
    ) -> Result<Option<(Description, wasmtime::component::Component)>, Unusable> {
        let file = match File::open(self.path(key)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let length = file.metadata()?.len();
        if length > self.limit {
            return Err(Unusable::Shape);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        (&file).take(self.limit).read_to_end(&mut bytes)?;
        let (json, code) = self.open_sealed(key, &bytes)?;
        let description = serde_json::from_slice(json)?;
        let component = Verified::vouch(code).load(engine).map_err(Unusable::Engine)?;
        // Only an order for `prune`; a file system that can't do it is no failure.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some((description, component)))
    }

    /// Keeps compiled code. Others may be doing the same: the last one stays, and all are right.
    pub(crate) fn store(&self, key: &CacheKey, description: &Description, code: &[u8]) -> io::Result<()> {
        let json = serde_json::to_vec(description)?;
        let mut head = Vec::with_capacity(HEADER + json.len());
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&[0; 32]);
        head.extend_from_slice(&key.0);
        head.extend_from_slice(&u32::try_from(json.len()).map_err(io::Error::other)?.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&json);
        let mac = self.mac(&[&head[MAC.end..], code]).finalize().into_bytes();
        head[MAC].copy_from_slice(&mac);

        if (head.len() + code.len()) as u64 > self.limit {
            return Err(io::Error::other("it is larger than the whole cache may be"));
        }
        self.prune((head.len() + code.len()) as u64)?;
        write_new(&self.dir, &self.path(key), |file| {
            file.write_all(&head)?;
            file.write_all(code)
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        self.dir.join(hex(&key.0)).with_extension(SUFFIX)
    }

    /// Checks shape, MAC and key; answers description and code.
    fn open_sealed<'a>(&self, key: &CacheKey, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Unusable> {
        if bytes.len() < HEADER || bytes[..MAC.start] != MAGIC {
            return Err(Unusable::Shape);
        }
        self.mac(&[&bytes[MAC.end..]]).verify_slice(&bytes[MAC]).map_err(|_| Unusable::Mac)?;
        // From here on the bytes are our own; a file under another's name is still not the one asked for.
        if bytes[KEY] != key.0 {
            return Err(Unusable::Mac);
        }
        let length = bytes[JSON_LENGTH].iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte));
        bytes[HEADER..].split_at_checked(length).ok_or(Unusable::Shape)
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(part);
        }
        mac
    }

    /// Makes room for so many bytes, dropping what was used longest ago, and what a crash has left.
    fn prune(&self, room: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue }; // It went away just now.
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(TEMPORARY) {
                if used.elapsed().is_ok_and(|age| age > STALE) {
                    remove(&entry.path())?;
                }
            } else if entry.path().extension().is_some_and(|it| it == SUFFIX) {
                files.push((used, meta.len(), entry.path()));
            }
        }
        files.sort();
        let mut total = files.iter().map(|(_, length, _)| length).sum::<u64>().saturating_add(room);
        for (_, length, path) in files {
            if total <= self.limit {
                break;
            }
            remove(&path)?;
            total -= length;
        }
        Ok(())
    }
}

/// The cache's key, made if there is none. A key of the wrong length is replaced: what it sealed is refused
/// and compiled again.
fn open_key(dir: &Path) -> io::Result<[u8; 32]> {
    let path = dir.join(KEY_FILE);
    for _ in 0..3 {
        match fs::read(&path) {
            Ok(bytes) => match <[u8; 32]>::try_from(bytes.as_slice()) {
                Ok(key) => return Ok(key),
                Err(_) => remove(&path)?,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        // Linked and not renamed: of two agents that start at once, both must end with the same key.
        let temporary = temporary(dir);
        let made = create(&temporary).and_then(|mut file| file.write_all(&key));
        let linked = made.and_then(|()| fs::hard_link(&temporary, &path));
        remove(&temporary)?;
        match linked {
            Ok(()) => return Ok(key),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the key file keeps changing"))
}

/// Writes a file under a temporary name, and renames it when it is whole.
fn write_new(dir: &Path, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temporary = temporary(dir);
    let written = create(&temporary).and_then(|mut file| write(&mut file));
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // What is left is dropped later by age; the first error is the one to tell.
        let _ = remove(&temporary);
    }
    renamed
}

fn temporary(dir: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    dir.join(format!("{TEMPORARY}{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed)))
}

fn create(path: &Path) -> io::Result<File> {
    remove(path)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
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
    use crate::description::Identity;

    fn description() -> Description {
        Description {
            identity: Identity { name: Some("x".into()), ..Identity::default() },
            imports: vec![],
            exports: vec![],
            config_schema: None,
            sha256: "00".into(),
            size: 1,
        }
    }

    fn key(n: u8) -> CacheKey {
        CacheKey::new(&[n; 32], "engine")
    }

    fn sealed(cache: &Cache) -> Vec<u8> {
        cache.store(&key(1), &description(), b"machine code").unwrap();
        fs::read(cache.path(&key(1))).unwrap()
    }

    #[test]
    fn the_directory_and_the_files_are_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/plugins");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let cache = Cache::open(&path, 1 << 20).unwrap();
        sealed(&cache);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let files: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), 2, "the key and one entry, nothing temporary: {files:?}");
        assert!(files.iter().all(|file| file.metadata().unwrap().mode() & 0o777 == 0o600));
    }

    #[test]
    fn what_was_sealed_opens_and_no_flipped_bit_or_cut_does() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 1 << 20).unwrap();
        let whole = sealed(&cache);
        let (json, code) = cache.open_sealed(&key(1), &whole).unwrap();
        assert_eq!(serde_json::from_slice::<Description>(json).unwrap(), description());
        assert_eq!(code, b"machine code");
        for at in 0..whole.len() {
            assert!(cache.open_sealed(&key(1), &whole[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                assert!(cache.open_sealed(&key(1), &changed).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn an_entry_does_not_pass_for_another_component_or_under_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 1 << 20).unwrap();
        let whole = sealed(&cache);
        assert!(matches!(cache.open_sealed(&key(2), &whole), Err(Unusable::Mac)));
        fs::write(dir.path().join(KEY_FILE), [7; 32]).unwrap();
        let other = Cache::open(dir.path(), 1 << 20).unwrap();
        assert!(matches!(other.open_sealed(&key(1), &whole), Err(Unusable::Mac)));
    }

    #[test]
    fn the_key_stays_and_a_damaged_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = Cache::open(dir.path(), 1 << 20).unwrap().key;
        assert_eq!(Cache::open(dir.path(), 1 << 20).unwrap().key, first);
        fs::write(dir.path().join(KEY_FILE), [7; 31]).unwrap();
        let second = Cache::open(dir.path(), 1 << 20).unwrap().key;
        assert_ne!(second, first);
        assert_eq!(Cache::open(dir.path(), 1 << 20).unwrap().key, second);
    }

    #[test]
    fn a_disk_that_is_full_half_way_leaves_nothing_that_could_be_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 1 << 20).unwrap();
        let path = cache.path(&key(1));
        let full = write_new(dir.path(), &path, |file| {
            file.write_all(b"half of it")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
        let files: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, [KEY_FILE], "neither the entry nor what was begun");
    }

    #[test]
    fn the_cache_stays_within_its_size_and_drops_what_was_used_longest_ago() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 5000).unwrap();
        for n in 0..4u8 {
            cache.store(&key(n), &description(), &[0; 1000]).unwrap();
            let age = SystemTime::now() - Duration::from_secs(60 - u64::from(n));
            File::open(cache.path(&key(n))).unwrap().set_modified(age).unwrap();
        }
        let there: Vec<bool> = (0..4).map(|n| cache.path(&key(n)).exists()).collect();
        assert_eq!(there, [false, true, true, true]);
        assert!(cache.store(&key(9), &description(), &[0; 6000]).is_err());
    }

    #[test]
    fn what_a_crash_left_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 5000).unwrap();
        let old = dir.path().join(format!("{TEMPORARY}1-1"));
        File::create(&old).unwrap().set_modified(SystemTime::now() - STALE * 2).unwrap();
        let new = dir.path().join(format!("{TEMPORARY}1-2"));
        File::create(&new).unwrap();
        sealed(&cache);
        assert!(!old.exists() && new.exists());
    }
}
