//! The handle: open, prepare, append, close.

use std::{
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
};

use crate::{
    compress::{self, Codec, Compressors},
    consumer::{self, Consumer},
    error::{AppendError, CloseError, OpenError, ReadError, RotateError},
    forget::{self, ForgetError},
    key::KeyRing,
    newest::{self, StoredRecord, Walked},
    options::{MAX_CHECKPOINT, MAX_NAME, MAX_RECORD, Options},
    record::{Lane, NewRecord, Prepared, RecordId},
    recover,
    shared::{Shared, lock},
    status::{OpenReport, Status},
    storage::{Environment, environment},
    writer::{
        queue::Pending,
        thread::{self, Seat},
    },
};

/// A handle on an open WAL. Cheap to clone; the WAL is closed when [`close`](Self::close) is called or the last handle
/// is dropped.
#[derive(Clone)]
pub struct Wal(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    compressors: Compressors,
    walked: Mutex<Walked>,
    seat: Seat,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Wal {
    /// Opens the WAL in this directory, making it if need be. What an earlier process left is recovered: see the report.
    ///
    /// # Errors
    /// [`OpenError`]: locked, under another key, an option out of limits, or the operating system refused.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, OpenReport), OpenError> {
        Self::open_in(environment(), dir, options)
    }

    pub(crate) fn open_in(
        env: Environment,
        dir: &Path,
        options: Options,
    ) -> Result<(Self, OpenReport), OpenError> {
        let compressors = Compressors::new(options.zstd_level);
        let (core, held, report) = recover::open(env, dir, options)?;
        let shared = core.shared.clone();
        let (seat, writer) =
            thread::start(core, held).map_err(OpenError::io("starting the writer's thread of", dir))?;
        let writer = Mutex::new(Some(writer));
        let walked = Mutex::default();
        Ok((Self(Arc::new(Handle { shared, compressors, walked, seat, writer })), report))
    }

    /// Checks and compresses a record, in the caller's thread.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`], [`AppendError::CheckpointTooLarge`], [`AppendError::NameTooLong`],
    /// [`AppendError::Compress`].
    pub fn prepare(&self, record: NewRecord<'_>) -> Result<Prepared, AppendError> {
        prepare(&self.0.compressors, record)
    }

    /// Checks a record that comes compressed already: `frame` is one zstd frame, says its content size, needs no
    /// dictionary, and unpacks to `record.payload`, which the caller has found out by unpacking it. It is stored as it
    /// is; where the WAL stores plainly, the payload is.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare), and [`AppendError::Compress`] where the frame's header says another content
    /// size or names a dictionary.
    pub fn prepare_frame(&self, record: NewRecord<'_>, frame: Vec<u8>) -> Result<Prepared, AppendError> {
        check(&record)?;
        if self.0.compressors.is_plain() {
            return prepare(&self.0.compressors, record);
        }
        compress::check_frame(&frame, record.payload.len()).map_err(AppendError::Compress)?;
        Ok(prepared(record, Codec::Zstd, frame))
    }

    /// Appends a record. Never blocks. `done` is called once, on the WAL's own thread or that of an
    /// [`append_blocking`](Self::append_blocking), when the record is as durable
    /// as the policy says, or with the error; if the WAL is closed or overloaded, at once on this one. It must not
    /// block, and must not call [`append_blocking`](Self::append_blocking) or [`close`](Self::close).
    ///
    /// The id of a record that only carries a checkpoint names no data record. Under `interval` an id becomes final
    /// when the record becomes visible.
    pub fn append(
        &self,
        record: Prepared,
        done: impl FnOnce(Result<RecordId, AppendError>) + Send + 'static,
    ) {
        self.0.shared.queue.push(Pending::new(record, Box::new(done)));
    }

    /// Appends a record and waits until it is as durable as the policy says. Where nothing else is being written, it is
    /// written on this thread.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_blocking(&self, record: Prepared) -> Result<RecordId, AppendError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let shared = &self.0.shared;
        // Nobody but this function holds the receiver.
        let pending = Pending::new(record, Box::new(move |result| drop(answer.send(result))));
        if shared.queue.add(pending) && !thread::try_turn(&self.0.seat, shared) {
            shared.queue.tell();
        }
        answered.recv().unwrap_or(Err(AppendError::Closed))
    }

    /// A source's last durable checkpoint.
    pub fn checkpoint(&self, source: &str) -> Option<Vec<u8>> {
        let checkpoints = self.0.shared.checkpoints.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        checkpoints.get(source).map(|position| position.to_vec())
    }

    /// The handle on a configured consumer.
    pub fn consumer(&self, name: &str) -> Option<Consumer> {
        let consumers = self.0.shared.consumers();
        let state = consumers.iter().find(|state| state.configured && state.name == name)?;
        Some(Consumer::new(self.0.shared.clone(), state.clone()))
    }

    /// Forgets a consumer that is no longer configured: its cursor is deleted, and what only it held is.
    ///
    /// # Errors
    /// [`ForgetError`].
    pub fn forget(&self, consumer: &str) -> Result<(), ForgetError> {
        forget::ask(&self.0.shared, consumer)
    }

    /// The newest visible record of a lane and source that `wanted` takes, as it lies on the disk and opened; `None`
    /// where there is none. Moves no cursor: records that are acknowledged are found as long as their segment is there.
    /// One that is damaged is passed over, with those of its source before it in that segment. Reads files in the caller's thread; appends go on meanwhile.
    ///
    /// # Errors
    /// [`ReadError::Io`]: the operating system failed to read a segment; try again.
    pub fn newest(&self, wanted: impl Fn(Lane, &str) -> bool) -> Result<Option<StoredRecord>, ReadError> {
        newest::newest(&self.0.shared, &self.0.walked, &wanted)
    }

    /// Sizes, counts and losses.
    pub fn status(&self) -> Status {
        status(&self.0.shared)
    }

    /// Takes other keys while the WAL is in use: new segments go under the ring's current key, cursors are signed anew
    /// with it, and segments that are there are read with the keys they were sealed with until they are delivered.
    /// Those must be in the ring. Waits for the WAL's thread, and must not be called on it. A ring with the same current
    /// key only adds or takes away older ones. When it returns without an error, a power loss leaves nothing that needs
    /// a key outside the ring.
    ///
    /// # Errors
    /// [`RotateError::InUse`] and [`RotateError::Plain`]: nothing was changed. [`RotateError::Io`]: try again.
    /// [`RotateError::Closed`].
    pub fn rotate(&self, ring: KeyRing) -> Result<(), RotateError> {
        let (answer, answered) = mpsc::sync_channel(1);
        // Nobody but this function holds the receiver.
        self.0.shared.queue.task(Box::new(move |core| drop(answer.send(core.rotate(ring)))));
        answered.recv().unwrap_or(Err(RotateError::Closed))
    }

    /// Whether this ring holds every key that segments and cursors need; changes nothing.
    ///
    /// # Errors
    /// [`RotateError::InUse`] names one that it does not hold.
    pub fn check_keys(&self, ring: &KeyRing) -> Result<(), RotateError> {
        self.0.shared.check_keys(&ring.ids())
    }

    /// Ids of the keys it holds, the current one first; none in the clear.
    pub fn key_ids(&self) -> Vec<u32> {
        self.0.shared.masters().ids()
    }

    /// Ids of the keys that segments and cursors need, ascending; none in the clear. A key that is not among them and
    /// not the current one can be retired.
    pub fn keys_in_use(&self) -> Vec<u32> {
        self.0.shared.key_use().into_keys().collect()
    }

    /// Answers what waits, seals and syncs the active segment and the cursors, and releases the lock. Other handles
    /// find the WAL closed. A second call has nothing to do and succeeds.
    ///
    /// # Errors
    /// [`CloseError`]: what was answered is as durable as promised all the same.
    pub fn close(self) -> Result<(), CloseError> {
        self.0.end()
    }
}

impl Handle {
    fn end(&self) -> Result<(), CloseError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let asked = self.shared.queue.close(Box::new(move |result| drop(answer.send(result))));
        let result = if asked { answered.recv().unwrap_or(Ok(())) } else { Ok(()) };
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer
            && writer.thread().id() != std::thread::current().id()
            && writer.join().is_err()
        {
            let cause = Arc::new(std::io::Error::other("the writer's thread panicked"));
            return Err(CloseError { action: "ending", cause });
        }
        result
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // On the writer's own thread (the last handle went with an answer) nobody could wait for the end.
        let on_writer =
            lock(&self.writer).as_ref().is_some_and(|w| w.thread().id() == std::thread::current().id());
        if on_writer {
            self.shared.queue.close(Box::new(drop));
        } else {
            // Who cares how it ends calls `close`.
            drop(self.end());
        }
    }
}

/// Checks and compresses a record.
pub(crate) fn prepare(compressors: &Compressors, record: NewRecord<'_>) -> Result<Prepared, AppendError> {
    check(&record)?;
    let (codec, stored) =
        compressors.compress(record.payload).map_err(|e| AppendError::Compress(e.to_string()))?;
    Ok(prepared(record, codec, stored))
}

/// Whether a record is within its limits.
fn check(record: &NewRecord<'_>) -> Result<(), AppendError> {
    if record.payload.len() > MAX_RECORD {
        return Err(AppendError::TooLarge { len: record.payload.len(), limit: MAX_RECORD });
    }
    for name in [record.source, record.label] {
        if name.len() > MAX_NAME {
            return Err(AppendError::NameTooLong { len: name.len(), limit: MAX_NAME });
        }
    }
    match record.checkpoint.map(<[u8]>::len).filter(|len| *len > MAX_CHECKPOINT) {
        Some(len) => Err(AppendError::CheckpointTooLarge { len, limit: MAX_CHECKPOINT }),
        None => Ok(()),
    }
}

fn prepared(record: NewRecord<'_>, codec: Codec, stored: Vec<u8>) -> Prepared {
    Prepared {
        lane: record.lane,
        codec,
        source: record.source.into(),
        label: record.label.into(),
        items: record.items,
        ingest_ns: record.ingest_ns,
        uncompressed_len: record.payload.len() as u32,
        stored,
        checkpoint: record.checkpoint.map(Into::into),
        when_full: record.when_full,
        state_only: record.checkpoint.is_some() && record.items == 0 && record.payload.is_empty(),
    }
}

/// A WAL's status.
pub(crate) fn status(shared: &Shared) -> Status {
    let consumers = shared.consumers().iter().map(|state| consumer::status(shared, state)).collect();
    let segments = shared.segments().len();
    let next_sequence = shared.tail().next_sequence;
    let figures = lock(&shared.figures);
    Status {
        dir: shared.dir.clone(),
        store_uuid: shared.store_uuid,
        disk_bytes: figures.disk_bytes,
        quarantine_bytes: figures.quarantine_bytes,
        max_size: shared.options.max_size,
        segments,
        full: figures.full,
        failing: figures.failing,
        last_error: figures.last_error.clone(),
        next_sequence,
        consumers,
        counters: figures.counters,
        losses: figures.losses,
    }
}
