//! Where a case of `plugin test` may write: a copy of its files, made for it and gone afterwards.
//!
//! The folder beside the case stays as it is, whatever the plugin does, so that the next run finds the same. What differs
//! in the granted folders when the case has ended is written down with the rest of what it came to.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The files of a case that writes are copied; more is no case any more. Bytes.
const LARGEST: u64 = 256 << 20;
/// A file that is longer is written down by its length and its hash. Bytes.
const SHOWN: usize = 4096;

/// The copy.
pub(super) struct Scratch {
    folder: tempfile::TempDir,
    writable: Vec<PathBuf>,
    before: BTreeMap<String, Value>,
}

impl Scratch {
    /// Copies `files`, if there is such a folder, and makes the folders that may be written in.
    ///
    /// # Errors
    /// What can't be copied: a link that leads out, a pipe, more than 256 MiB.
    pub(super) fn new(files: &Path, writable: &[PathBuf]) -> anyhow::Result<Scratch> {
        let folder = tempfile::tempdir().context("a temporary folder for what the case writes")?;
        if files.is_dir() {
            let files = fs::canonicalize(files).with_context(|| files.display().to_string())?;
            let mut left = LARGEST;
            copy(&files, &files, folder.path(), &mut left)?;
        }
        let mut scratch = Scratch { folder, writable: writable.to_vec(), before: BTreeMap::new() };
        for folder in writable {
            let place = scratch.place(folder);
            fs::create_dir_all(&place).with_context(|| {
                format!(
                    "{} can't be made among the case's files: is there a file of that name?",
                    folder.display()
                )
            })?;
        }
        scratch.before = scratch.look()?;
        Ok(scratch)
    }

    /// What stands in for the root of the files.
    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// What differs now, by the paths that the plugin knows: a text, `base64:` and bytes, or length and hash; null where
    /// it is gone. Empty folders are not told.
    pub(super) fn changes(&self) -> anyhow::Result<Map<String, Value>> {
        let now = self.look()?;
        let gone = self.before.keys().filter(|path| !now.contains_key(*path));
        let mut changes: Map<String, Value> = gone.map(|path| (path.clone(), Value::Null)).collect();
        changes.extend(now.into_iter().filter(|(path, content)| self.before.get(path) != Some(content)));
        Ok(changes)
    }

    fn place(&self, folder: &Path) -> PathBuf {
        self.root().join(folder.strip_prefix("/").unwrap_or(folder))
    }

    fn look(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut found = BTreeMap::new();
        for folder in &self.writable {
            self.look_in(&self.place(folder), &mut found)?;
        }
        Ok(found)
    }

    fn look_in(&self, folder: &Path, found: &mut BTreeMap<String, Value>) -> anyhow::Result<()> {
        for path in entries(folder)? {
            let named = Path::new("/").join(path.strip_prefix(self.root())?).display().to_string();
            let kind = fs::symlink_metadata(&path).with_context(|| named.clone())?;
            if kind.is_dir() {
                self.look_in(&path, found)?;
            } else if kind.is_symlink() {
                found.insert(named, json!({ "link": fs::read_link(&path)?.to_string_lossy() }));
            } else if kind.is_file() {
                let bytes = fs::read(&path).with_context(|| named.clone())?;
                found.insert(named, shown(bytes));
            }
        }
        Ok(())
    }
}

fn shown(bytes: Vec<u8>) -> Value {
    if bytes.len() > SHOWN {
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        return json!({ "bytes": bytes.len(), "sha256": hash });
    }
    match String::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(error) => json!(format!("base64:{}", BASE64.encode(error.as_bytes()))),
    }
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let at = || folder.display().to_string();
    let entries = fs::read_dir(folder).with_context(at)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .with_context(at)?;
    paths.sort();
    Ok(paths)
}

/// Copies what is in `from`, which is `root` or below it.
fn copy(root: &Path, from: &Path, to: &Path, left: &mut u64) -> anyhow::Result<()> {
    for path in entries(from)? {
        let Some(name) = path.file_name() else { continue };
        let at = || path.display().to_string();
        let kind = fs::symlink_metadata(&path).with_context(at)?;
        let to = to.join(name);
        if kind.is_dir() {
            fs::create_dir(&to).with_context(at)?;
            copy(root, &path, &to, left)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).with_context(at)?;
            let leads_out = fs::canonicalize(&path).map_or(true, |real| !real.starts_with(root));
            if target.is_absolute() || leads_out {
                bail!("{}: a link out of the folder; a case that may write in it could follow it", at());
            }
            symlink(target, &to).with_context(at)?;
        } else if kind.is_file() {
            *left = left.checked_sub(kind.len()).with_context(|| {
                format!(
                    "{}: more than {} MiB of files, and a case that writes has a copy",
                    at(),
                    LARGEST >> 20
                )
            })?;
            fs::copy(&path, &to).with_context(at)?;
        } else {
            bail!("{}: neither a file nor a folder, so that it can't be copied for a case that writes", at());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_told_and_the_files_beside_the_case_stay() {
        let files = tempfile::tempdir().unwrap();
        let own = files.path().join("var/spool");
        fs::create_dir_all(own.join("done")).unwrap();
        for (name, text) in [("a", "one"), ("b", "two"), ("done/c", "three")] {
            fs::write(own.join(name), text).unwrap();
        }
        symlink("a", own.join("first")).unwrap();
        let writable = [PathBuf::from("/var/spool"), PathBuf::from("/var/lib/new")];
        let scratch = Scratch::new(files.path(), &writable).unwrap();
        assert!(scratch.changes().unwrap().is_empty());

        let copy = scratch.root().join("var/spool");
        assert_eq!(fs::read_to_string(copy.join("first")).unwrap(), "one");
        fs::write(copy.join("a"), "changed").unwrap();
        fs::remove_file(copy.join("b")).unwrap();
        fs::write(copy.join("done/d"), [0xff, 0]).unwrap();
        fs::write(scratch.root().join("var/lib/new/long"), vec![b'x'; SHOWN + 1]).unwrap();
        fs::write(scratch.root().join("elsewhere"), "not granted").unwrap();
        let changes = Value::Object(scratch.changes().unwrap());
        assert_eq!(changes["/var/lib/new/long"]["bytes"], SHOWN + 1);
        assert_eq!(changes["/var/spool/done/d"], "base64:/wA=");
        assert_eq!((&changes["/var/spool/a"], &changes["/var/spool/b"]), (&json!("changed"), &Value::Null));
        assert_eq!(changes.as_object().unwrap().len(), 4, "{changes}");
        assert_eq!(fs::read_to_string(own.join("a")).unwrap(), "one");
        assert!(own.join("b").exists());
    }

    #[test]
    fn nothing_beside_the_case_is_followed_out_of_its_folder() {
        let files = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        for target in [outside.path(), Path::new("../.."), Path::new("gone")] {
            symlink(target, files.path().join("var")).unwrap();
            let error = Scratch::new(files.path(), &["/var/x".into()]).err().unwrap();
            assert!(error.to_string().contains("a link out of the folder"), "{error}");
            fs::remove_file(files.path().join("var")).unwrap();
        }
        fs::write(files.path().join("var"), "a file").unwrap();
        let error = Scratch::new(files.path(), &["/var".into()]).err().unwrap();
        assert!(error.to_string().contains("/var can't be made"), "{error}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_files_there_are_the_granted_folders() {
        let scratch = Scratch::new(Path::new("/nowhere"), &["/var/lib/x".into()]).unwrap();
        assert!(scratch.root().join("var/lib/x").is_dir());
    }
}
