//! Whole OTLP requests -> store.

use std::{sync::Arc, time::Duration};

use whimbrel_otlp::{PartError, Signal, WalkError};

use super::Counts;
use crate::store::{Sealed, Store, StoreError, Stored};

/// When a sender that was told "not now" is to come again: long enough to be no burden, short enough not to matter.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An export request, uncompressed, as it was sent.
#[derive(Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) signal: Signal,
    /// Protobuf.
    pub(crate) request: &'a [u8],
    /// The same as the one sound zstd frame that it came as.
    pub(crate) frame: Option<Vec<u8>>,
    /// Whether the agent's resource is put to it; its frame can't be used then.
    pub(crate) add_resource: bool,
}

/// Why something was not taken. Nothing of it is stored, or, of a request that had to be parted, its first parts only.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum IntakeError {
    /// It is not OTLP; names the item. It will never be taken.
    #[error(transparent)]
    Invalid(#[from] WalkError),
    /// An item is too large for a record. It will never be taken.
    #[error("{what}")]
    TooLarge { what: String },
    /// Not now: the WAL is full, or the agent is stopping.
    #[error("{what}")]
    Unavailable { cause: &'static str, what: String, retry_after: Duration },
}

impl IntakeError {
    /// Where refusals for this are counted.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::TooLarge { .. } => "too_large",
            Self::Unavailable { cause, .. } => cause,
        }
    }

    /// What is said while the agent stops.
    pub(crate) fn stopping() -> Self {
        Self::unavailable("stopping", "the agent is stopping".to_owned())
    }

    fn unavailable(cause: &'static str, what: String) -> Self {
        Self::Unavailable { cause, what, retry_after: RETRY_AFTER }
    }
}

impl From<StoreError> for IntakeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid(walk) => Self::Invalid(walk),
            StoreError::TooLarge(PartError::Walk(walk)) => Self::Invalid(walk),
            StoreError::TooLarge(large) => Self::TooLarge { what: large.to_string() },
            StoreError::Wal(append) if append.is_permanent() => Self::TooLarge { what: append.to_string() },
            StoreError::Wal(append) if append.is_full() => Self::unavailable("full", append.to_string()),
            StoreError::Wal(append) if append.is_closed() => Self::stopping(),
            StoreError::Wal(append) => Self::unavailable("failed", append.to_string()),
            StoreError::Stopping => Self::stopping(),
        }
    }
}

/// Takes whole requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Intake {
    store: Store,
    source: Arc<str>,
    counts: Arc<Counts>,
}

impl Intake {
    /// `source` is the configured name, `receivers/NAME`.
    pub(crate) fn new(store: Store, source: Arc<str>, counts: Arc<Counts>) -> Self {
        Self { store, source, counts }
    }

    /// Walks a request, and returns when it is as durable as `wal.sync` says. Compresses on this thread what has no
    /// frame.
    ///
    /// Cancel safety: when the future is dropped, the request is durable or not, as if the process had ended.
    ///
    /// # Errors
    /// [`IntakeError`]; refusals are counted by whoever answers.
    pub(crate) async fn append(&self, sent: Sent<'_>) -> Result<Stored, IntakeError> {
        let Sent { signal, request, frame, add_resource } = sent;
        let stored = if add_resource {
            let mut merged = Vec::new();
            let walked = whimbrel_otlp::merge_resource(signal, request, self.store.resource(), &mut merged)?;
            self.append_walked(signal, &merged, walked.items, None).await?
        } else {
            let walked = whimbrel_otlp::walk(signal, request)?;
            self.append_walked(signal, request, walked.items, frame).await?
        };
        Ok(stored)
    }

    /// Appends a request that is well-formed.
    pub(super) async fn append_walked(
        &self,
        signal: Signal,
        request: &[u8],
        items: u32,
        frame: Option<Vec<u8>>,
    ) -> Result<Stored, IntakeError> {
        let sealed = Sealed { signal, request, items, source: &self.source, frame };
        let stored = self.store.append_sealed(sealed).await?;
        self.counts.stored(signal, stored.items, stored.bytes);
        Ok(stored)
    }
}
