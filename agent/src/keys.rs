//! The key of the WAL: from the configuration's place to the ring the WAL is opened with.

use std::{env, path::Path};

use whimbrel_wal::{Encryption, Key, KeyError, KeyRing};

use crate::config;

/// What came of it.
pub struct Keys {
    /// For the WAL.
    pub encryption: Encryption,
    /// The agent's first start made a key file.
    pub created: bool,
    /// What an operator should know about where the key lies.
    pub warning: Option<String>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file, or the text in it.
    #[error(transparent)]
    Key(#[from] KeyError),
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
}

/// Reads the key that the configuration names; makes the default one at the first start.
///
/// # Errors
/// [`KeysError`], each with the place and the remedy.
pub fn read(encryption: &config::Encryption, data_dir: &Path, wal_dir: &Path) -> Result<Keys, KeysError> {
    match encryption {
        config::Encryption::None => Ok(Keys {
            encryption: Encryption::None,
            created: false,
            warning: Some(
                "wal.encryption is none: who can read the data directory can read the telemetry".into(),
            ),
        }),
        config::Encryption::KeyEnv { variable, .. } => {
            let text = env::var(variable).map_err(|_| KeysError::Unset(variable.clone()))?;
            Ok(sealed(Key::from_text(&text)?, false, None))
        }
        config::Encryption::KeyFile { path, create, .. } => {
            let warning = path.starts_with(data_dir).then(|| {
                format!(
                    "the key {} lies beside the data it seals: whoever takes the disk has both; name another place with wal.encryption.key_file",
                    path.display()
                )
            });
            match Key::read_file(path) {
                Err(error) if error.is_missing() && *create => {
                    if holds_segments(wal_dir) {
                        return Err(KeysError::Lost {
                            path: path.display().to_string(),
                            data: wal_dir.display().to_string(),
                        });
                    }
                    Ok(sealed(Key::create_file(path)?, true, warning))
                }
                read => Ok(sealed(read?, false, warning)),
            }
        }
    }
}

/// The same, for looking at a WAL: never makes a key. `None` where there is none to be had.
///
/// # Errors
/// As [`read`], but a missing file is no error.
pub fn existing(encryption: &config::Encryption) -> Result<Option<KeyRing>, KeysError> {
    match encryption {
        config::Encryption::None => Ok(None),
        config::Encryption::KeyEnv { variable, .. } => match env::var(variable) {
            Ok(text) => Ok(Some(KeyRing::new(Key::from_text(&text)?))),
            Err(_) => Ok(None),
        },
        config::Encryption::KeyFile { path, .. } => match Key::read_file(path) {
            Err(error) if error.is_missing() => Ok(None),
            read => Ok(Some(KeyRing::new(read?))),
        },
    }
}

fn sealed(key: Key, created: bool, warning: Option<String>) -> Keys {
    Keys { encryption: Encryption::Aes256Gcm(KeyRing::new(key)), created, warning }
}

fn holds_segments(wal_dir: &Path) -> bool {
    std::fs::read_dir(wal_dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "wal"))
    })
}
