//! A source of records and a keeper of dead letters in memory, with failures to order.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use whimbrel_otlp::Signal;

use super::in_time;
use crate::{
    clock::manual::START,
    export::{
        DeadLetters, Plan, ReadLimit, Record, RecordId, RewindTo, Settled, Source, SourceError, Stored,
    },
};

/// What a WAL's consumer is to an exporter, without a disk.
pub(super) struct Memory {
    state: Mutex<Held>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Held {
    records: Vec<(Signal, Record)>,
    settled: BTreeMap<u64, Settled>,
    plans: Vec<(Signal, Plan)>,
    failing: Option<Step>,
    gone: Vec<u64>,
    rewound: BTreeMap<&'static str, u64>,
    reads: usize,
}

/// What can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Read,
    Plan,
    Acknowledge,
    Rewind,
}

impl Memory {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changes: watch::Sender::new(0) })
    }

    /// A record stored as one zstd frame, of three items, that came when the manual clock began.
    pub(super) fn push(&self, signal: Signal, payload: &str) -> RecordId {
        self.state().push(signal, payload.len(), frame(payload))
    }

    /// As [`push`](Self::push), but it came in so long after the manual clock began.
    pub(super) fn push_later(&self, signal: Signal, payload: &str, after: Duration) -> RecordId {
        let mut state = self.state();
        let id = state.push(signal, payload.len(), frame(payload));
        let (_, record) = state.records.last_mut().expect("one was pushed");
        record.ingest_ns = (START + after).as_nanos() as u64;
        id
    }

    /// Several at once: a read sees all of them or none.
    pub(super) fn push_all<'a>(&self, signal: Signal, payloads: impl IntoIterator<Item = &'a str>) {
        let mut state = self.state();
        for payload in payloads {
            state.push(signal, payload.len(), frame(payload));
        }
    }

    pub(super) fn push_stored(&self, signal: Signal, length: usize, stored: Stored) -> RecordId {
        self.state().push(signal, length, stored)
    }

    /// Makes a step fail until `None`.
    pub(super) fn fail(&self, step: Option<Step>) {
        self.state().failing = step;
    }

    /// Takes a record away, as a full WAL does.
    pub(super) fn lose(&self, id: RecordId) {
        self.state().gone.push(id.sequence());
    }

    pub(super) fn plans(&self) -> Vec<Plan> {
        self.state().plans.iter().map(|(_, plan)| *plan).collect()
    }

    pub(super) fn reads(&self) -> usize {
        self.state().reads
    }

    /// How each record ended, in order of acknowledging within the WAL.
    pub(super) fn settled(&self) -> Vec<(u64, Settled)> {
        self.state().settled.iter().map(|(sequence, settled)| (*sequence, *settled)).collect()
    }

    /// Waits until so many records are acknowledged, however.
    pub(super) async fn settles(&self, records: usize) {
        let mut changes = self.changes.subscribe();
        in_time(async {
            while self.state().settled.len() < records {
                changes.changed().await.expect("the memory holds the sender");
            }
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, step: Step) -> Result<MutexGuard<'_, Held>, SourceError> {
        let state = self.state();
        if state.failing == Some(step) {
            return Err(SourceError::new(format_args!("{step:?} fails on command")));
        }
        Ok(state)
    }
}

impl Held {
    fn push(&mut self, signal: Signal, length: usize, stored: Stored) -> RecordId {
        let sequence = self.records.len() as u64;
        let id = RecordId::from_parts([0xAB; 16], 1, sequence as u32, sequence, sequence);
        let record = Record {
            id,
            source: "collectors/host".into(),
            label: "".into(),
            items: 3,
            ingest_ns: START.as_nanos() as u64,
            uncompressed_len: length as u32,
            stored,
        };
        self.records.push((signal, record));
        id
    }

    fn pending(&self, signal: Signal) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(move |(of, _)| *of == signal)
            .map(|(_, record)| record)
            .filter(|record| !self.settled.contains_key(&record.id.sequence()))
            .filter(|record| !self.gone.contains(&record.id.sequence()))
    }
}

impl Source for Memory {
    fn read(
        &self,
        signal: Signal,
        after: Option<RecordId>,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, SourceError> {
        let mut state = self.step(Step::Read)?;
        state.reads += 1;
        let mut bytes = 0;
        let fits = |(index, record): &(usize, &Record)| {
            bytes += u64::from(record.uncompressed_len);
            *index == 0 || (*index < limit.records && bytes <= limit.uncompressed_bytes)
        };
        let behind = |record: &&Record| after.is_none_or(|after| record.id > after);
        let read = state.pending(signal).filter(behind).enumerate().take_while(fits);
        Ok(read.map(|(_, record)| record.clone()).collect())
    }

    fn plan(&self, signal: Signal, plan: Plan) -> Result<(), SourceError> {
        let mut state = self.step(Step::Plan)?;
        if state.gone.contains(&plan.first.sequence()) || state.gone.contains(&plan.last.sequence()) {
            return Err(SourceError::gone("it is not there"));
        }
        let within =
            state.pending(signal).filter(|record| (plan.first..=plan.last).contains(&record.id)).count();
        assert_eq!(within, plan.count as usize, "a plan names pending records: {plan:?}");
        state.plans.retain(|(of, other)| *of != signal || other.last < plan.first || plan.last < other.first);
        state.plans.push((signal, plan));
        assert!(state.plans.iter().filter(|(of, _)| *of == signal).count() <= 8, "a cursor keeps eight");
        Ok(())
    }

    fn plans(&self, signal: Signal) -> Result<Vec<Plan>, SourceError> {
        Ok(self.state().plans.iter().filter(|(of, _)| *of == signal).map(|(_, plan)| *plan).collect())
    }

    fn read_plan(&self, signal: Signal, plan: &Plan) -> Result<Vec<Record>, SourceError> {
        let state = self.step(Step::Read)?;
        let within = |record: &&Record| (plan.first..=plan.last).contains(&record.id);
        Ok(state.pending(signal).filter(within).cloned().collect())
    }

    fn acknowledge(&self, signal: Signal, records: &[RecordId], settled: Settled) -> Result<(), SourceError> {
        let mut state = self.step(Step::Acknowledge)?;
        for id in records {
            let before = state.settled.insert(id.sequence(), settled);
            assert_eq!(before, None, "{id} is acknowledged twice");
        }
        state.plans.retain(|(of, plan)| {
            *of != signal || !records.iter().any(|id| (plan.first..=plan.last).contains(id))
        });
        drop(state);
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    fn rewind(&self, to: RewindTo) -> Result<u64, SourceError> {
        let mut state = self.step(Step::Rewind)?;
        let since = match to {
            RewindTo::Oldest => 0,
            RewindTo::Since(ns) => ns,
        };
        let mut again = 0;
        for signal in Signal::ALL {
            let of = state.records.iter().filter(|(of, _)| *of == signal).map(|(_, record)| record);
            let Some(first) = of.clone().find(|record| record.ingest_ns >= since) else { continue };
            let moved: Vec<_> = of.filter(|record| record.id >= first.id).map(|r| r.id.sequence()).collect();
            let moved =
                moved.iter().filter(|sequence| state.settled.remove(sequence).is_some()).count() as u64;
            if moved > 0 {
                state.plans.retain(|(of, _)| *of != signal);
                *state.rewound.entry(signal.name()).or_default() += moved;
            }
            again += moved;
        }
        Ok(again)
    }

    fn rewound(&self, signal: Signal) -> u64 {
        self.state().rewound.get(signal.name()).copied().unwrap_or(0)
    }
}

fn frame(payload: &str) -> Stored {
    Stored::Frame(zstd::bulk::compress(payload.as_bytes(), 1).unwrap().into())
}

/// Dead letters in memory.
#[derive(Default)]
pub(super) struct Letters {
    kept: Mutex<Vec<(u64, String)>>,
    failing: Mutex<bool>,
}

impl Letters {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn fail(&self, failing: bool) {
        *self.failing.lock().unwrap() = failing;
    }

    /// Each one's sequence number and reason.
    pub(super) fn kept(&self) -> Vec<(u64, String)> {
        self.kept.lock().unwrap().clone()
    }
}

impl DeadLetters for Letters {
    fn put(&self, exporter: &str, signal: Signal, record: &Record, reason: &str) -> Result<(), SourceError> {
        assert_eq!((exporter, signal), ("backend", Signal::Metrics));
        if *self.failing.lock().unwrap() {
            return Err(SourceError::new("the dead letters are full"));
        }
        if let Stored::Plain(bytes) = &record.stored {
            assert_eq!(record.uncompressed_len as usize, bytes.len());
        }
        self.kept.lock().unwrap().push((record.id.sequence(), reason.to_owned()));
        Ok(())
    }
}
