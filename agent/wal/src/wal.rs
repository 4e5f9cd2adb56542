//! The handle: open, prepare, append, close.

use std::{path::Path, sync::Arc};

use crate::{
    compress::Compressors,
    consumer::Consumer,
    error::{AppendError, CloseError, OpenError},
    options::Options,
    record::{NewRecord, Prepared, RecordId},
    status::{OpenReport, Status},
};

/// A handle on an open WAL. Cheap to clone; the WAL is closed when [`close`](Self::close) is called or the last handle
/// is dropped.
#[derive(Clone)]
pub struct Wal {
    _compressors: Arc<Compressors>,
}

impl Wal {
    /// Opens the WAL in this directory, making it if need be.
    ///
    /// # Errors
    /// [`OpenError`]: locked, under another key, an option out of limits, or the operating system refused.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, OpenReport), OpenError> {
        let _ = options;
        Err(OpenError::Locked { dir: dir.to_owned() })
    }

    /// Checks and compresses a record, in the caller's thread.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`], [`AppendError::CheckpointTooLarge`], [`AppendError::NameTooLong`],
    /// [`AppendError::Compress`].
    pub fn prepare(&self, _record: NewRecord<'_>) -> Result<Prepared, AppendError> {
        Err(AppendError::Closed)
    }

    /// Appends a record. Never blocks. `done` is called once, on the WAL's own thread, when the record is as durable
    /// as the policy says, or with the error; if the WAL is closed or overloaded, at once on this one. It must not
    /// block and must not call [`append_blocking`](Self::append_blocking).
    pub fn append(
        &self,
        _record: Prepared,
        done: impl FnOnce(Result<RecordId, AppendError>) + Send + 'static,
    ) {
        done(Err(AppendError::Closed));
    }

    /// Appends a record and waits until it is as durable as the policy says.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_blocking(&self, _record: Prepared) -> Result<RecordId, AppendError> {
        Err(AppendError::Closed)
    }

    /// A source's last durable checkpoint.
    pub fn checkpoint(&self, _source: &str) -> Option<Vec<u8>> {
        None
    }

    /// The handle on a configured consumer.
    pub fn consumer(&self, _name: &str) -> Option<Consumer> {
        None
    }

    /// Sizes, counts and losses.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// Answers what waits, seals and syncs the active segment and the cursors, and releases the lock. Other handles
    /// find the WAL closed.
    ///
    /// # Errors
    /// [`CloseError`]: what was answered is as durable as promised all the same.
    pub fn close(self) -> Result<(), CloseError> {
        Ok(())
    }
}
