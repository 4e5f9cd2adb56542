//! The entry: a part's name to its figures.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::figure::Entity;

#[cfg(target_os = "linux")]
use super::linux::Host;
#[cfg(not(target_os = "linux"))]
use super::portable::Host;

/// The parts there are. A part with a dot is a detail of the part before the dot, costs extra, and comes with
/// the grant of that part.
pub const PARTS: [&str; 13] = [
    "cpu",
    "cpu.logical",
    "memory",
    "paging",
    "pressure",
    "disk",
    "filesystem",
    "network",
    "process",
    "process.each",
    "host",
    "sensors",
    "service",
];

/// Where the figures are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where procfs is mounted. Default `/proc`.
    pub proc: PathBuf,
    /// Where sysfs is mounted. Default `/sys`.
    pub sys: PathBuf,
    /// Where the host's root is mounted. Default `/`; another where the agent runs in a container. Then the
    /// mounts and the network are those of the host's first process, not the agent's own.
    pub root: PathBuf,
    /// The program that tells the states of systemd's units. Default `systemctl`, found by `PATH`.
    pub systemctl: PathBuf,
}

impl Options {
    /// Everything of the host whose root is mounted at `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            proc: root.join("proc"),
            sys: root.join("sys"),
            root: root.to_owned(),
            systemctl: PathBuf::from("systemctl"),
        }
    }

    /// Whether the host's root is this process's own.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(super) fn is_own_root(&self) -> bool {
        self.root == Path::new("/")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::at(Path::new("/"))
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
    /// What is wanted of the part makes no sense.
    #[error("the selection of {part} is wrong at `{key}`: {why}")]
    Select {
        /// Which part.
        part: &'static str,
        /// Which key; the one that is missing, if one is.
        key: String,
        /// What is wrong, and what to give.
        why: String,
    },
    /// This operating system, or this machine, does not tell.
    #[error("this host has no figures of {part}")]
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

    /// The caller asked for what makes no sense: a part that there is not, or a selection that is wrong.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Select { .. })
    }

    /// This host has nothing to give for the part, now or at all; other parts are not concerned.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        !self.is_invalid()
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

    /// The figures of one of [`PARTS`], as of now: those that `select` wants, pairs of key and value in any
    /// order; nothing selected is what is told by default. Blocks for as long as the kernel takes; for file
    /// systems and sensors at most some tens of milliseconds, for the first states of services at most a
    /// quarter of a second, whatever state they are in.
    ///
    /// | part | keys, each repeatable |
    /// |---|---|
    /// | `disk` | `include`, `exclude`: device |
    /// | `network` | `include`, `exclude`: interface |
    /// | `filesystem` | `include_device`, `exclude_device`, `..._type`, `..._mountpoint` |
    /// | `process.each` | `top` (1 to 1000), `by` (`cpu`, `memory`), `name`; `top` or `name` is needed |
    /// | `service` | `unit`, at least one |
    ///
    /// # Errors
    /// The part does not exist or the selection is wrong ([`SnapshotError::is_invalid`]), or nothing of the
    /// part can be read: the caller leaves it out. What can be read only partly is not an error, the rest is
    /// left out.
    pub fn snapshot(&self, part: &str, select: &[(String, String)]) -> Result<Vec<Entity>, SnapshotError> {
        self.host.snapshot(part, select)
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new(Options::default())
    }
}
