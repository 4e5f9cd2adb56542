//! What a guest's imports are answered with: one object an instance.
//!
//! A push is handed to the store, and answered when it is durable. Nothing here
//! trusts what a guest says: sizes and rates are bounded by the plugin host before a call gets here.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use whimbrel_plugin_host::services::{
    Batch, Denied, Entity, GuestError, Level, LogLine, Services, parts_denied,
};

use super::{figures, status::Board};
use crate::{
    clock::{self, Clock},
    config::Secret,
    store::{self, Store, StoreError},
    system::System,
};

/// The services of one collector's instance.
pub(super) struct CollectorServices {
    pub(super) name: String,
    pub(super) secrets: Vec<(String, Secret)>,
    /// Some parts of the host's figures are granted: that others are not is an operator's decision, and no problem.
    pub(super) parts_are_chosen: bool,
    /// Denied, and not told yet.
    pub(super) parts_denied: Mutex<Vec<String>>,
    /// `collectors/NAME`
    pub(super) source: String,
    pub(super) store: Store,
    pub(super) system: Arc<System>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) board: Arc<Board>,
    /// Pushes of this instance that became durable.
    pub(super) pushed: AtomicU64,
    /// Another instance has taken over: this one's checkpoints count no more.
    pub(super) retired: AtomicBool,
}

impl CollectorServices {
    /// Tells which parts of the host's figures were denied since it was called last, all in one line.
    pub(super) fn tell_denied(&self) {
        // Whole texts are put in: a panic leaves a list.
        let parts = std::mem::take(&mut *self.parts_denied.lock().unwrap_or_else(PoisonError::into_inner));
        if parts.is_empty() {
            return;
        }
        let told = parts_denied(&parts);
        tracing::warn!(collector = self.name, "{told}");
        self.board.write(|s| s.last_problem = Some(told));
    }

    async fn store(&self, batch: Batch, checkpoint: Option<Vec<u8>>) -> Result<(), GuestError> {
        if checkpoint.is_some() && self.retired.load(Relaxed) {
            // The other has begun at the last checkpoint, and brings this itself.
            let why = "another instance has taken over from the last checkpoint";
            return Err(GuestError::Unavailable(why.to_owned()));
        }
        let batch = store::Batch {
            signal: batch.signal,
            request: &batch.request,
            source: &self.source,
            checkpoint: checkpoint.as_deref(),
        };
        match self.store.append(batch).await {
            Ok(stored) => {
                self.pushed.fetch_add(1, Relaxed);
                self.board.write(|s| {
                    s.pushes += 1;
                    s.items += stored.items;
                });
                Ok(())
            }
            Err(error) => {
                self.board.write(|s| {
                    match &error {
                        StoreError::Invalid(_) => s.refused.invalid += 1,
                        StoreError::TooLarge(_) => s.refused.too_large += 1,
                        _ => s.refused.unavailable += 1,
                    }
                    s.last_problem = Some(format!("push refused: {error}"));
                });
                tracing::warn!(collector = self.name, %error, "push refused");
                Err(match error {
                    StoreError::Invalid(e) => GuestError::Invalid(e.to_string()),
                    StoreError::TooLarge(_) => GuestError::TooLarge(whimbrel_wal::MAX_RECORD as u64),
                    other => GuestError::Unavailable(other.to_string()),
                })
            }
        }
    }
}

impl Services for CollectorServices {
    fn push(
        &self,
        batch: Batch,
        checkpoint: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send + '_>> {
        Box::pin(self.store(batch, checkpoint))
    }

    fn snapshot(&self, part: &str, select: &[(String, String)]) -> Result<Vec<Entity>, GuestError> {
        figures::snapshot(&self.system, part, select)
    }

    fn log(&self, line: LogLine) {
        let collector = self.name.as_str();
        let fields = line.fields.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
        let message = line.message;
        match line.level {
            Level::Trace => tracing::trace!(collector, fields, "{message}"),
            Level::Debug => tracing::debug!(collector, fields, "{message}"),
            Level::Info => tracing::info!(collector, fields, "{message}"),
            Level::Warn => tracing::warn!(collector, fields, "{message}"),
            Level::Error => tracing::error!(collector, fields, "{message}"),
        }
    }

    fn reveal(&self, name: &str) -> Result<String, GuestError> {
        // The plugin host has checked the grant, and what is granted is here.
        let found = self.secrets.iter().find(|(granted, _)| granted == name);
        found
            .map(|(_, secret)| secret.reveal().to_owned())
            .ok_or_else(|| GuestError::Denied(format!("there is no secret {name:?}")))
    }

    fn denied(&self, what: &Denied) {
        self.board.write(|s| s.denied += 1);
        match what {
            Denied::System(_) if self.parts_are_chosen => {
                tracing::debug!(collector = self.name, "{what}");
            }
            Denied::System(part) => {
                self.parts_denied.lock().unwrap_or_else(PoisonError::into_inner).push(part.clone());
            }
            _ => {
                tracing::warn!(collector = self.name, "{what}");
                self.board.write(|s| s.last_problem = Some(what.to_string()));
            }
        }
    }

    fn now_ns(&self) -> u64 {
        clock::unix_ns(&*self.clock)
    }
}

impl Drop for CollectorServices {
    /// An instance that did not come to the end of a collect was denied something, too.
    fn drop(&mut self) {
        self.tell_denied();
    }
}
