//! Keys: how they are read, made, named and forgotten.
//!
//! A key is 32 secret bytes. Its id, which stands in every segment header, is derived from it and says nothing
//! about it. Key material is zeroed when dropped and shows in no message.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Longest key file read, bytes.
const MAX_KEY_FILE: u64 = 4096;

/// A master key of 32 bytes, zeroed when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither 64 hexadecimal digits nor base64 of 32 bytes. The text is not shown.
    #[error("a key is 64 hexadecimal digits or the base64 of 32 bytes; this is neither ({len} characters)")]
    Malformed {
        /// Its length, characters.
        len: usize,
    },
    /// Others than its owner can read the file.
    #[error(
        "{} can be read by others (mode {mode:04o}): `chmod 600` it; a group may read it only if it is this process's own",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not there.
    #[error("there is no key file {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A key file is never overwritten.
    #[error("{} exists already; a key file is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The operating system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

impl KeyError {
    /// The file is not there: it may be made.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

impl Key {
    /// A new random key.
    ///
    /// # Errors
    /// [`KeyError::Random`] when the operating system has none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0).map_err(|e| KeyError::Random(e.to_string()))?;
        Ok(key)
    }

    /// A key from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key from text: 64 hexadecimal digits, or base64 (standard or URL-safe, padded or not) of 32 bytes. White
    /// space around it is ignored.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], which does not repeat the text.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let malformed = || KeyError::Malformed { len: text.chars().count() };
        let mut key = Self([0; 32]);
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            for (byte, pair) in key.0.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                let digit = |b: u8| (b as char).to_digit(16).map_or(0, |d| d as u8);
                *byte = digit(pair[0]) << 4 | digit(pair[1]);
            }
            return Ok(key);
        }
        let bare = text.trim_end_matches('=');
        // 32 bytes are 43 characters; anything else is refused before it is decoded.
        if bare.len() != 43 {
            return Err(malformed());
        }
        let engine = if bare.contains(['-', '_']) {
            general_purpose::URL_SAFE_NO_PAD
        } else {
            general_purpose::STANDARD_NO_PAD
        };
        // `decode_slice` asks for a multiple of three.
        let mut decoded = Zeroizing::new([0; 33]);
        match engine.decode_slice(bare, decoded.as_mut_slice()) {
            Ok(32) => {
                key.0.copy_from_slice(&decoded[..32]);
                Ok(key)
            }
            _ => Err(malformed()),
        }
    }

    /// Reads a key file: text as in [`from_text`](Self::from_text), or exactly 32 raw bytes.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::Exposed`] when others can read it, [`KeyError::Malformed`],
    /// [`KeyError::Io`].
    pub fn read_file(path: &Path) -> Result<Self, KeyError> {
        let fail = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
            _ => KeyError::Io { path: path.to_owned(), cause },
        };
        let file = File::open(path).map_err(fail)?;
        // Of the open file, so that no other can be put in its place between the look and the reading.
        let meta = file.metadata().map_err(fail)?;
        let mode = meta.mode() & 0o7777;
        let own_group = meta.gid() == rustix::process::getegid().as_raw();
        if mode & 0o007 != 0 || (mode & 0o070 != 0 && !own_group) || mode & 0o020 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE as usize + 1));
        file.take(MAX_KEY_FILE + 1).read_to_end(&mut content).map_err(fail)?;
        if let Ok(text) = std::str::from_utf8(&content)
            && let Ok(key) = Self::from_text(text)
        {
            return Ok(key);
        }
        if content.len() != 32 {
            return Err(KeyError::Malformed { len: content.len() });
        }
        let mut key = Self([0; 32]);
        key.0.copy_from_slice(&content);
        Ok(key)
    }

    /// Makes a new random key and its file: mode 0600, hexadecimal, synced, its directory too. On an error nothing
    /// of it stays.
    ///
    /// # Errors
    /// [`KeyError::Exists`]: it is never overwritten. [`KeyError::Io`], [`KeyError::Random`].
    pub fn create_file(path: &Path) -> Result<Self, KeyError> {
        let key = Self::generate()?;
        key.write_file(path)?;
        Ok(key)
    }

    /// Writes the key to a new file: mode 0600, hexadecimal, synced, its directory too. On an error nothing of it
    /// stays, unless the directory's sync is what failed.
    ///
    /// # Errors
    /// [`KeyError::Exists`]: it is never overwritten. [`KeyError::Io`].
    pub fn write_file(&self, path: &Path) -> Result<(), KeyError> {
        let fail = |cause: io::Error| match cause.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => KeyError::Io { path: path.to_owned(), cause },
        };
        // Under another name until it is whole: a key file cut short by a crash would lock the WAL out for ever.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.new", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(self.to_text().as_bytes())?;
            file.sync_all()?;
            // A hard link, unlike a rename, fails where a file is already.
            std::fs::hard_link(&temporary, path)
        })();
        let removed = std::fs::remove_file(&temporary);
        written.map_err(fail)?;
        removed.map_err(fail)?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(fail)
    }

    /// The key as text: 64 hexadecimal digits and a line break. Whoever has it has the key; it is zeroed when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(65));
        for byte in self.0.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
            }
        }
        text.push('\n');
        text
    }

    /// Its public id, derived from it; stands in the headers of what it seals.
    pub fn id(&self) -> u32 {
        let mut id = [0; 4];
        derivation(None, &self.0)
            .expand(b"whimbrel wal key id", &mut id)
            .expect("four bytes are less than HKDF's limit");
        // 0 stands for "no key".
        u32::from_le_bytes(id).max(1)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:08x})", self.id())
    }
}

/// The expanding half of HKDF. What is extracted is zeroed, and so are the states of the hash (features `zeroize` of
/// `hmac` and `sha2`).
pub(crate) fn derivation(salt: Option<&[u8]>, secret: &[u8]) -> Hkdf<Sha256> {
    let (mut extracted, expand) = Hkdf::<Sha256>::extract(salt, secret);
    extracted.as_mut_slice().zeroize();
    expand
}

/// The key that new segments are sealed with, and older ones that old segments still need.
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: (u32, Key),
    older: Vec<(u32, Key)>,
}

impl KeyRing {
    /// A ring of one key.
    pub fn new(current: Key) -> Self {
        Self { current: (current.id(), current), older: Vec::new() }
    }

    /// The same ring, which can also read what this older key sealed.
    #[must_use]
    pub fn with_older(mut self, key: Key) -> Self {
        let id = key.id();
        if id != self.current.0 && self.older.iter().all(|(known, _)| *known != id) {
            self.older.push((id, key));
        }
        self
    }

    /// Ids of all keys, the current one first.
    pub fn ids(&self) -> Vec<u32> {
        std::iter::once(self.current.0).chain(self.older.iter().map(|(id, _)| *id)).collect()
    }

    /// Id of the key that new segments are sealed with.
    pub fn current_id(&self) -> u32 {
        self.current.0
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Key> {
        std::iter::once(&self.current).chain(&self.older).find(|(known, _)| *known == id).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn hex_base64_and_raw_bytes_are_the_same_key() {
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
        let texts = [
            HEX.to_owned(),
            format!("  {}\n", HEX.to_uppercase()),
            general_purpose::STANDARD.encode(bytes),
            general_purpose::URL_SAFE_NO_PAD.encode(bytes),
        ];
        for text in texts {
            assert_eq!(Key::from_text(&text).unwrap().bytes(), &bytes, "{text}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Key::read_file(&path).unwrap().bytes(), &bytes);
    }

    #[test]
    fn a_malformed_key_is_refused_and_not_repeated() {
        let long = "ab".repeat(64);
        for text in ["", "abc", &HEX[1..], "not a key at all, but forty-three characters", long.as_str()] {
            let error = Key::from_text(text).unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_key_shows_only_its_id() {
        let key = Key::from_text(HEX).unwrap();
        let shown = format!("{key:?} {:?}", KeyRing::new(key.clone()));
        assert!(shown.contains(&format!("{:08x}", key.id())));
        assert!(!shown.contains("0405") && !shown.contains("4, 5"), "{shown}");
    }

    #[test]
    fn a_key_file_is_private_never_overwritten_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(Key::read_file(&path).unwrap_err().is_missing());
        let made = Key::create_file(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Key::read_file(&path).unwrap().bytes(), made.bytes());
        assert!(matches!(Key::create_file(&path), Err(KeyError::Exists { .. })));
        assert_eq!(Key::read_file(&path).unwrap().bytes(), made.bytes());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else stays behind");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        Key::create_file(&path).unwrap();
        for (mode, accepted) in [(0o604, false), (0o666, false), (0o620, false), (0o400, true), (0o440, true)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = Key::read_file(&path);
            assert_eq!(read.is_ok(), accepted, "{mode:o}: {read:?}");
        }
    }
}
