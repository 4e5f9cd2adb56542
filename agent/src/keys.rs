//! The keys of the WAL: from the configuration's places to the ring that the WAL is opened with.
//!
//! `key rotate` puts the old key of a key file into `PATH.old`, where it is found again without being named; keys that
//! come from elsewhere are named in `older_keys`. Texts of keys are zeroed once they are read.

mod command;
mod file;

use std::{env, path::Path};

use whimbrel_wal::{Encryption, Key, KeyError, KeyRing};
use zeroize::Zeroizing;

use crate::config::{self, KeyPlace, KeyPlaces};

pub use command::CommandError;
pub use file::{Replaced, old_file, replace, retire};

/// What came of it.
pub struct Keys {
    /// For the WAL.
    pub encryption: Encryption,
    /// The agent's first start made a key file.
    pub created: bool,
    /// What an operator should know about where the key lies.
    pub warning: Option<String>,
}

/// A key, and where it was found.
#[derive(Debug)]
pub struct Held {
    /// The key.
    pub key: Key,
    /// Where: for one that `key rotate` put away, its own file.
    pub place: KeyPlace,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file, or the text in it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The text that a variable or a command gave is none.
    #[error("{place}: {error}")]
    Malformed {
        /// Where it came from.
        place: KeyPlace,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The command gave no text.
    #[error("wal.encryption.key_command: {0}")]
    Command(#[from] CommandError),
    /// A key that was made before is gone, and what lies in the WAL was sealed with it.
    #[error(
        "the key file {path} is gone, and {data} holds records that it sealed: put it back, or move that folder away to start anew"
    )]
    Lost {
        /// Where it was.
        path: String,
        /// The WAL.
        data: String,
    },
    /// The variable is not set.
    #[error("wal.encryption.key_env: the environment variable {0} is not set, or not text")]
    Unset(String),
    /// A file beside a key file does not hold the key it is named after.
    #[error(
        "{path} holds key {found:08x}, not the one it is named after: put the right one there, or remove the file"
    )]
    Misnamed {
        /// The file.
        path: String,
        /// Id of what is in it.
        found: u32,
    },
    /// A file or folder of keys could not be changed or read.
    #[error("{action} {path}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The key file can't be replaced where it is.
    #[error(
        "{path} is a link: replace the key where it is made, and name the one before in `wal.encryption.older_keys`"
    )]
    Link {
        /// The key file.
        path: String,
    },
    /// Another command changes keys.
    #[error("{path} is locked: another `key rotate` or `key retire` runs")]
    Busy {
        /// The folder of old keys.
        path: String,
    },
}

impl KeysError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |cause| Self::Io { action, path, cause }
    }
}

/// Reads the keys that the configuration names; makes the default one at the first start. May run commands: it blocks.
///
/// # Errors
/// [`KeysError`], each with the place and the remedy.
pub fn read(encryption: &config::Encryption, data_dir: &Path, wal_dir: &Path) -> Result<Keys, KeysError> {
    let places = match encryption {
        config::Encryption::Aes256Gcm(places) => places,
        config::Encryption::None => {
            return Ok(Keys {
                encryption: Encryption::None,
                created: false,
                warning: Some(
                    "wal.encryption is none: who can read the data directory can read the telemetry".into(),
                ),
            });
        }
    };
    let mut created = false;
    let mut warning = None;
    if let KeyPlace::File(path) = &places.current {
        warning = path.starts_with(data_dir).then(|| {
            format!(
                "the key {} lies beside the data it seals: whoever takes the disk has both; name another place with wal.encryption.key_file",
                path.display()
            )
        });
        if places.create && Key::read_file(path).is_err_and(|error| error.is_missing()) {
            if holds_segments(wal_dir) {
                return Err(KeysError::Lost {
                    path: path.display().to_string(),
                    data: wal_dir.display().to_string(),
                });
            }
            Key::create_file(path)?;
            created = true;
        }
    }
    Ok(Keys { encryption: Encryption::Aes256Gcm(ring(places)?), created, warning })
}

/// The same, for looking at a WAL: never makes a key. `None` where there is none to be had.
///
/// # Errors
/// As [`read`], but a missing file is no error.
pub fn existing(encryption: &config::Encryption) -> Result<Option<KeyRing>, KeysError> {
    match encryption {
        config::Encryption::None => Ok(None),
        config::Encryption::Aes256Gcm(places) => match ring(places) {
            Err(KeysError::Key(error)) if error.is_missing() => Ok(None),
            Err(KeysError::Unset(_)) => Ok(None),
            Err(error) => Err(error),
            Ok(ring) => Ok(Some(ring)),
        },
    }
}

/// Every key that the configuration leads to, the current one first.
///
/// # Errors
/// [`KeysError`].
pub fn held(places: &KeyPlaces) -> Result<Vec<Held>, KeysError> {
    let mut held = vec![take(&places.current)?];
    if let KeyPlace::File(path) = &places.current {
        held.extend(file::older(path)?);
    }
    for place in &places.older {
        held.push(take(place)?);
    }
    Ok(held)
}

/// The same as a ring, for the WAL. May run commands: it blocks.
///
/// # Errors
/// [`KeysError`].
pub fn ring(places: &KeyPlaces) -> Result<KeyRing, KeysError> {
    let mut keys = held(places)?.into_iter().map(|held| held.key);
    let current = keys.next().expect("the current key is always the first");
    Ok(keys.fold(KeyRing::new(current), KeyRing::with_older))
}

fn take(place: &KeyPlace) -> Result<Held, KeysError> {
    let text = match place {
        KeyPlace::File(path) => return Ok(Held { key: Key::read_file(path)?, place: place.clone() }),
        KeyPlace::Env(variable) => {
            Zeroizing::new(env::var(variable).map_err(|_| KeysError::Unset(variable.clone()))?)
        }
        KeyPlace::Command(command) => command::output(command, command::TIMEOUT)?,
    };
    let key = Key::from_text(&text).map_err(|error| KeysError::Malformed { place: place.clone(), error })?;
    Ok(Held { key, place: place.clone() })
}

fn holds_segments(wal_dir: &Path) -> bool {
    std::fs::read_dir(wal_dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "wal"))
    })
}
