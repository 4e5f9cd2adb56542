//! A WAL whose writer is called by hand, over the crash-simulating file system.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::{
    AppendError, Consumer, Encryption, Key, KeyRing, Lane, NewRecord, OpenError, OpenReport, Options,
    Outcome, ReadLimit, Record, RecordId, Status, SyncPolicy, WhenFull,
    compress::Compressors,
    record::Prepared,
    recover,
    storage::crash::CrashStorage,
    wal,
    writer::{core::Core, queue::Pending},
};

pub(crate) const ALL: ReadLimit = ReadLimit { records: usize::MAX, uncompressed_bytes: u64::MAX };
pub(crate) const DIR: &str = "/wal";

pub(crate) fn ring() -> KeyRing {
    KeyRing::new(Key::from_bytes([7; 32]))
}

/// The smallest WAL there is: 1 MiB, segments of 64 KiB, two consumers, payloads as they are.
pub(crate) fn options() -> Options {
    let mut options = Options::new(Encryption::Aes256Gcm(ring()));
    options.max_size = crate::MIN_MAX_SIZE;
    options.zstd_level = 0;
    options.consumers = vec!["a".into(), "b".into()];
    options
}

/// A WAL whose writer is called by hand.
pub(crate) struct Rig {
    pub(crate) disk: CrashStorage,
    pub(crate) core: Core,
    pub(crate) report: OpenReport,
    held: Option<Box<dyn Send + Sync>>,
    compressors: Compressors,
    /// The clock.
    pub(crate) now: Instant,
}

impl Rig {
    pub(crate) fn new(options: Options) -> Self {
        Self::open(&CrashStorage::new(), options).unwrap()
    }

    pub(crate) fn open(disk: &CrashStorage, options: Options) -> Result<Self, OpenError> {
        let compressors = Compressors::new(options.zstd_level);
        let (core, held, report) = recover::open(disk.environment(), Path::new(DIR), options)?;
        Ok(Self { disk: disk.clone(), core, report, held: Some(held), compressors, now: Instant::now() })
    }

    /// Appends and commits; `None` while it waits for room.
    pub(crate) fn try_append(&mut self, record: NewRecord<'_>) -> Option<Result<RecordId, AppendError>> {
        let answered = self.submit(record);
        self.run();
        answered.try_recv().ok()
    }

    /// Appends what was prepared, and commits.
    pub(crate) fn submit_prepared(
        &mut self,
        prepared: Prepared,
    ) -> mpsc::Receiver<Result<RecordId, AppendError>> {
        let (answer, answered) = mpsc::channel();
        let done = Box::new(move |result| drop(answer.send(result)));
        self.core.shared.queue.push(Pending::new(prepared, done));
        self.run();
        answered
    }

    pub(crate) fn submit(&mut self, record: NewRecord<'_>) -> mpsc::Receiver<Result<RecordId, AppendError>> {
        let (answer, answered) = mpsc::channel();
        let prepared = wal::prepare(&self.compressors, record).unwrap();
        let done = Box::new(move |result| drop(answer.send(result)));
        self.core.shared.queue.push(Pending::new(prepared, done));
        answered
    }

    /// One turn of the writer.
    pub(crate) fn run(&mut self) {
        let shared = self.core.shared.clone();
        let mut work = shared.queue.take();
        let now = self.now.max(Instant::now());
        self.core.note(&work, now);
        self.core.run(std::mem::take(&mut work.appends), work.reclaim, now);
        self.core.prepare_ahead();
    }

    /// Lets time pass, and the writer do what is due.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.max(Instant::now()) + time;
        self.run();
    }

    pub(crate) fn append(&mut self, lane: usize, payload: &[u8]) -> RecordId {
        self.try_append(record(lane, payload)).unwrap().unwrap()
    }

    pub(crate) fn consumer(&self, name: &str) -> Consumer {
        let shared = self.core.shared.clone();
        let state = shared.consumers().iter().find(|state| state.name == name).unwrap().clone();
        Consumer::new(shared, state)
    }

    /// Every pending record of a lane.
    pub(crate) fn read(&self, consumer: &str, lane: usize) -> Vec<Record> {
        self.consumer(consumer).read(Lane::ALL[lane], None, ALL).unwrap()
    }

    pub(crate) fn payloads(&self, consumer: &str, lane: usize) -> Vec<Vec<u8>> {
        self.read(consumer, lane).iter().map(|record| record.payload().unwrap().to_vec()).collect()
    }

    pub(crate) fn acknowledge(&self, consumer: &str, lane: usize, ids: &[RecordId]) {
        self.consumer(consumer).acknowledge(Lane::ALL[lane], ids, Outcome::Delivered).unwrap();
    }

    pub(crate) fn status(&self) -> Status {
        let status = wal::status(&self.core.shared);
        for consumer in &status.consumers {
            for lane in &consumer.lanes {
                assert!(lane.adds_up(), "{} {lane:?}", consumer.name);
            }
        }
        status
    }

    pub(crate) fn close(mut self) -> CrashStorage {
        self.core.close().unwrap();
        self.held.take();
        self.disk.clone()
    }

    /// The process ends without a word.
    pub(crate) fn kill(self) -> CrashStorage {
        let disk = self.disk.clone();
        disk.kill();
        disk
    }

    pub(crate) fn segment_files(&self) -> Vec<PathBuf> {
        segment_files(&self.disk)
    }
}

pub(crate) fn segment_files(disk: &CrashStorage) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "wal")).collect()
}

pub(crate) fn record(lane: usize, payload: &[u8]) -> NewRecord<'_> {
    NewRecord {
        lane: Lane::ALL[lane],
        source: "source",
        label: "label",
        items: 1,
        ingest_ns: 5,
        payload,
        checkpoint: None,
        when_full: WhenFull::DropNewest,
    }
}

pub(crate) fn policies() -> [SyncPolicy; 3] {
    [SyncPolicy::Always, SyncPolicy::interval(), SyncPolicy::Never]
}
