//! batch <-> record: the stage between whoever brings a batch and the WAL; answers "durable".
//!
//! Here the agent's resource is merged into a batch, the batch is walked (bounds, wire types, UTF-8, count), parted
//! where it is larger than a record may be, compressed on the caller's thread, and appended. `append` returns when
//! the record is as durable as `wal.sync` says, never before.
//!
//! Deliberately absent: decoding; batching (small events of receivers share a commit in the WAL's writer).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;
use whimbrel_otlp::{PartError, Resource, Signal, WalkError};
use whimbrel_wal::{
    AppendError, ForgetError, Lane, NewRecord, Prepared, ReadError, StoredRecord, Wal, WhenFull,
};

use crate::{
    clock::{self, Clock},
    config::OnFull,
};

/// What the agent's resource usually adds to a batch of one resource, bytes; more only costs a reallocation.
const RESOURCE_ROOM: usize = 512;
/// Most buffers kept that batches were merged in, and the largest of them, in bytes: fresh pages for each batch cost as
/// much as walking it.
const KEPT: usize = 2;
const BIG: usize = 512 << 10;
/// How long a source under `block` waits for room before it is told "not now".
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A batch on its way in: one OTLP export request of one signal, from one source. The agent's resource is put to it.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Which of the three.
    pub signal: Signal,
    /// The export request, protobuf.
    pub request: &'a [u8],
    /// The configured name, `collectors/NAME`.
    pub source: &'a str,
    /// The source's own position, made durable in the same record.
    pub checkpoint: Option<&'a [u8]>,
}

/// A batch that is complete, and was walked by whoever brings it.
#[derive(Debug)]
pub struct Sealed<'a> {
    /// Which of the three.
    pub signal: Signal,
    /// The export request, protobuf.
    pub request: &'a [u8],
    /// What the walk counted in it.
    pub items: u32,
    /// The configured name, `receivers/NAME`.
    pub source: &'a str,
    /// The request as one zstd frame that says its content size and needs no dictionary, to be stored as it is.
    pub frame: Option<Vec<u8>>,
}

/// What became durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Data points, log records or spans.
    pub items: u64,
    /// Records; 0 for a batch without items and without a checkpoint.
    pub records: u32,
    /// Uncompressed bytes.
    pub bytes: u64,
}

impl Stored {
    /// This one.
    fn record(record: &NewRecord<'_>) -> Self {
        Self { items: u64::from(record.items), records: 1, bytes: record.payload.len() as u64 }
    }
}

/// What a batch came to.
enum Merged {
    /// Nothing to store.
    Nothing,
    /// One record.
    Record(Prepared, Stored),
    /// More than one may hold.
    TooLarge,
}

impl std::ops::AddAssign for Stored {
    fn add_assign(&mut self, other: Self) {
        self.items += other.items;
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// Why a batch was not stored. Nothing of it is, or, of a batch that had to be parted, its first parts only.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bytes are not an OTLP export request of the signal.
    #[error(transparent)]
    Invalid(#[from] WalkError),
    /// It cannot be parted into records.
    #[error(transparent)]
    TooLarge(#[from] PartError),
    /// The WAL does not take it.
    #[error(transparent)]
    Wal(#[from] AppendError),
    /// The WAL's writer is gone: the agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
}

fn when_full(policy: OnFull) -> WhenFull {
    match policy {
        OnFull::Block => WhenFull::Block { up_to: LONGEST_WAIT },
        OnFull::DropOldest => WhenFull::DropOldest,
        OnFull::DropNewest => WhenFull::DropNewest,
    }
}

/// Appends batches to the WAL. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    wal: Wal,
    resource: Arc<Resource>,
    clock: Arc<dyn Clock>,
    collectors_when_full: WhenFull,
    receivers_when_full: WhenFull,
    buffers: Arc<Buffers>,
}

/// Memory that batches were merged in, for the next ones.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() <= BIG && kept.len() < KEPT {
            kept.push(buffer);
        }
    }
}

/// The WAL's lane of a signal. On disk: never to be changed.
pub const fn lane_of(signal: Signal) -> Lane {
    let [metrics, logs, traces] = Lane::ALL;
    match signal {
        Signal::Metrics => metrics,
        Signal::Logs => logs,
        Signal::Traces => traces,
    }
}

/// The signal of a lane of the WAL.
pub fn signal_of(lane: Lane) -> Signal {
    Signal::ALL.into_iter().find(|signal| lane_of(*signal) == lane).unwrap_or(Signal::Metrics)
}

impl Store {
    /// A store over an open WAL. `resource` is merged into every [`Batch`]; the policies are what collectors' and
    /// receivers' batches do when the WAL is at its limit.
    pub fn new(
        wal: Wal,
        resource: Resource,
        clock: Arc<dyn Clock>,
        collectors_when_full: OnFull,
        receivers_when_full: OnFull,
    ) -> Self {
        Self {
            wal,
            resource: Arc::new(resource),
            clock,
            collectors_when_full: when_full(collectors_when_full),
            receivers_when_full: when_full(receivers_when_full),
            buffers: Arc::default(),
        }
    }

    /// The agent's resource, as it is merged into batches.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Makes a batch durable, as `wal.sync` says, and its checkpoint with its last record.
    ///
    /// Cancel safety: when the future is dropped, the batch is durable or not, as if the process had ended.
    ///
    /// # Errors
    /// [`StoreError`]; a caller may try again later unless it is `Invalid` or `TooLarge`.
    pub async fn append(&self, batch: Batch<'_>) -> Result<Stored, StoreError> {
        let mut merged = self.buffers.take();
        let ready = self.merge(&batch, &mut merged);
        match ready? {
            Merged::Nothing => {
                self.buffers.give_back(merged);
                return Ok(Stored::default());
            }
            Merged::Record(prepared, stored) => {
                // It is compressed: the next batch may have the memory while this one becomes durable.
                self.buffers.give_back(merged);
                return self.append_prepared(prepared, stored).await;
            }
            Merged::TooLarge => {}
        }
        let parts = whimbrel_otlp::part(batch.signal, &merged, whimbrel_wal::MAX_RECORD)?;
        let mut stored = Stored::default();
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.iter().enumerate() {
            let items = whimbrel_otlp::walk(batch.signal, part)?.items;
            let mut record = self.of(&batch, part, items);
            record.checkpoint = batch.checkpoint.filter(|_| index == last);
            stored += self.append_record(record, None).await?;
        }
        Ok(stored)
    }

    /// Merges a batch into the empty buffer `merged`, and compresses it where it fits in one record.
    fn merge(&self, batch: &Batch<'_>, merged: &mut Vec<u8>) -> Result<Merged, StoreError> {
        merged.reserve(batch.request.len() + RESOURCE_ROOM);
        let walked = whimbrel_otlp::merge_resource(batch.signal, batch.request, &self.resource, merged)?;
        if walked.items == 0 && batch.checkpoint.is_none() {
            return Ok(Merged::Nothing);
        }
        if merged.len() > whimbrel_wal::MAX_RECORD {
            return Ok(Merged::TooLarge);
        }
        let payload = if walked.items == 0 { &[] } else { &merged[..] };
        let record = self.of(batch, payload, walked.items);
        let stored = Stored::record(&record);
        Ok(Merged::Record(self.wal.prepare(record)?, stored))
    }

    /// Makes a batch of a receiver durable, as `wal.sync` says. Nothing is put to it; it is parted where it is larger
    /// than a record may be.
    ///
    /// Cancel safety: as [`append`](Self::append).
    ///
    /// # Errors
    /// [`StoreError`], as [`append`](Self::append).
    pub async fn append_sealed(&self, batch: Sealed<'_>) -> Result<Stored, StoreError> {
        if batch.items == 0 {
            return Ok(Stored::default());
        }
        if batch.request.len() <= whimbrel_wal::MAX_RECORD {
            let record = self.of_sealed(&batch, batch.request, batch.items);
            return self.append_record(record, batch.frame).await;
        }
        let mut stored = Stored::default();
        for part in whimbrel_otlp::part(batch.signal, batch.request, whimbrel_wal::MAX_RECORD)? {
            let items = whimbrel_otlp::walk(batch.signal, &part)?.items;
            stored += self.append_record(self.of_sealed(&batch, &part, items), None).await?;
        }
        Ok(stored)
    }

    fn of<'a>(&self, batch: &Batch<'a>, payload: &'a [u8], items: u32) -> NewRecord<'a> {
        NewRecord {
            lane: lane_of(batch.signal),
            source: batch.source,
            label: "",
            items,
            ingest_ns: clock::unix_ns(&*self.clock),
            payload,
            checkpoint: batch.checkpoint,
            when_full: self.collectors_when_full,
        }
    }

    fn of_sealed<'a>(&self, batch: &Sealed<'a>, payload: &'a [u8], items: u32) -> NewRecord<'a> {
        NewRecord {
            lane: lane_of(batch.signal),
            source: batch.source,
            label: "",
            items,
            ingest_ns: clock::unix_ns(&*self.clock),
            payload,
            checkpoint: None,
            when_full: self.receivers_when_full,
        }
    }

    async fn append_record(
        &self,
        record: NewRecord<'_>,
        frame: Option<Vec<u8>>,
    ) -> Result<Stored, StoreError> {
        let stored = Stored::record(&record);
        let prepared = match frame {
            Some(frame) => self.wal.prepare_frame(record, frame)?,
            None => self.wal.prepare(record)?,
        };
        self.append_prepared(prepared, stored).await
    }

    async fn append_prepared(&self, prepared: Prepared, stored: Stored) -> Result<Stored, StoreError> {
        let (tell, told) = oneshot::channel();
        self.wal.append(prepared, move |result| {
            // Nobody waits any more when the caller was cancelled; the record is durable all the same.
            let _ = tell.send(result);
        });
        told.await.map_err(|_| StoreError::Stopping)??;
        Ok(stored)
    }

    /// The last durable checkpoint of a source.
    pub fn checkpoint(&self, source: &str) -> Option<Vec<u8>> {
        self.wal.checkpoint(source)
    }

    /// The newest record of a source and a signal, as it lies on the disk; `None`: any. Blocks while it reads.
    ///
    /// # Errors
    /// When a segment cannot be read now.
    pub fn newest(
        &self,
        source: Option<&str>,
        signal: Option<Signal>,
    ) -> Result<Option<StoredRecord>, ReadError> {
        self.wal.newest(|lane, from| {
            signal.is_none_or(|signal| lane_of(signal) == lane) && source.is_none_or(|source| source == from)
        })
    }

    /// Sizes, counts and losses of the WAL.
    pub fn status(&self) -> whimbrel_wal::Status {
        self.wal.status()
    }

    /// Forgets a consumer that is not configured, with all that waits for it. Blocks while files are removed.
    ///
    /// # Errors
    /// [`ForgetError`].
    pub fn forget(&self, consumer: &str) -> Result<(), ForgetError> {
        self.wal.forget(consumer)
    }
}
