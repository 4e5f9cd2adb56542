//! Asks for a reload when a file of the configuration, of a component or of its signatures, or of a program, is another
//! one than before.
//!
//! Folders are watched, not files: editors and package managers put a new file in the place of the old, and Kubernetes
//! swaps a symbolic link beside it. What the kernel tells is only a reason to look; what counts is whether one of the
//! files, or the list of those that belong to the configuration, differs from what was read last. Events come in heaps,
//! so it looks when a fifth of a second has passed without one, and after two seconds at the latest.
//!
//! Deliberately absent: files that `${file:...}` puts in, and keys; a secret that is rotated takes a reload. Tags in
//! registries: they are asked for at each reload, whatever it was for, and never in between.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{sync::Notify, task::JoinHandle, time::Instant};

use super::Handle;
use crate::config::{Loaded, PluginRef, signature_file};

/// So long without an event, and it looks.
const QUIET: Duration = Duration::from_millis(200);
/// It looks after so long, whatever goes on.
const LONGEST: Duration = Duration::from_secs(2);

/// The watch, on or off.
pub(super) struct Watch {
    reload: Handle,
    running: Option<Running>,
}

struct Running {
    /// What belongs to the configuration now.
    followed: Arc<Mutex<Followed>>,
    told: Arc<Notify>,
    watched: Vec<PathBuf>,
    watcher: RecommendedWatcher,
    looking: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Watch {
    /// Off.
    pub(super) fn new(reload: Handle) -> Self {
        Self { reload, running: None }
    }

    /// Asks for a reload.
    pub(super) fn ask(&self) {
        self.reload.request();
    }

    /// What is read from here on is what the files are now: what differs later is a change.
    pub(super) async fn look(&self) {
        if let Some(running) = &self.running {
            // What differs is about to be read anyway.
            let _ = differing(&running.followed).await;
        }
    }

    /// On or off, as the configuration says, and with its files and no others. To be called within a runtime.
    pub(super) fn follow(&mut self, loaded: &Loaded) {
        if !loaded.config.reload.watch {
            self.running = None;
            return;
        }
        let followed = Followed::of(loaded);
        let running = match self.running.take() {
            Some(running) => Ok(running),
            None => Running::start(self.reload.clone()),
        };
        match running {
            Ok(mut running) => {
                running.set(followed);
                self.running = Some(running);
            }
            Err(error) => tracing::error!(
                %error,
                "reload.watch: files can't be watched; reload by SIGHUP or `whimbrel reload`"
            ),
        }
    }
}

impl Running {
    fn start(reload: Handle) -> notify::Result<Self> {
        let told = Arc::new(Notify::new());
        let tell = told.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error, such as a queue that ran over, is a reason to look, too. Opening and reading is not.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                tell.notify_one();
            }
        })?;
        let followed = Arc::new(Mutex::new(Followed::default()));
        let looking = tokio::spawn(look(told.clone(), followed.clone(), reload));
        Ok(Self { followed, told, watched: Vec::new(), watcher, looking })
    }

    /// Watches the folders of these, and leaves others. Of a file that was followed before, what it was then stays what
    /// it is compared with: it may have changed since it was read.
    fn set(&mut self, mut followed: Followed) {
        let folders = followed.folders();
        for gone in self.watched.iter().filter(|folder| !folders.contains(folder)) {
            // A folder that was removed is not watched any more.
            let _ = self.watcher.unwatch(gone);
        }
        self.watched.retain(|folder| folders.contains(folder));
        for folder in folders {
            if self.watched.contains(&folder) {
                continue;
            }
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => self.watched.push(folder),
                Err(error) => tracing::warn!(
                    folder = %folder.display(), %error,
                    "reload.watch: this folder can't be watched (fs.inotify.max_user_watches?); changes in it need a \
                     reload"
                ),
            }
        }
        {
            let mut before = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
            followed.keep(&before);
            *before = followed;
        }
        // What happened before a folder was watched was not told.
        self.told.notify_one();
    }
}

async fn differing(followed: &Arc<Mutex<Followed>>) -> Option<PathBuf> {
    let shared = followed.clone();
    let looked = tokio::task::spawn_blocking(move || {
        shared.lock().unwrap_or_else(PoisonError::into_inner).differing()
    });
    looked.await.unwrap_or_else(|error| {
        tracing::error!(%error, "looking at the watched files failed");
        None
    })
}

/// Waits for a heap of events to end, looks, and asks for a reload if something differs.
async fn look(told: Arc<Notify>, followed: Arc<Mutex<Followed>>, reload: Handle) {
    loop {
        told.notified().await;
        let end = Instant::now() + LONGEST;
        while Instant::now() < end && tokio::time::timeout(QUIET, told.notified()).await.is_ok() {}
        if let Some(path) = differing(&followed).await {
            tracing::info!(file = %path.display(), "a watched file has changed: reading the configuration again");
            reload.request();
        }
    }
}

/// Files and what they were when they were looked at last.
#[derive(Debug, Default)]
struct Followed {
    files: BTreeMap<PathBuf, Option<Stamp>>,
    /// Those in which a new `*.yaml` or `*.yml` may belong to the configuration.
    folders: Vec<PathBuf>,
}

/// Device, inode, size, seconds and nanoseconds of the last change, and mode: a program may have become executable.
type Stamp = (u64, u64, u64, i64, i64, u32);

impl Followed {
    fn of(loaded: &Loaded) -> Self {
        let components = loaded.config.collectors.iter().filter_map(|one| match &one.plugin {
            PluginRef::Path(path) => Some(vec![path.clone(), signature_file(path)]),
            PluginRef::Exec(exec) => Some(vec![exec.program.clone()]),
            PluginRef::Builtin(_) | PluginRef::Registry(_) => None,
        });
        let components = components.flatten();
        let mut followed = Self { files: BTreeMap::new(), folders: loaded.folders.clone() };
        let files = loaded.files.iter().cloned().chain(components);
        followed.files =
            files.chain(followed.in_folders()).map(|path| (path.clone(), stamp(&path))).collect();
        followed
    }

    /// Compares what was followed before with what it was then.
    fn keep(&mut self, before: &Followed) {
        for (path, stamp) in &mut self.files {
            if let Some(before) = before.files.get(path) {
                *stamp = *before;
            }
        }
    }

    /// Where files may come and go. A component whose folder is not there is not waited for.
    fn folders(&self) -> Vec<PathBuf> {
        let parents = self.files.keys().filter_map(|file| file.parent()).map(Path::to_owned);
        let mut all: Vec<_> =
            parents.chain(self.folders.iter().cloned()).filter(|path| path.is_dir()).collect();
        all.sort();
        all.dedup();
        all
    }

    fn in_folders(&self) -> Vec<PathBuf> {
        let entries = self.folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let yaml = |path: &PathBuf| path.extension().is_some_and(|it| it == "yaml" || it == "yml");
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(yaml).collect()
    }

    /// A file that is not what it was; from here on it is what it was. A file that is gone counts for the configuration
    /// only when it is there again: what is being replaced is often gone for a moment.
    fn differing(&mut self) -> Option<PathBuf> {
        let mut found = None;
        for path in self.in_folders() {
            if !self.files.contains_key(&path) {
                self.files.insert(path.clone(), None);
            }
        }
        for (path, before) in &mut self.files {
            let now = stamp(path);
            if now != *before && now.is_some() {
                *before = now;
                found.get_or_insert_with(|| path.clone());
            }
        }
        let gone = self.files.iter().find(|(path, before)| {
            before.is_some() && !path.exists() && self.folders.iter().any(|folder| path.starts_with(folder))
        });
        if let Some(path) = gone.map(|(path, _)| path.clone()) {
            self.files.remove(&path);
            found.get_or_insert(path);
        }
        found
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec(), found.mode()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(files: &[&Path], folders: &[&Path]) -> Followed {
        let mut all =
            Followed { files: BTreeMap::new(), folders: folders.iter().map(|f| (*f).to_owned()).collect() };
        all.files = files.iter().map(|path| ((*path).to_owned(), stamp(path))).collect();
        for path in all.in_folders() {
            let now = stamp(&path);
            all.files.insert(path, now);
        }
        all
    }

    #[test]
    fn a_new_file_in_its_place_differs_once_and_others_beside_it_never() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("whimbrel.yaml");
        fs::write(&file, "a: 1").unwrap();
        let mut all = followed(&[&file], &[]);
        assert_eq!(all.differing(), None);
        fs::write(folder.path().join("agent.log"), "line").unwrap();
        fs::write(folder.path().join("other.yaml"), "b: 1").unwrap();
        assert_eq!(all.differing(), None, "beside it");
        fs::write(folder.path().join("new"), "a: 2").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert_eq!(all.differing().as_deref(), Some(&*file));
        assert_eq!(all.differing(), None);
        fs::remove_file(&file).unwrap();
        assert_eq!(all.differing(), None, "gone is not another one");
        fs::write(&file, "a: 3, and longer").unwrap();
        assert_eq!(all.differing().as_deref(), Some(&*file), "there again");
    }

    #[test]
    fn in_a_folder_of_the_configuration_files_may_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut all = followed(&[], &[folder.path()]);
        assert_eq!(all.folders(), [folder.path()]);
        let new = folder.path().join("new.yaml");
        fs::write(folder.path().join("README"), "no").unwrap();
        assert_eq!(all.differing(), None);
        fs::write(&new, "a: 1").unwrap();
        assert_eq!(all.differing().as_deref(), Some(&*new));
        assert_eq!(all.differing(), None);
        fs::remove_file(&new).unwrap();
        assert_eq!(all.differing().as_deref(), Some(&*new));
        assert_eq!(all.differing(), None);
    }

    #[test]
    fn what_changes_while_the_configuration_is_read_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
        fs::write(&old, "a: 1").unwrap();
        let before = followed(&[&old], &[]);
        // Here it is read; then:
        fs::write(&old, "a: 2, and longer").unwrap();
        fs::write(&new, "b: 1").unwrap();
        let mut after = followed(&[&old, &new], &[]);
        after.keep(&before);
        assert_eq!(after.differing().as_deref(), Some(&*old), "not lost");
        assert_eq!(after.differing(), None, "a file that was not followed before is what it is");
    }

    #[test]
    fn a_component_that_is_not_there_yet_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.wasm");
        let mut all = followed(&[&file], &[]);
        assert_eq!(all.folders(), [folder.path()]);
        assert_eq!(all.differing(), None);
        fs::write(&file, "component").unwrap();
        assert_eq!(all.differing().as_deref(), Some(&*file));
    }

    #[test]
    fn a_link_that_is_swapped_beside_it_is_a_change() {
        // As Kubernetes mounts a ConfigMap: whimbrel.yaml -> ..data/whimbrel.yaml, ..data -> one folder or another.
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "a: 1"), ("..2", "a: 2")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("whimbrel.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("..1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/whimbrel.yaml", at("whimbrel.yaml")).unwrap();
        let file = at("whimbrel.yaml");
        let mut all = followed(&[&file], &[]);
        std::os::unix::fs::symlink("..2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert_eq!(all.differing().as_deref(), Some(&*file));
    }
}
