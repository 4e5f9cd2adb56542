//! What the configuration asks of its surroundings: variables, the current folder, the size of a disk.
//!
//! Behind a trait, so that a test says what the surroundings are. Files are read from the real file system.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

/// The surroundings of a load.
pub trait Environment {
    /// The value of an environment variable; `None` where it is not set.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// All variables, in any order.
    fn variables(&self) -> Vec<(OsString, OsString)>;

    /// The folder that relative paths outside any file begin at. Absolute.
    ///
    /// # Errors
    /// Where the folder is gone or may not be read.
    fn current_dir(&self) -> io::Result<PathBuf>;

    /// The size, in bytes, of the file system that `path` is on, or would be on once made.
    ///
    /// # Errors
    /// Where the file system does not say.
    fn disk_size(&self, path: &Path) -> io::Result<u64>;
}

/// The process's own surroundings.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().collect()
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        std::env::current_dir()
    }

    fn disk_size(&self, path: &Path) -> io::Result<u64> {
        let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let figures = rustix::fs::statvfs(existing)?;
        Ok(figures.f_blocks.saturating_mul(figures.f_frsize))
    }
}

/// Surroundings that are given, for tests and tools.
#[derive(Debug, Clone, Default)]
pub struct FixedEnvironment {
    /// What [`Environment::variable`] answers from.
    pub variables: BTreeMap<OsString, OsString>,
    /// What [`Environment::current_dir`] answers.
    pub current_dir: PathBuf,
    /// What [`Environment::disk_size`] answers, bytes.
    pub disk_size: u64,
}

impl FixedEnvironment {
    /// Nothing set, in `current_dir`, on a disk of 100 GiB.
    pub fn new(current_dir: impl Into<PathBuf>) -> Self {
        Self { variables: BTreeMap::new(), current_dir: current_dir.into(), disk_size: 100 << 30 }
    }

    /// The same with a variable set.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

impl Environment for FixedEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(std::ffi::OsStr::new(name)).cloned()
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        self.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        Ok(self.current_dir.clone())
    }

    fn disk_size(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.disk_size)
    }
}
