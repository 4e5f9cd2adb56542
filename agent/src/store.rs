//! batch <-> record: the stage between whoever brings a batch and the WAL; answers "durable".
//!
//! Here the agent's resource is merged into a batch, the batch is walked (bounds, wire types, UTF-8, count), parted
//! where it is larger than a record may be, compressed on the caller's thread, and appended. `append` returns when
//! the record is as durable as `wal.sync` says, never before.
//!
//! Deliberately absent: decoding; batching (small events of receivers share a commit in the WAL's writer).

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use whimbrel_otlp::{PartError, Resource, Signal, WalkError};
use whimbrel_wal::{AppendError, Lane, NewRecord, ReadError, StoredRecord, Wal, WhenFull};

use crate::{
    clock::{self, Clock},
    config::OnFull,
};

/// What the agent's resource usually adds to a batch of one resource, bytes; more only costs a reallocation.
const RESOURCE_ROOM: usize = 512;
/// How long a source under `block` waits for room before it is told "not now".
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A batch on its way in: one OTLP export request of one signal, from one source.
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

/// Appends batches to the WAL. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    wal: Wal,
    resource: Arc<Resource>,
    clock: Arc<dyn Clock>,
    collectors_when_full: WhenFull,
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
    /// A store over an open WAL. `resource` is merged into every batch; `when_full` is what collectors' batches do
    /// when the WAL is at its limit.
    pub fn new(wal: Wal, resource: Resource, clock: Arc<dyn Clock>, when_full: OnFull) -> Self {
        let collectors_when_full = match when_full {
            OnFull::Block => WhenFull::Block { up_to: LONGEST_WAIT },
            OnFull::DropOldest => WhenFull::DropOldest,
        };
        Self { wal, resource: Arc::new(resource), clock, collectors_when_full }
    }

    /// Makes a batch durable, as `wal.sync` says, and its checkpoint with its last record.
    ///
    /// Cancel safety: when the future is dropped, the batch is durable or not, as if the process had ended.
    ///
    /// # Errors
    /// [`StoreError`]; a caller may try again later unless it is `Invalid` or `TooLarge`.
    pub async fn append(&self, batch: Batch<'_>) -> Result<Stored, StoreError> {
        let mut merged = Vec::with_capacity(batch.request.len() + RESOURCE_ROOM);
        let walked = whimbrel_otlp::merge_resource(batch.signal, batch.request, &self.resource, &mut merged)?;
        if walked.items == 0 && batch.checkpoint.is_none() {
            return Ok(Stored::default());
        }
        if merged.len() <= whimbrel_wal::MAX_RECORD {
            return self.append_record(&batch, &merged, walked.items, batch.checkpoint).await;
        }
        let parts = whimbrel_otlp::part(batch.signal, &merged, whimbrel_wal::MAX_RECORD)?;
        let mut stored = Stored::default();
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.iter().enumerate() {
            let items = whimbrel_otlp::walk(batch.signal, part)?.items;
            let checkpoint = batch.checkpoint.filter(|_| index == last);
            let one = self.append_record(&batch, part, items, checkpoint).await?;
            stored.items += one.items;
            stored.records += one.records;
            stored.bytes += one.bytes;
        }
        Ok(stored)
    }

    async fn append_record(
        &self,
        batch: &Batch<'_>,
        payload: &[u8],
        items: u32,
        checkpoint: Option<&[u8]>,
    ) -> Result<Stored, StoreError> {
        let payload = if items == 0 { &[] } else { payload };
        let prepared = self.wal.prepare(NewRecord {
            lane: lane_of(batch.signal),
            source: batch.source,
            label: "",
            items,
            ingest_ns: clock::unix_ns(&*self.clock),
            payload,
            checkpoint,
            when_full: self.collectors_when_full,
        })?;
        let (tell, told) = oneshot::channel();
        self.wal.append(prepared, move |result| {
            // Nobody waits any more when the caller was cancelled; the record is durable all the same.
            let _ = tell.send(result);
        });
        told.await.map_err(|_| StoreError::Stopping)??;
        Ok(Stored { items: u64::from(items), records: 1, bytes: payload.len() as u64 })
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
}
