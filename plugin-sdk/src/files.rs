//! Files of granted folders, read-only: `grants: {read: [/var/log]}`. With the feature `files`.
//!
//! A folder that is granted has the same path here as outside. What a path names is found anew with each call; a
//! [`File`] that is open goes on naming the same file, wherever it is moved to, and when it is removed. At most 64
//! files and folders are open at a time, granted folders included.
//!
//! ```
//! # use whimbrel_sdk::{files, testing::{Files, Host}};
//! # use whimbrel_sdk::{Collector, Context, Emit, Error, More, NoConfig};
//! struct Motd;
//!
//! impl Collector for Motd {
//!     type Config = NoConfig;
//! #   fn new(_: Context<NoConfig>) -> Result<Self, Error> { Ok(Self) }
//!     fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
//!         let text = files::open("/etc/motd")?.read_at(0, 4096)?;
//!         out.log(whimbrel_sdk::LogRecord { body: (&*String::from_utf8_lossy(&text)).into(), ..Default::default() })?;
//!         Ok(More::No)
//!     }
//! }
//! # whimbrel_sdk::collector!(Motd { name: "motd", description: "The message of the day." });
//! # let files = Files::granting("/etc");
//! # files.write("/etc/motd", "welcome");
//! # let mut motd = Host::new().files(&files).start::<Motd>()?;
//! # assert_eq!(format!("{:?}", motd.collect()?[0].records()[0].body), r#"Text("welcome")"#);
//! # Ok::<(), Error>(())
//! ```

mod component;
mod glob;

use std::fmt;

#[cfg(target_family = "wasm")]
use component as backend;
pub use glob::Glob;
#[cfg(not(target_family = "wasm"))]
use native as backend;

/// The most that one call of [`File::read_at`] gives.
pub const MAX_READ: usize = 64 << 10;

/// Which file it is, whatever it is called: two paths with the same identity are the same file.
///
/// It says nothing of the content: when a file is gone, another may have its identity. An update of the agent or a new
/// mount may change all identities: what is kept for long should be compared by content, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Identity(pub [u64; 2]);

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A symbolic link; only in a listing, all else follows links.
    Link,
    /// A device, a pipe, a socket: can't be opened.
    Other,
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
    /// When its content last changed, in nanoseconds since the Unix epoch; 0 if that is not known.
    pub modified_ns: u64,
    /// Which file it is.
    pub identity: Identity,
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name, without the folder's.
    pub name: String,
    /// What it is; a link is not followed.
    pub kind: Kind,
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (*self as u8).cmp(&(*other as u8))
    }
}

/// Why a file can't be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is none of this path.
    NotFound(String),
    /// It lies in no granted folder.
    NotGranted(String),
    /// The system does not let the agent read it.
    Forbidden(String),
    /// It is of another kind than was asked for, or can't be opened at all.
    WrongKind(String),
    /// As many files are open as may be.
    TooManyOpen(String),
    /// A pattern that is none: which, and why.
    Pattern(String),
    /// Anything else: the path, and the system's word for it.
    Failed(String, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound(path) => write!(f, "{path} is not there"),
            Error::NotGranted(path) => {
                write!(
                    f,
                    "{path} lies in no granted folder; add `grants: {{read: [FOLDER]}}` to this collector"
                )
            }
            Error::Forbidden(path) => write!(f, "{path} can't be read by the user that the agent runs as"),
            Error::WrongKind(path) => write!(f, "{path} is not of the kind that can be opened so"),
            Error::TooManyOpen(path) => write!(f, "{path} can't be opened: as many files are open as may be"),
            Error::Pattern(what) => f.write_str(what),
            Error::Failed(path, why) => write!(f, "{path}: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::NotGranted(_) => crate::Error::Denied(text),
            Error::Pattern(_) => crate::Error::Config(text),
            Error::NotFound(_) | Error::TooManyOpen(_) => crate::Error::Unavailable(text),
            Error::Forbidden(_) | Error::WrongKind(_) => crate::Error::Permanent(text),
            Error::Failed(..) => crate::Error::Transient(text),
        }
    }
}

/// An open file.
#[derive(Debug)]
pub struct File(backend::File);

/// Opens a file for reading.
///
/// # Errors
/// Why it can't be opened.
pub fn open(path: &str) -> Result<File, Error> {
    backend::open(path).map(File)
}

/// What is known of a file or folder, links followed.
///
/// # Errors
/// Why nothing is known.
pub fn metadata(path: &str) -> Result<Metadata, Error> {
    backend::metadata(path)
}

/// What is in a folder, by name. Names that are no UTF-8 are left out.
///
/// # Errors
/// Why it can't be listed.
pub fn list(folder: &str) -> Result<Vec<Entry>, Error> {
    let mut entries = backend::list(folder)?;
    entries.sort();
    Ok(entries)
}

impl File {
    /// At most so many bytes from an offset on, and at most [`MAX_READ`]; fewer only if the file ends there.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let wanted = len.min(MAX_READ);
        let mut bytes = self.0.read_at(offset, wanted)?;
        // Some systems give less than there is; the end is where nothing is given.
        while !bytes.is_empty() && bytes.len() < wanted {
            let more = self.0.read_at(offset + bytes.len() as u64, wanted - bytes.len())?;
            if more.is_empty() {
                break;
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    /// What is known of it now.
    ///
    /// # Errors
    /// What the system says.
    pub fn metadata(&self) -> Result<Metadata, Error> {
        self.0.metadata()
    }
}

/// The folder and the name of a path.
#[must_use]
pub fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => ("", path),
    }
}

/// A name in a folder, as a path.
#[must_use]
pub fn join(folder: &str, name: &str) -> String {
    let slash = if folder.ends_with('/') { "" } else { "/" };
    format!("{folder}{slash}{name}")
}

#[cfg(not(target_family = "wasm"))]
mod native {
    //! The files of the test's host.

    use super::{Entry, Error, Metadata};
    use crate::testing::{Open, imports::files};

    #[derive(Debug)]
    pub(super) struct File(Open);

    pub(super) fn open(path: &str) -> Result<File, Error> {
        files().open(path).map(File)
    }

    pub(super) fn metadata(path: &str) -> Result<Metadata, Error> {
        files().metadata(path)
    }

    pub(super) fn list(folder: &str) -> Result<Vec<Entry>, Error> {
        files().list(folder)
    }

    impl File {
        pub(super) fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
            Ok(self.0.read_at(offset, len))
        }

        pub(super) fn metadata(&self) -> Result<Metadata, Error> {
            Ok(self.0.metadata())
        }
    }
}
