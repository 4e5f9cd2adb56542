//! Where the bench's records come from: memory, with a count of what is left.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;
use whimbrel::export::{
    DeadLetters, Plan, ReadLimit, Record, RecordId, RewindTo, Settled, Source, SourceError, Stored,
};
use whimbrel_otlp::Signal;

use super::Batch;

/// Another source, and when it is empty.
pub(super) struct Counted {
    pub(super) source: Arc<dyn Source>,
    pub(super) left: AtomicU64,
    pub(super) empty: Notify,
}

impl Source for Counted {
    fn read(
        &self,
        signal: Signal,
        after: Option<RecordId>,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, SourceError> {
        self.source.read(signal, after, limit)
    }

    fn plan(&self, signal: Signal, plan: Plan) -> Result<(), SourceError> {
        self.source.plan(signal, plan)
    }

    fn plans(&self, signal: Signal) -> Result<Vec<Plan>, SourceError> {
        self.source.plans(signal)
    }

    fn read_plan(&self, signal: Signal, plan: &Plan) -> Result<Vec<Record>, SourceError> {
        self.source.read_plan(signal, plan)
    }

    fn acknowledge(&self, signal: Signal, records: &[RecordId], settled: Settled) -> Result<(), SourceError> {
        self.source.acknowledge(signal, records, settled)?;
        let before = self.left.fetch_sub(records.len() as u64, Ordering::Relaxed);
        if before == records.len() as u64 {
            self.empty.notify_one();
        }
        Ok(())
    }

    fn rewind(&self, to: RewindTo) -> Result<u64, SourceError> {
        self.source.rewind(to)
    }

    fn rewound(&self, signal: Signal) -> u64 {
        self.source.rewound(signal)
    }
}

/// The same batch again and again.
pub(super) struct Backlog {
    record: Record,
    records: u64,
}

impl Backlog {
    pub(super) fn new(batch: &Batch, records: u64) -> Self {
        let record = Record {
            id: RecordId::from_parts([7; 16], 0, 0, 0, 0),
            source: "bench".into(),
            label: "".into(),
            items: batch.points,
            ingest_ns: 0,
            uncompressed_len: batch.length as u32,
            stored: Stored::Frame(batch.frame.clone()),
        };
        Self { record, records }
    }
}

impl Source for Backlog {
    fn read(
        &self,
        signal: Signal,
        after: Option<RecordId>,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, SourceError> {
        if signal != Signal::Metrics {
            return Ok(Vec::new());
        }
        let first = after.map_or(0, |after| after.sequence() + 1);
        let fit = (limit.uncompressed_bytes / u64::from(self.record.uncompressed_len)).max(1);
        let end = self.records.min(first + fit.min(limit.records as u64));
        let record = |number: u64| Record {
            id: RecordId::from_parts([7; 16], 0, number as u32, number, number),
            ..self.record.clone()
        };
        Ok((first..end).map(record).collect())
    }

    fn plan(&self, _: Signal, _: Plan) -> Result<(), SourceError> {
        Ok(())
    }

    fn plans(&self, _: Signal) -> Result<Vec<Plan>, SourceError> {
        Ok(Vec::new())
    }

    fn read_plan(&self, _: Signal, _: &Plan) -> Result<Vec<Record>, SourceError> {
        Ok(Vec::new())
    }

    fn acknowledge(&self, _: Signal, _: &[RecordId], _: Settled) -> Result<(), SourceError> {
        Ok(())
    }

    fn rewind(&self, _: RewindTo) -> Result<u64, SourceError> {
        Err(SourceError::new("nothing is kept here"))
    }

    fn rewound(&self, _: Signal) -> u64 {
        0
    }
}

/// Nothing is refused here.
pub(super) struct NoLetters;

impl DeadLetters for NoLetters {
    fn put(&self, _: &str, _: Signal, _: &Record, reason: &str) -> Result<(), SourceError> {
        Err(SourceError::new(reason))
    }
}
