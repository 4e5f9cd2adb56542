//! What is there: the files that the patterns find, and the folders of those that they find no more.

use std::collections::{BTreeMap, BTreeSet};

use whimbrel_sdk::{
    files::{self, Error, Identity, Kind, Metadata, join, split},
    warn,
};

use crate::config::{Settings, is_compressed};

/// Files of one folder that are looked through for one that was renamed.
const MOST_IN_FOLDER: usize = 2000;
/// Problems that are remembered as told.
const MOST_TOLD: usize = 1000;

/// A file, and under which path.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: String,
    pub(crate) metadata: Metadata,
}

impl Found {
    /// What changes when its content does.
    pub(crate) fn state(&self) -> (u64, u64) {
        (self.metadata.size, self.metadata.modified_ns)
    }
}

/// Looks at files, and tells each problem once.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    told: BTreeSet<String>,
    /// Of this scan.
    folders: BTreeMap<String, Vec<Found>>,
}

impl Scanner {
    /// The files that the patterns find, each once, in the order of patterns and names.
    pub(crate) fn scan(&mut self, settings: &Settings) -> Vec<Found> {
        self.folders.clear();
        let mut paths = Vec::new();
        let mut problems = Vec::new();
        for glob in &settings.globs {
            problems.extend(glob.walk(&mut |path| paths.push(path)));
        }
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for path in paths {
            if !settings.wants(&path, split(&path).1) {
                continue;
            }
            match files::metadata(&path) {
                Ok(metadata) if metadata.kind == Kind::File && seen.insert(metadata.identity) => {
                    found.push(Found { path, metadata });
                }
                // It has another name, is a folder, or is gone again.
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) => problems.push(error),
            }
        }
        for problem in problems {
            self.tell(&problem);
        }
        found
    }

    /// The files of the folder of a path, whether a pattern finds them or not, the newest first; none that is compressed.
    pub(crate) fn beside(&mut self, path: &str) -> &[Found] {
        let folder = split(path).0;
        if !self.folders.contains_key(folder) {
            let found = self.list(folder);
            self.folders.insert(folder.to_owned(), found);
        }
        self.folders.get(folder).map_or(&[], Vec::as_slice)
    }

    fn list(&mut self, folder: &str) -> Vec<Found> {
        let entries = match files::list(folder) {
            Ok(entries) => entries,
            Err(Error::NotFound(_)) => return Vec::new(),
            Err(error) => {
                self.tell(&error);
                return Vec::new();
            }
        };
        let plain = entries.into_iter().filter(|it| it.kind == Kind::File && !is_compressed(&it.name));
        let look = |path: String| Some(Found { metadata: files::metadata(&path).ok()?, path });
        let mut found: Vec<_> =
            plain.take(MOST_IN_FOLDER).filter_map(|it| look(join(folder, &it.name))).collect();
        found.sort_by_key(|it| std::cmp::Reverse(it.metadata.modified_ns));
        found
    }

    /// Where a file is now, if it is still in its folder.
    pub(crate) fn find(&mut self, identity: Identity, place: &str) -> Option<Found> {
        self.beside(place).iter().find(|it| it.metadata.identity == identity).cloned()
    }

    pub(crate) fn tell(&mut self, problem: &Error) {
        let text = problem.to_string();
        if self.told.len() < MOST_TOLD && self.told.insert(text.clone()) {
            warn!("{text}");
        }
    }
}
