//! The entry: a part's name to its figures.

use std::{io, path::PathBuf};

use super::figure::Entity;

#[cfg(target_os = "linux")]
use super::linux::Host;
#[cfg(not(target_os = "linux"))]
use super::portable::Host;

/// The parts there are. A part with a dot is a detail of the part before the dot, costs extra, and comes with
/// the grant of that part.
pub const PARTS: [&str; 9] =
    ["cpu", "cpu.logical", "memory", "paging", "disk", "filesystem", "network", "process", "host"];

/// Where the figures are read.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where procfs is mounted. Default `/proc`.
    pub proc: PathBuf,
    /// Where sysfs is mounted. Default `/sys`.
    pub sys: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys") }
    }
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no such part.
    #[error("there is no part {part:?} of the host's figures; there are: {}", PARTS.join(", "))]
    Unknown {
        /// What was asked for.
        part: String,
    },
    /// This operating system does not tell.
    #[error("figures of {part} are not available on this operating system")]
    Unsupported {
        /// Which part.
        part: &'static str,
    },
    /// A file cannot be read, or a call into the operating system failed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file or folder, or what was called.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file reads otherwise than every kernel known to us writes it.
    #[error("cannot make sense of {}: {what}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is missing or odd.
        what: String,
    },
}

impl SnapshotError {
    /// The caller asked for what does not exist: asking again is no use anywhere.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// This host has nothing to give for the part, now or at all; other parts are not concerned.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        !self.is_unknown()
    }
}

/// This host. One serves all collectors of an agent; parts are read independently of each other.
#[derive(Debug)]
pub struct System {
    host: Host,
}

impl System {
    /// Opens nothing yet: a part is first touched when it is asked for.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { host: Host::new(options) }
    }

    /// The figures of one of [`PARTS`], as of now. Blocks for as long as the kernel takes; for file systems at
    /// most some tens of milliseconds, whatever state they are in.
    ///
    /// # Errors
    /// The part does not exist, or nothing of it can be read: the caller leaves it out. What can be read only
    /// partly is not an error, the rest is left out.
    pub fn snapshot(&self, part: &str) -> Result<Vec<Entity>, SnapshotError> {
        self.host.snapshot(part)
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new(Options::default())
    }
}
