//! The WAL as its users see it, on a real file system.

#![expect(clippy::unwrap_used, reason = "a test's own functions")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use whimbrel_wal::{
    Encryption, Key, KeyRing, Lane, NewRecord, Options, Outcome, Plan, ReadLimit, SyncPolicy, Wal, WhenFull,
    inspect, verify,
};

const ALL: ReadLimit = ReadLimit { records: usize::MAX, uncompressed_bytes: u64::MAX };

fn ring() -> KeyRing {
    KeyRing::new(Key::from_bytes([7; 32]))
}

fn options() -> Options {
    let mut options = Options::new(Encryption::Aes256Gcm(ring()));
    options.consumers = vec!["a".into(), "b".into()];
    options
}

fn record(payload: &[u8]) -> NewRecord<'_> {
    NewRecord {
        lane: Lane::ALL[0],
        source: "collectors/host",
        label: "",
        items: 3,
        ingest_ns: 42,
        payload,
        checkpoint: None,
        when_full: WhenFull::DropOldest,
    }
}

fn append(wal: &Wal, payload: &[u8]) -> whimbrel_wal::RecordId {
    wal.append_blocking(wal.prepare(record(payload)).unwrap()).unwrap()
}

#[test]
fn what_is_appended_is_read_by_every_consumer_and_gone_when_all_acknowledged() {
    for sync in [SyncPolicy::Always, SyncPolicy::interval(), SyncPolicy::Never] {
        let dir = tempfile::tempdir().unwrap();
        let (wal, report) = Wal::open(dir.path(), Options { sync, ..options() }).unwrap();
        assert!(report.created && !report.is_damaged(), "{report:?}");
        let (a, b) = (wal.consumer("a").unwrap(), wal.consumer("b").unwrap());
        assert!(wal.consumer("c").is_none());
        let (woken, wakes) = mpsc::channel();
        a.on_visible(move || woken.send(()).unwrap());
        let ids: Vec<_> = (0..10u8).map(|n| append(&wal, &[n; 1000])).collect();
        wakes.recv_timeout(Duration::from_secs(5)).unwrap();
        // Under `interval` the last ones become visible a little later.
        let read = loop {
            let read = a.read(Lane::ALL[0], None, ALL).unwrap();
            if read.len() == 10 {
                break read;
            }
            wakes.recv_timeout(Duration::from_secs(5)).unwrap();
        };
        for (n, record) in read.iter().enumerate() {
            assert_eq!(record.id, ids[n]);
            assert_eq!(record.payload().unwrap(), vec![n as u8; 1000]);
            assert_eq!((&*record.source, record.items, record.ingest_ns), ("collectors/host", 3, 42));
            assert_eq!(zstd::decode_all(&record.frame().unwrap()[..]).unwrap(), vec![n as u8; 1000]);
        }
        a.acknowledge(Lane::ALL[0], &ids, Outcome::Delivered).unwrap();
        assert!(a.read(Lane::ALL[0], None, ALL).unwrap().is_empty());
        let two = ReadLimit { records: 2, uncompressed_bytes: u64::MAX };
        let first: Vec<_> = b.read(Lane::ALL[0], None, two).unwrap().iter().map(|r| r.id).collect();
        assert_eq!(first, ids[..2]);
        let next: Vec<_> = b.read(Lane::ALL[0], Some(first[1]), two).unwrap().iter().map(|r| r.id).collect();
        assert_eq!(next, ids[2..4]);
        let small = ReadLimit { records: 100, uncompressed_bytes: 2500 };
        assert_eq!(b.read(Lane::ALL[0], None, small).unwrap().len(), 2);
        let status = wal.status();
        assert!(status.consumers.iter().all(|consumer| consumer.total().adds_up()), "{status:?}");
        assert_eq!(status.consumers[1].total().pending, 10);
        assert_eq!(status.consumers[1].total().oldest_pending_ns, Some(42));
        wal.close().unwrap();

        let (wal, report) = Wal::open(dir.path(), Options { sync, ..options() }).unwrap();
        assert!(!report.created && !report.is_damaged() && report.recovered == 0, "{report:?}");
        let b = wal.consumer("b").unwrap();
        let again: Vec<_> = b.read(Lane::ALL[0], None, ALL).unwrap().iter().map(|r| r.id).collect();
        assert_eq!(again, ids, "ids stay");
        b.acknowledge(Lane::ALL[0], &ids, Outcome::Delivered).unwrap();
        wal.close().unwrap();
        let (wal, _) = Wal::open(dir.path(), Options { sync, ..options() }).unwrap();
        assert_eq!(wal.status().segments, 1, "all passed: only the new one is left");
        wal.close().unwrap();
    }
}

#[test]
fn a_plan_survives_and_is_offered_again_identically() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    let ids: Vec<_> = (0..6u8).map(|n| append(&wal, &[n; 10])).collect();
    let a = wal.consumer("a").unwrap();
    let plan = Plan { first: ids[1], last: ids[3], count: 3, generation: 9 };
    a.plan(Lane::ALL[0], plan).unwrap();
    a.acknowledge(Lane::ALL[0], &ids[..1], Outcome::Delivered).unwrap();
    wal.close().unwrap();
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    let a = wal.consumer("a").unwrap();
    assert_eq!(a.plans(Lane::ALL[0]).unwrap(), [plan]);
    let read: Vec<_> = a.read_plan(Lane::ALL[0], &plan).unwrap().iter().map(|r| r.id).collect();
    assert_eq!(read, ids[1..4]);
    a.acknowledge(Lane::ALL[0], &read, Outcome::Delivered).unwrap();
    assert!(a.plans(Lane::ALL[0]).unwrap().is_empty());
    assert_eq!(a.read(Lane::ALL[0], None, ALL).unwrap()[0].id, ids[4]);
    wal.close().unwrap();
}

#[test]
fn a_checkpoint_is_durable_with_its_record_and_carried_forward() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    assert_eq!(wal.checkpoint("collectors/host"), None);
    let with = NewRecord { checkpoint: Some(b"at 7"), ..record(b"x") };
    wal.append_blocking(wal.prepare(with).unwrap()).unwrap();
    assert_eq!(wal.checkpoint("collectors/host").unwrap(), b"at 7");
    let only = NewRecord { checkpoint: Some(b"at 8"), items: 0, ..record(b"") };
    wal.append_blocking(wal.prepare(only).unwrap()).unwrap();
    let a = wal.consumer("a").unwrap();
    assert_eq!(a.read(Lane::ALL[0], None, ALL).unwrap().len(), 1, "a checkpoint alone is no record");
    assert_eq!(a.read(Lane::ALL[0], None, ALL).unwrap()[0].payload().unwrap(), "x");
    wal.close().unwrap();
    for _ in 0..3 {
        let (wal, _) = Wal::open(dir.path(), options()).unwrap();
        assert_eq!(wal.checkpoint("collectors/host").unwrap(), b"at 8");
        wal.close().unwrap();
    }
}

#[test]
fn a_second_opening_is_refused_while_the_first_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    assert!(Wal::open(dir.path(), options()).err().unwrap().is_locked());
    assert!(inspect(dir.path()).unwrap().in_use);
    let other = wal.clone();
    wal.close().unwrap();
    assert!(!inspect(dir.path()).unwrap().in_use);
    let refused = other.append_blocking(other.prepare(record(b"x")).unwrap());
    assert!(refused.unwrap_err().is_closed());
    drop(other);
    Wal::open(dir.path(), options()).unwrap().0.close().unwrap();
}

#[test]
fn dropping_the_last_handle_closes() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    append(&wal, b"x");
    drop(wal);
    let (wal, report) = Wal::open(dir.path(), options()).unwrap();
    assert_eq!(report.recovered, 0, "it was sealed: {report:?}");
    // The last handle may go on the writer's own thread.
    let inner = wal.clone();
    let prepared = wal.prepare(record(b"y")).unwrap();
    let (answer, answered) = mpsc::channel();
    wal.append(prepared, move |result| {
        drop(inner);
        answer.send(result.is_ok()).unwrap();
    });
    drop(wal);
    assert!(answered.recv_timeout(Duration::from_secs(5)).unwrap());
}

#[test]
fn verify_and_inspect_look_at_a_wal_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    for n in 0..50u8 {
        append(&wal, &[n; 3000]);
    }
    let mut last = 0;
    let report = verify(dir.path(), Some(&ring()), &mut |progress| last = progress.done).unwrap();
    assert!(report.is_sound() && report.authenticated, "{report:?}");
    assert!(last > 0);
    assert_eq!(report.segments.iter().map(|s| s.records[0]).sum::<u64>(), 50);
    assert_eq!(report.segments.iter().map(|s| s.items[0]).sum::<u64>(), 150);
    let blind = verify(dir.path(), None, &mut |_| {}).unwrap();
    assert!(blind.is_sound() && !blind.authenticated, "{blind:?}");
    let inspection = inspect(dir.path()).unwrap();
    assert!(inspection.in_use);
    assert_eq!(inspection.consumers.len(), 2);
    assert!(inspection.consumers.iter().all(|c| c.total().adds_up() && c.total().pending == 50));
    wal.close().unwrap();
    let other = KeyRing::new(Key::from_bytes([8; 32]));
    assert!(!verify(dir.path(), Some(&other), &mut |_| {}).unwrap().authenticated);
    let nowhere = dir.path().join("nowhere");
    assert!(verify(&nowhere, None, &mut |_| {}).unwrap().is_sound());
    assert_eq!(inspect(&nowhere).unwrap().store_uuid, None);
}

#[test]
fn many_threads_share_commits_and_every_append_is_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    let answers = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (wal, answers) = (wal.clone(), answers.clone());
            scope.spawn(move || {
                for _ in 0..50 {
                    let answers = answers.clone();
                    let prepared = wal.prepare(record(&[1; 500])).unwrap();
                    wal.append(prepared, move |result| {
                        result.unwrap();
                        answers.fetch_add(1, Ordering::SeqCst);
                    });
                }
                append(&wal, b"last");
            });
        }
    });
    assert_eq!(answers.load(Ordering::SeqCst), 400);
    let status = wal.status();
    assert_eq!(status.counters.appended_records, 408);
    assert!(status.counters.commits < 408, "{:?}", status.counters);
    wal.close().unwrap();
}

#[test]
fn nothing_readable_lies_on_disk_unless_it_is_asked_for() {
    for (encryption, level, found) in [(Encryption::Aes256Gcm(ring()), 0, false), (Encryption::None, 0, true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(encryption);
        options.zstd_level = level;
        options.consumers = vec!["a".into()];
        let (wal, _) = Wal::open(dir.path(), options).unwrap();
        append(&wal, b"system.cpu.time on host-17");
        wal.close().unwrap();
        let mut hits = 0;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                for text in [&b"system.cpu.time"[..], b"host-17", b"collectors/host"] {
                    hits += usize::from(bytes.windows(text.len()).any(|window| window == text));
                }
            }
        }
        assert_eq!(hits > 0, found);
    }
}

#[test]
fn the_newest_record_is_shown_as_it_lies_on_the_disk_without_moving_a_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    assert!(wal.newest(|_, _| true).unwrap().is_none(), "nothing is there yet");
    let payload = b"two data points, two data points, two data points, two data points".repeat(20);
    append(&wal, b"older");
    let id = append(&wal, &payload);
    let other = NewRecord { lane: Lane::ALL[1], source: "collectors/logs", ..record(b"a line") };
    let line = wal.append_blocking(wal.prepare(other).unwrap()).unwrap();

    let found = wal.newest(|_, _| true).unwrap().unwrap();
    assert_eq!((found.record.id, &*found.record.source), (line, "collectors/logs"));
    let found = wal.newest(|lane, _| lane == Lane::ALL[0]).unwrap().unwrap();
    assert_eq!((found.record.id, found.record.items, found.encrypted), (id, 3, true));
    assert_eq!(found.record.payload().unwrap(), payload);
    let file = std::fs::read(&found.path).unwrap();
    let at = usize::try_from(found.offset).unwrap();
    assert_eq!(found.bytes, file[at..at + found.bytes.len()], "the bytes of the file");
    assert!(found.path.starts_with(dir.path()) && found.bytes.starts_with(b"whR\n"));
    let field = |name: &str| found.fields.iter().find(|field| field.name == name).unwrap().value;
    assert_eq!(field("body_length") as usize, found.bytes.len() - found.header_len);
    assert_eq!((field("items"), field("ingest_ns"), field("lane"), field("codec")), (3, 42, 0, 1));
    assert_eq!(field("uncompressed_length") as usize, payload.len());
    assert_eq!(field("sequence"), id.sequence());
    assert!(!file.windows(15).any(|window| window == b"two data points"), "it is sealed");
    let found = wal.newest(|_, source| source == "collectors/logs").unwrap().unwrap();
    assert_eq!(found.record.id, line);
    assert!(wal.newest(|_, source| source == "nobody").unwrap().is_none());

    // What comes later is found, too, and so is what all have acknowledged.
    let last = append(&wal, b"newer");
    assert_eq!(wal.newest(|lane, _| lane == Lane::ALL[0]).unwrap().unwrap().record.id, last);
    let consumer = wal.consumer("a").unwrap();
    assert_eq!(consumer.read(Lane::ALL[0], None, ALL).unwrap().len(), 3, "no cursor was moved");
    wal.close().unwrap();

    // After a start: names and places are learnt anew.
    let (wal, _) = Wal::open(dir.path(), options()).unwrap();
    let found = wal.newest(|_, source| source == "collectors/host").unwrap().unwrap();
    assert_eq!((found.record.id, &found.record.payload().unwrap()[..]), (last, &b"newer"[..]));
}

#[test]
fn the_newest_record_is_found_while_appends_go_on_over_segments_and_damage_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = options();
    small.max_size = whimbrel_wal::MIN_MAX_SIZE;
    small.zstd_level = 0;
    let (wal, _) = Wal::open(dir.path(), small).unwrap();
    let stop = Arc::new(AtomicUsize::new(0));
    let writer = std::thread::spawn({
        let (wal, stop) = (wal.clone(), stop.clone());
        move || {
            let mut last = None;
            for n in 0..4000u32 {
                last = Some(append(&wal, &n.to_le_bytes().repeat(1000)));
                if stop.load(Ordering::Relaxed) > 200 && n > 1000 {
                    break;
                }
            }
            last.unwrap()
        }
    });
    let mut before = None;
    while !writer.is_finished() {
        if let Some(found) = wal.newest(|_, _| true).unwrap() {
            assert!(before <= Some(found.record.id), "never an older one");
            assert_eq!(found.record.payload().unwrap().len(), 4000);
            before = Some(found.record.id);
            stop.fetch_add(1, Ordering::Relaxed);
        }
    }
    let last = writer.join().unwrap();
    let found = wal.newest(|_, _| true).unwrap().unwrap();
    assert_eq!(found.record.id, last);
    assert!(last.segment() > 1, "over several segments");

    // A flipped bit in the last body: it is not shown, and nothing else is made of it.
    let mut file = std::fs::read(&found.path).unwrap();
    let at = usize::try_from(found.offset).unwrap() + found.header_len + 5;
    file[at] ^= 1;
    use std::os::unix::fs::FileExt as _;
    let open = std::fs::OpenOptions::new().write(true).open(&found.path).unwrap();
    open.write_all_at(&file[at..=at], at as u64).unwrap();
    let shown = wal.newest(|_, _| true).unwrap();
    assert!(shown.is_none_or(|shown| shown.record.id < last));
}
