//! Other keys for a running agent: read anew from their places, and taken by the WAL and that of dead letters.
//!
//! Nothing is changed when a key is missing that either of the two still needs. The places are those of the
//! configuration that the agent was started with; a variable of a running process does not change.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use whimbrel_wal::{RotateError, Wal};

use crate::{
    config,
    dead_letters::DeadLetterBox,
    keys::{self, KeysError},
};

/// The keys of a running agent.
pub struct Rotation {
    encryption: config::Encryption,
    wal: Wal,
    dead_letters: Arc<DeadLetterBox>,
    /// One rotation at a time.
    turn: Mutex<()>,
}

/// The keys of a running agent at one moment. Ids only, eight hexadecimal digits each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeysStatus {
    /// What new segments go under; `None` in the clear.
    pub current: Option<String>,
    /// Others that it holds.
    pub older: Vec<String>,
    /// What segments and cursors need.
    pub in_use: Vec<String>,
    /// Whether the rotation that this answers brought another current key.
    pub changed: bool,
}

/// Why the keys were not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// They can't be had; the agent goes on with those it has.
    #[error("{0}; the agent goes on with the keys it has")]
    Keys(#[from] KeysError),
    /// The WAL refuses.
    #[error(transparent)]
    Wal(#[from] RotateError),
    /// That of dead letters refuses.
    #[error("dead letters: {0}")]
    DeadLetters(RotateError),
}

impl RotationError {
    /// Refused, because of what is there; not failed.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Wal(RotateError::InUse { .. } | RotateError::Plain)
                | Self::DeadLetters(RotateError::InUse { .. } | RotateError::Plain)
        )
    }
}

impl Rotation {
    /// For an agent that was started with this.
    pub fn new(encryption: config::Encryption, wal: Wal, dead_letters: Arc<DeadLetterBox>) -> Self {
        Self { encryption, wal, dead_letters, turn: Mutex::new(()) }
    }

    /// Reads the keys and has them taken. Blocks: it reads files, runs commands, waits for the WAL.
    ///
    /// # Errors
    /// [`RotationError`]; unless one says otherwise, it can be tried again.
    pub fn rotate(&self) -> Result<KeysStatus, RotationError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let config::Encryption::Aes256Gcm(places) = &self.encryption else {
            return Err(RotateError::Plain.into());
        };
        let ring = keys::ring(places)?;
        let before = self.wal.key_ids();
        self.dead_letters.check_keys(&ring).map_err(RotationError::DeadLetters)?;
        self.wal.rotate(ring.clone())?;
        self.dead_letters.rotate(ring).map_err(RotationError::DeadLetters)?;
        let after = self.wal.key_ids();
        let status = KeysStatus { changed: before.first() != after.first(), ..self.status() };
        tracing::info!(
            current = status.current,
            older = status.older.join(", "),
            changed = status.changed,
            "keys of the WAL read again"
        );
        Ok(status)
    }

    /// The keys, now.
    pub fn status(&self) -> KeysStatus {
        let mut in_use = self.wal.keys_in_use();
        in_use.extend(self.dead_letters.keys_in_use());
        in_use.sort_unstable();
        in_use.dedup();
        let held = texts(&self.wal.key_ids());
        let (current, older) = match held.split_first() {
            Some((current, older)) => (Some(current.clone()), older.to_vec()),
            None => (None, Vec::new()),
        };
        KeysStatus { current, older, in_use: texts(&in_use), changed: false }
    }
}

fn texts(ids: &[u32]) -> Vec<String> {
    ids.iter().map(|id| format!("{id:08x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use whimbrel_wal::{
        Encryption, Key, KeyRing, Lane, NewRecord, Options, Outcome, ReadLimit, RecordId, WhenFull,
    };

    use super::*;
    use crate::{clock, config::KeyPlace, config::KeyPlaces, config::OnWrongKey};

    fn options(ring: &KeyRing, consumer: &str) -> Options {
        let mut options = Options::new(Encryption::Aes256Gcm(ring.clone()));
        options.consumers = vec![consumer.into()];
        options
    }

    fn append(wal: &Wal) -> RecordId {
        let record = NewRecord {
            lane: Lane::ALL[0],
            source: "source",
            label: "",
            items: 1,
            ingest_ns: 0,
            payload: b"payload",
            checkpoint: None,
            when_full: WhenFull::DropOldest,
        };
        wal.append_blocking(wal.prepare(record).unwrap()).unwrap()
    }

    fn agent(home: &Path) -> (Rotation, Wal, std::path::PathBuf) {
        let path = home.join("wal.key");
        let ring = KeyRing::new(Key::create_file(&path).unwrap());
        let letters = home.join("dead-letters");
        let (wal, _) = Wal::open(&letters, options(&ring, "operator")).unwrap();
        append(&wal);
        wal.close().unwrap();
        let clock = Arc::new(clock::SystemClock);
        let letters = DeadLetterBox::new(letters, Encryption::Aes256Gcm(ring.clone()), clock).unwrap();
        let (wal, _) = Wal::open(&home.join("wal"), options(&ring, "backend")).unwrap();
        let places = KeyPlaces {
            current: KeyPlace::File(path.clone()),
            create: false,
            older: Vec::new(),
            on_wrong_key: OnWrongKey::Refuse,
        };
        let rotation = Rotation::new(config::Encryption::Aes256Gcm(places), wal.clone(), Arc::new(letters));
        (rotation, wal, path)
    }

    #[test]
    fn a_key_that_only_a_dead_letter_needs_can_t_be_left_out_and_neither_wal_is_changed() {
        let home = tempfile::tempdir().unwrap();
        let (rotation, wal, path) = agent(home.path());
        let id = append(&wal);
        let replaced = keys::replace(&path).unwrap();
        let status = rotation.rotate().unwrap();
        let (old, new) = (format!("{:08x}", replaced.before), format!("{:08x}", replaced.after));
        assert_eq!(
            (status.current.as_ref(), &status.older, status.changed),
            (Some(&new), &vec![old.clone()], true)
        );

        let backend = wal.consumer("backend").unwrap();
        backend.acknowledge(Lane::ALL[0], &[id], Outcome::Delivered).unwrap();
        append(&wal); // the segment before it goes with this turn of the writer, at the latest
        assert_eq!(wal.keys_in_use(), [replaced.after]);
        assert!(rotation.status().in_use.contains(&old), "the letter");
        keys::retire(&path, replaced.before).unwrap();
        let before = wal.key_ids();
        let refused = rotation.rotate().unwrap_err();
        assert!(refused.is_refusal() && refused.to_string().starts_with("dead letters: key"), "{refused}");
        assert_eq!(wal.key_ids(), before, "nothing was changed");
        let limit = ReadLimit { records: 9, uncompressed_bytes: 99 };
        assert_eq!(backend.read(Lane::ALL[0], None, limit).unwrap().len(), 1);
    }

    #[test]
    fn a_key_file_that_can_t_be_read_leaves_the_keys_as_they_are() {
        let home = tempfile::tempdir().unwrap();
        let (rotation, wal, path) = agent(home.path());
        let before = wal.key_ids();
        std::fs::remove_file(&path).unwrap();
        let refused = rotation.rotate().unwrap_err().to_string();
        assert!(refused.contains("wal.key") && refused.contains("goes on with the keys it has"), "{refused}");
        assert_eq!(wal.key_ids(), before);
    }
}
