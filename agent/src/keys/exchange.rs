//! Other keys for a running agent: read anew from their places, and taken by the WAL and that of dead letters.
//!
//! Nothing is changed when a key is missing that either of the two still needs. The places are those of the
//! configuration that the agent was started with; a variable of a running process does not change.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use whimbrel_wal::{RotateError, Wal};

use super::{KeysError, held, ring};
use crate::{config, dead_letters::DeadLetterBox};

/// The keys of a running agent.
pub struct Exchange {
    encryption: config::Encryption,
    wal: Wal,
    dead_letters: Arc<DeadLetterBox>,
    /// One exchange at a time.
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
    /// Whether the exchange that this answers brought another current key.
    pub changed: bool,
}

/// Why the keys were not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
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

impl ExchangeError {
    /// Refused, because of what is there; not failed.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Wal(RotateError::InUse { .. } | RotateError::Plain)
                | Self::DeadLetters(RotateError::InUse { .. } | RotateError::Plain)
        )
    }
}

impl Exchange {
    /// For an agent that was started with this.
    pub fn new(encryption: config::Encryption, wal: Wal, dead_letters: Arc<DeadLetterBox>) -> Self {
        Self { encryption, wal, dead_letters, turn: Mutex::new(()) }
    }

    /// Reads the keys and has them taken. Blocks: it reads files, runs commands, waits for the WAL.
    ///
    /// # Errors
    /// [`ExchangeError`]; unless one says otherwise, it can be tried again.
    pub fn exchange(&self) -> Result<KeysStatus, ExchangeError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let config::Encryption::Aes256Gcm(places) = &self.encryption else {
            return Err(RotateError::Plain.into());
        };
        let ring = ring(held(places)?);
        let before = self.wal.key_ids();
        self.dead_letters.check_keys(&ring).map_err(ExchangeError::DeadLetters)?;
        self.wal.rotate(ring.clone())?;
        self.dead_letters.rotate(ring).map_err(ExchangeError::DeadLetters)?;
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
