//! Records that a receiver refused for what they hold: kept, encrypted and bounded, in a WAL of their own.
//!
//! `data_dir/dead-letters` is a WAL like the main one, so that what holds there (durable before it is answered,
//! sealed, checked, capped) holds here without a second format. It is opened when the first letter comes, or at the
//! start if there are letters already: an agent without any pays nothing.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use whimbrel_otlp::Signal;
use whimbrel_wal::{Encryption, KeyRing, NewRecord, Options, RotateError, Wal, WhenFull};

use crate::{
    clock::{self, Clock},
    export::{DeadLetters, Record, SourceError, Stored},
    store::lane_of,
};

/// Disk use of all dead letters; the oldest go first. Bytes.
const MAX_SIZE: u64 = 64 << 20;
/// The one who will read them: `whimbrel dead-letter`, when it comes.
const READER: &str = "operator";

/// The dead letters of all exporters.
pub struct DeadLetterBox {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// What it is, or will be, opened with; and it, once it is.
struct State {
    encryption: Encryption,
    wal: Option<Wal>,
}

impl DeadLetterBox {
    /// Letters in this folder, sealed as the main WAL is. Opens it if it is there.
    ///
    /// # Errors
    /// When a folder that is there cannot be opened.
    pub fn new(
        folder: PathBuf,
        encryption: Encryption,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, whimbrel_wal::OpenError> {
        let letters = Self { folder, clock, state: Mutex::new(State { encryption, wal: None }) };
        if letters.folder.is_dir() {
            letters.open()?;
        }
        Ok(letters)
    }

    /// How many letters there are.
    pub fn pending(&self) -> u64 {
        self.opened().map_or(0, |wal| wal.status().consumers.iter().map(|c| c.total().pending).sum())
    }

    /// Closes it, if it was open.
    ///
    /// # Errors
    /// As [`Wal::close`].
    pub fn close(&self) -> Result<(), whimbrel_wal::CloseError> {
        let wal = self.state().wal.take();
        wal.map_or(Ok(()), Wal::close)
    }

    /// Ids of the keys that letters need.
    pub(crate) fn keys_in_use(&self) -> Vec<u32> {
        self.opened().map_or_else(Vec::new, |wal| wal.keys_in_use())
    }

    /// Whether this ring opens all letters; changes nothing.
    ///
    /// # Errors
    /// [`RotateError::InUse`].
    pub(crate) fn check_keys(&self, ring: &KeyRing) -> Result<(), RotateError> {
        self.opened().map_or(Ok(()), |wal| wal.check_keys(ring))
    }

    /// As [`Wal::rotate`]; where there are no letters, the first one is sealed with the new key.
    ///
    /// # Errors
    /// As [`Wal::rotate`].
    pub(crate) fn rotate(&self, ring: KeyRing) -> Result<(), RotateError> {
        // Held meanwhile, so that it is not opened with the keys before.
        let mut state = self.state();
        if let Some(wal) = &state.wal {
            wal.rotate(ring.clone())?;
        }
        state.encryption = Encryption::Aes256Gcm(ring);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> Option<Wal> {
        self.state().wal.clone()
    }

    fn open(&self) -> Result<Wal, whimbrel_wal::OpenError> {
        let mut state = self.state();
        if let Some(wal) = &state.wal {
            return Ok(wal.clone());
        }
        let mut options = Options::new(state.encryption.clone());
        options.max_size = MAX_SIZE;
        options.consumers = vec![READER.into()];
        let (opened, _) = Wal::open(&self.folder, options)?;
        Ok(state.wal.insert(opened).clone())
    }
}

impl DeadLetters for DeadLetterBox {
    fn put(&self, exporter: &str, signal: Signal, record: &Record, reason: &str) -> Result<(), SourceError> {
        let wal = self.open().map_err(SourceError::new)?;
        let payload = match &record.stored {
            Stored::Plain(bytes) => bytes.to_vec(),
            Stored::Frame(frame) => {
                zstd::bulk::decompress(frame, record.uncompressed_len as usize).map_err(|e| {
                    SourceError::new(format!("record {}: its frame cannot be unpacked: {e}", record.id))
                })?
            }
        };
        let prepared = wal
            .prepare(NewRecord {
                lane: lane_of(signal),
                source: exporter,
                label: shortened(reason),
                items: record.items,
                ingest_ns: clock::unix_ns(&*self.clock),
                payload: &payload,
                checkpoint: None,
                when_full: WhenFull::DropOldest,
            })
            .map_err(SourceError::new)?;
        wal.append_blocking(prepared).map_err(SourceError::new)?;
        Ok(())
    }
}

/// At most what a label may hold, at a character's boundary.
fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(whimbrel_wal::MAX_NAME);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
