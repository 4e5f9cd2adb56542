//! Looking at a WAL that is in use: whatever moves meanwhile, nothing is taken for damage.

#![expect(clippy::unwrap_used, reason = "a test's own functions")]

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use whimbrel_wal::{
    DumpFilter, Dumped, Encryption, Key, KeyRing, Lane, NewRecord, Options, Outcome, ReadLimit, SyncPolicy,
    Wal, WhenFull, dump, inspect, list, plan_repair, verify,
};

/// Looks under each policy, at least, and how many segments come and go meanwhile.
const LOOKS: usize = 50;
const SEGMENTS: u64 = 60;

fn ring() -> KeyRing {
    KeyRing::new(Key::from_bytes([7; 32]))
}

/// A WAL of the smallest segments, and threads that append to it and acknowledge until told to stop.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Busy {
    fn start(dir: &Path, sync: SyncPolicy) -> Self {
        let mut options = Options::new(Encryption::Aes256Gcm(ring()));
        options.max_size = whimbrel_wal::MIN_MAX_SIZE;
        options.zstd_level = 0;
        options.sync = sync;
        options.consumers = vec!["a".into(), "b".into()];
        let (wal, _) = Wal::open(dir, options).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let appending = (0..2u8).map(|thread| {
            let (wal, stop) = (wal.clone(), stop.clone());
            std::thread::spawn(move || append_until(&wal, &stop, thread))
        });
        let acknowledging = ["a", "b"].map(|name| {
            let (wal, stop) = (wal.clone(), stop.clone());
            std::thread::spawn(move || acknowledge_until(&wal, &stop, name))
        });
        let threads = appending.chain(acknowledging).collect();
        Self { stop, threads }
    }

    /// Ends it; how many records were appended and acknowledged.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    }
}

fn append_until(wal: &Wal, stop: &AtomicBool, thread: u8) -> u64 {
    let mut appended = 0;
    while !stop.load(Ordering::Relaxed) {
        let payload = vec![thread; 1 + (appended as usize * 977) % 12_000];
        let record = NewRecord {
            lane: Lane::ALL[appended as usize % 3],
            source: "collectors/host",
            label: "",
            items: 1,
            ingest_ns: 1,
            payload: &payload,
            checkpoint: None,
            when_full: WhenFull::DropOldest,
        };
        wal.append_blocking(wal.prepare(record).unwrap()).unwrap();
        appended += 1;
    }
    appended
}

fn acknowledge_until(wal: &Wal, stop: &AtomicBool, name: &str) -> u64 {
    let consumer = wal.consumer(name).unwrap();
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        for lane in Lane::ALL {
            let limit = ReadLimit { records: 8, uncompressed_bytes: 1 << 20 };
            // An error: the segment is being deleted, and the next read knows it.
            let Ok(read) = consumer.read(lane, None, limit) else { continue };
            let ids: Vec<_> = read.iter().map(|record| record.id).collect();
            if !ids.is_empty() {
                consumer.acknowledge(lane, &ids, Outcome::Delivered).unwrap();
                acknowledged += ids.len() as u64;
            }
        }
    }
    acknowledged
}

#[test]
fn a_wal_under_load_is_never_said_to_be_damaged() {
    for sync in [SyncPolicy::Always, SyncPolicy::Never] {
        let dir = tempfile::tempdir().unwrap();
        let busy = Busy::start(dir.path(), sync);
        let mut seen = 0;
        let mut look = 0;
        while look < LOOKS || seen < SEGMENTS {
            look += 1;
            let keys = ring();
            let keys = (look % 2 == 0).then_some(&keys);
            let report = verify(dir.path(), keys, &mut |_| {}).unwrap();
            assert!(report.is_sound(), "{sync:?}, look {look}: {:#?}", report.damages);
            assert_eq!(report.authenticated, keys.is_some());
            seen = seen.max(report.segments.last().map_or(0, |segment| segment.segment));
            inspect(dir.path()).unwrap();
            let listing = list(dir.path()).unwrap();
            assert!(listing.in_use && listing.unusable.is_empty(), "{sync:?}, look {look}: {listing:#?}");
            // A record of which only a part is written is not shown, nor taken for a damaged one.
            let (mut last, mut damages) = (0, Vec::new());
            let told = dump(dir.path(), Some(&ring()), &DumpFilter::default(), &mut |what| {
                match what {
                    Dumped::Record(record, payload) => {
                        assert!(record.id.sequence() > last, "in order");
                        last = record.id.sequence();
                        assert!(payload.iter().all(|byte| *byte == payload[0]), "as it was appended");
                    }
                    Dumped::Damage(damage) => damages.push(damage),
                    Dumped::Progress(_) => {}
                }
                ControlFlow::Continue(())
            });
            told.unwrap();
            assert!(damages.is_empty(), "{sync:?}, look {look}: {damages:#?}");
            let planned = plan_repair(dir.path(), None, whimbrel_wal::MIN_MAX_SIZE, &mut |_| {});
            assert!(planned.unwrap_err().is_locked());
        }
        assert!(busy.end() > 1000, "there was load");
        let report = verify(dir.path(), Some(&ring()), &mut |_| {}).unwrap();
        assert!(report.is_sound() && report.torn_bytes == 0, "{report:#?}");
    }
}
