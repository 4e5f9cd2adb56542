//! `wal.encryption`: where the WAL's keys come from. No key is ever in a configuration, only its place.

use std::{fmt, path::PathBuf};

/// `wal.encryption`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// AES-256-GCM under the keys at these places.
    Aes256Gcm(KeyPlaces),
    /// `encryption: none`
    None,
}

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPlaces {
    /// `key_file`, `key_env` or `key_command`: the key that new segments are sealed with.
    pub current: KeyPlace,
    /// Whether a missing key file may be made at the first start: only the default one.
    pub create: bool,
    /// `older_keys`: others, which segments that wait may be sealed with. Those that `key rotate` puts beside a key file,
    /// in `PATH.old`, are found without being named. Default none.
    pub older: Vec<KeyPlace>,
    /// What to do when the WAL is under another key.
    pub on_wrong_key: OnWrongKey,
}

/// Where one key is: 32 bytes as 64 hexadecimal digits or base64.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In this file; absolute. Others may not read it.
    File(PathBuf),
    /// In this environment variable, read when the agent starts.
    Env(String),
    /// On the standard output of this program, which is run without a shell at the start and at each rotation; at most
    /// 4 KiB within 30 s. The program, then its arguments.
    Command(Vec<String>),
}

/// As people name it; arguments of a command are not shown.
impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(variable) => write!(f, "${variable}"),
            Self::Command(command) => {
                write!(f, "the output of {}", command.first().map_or("", String::as_str))
            }
        }
    }
}

/// Arguments may hold what a variable put in.
impl fmt::Debug for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPlace({self})")
    }
}

/// `wal.encryption.on_wrong_key`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnWrongKey {
    /// Don't start. Default.
    Refuse,
    /// Move the old WAL aside whole, say so, start a new one.
    SetAside,
}
