//! A key file that is replaced, and the keys it held before, in the folder `PATH.old` beside it.
//!
//! Order of a replacement: the old key is copied to `PATH.old/ID` and synced; a new one is made in that folder and
//! synced; then it is renamed to `PATH`. A crash at any moment leaves a key file, and beside it every key that sealed
//! anything. New files have the owner and the mode of the key file, so that the agent can read what root has made.

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use whimbrel_wal::Key;

use super::{Held, KeysError};
use crate::config::KeyPlace;

/// The new key until it is in its place.
const NEXT: &str = "next";
/// End of the names of files that are being made.
const UNFINISHED: &str = ".new";

/// A key file that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Id of the key before.
    pub before: u32,
    /// Id of the key now.
    pub after: u32,
    /// Where the one before is kept.
    pub kept: PathBuf,
}

/// Where an old key of a key file is kept.
pub fn old_file(path: &Path, id: u32) -> PathBuf {
    folder(path).join(format!("{id:08x}"))
}

fn folder(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

/// The keys that a key file held before, by id.
pub(super) fn older(path: &Path) -> Result<Vec<Held>, KeysError> {
    let folder = folder(path);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(KeysError::io("reading", &folder))?,
    };
    let mut held = Vec::new();
    for entry in entries {
        let entry = entry.map_err(KeysError::io("reading", &folder))?;
        // Anything else is none of ours, or unfinished.
        let Some(id) = entry.file_name().to_str().and_then(id_of) else { continue };
        let file = entry.path();
        let key = Key::read_file(&file)?;
        if key.id() != id {
            return Err(KeysError::Misnamed { path: file.display().to_string(), found: key.id() });
        }
        held.push(Held { key, place: KeyPlace::File(file) });
    }
    held.sort_unstable_by_key(|held| held.key.id());
    Ok(held)
}

fn id_of(name: &str) -> Option<u32> {
    let id = u32::from_str_radix(name, 16).ok()?;
    (format!("{id:08x}") == name).then_some(id)
}

/// Makes a new key in the place of the one in this file, which is kept beside it.
///
/// # Errors
/// [`KeysError`]: the file holds the key that it held before, unless the last step, the sync of its folder, failed.
pub fn replace(path: &Path) -> Result<Replaced, KeysError> {
    let meta = fs::symlink_metadata(path).map_err(KeysError::io("reading", path))?;
    if meta.is_symlink() {
        return Err(KeysError::Link { path: path.display().to_string() });
    }
    let before = Key::read_file(path)?;
    let folder = folder(path);
    make_folder(&folder, &meta)?;
    let _locked = lock(&folder)?;
    let kept = old_file(path, before.id());
    if !kept.exists() {
        before.write_file(&kept)?;
    }
    belong(&kept, &meta)?;
    let next = folder.join(NEXT);
    let after = Key::create_file(&next)?;
    belong(&next, &meta)?;
    sync(&folder)?;
    fs::rename(&next, path).map_err(KeysError::io("replacing", path))?;
    sync(parent(path))?;
    Ok(Replaced { before: before.id(), after: after.id(), kept })
}

/// Deletes an old key of this key file. Whether it is needed is for the caller to know. Returns where it was.
///
/// # Errors
/// [`KeysError`]; one that is not there is an error too.
pub fn retire(path: &Path, id: u32) -> Result<PathBuf, KeysError> {
    let file = old_file(path, id);
    let folder = folder(path);
    let _locked = lock(&folder)?;
    fs::remove_file(&file).map_err(KeysError::io("removing", &file))?;
    sync(&folder)?;
    Ok(file)
}

fn make_folder(folder: &Path, of: &Metadata) -> Result<(), KeysError> {
    let failed = || KeysError::io("making the folder", folder);
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made.map_err(failed())?,
    }
    // Whoever reads the key file must get to those beside it.
    let group = if of.mode() & 0o040 == 0 { 0 } else { 0o050 };
    own(folder, of, 0o700 | group).map_err(failed())?;
    sync(parent(folder))
}

/// One command at a time; what an earlier one left unfinished is removed. Held until dropped.
fn lock(folder: &Path) -> Result<File, KeysError> {
    let file = File::open(folder).map_err(KeysError::io("opening", folder))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(KeysError::Busy { path: folder.display().to_string() });
        }
        Err(TryLockError::Error(cause)) => return Err(KeysError::io("locking", folder)(cause)),
    }
    for entry in fs::read_dir(folder).map_err(KeysError::io("reading", folder))?.flatten() {
        let unfinished =
            entry.file_name().to_str().is_some_and(|name| name == NEXT || name.ends_with(UNFINISHED));
        if unfinished {
            let path = entry.path();
            fs::remove_file(&path).map_err(KeysError::io("removing", &path))?;
        }
    }
    Ok(file)
}

/// Gives a file the owner and the mode of the key file, durably.
fn belong(file: &Path, of: &Metadata) -> Result<(), KeysError> {
    own(file, of, of.mode() & 0o777)
        .and_then(|()| File::open(file)?.sync_all())
        .map_err(KeysError::io("giving its owner to", file))
}

fn own(path: &Path, of: &Metadata, mode: u32) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    if (meta.uid(), meta.gid()) != (of.uid(), of.gid()) {
        chown(path, Some(of.uid()), Some(of.gid()))?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn sync(folder: &Path) -> Result<(), KeysError> {
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(KeysError::io("syncing", folder))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(path: &Path) -> Vec<u32> {
        let mut ids = vec![Key::read_file(path).unwrap().id()];
        ids.extend(older(path).unwrap().iter().map(|held| held.key.id()));
        ids
    }

    #[test]
    fn a_key_file_that_is_replaced_keeps_the_one_before_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wal.key");
        let first = Key::create_file(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        let replaced = replace(&path).unwrap();
        assert_eq!(replaced.before, first.id());
        assert_eq!(replaced.kept, home.path().join(format!("wal.key.old/{:08x}", first.id())));
        assert_eq!(ids(&path), [replaced.after, replaced.before]);
        for file in [&path, &replaced.kept] {
            assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o400, "{}", file.display());
        }
        assert_eq!(fs::metadata(folder(&path)).unwrap().mode() & 0o777, 0o700);
        let again = replace(&path).unwrap();
        assert_eq!((again.before, ids(&path).len()), (replaced.after, 3));
        assert_eq!(retire(&path, first.id()).unwrap(), replaced.kept);
        assert_eq!(ids(&path), [again.after, again.before]);
        assert!(retire(&path, first.id()).unwrap_err().to_string().contains("removing"));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing else stays");
    }

    #[test]
    fn a_group_that_may_read_the_key_may_read_those_before() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wal.key");
        Key::create_file(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
        let kept = replace(&path).unwrap().kept;
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(&kept), mode(&folder(&path))), (0o440, 0o440, 0o750));
    }

    /// As when root rotates the keys of an agent that runs as another user.
    #[test]
    fn new_files_belong_to_the_owner_of_the_key_file() {
        const OTHER: u32 = 65534;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wal.key");
        Key::create_file(&path).unwrap();
        // Only root may give files away; anybody else's are his own, and so are the new ones.
        let given = chown(&path, Some(OTHER), Some(OTHER)).is_ok();
        let kept = replace(&path).unwrap().kept;
        let own = fs::metadata(home.path()).unwrap();
        let expected = if given { (OTHER, OTHER) } else { (own.uid(), own.gid()) };
        for file in [&path, &kept, &folder(&path)] {
            let meta = fs::metadata(file).unwrap();
            assert_eq!((meta.uid(), meta.gid()), expected, "{}", file.display());
        }
    }

    /// Each state that a crash can leave: the ring opens everything, and the next rotation comes through.
    #[test]
    fn what_a_crash_leaves_unfinished_is_cleared_away() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wal.key");
        let first = Key::create_file(&path).unwrap();
        let folder = folder(&path);
        fs::create_dir(&folder).unwrap();
        let unfinished = folder.join(format!("{:08x}.77.new", first.id()));
        fs::write(&unfinished, "").unwrap();
        assert_eq!(ids(&path), [first.id()], "cut off while the old key was copied");
        first.write_file(&old_file(&path, first.id())).unwrap();
        assert_eq!(ids(&path), [first.id(), first.id()], "cut off before the new key was made");
        Key::create_file(&folder.join(NEXT)).unwrap();
        assert_eq!(ids(&path), [first.id(), first.id()], "cut off before it was put in its place");
        let replaced = replace(&path).unwrap();
        assert_eq!(ids(&path), [replaced.after, first.id()]);
        assert!(!unfinished.exists() && !folder.join(NEXT).exists());
    }

    #[test]
    fn a_file_that_is_not_the_key_it_is_named_after_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wal.key");
        let key = Key::create_file(&path).unwrap();
        let kept = replace(&path).unwrap().kept;
        let wrong = old_file(&path, key.id() ^ 1);
        fs::rename(&kept, &wrong).unwrap();
        let error = older(&path).unwrap_err().to_string();
        assert!(error.contains(&wrong.display().to_string()), "{error}");
        fs::rename(&wrong, folder(&path).join("README")).unwrap();
        assert!(older(&path).unwrap().is_empty(), "what is no key's name is left alone");
    }

    #[test]
    fn two_commands_do_not_replace_at_once_and_a_link_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wal.key");
        Key::create_file(&path).unwrap();
        replace(&path).unwrap();
        let locked = lock(&folder(&path)).unwrap();
        assert!(matches!(replace(&path), Err(KeysError::Busy { .. })));
        drop(locked);
        let link = home.path().join("link.key");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(replace(&link), Err(KeysError::Link { .. })));
        assert!(!folder(&link).exists());
    }
}
