//! The real source: a consumer of the WAL, one lane a signal.

use whimbrel_otlp::Signal;
use whimbrel_wal::{Consumer, CursorError, Outcome, ReadError, RewindTo};

use super::source::{Plan, ReadLimit, Record, RecordId, Settled, Source, SourceError, Stored};
use crate::store::lane_of;

impl Source for Consumer {
    fn read(
        &self,
        signal: Signal,
        after: Option<RecordId>,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, SourceError> {
        records(self.read(lane_of(signal), after, limit)?)
    }

    fn plan(&self, signal: Signal, plan: Plan) -> Result<(), SourceError> {
        Ok(self.plan(lane_of(signal), plan)?)
    }

    fn plans(&self, signal: Signal) -> Result<Vec<Plan>, SourceError> {
        Ok(self.plans(lane_of(signal))?)
    }

    fn read_plan(&self, signal: Signal, plan: &Plan) -> Result<Vec<Record>, SourceError> {
        records(self.read_plan(lane_of(signal), plan)?)
    }

    fn acknowledge(&self, signal: Signal, records: &[RecordId], settled: Settled) -> Result<(), SourceError> {
        let outcome = match settled {
            Settled::Delivered => Outcome::Delivered,
            Settled::DeadLettered => Outcome::DeadLettered,
            Settled::Dropped => Outcome::Dropped,
        };
        Ok(self.acknowledge(lane_of(signal), records, outcome)?)
    }

    fn rewind(&self, to: RewindTo) -> Result<u64, SourceError> {
        Ok(self.rewind(to)?)
    }

    fn rewound(&self, signal: Signal) -> u64 {
        self.rewound(lane_of(signal))
    }
}

fn records(read: Vec<whimbrel_wal::Record>) -> Result<Vec<Record>, SourceError> {
    read.into_iter()
        .map(|record| {
            let stored = match record.frame() {
                Some(frame) => Stored::Frame(frame),
                None => Stored::Plain(record.payload()?),
            };
            Ok(Record {
                id: record.id,
                source: record.source,
                label: record.label,
                items: record.items,
                ingest_ns: record.ingest_ns,
                uncompressed_len: record.uncompressed_len,
                stored,
            })
        })
        .collect()
}

impl From<ReadError> for SourceError {
    fn from(error: ReadError) -> Self {
        Self::new(error)
    }
}

impl From<CursorError> for SourceError {
    fn from(error: CursorError) -> Self {
        match error {
            CursorError::NotVisible { .. } => Self::gone(error),
            _ => Self::new(error),
        }
    }
}
