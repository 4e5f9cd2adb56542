//! A file under `/proc`, kept open and read whole into one buffer.
//!
//! Opening costs more than reading. `pread` from offset 0 makes the kernel write the file anew, so a kept
//! descriptor never shows anything stale.

use std::{borrow::Cow, fs::File, io, os::unix::fs::FileExt, path::PathBuf};

use crate::system::SnapshotError;

/// Enough for `/proc/stat` of 4096 CPUs and for 100,000 mounts; more is refused.
const LONGEST: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct ProcFile {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl ProcFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, buffer: Vec::new() }
    }

    /// The whole file as it is now.
    ///
    /// # Errors
    /// It cannot be opened or read, opened anew included, or is longer than 16 MiB.
    pub(super) fn read(&mut self) -> Result<&[u8], SnapshotError> {
        let kept = self.file.is_some();
        let mut length = self.fill();
        if length.is_err() {
            self.file = None;
            if kept {
                // What the descriptor stood for may be gone (a network namespace, a remounted procfs).
                length = self.fill();
            }
        }
        match length {
            Ok(length) => Ok(&self.buffer[..length]),
            Err(source) => Err(SnapshotError::Read { path: self.path.clone(), source }),
        }
    }

    /// The same as text; bytes that are not UTF-8 (names of devices and mount points may be anything) become
    /// U+FFFD.
    pub(super) fn text(&mut self) -> Result<Cow<'_, str>, SnapshotError> {
        self.read().map(String::from_utf8_lossy)
    }

    pub(super) fn malformed(&self, what: impl Into<String>) -> SnapshotError {
        SnapshotError::Malformed { path: self.path.clone(), what: what.into() }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(File::open(&self.path)?),
        };
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                if length >= LONGEST {
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 16 MiB"));
                }
                self.buffer.resize((length * 2).max(8 << 10), 0);
            }
            match file.read_at(&mut self.buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_kept_file_shows_what_is_there_now_whatever_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stat");
        fs::write(&path, "short").unwrap();
        let mut file = ProcFile::new(path.clone());
        assert_eq!(file.read().unwrap(), b"short");
        let long = "x".repeat(100_000);
        fs::write(&path, &long).unwrap();
        assert_eq!(file.read().unwrap(), long.as_bytes());
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(file.text().unwrap(), "\u{fffd}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut file = ProcFile::new(PathBuf::from("/nowhere/stat"));
        let error = file.read().unwrap_err();
        assert!(error.is_unavailable());
        assert!(error.to_string().starts_with("cannot read /nowhere/stat: "), "{error}");
    }
}
