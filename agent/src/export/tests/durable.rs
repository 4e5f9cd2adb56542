//! Exporters over the real WAL: what survives the end of a process, and what is counted there.

use std::{path::Path, sync::Arc};

use whimbrel_otlp::Signal;
use whimbrel_wal::{Encryption, Key, KeyRing, NewRecord, Options, Wal, WhenFull};

use super::{
    HOLD, config, config_to, in_time,
    memory::Letters,
    receiver::{Received, Receiver, Reply},
};
use crate::{
    clock::manual::{ManualClock, START},
    config::{Compression, Exporter},
    export::{Drained, ExporterHandle, RewindTo, Rewound, start},
    store::lane_of,
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn open(dir: &Path) -> Wal {
    let ring = KeyRing::new(Key::from_text(KEY).unwrap());
    let mut options = Options::new(Encryption::Aes256Gcm(ring));
    options.consumers = vec!["backend".into(), "dead".into()];
    Wal::open(dir, options).expect("opens").0
}

fn append(wal: &Wal, signal: Signal, payload: &str) {
    let record = NewRecord {
        lane: lane_of(signal),
        source: "collectors/host",
        label: "",
        items: 1,
        ingest_ns: START.as_nanos() as u64,
        payload: payload.as_bytes(),
        checkpoint: None,
        when_full: WhenFull::DropNewest,
    };
    wal.append_blocking(wal.prepare(record).unwrap()).unwrap();
}

fn export(wal: &Wal, config: &Exporter) -> (ExporterHandle, Arc<ManualClock>, Arc<Letters>) {
    let (clock, letters) = (ManualClock::new(), Letters::new());
    let consumer = wal.consumer(&config.name).expect("a consumer");
    let exporter = start(config, Arc::new(consumer.clone()), letters.clone(), clock.clone()).expect("starts");
    let woken = exporter.clone();
    consumer.on_visible(move || woken.wake());
    (exporter, clock, letters)
}

/// Delivered, dead-lettered and pending of a consumer, over all lanes.
fn counted(wal: &Wal, consumer: &str) -> (u64, u64, u64) {
    let status = wal.status();
    let consumer = status.consumers.iter().find(|one| one.name == consumer).unwrap();
    consumer.lanes.iter().fold((0, 0, 0), |(delivered, dead, pending), lane| {
        (delivered + lane.delivered, dead + lane.dead_lettered, pending + lane.pending)
    })
}

async fn until_counted(wal: &Wal, consumer: &str, expected: (u64, u64, u64)) {
    in_time(async {
        while counted(wal, consumer) != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What `kill -9` would leave behind: the files as they are now, under a lock that nobody holds.
fn killed(wal: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    copy(wal, &image.path().join("wal"));
    image
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn records_go_out_as_they_become_visible_and_are_counted_as_delivered() {
    let receiver = Receiver::willing().await;
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    append(&wal, Signal::Metrics, "before");
    let config = Exporter { compression: Compression::Zstd, ..config(&receiver) };
    let (exporter, ..) = export(&wal, &config);
    until_counted(&wal, "backend", (1, 0, 0)).await;
    append(&wal, Signal::Metrics, "after");
    append(&wal, Signal::Logs, "a log");
    until_counted(&wal, "backend", (3, 0, 0)).await;
    assert_eq!(counted(&wal, "dead"), (0, 0, 3), "another's cursor is its own");
    let mut texts = receiver.texts();
    texts.sort();
    assert_eq!(texts, ["a log", "after", "before"]);

    exporter.stop().await;
    wal.close().unwrap();
    let wal = open(dir.path());
    let (exporter, ..) = export(&wal, &config);
    append(&wal, Signal::Metrics, "later");
    until_counted(&wal, "backend", (4, 0, 0)).await;
    assert_eq!(receiver.received().len(), 4, "nothing twice");
    assert_eq!(receiver.texts()[3], "later");
    exporter.stop().await;
}

#[tokio::test]
async fn after_the_death_of_the_process_the_identical_request_goes_out_again() {
    let receiver = Receiver::new(|_, number| if number < 2 { Reply::Hang } else { Reply::ok() }).await;
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    for number in 10..18 {
        append(&wal, Signal::Metrics, &format!("<{number}>"));
        append(&wal, Signal::Traces, &format!("<{number}>"));
    }
    let small = Exporter { max_request: 12, concurrency: Some(1), ..config(&receiver) };
    let (first, ..) = export(&wal, &small);
    let before = receiver.gets(2).await;
    let image = killed(dir.path());
    first.stop().await;

    // More comes, and the limits would now allow one large request.
    let wal = open(&image.path().join("wal"));
    append(&wal, Signal::Metrics, "<18>");
    let large = Exporter { concurrency: Some(1), ..config(&receiver) };
    let (second, ..) = export(&wal, &large);
    until_counted(&wal, "backend", (17, 0, 0)).await;
    second.stop().await;
    let after = &receiver.received()[2..];
    let of = |path: &str, requests: &[Received]| -> Vec<(String, String)> {
        let of = requests.iter().filter(|one| one.path == path);
        of.map(|one| (one.key().to_owned(), one.text())).collect()
    };
    for (path, rest) in [("/v1/metrics", "<13><14><15><16><17><18>"), ("/v1/traces", "<13><14><15><16><17>")]
    {
        let (before, after) = (of(path, &before), of(path, after));
        assert_eq!(before[0].1, "<10><11><12>");
        assert_eq!(after[0], before[0], "the same records under the same key");
        assert_eq!((after.len(), after[1].1.as_str()), (2, rest));
    }
}

#[tokio::test]
async fn a_rewinding_survives_the_death_of_the_process_and_so_do_its_keys() {
    // The second request of after the rewinding hangs, and so it is in flight when the process dies.
    let receiver = Receiver::new(|_, number| if number == 5 { Reply::Hang } else { Reply::ok() }).await;
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let config = Exporter { max_request: 1, concurrency: Some(1), ..config(&receiver) };
    let (first, ..) = export(&wal, &config);
    for number in 0..4 {
        append(&wal, Signal::Logs, &format!("<{number}>"));
    }
    until_counted(&wal, "backend", (4, 0, 0)).await;
    let rewound = in_time(first.rewind(RewindTo::Oldest)).await.unwrap();
    let oldest_ns = Some(START.as_nanos() as u64);
    assert_eq!(rewound, Rewound { records: 4, oldest_ns, beyond_max_age: false });
    receiver.gets(6).await;
    until_counted(&wal, "backend", (5, 0, 3)).await;
    let image = killed(dir.path());
    first.stop().await;

    let wal = open(&image.path().join("wal"));
    let (second, ..) = export(&wal, &config);
    until_counted(&wal, "backend", (8, 0, 0)).await;
    second.stop().await;
    let received = receiver.received();
    let texts = ["<0>", "<1>", "<2>", "<3>", "<0>", "<1>", "<1>", "<2>", "<3>"];
    assert_eq!(receiver.texts(), texts);
    assert_eq!(received[5].key(), received[6].key(), "what was in flight goes out again as it was");
    let keys: std::collections::BTreeSet<_> = received.iter().map(Received::key).collect();
    assert_eq!(keys.len(), 8, "nothing that is sent again bears the key of its first time: {keys:?}");
}

#[tokio::test]
async fn what_was_acknowledged_before_the_death_of_the_process_is_not_sent_again() {
    let receiver = Receiver::willing().await;
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let config = Exporter { max_request: 1, concurrency: Some(4), ..config(&receiver) };
    let (first, ..) = export(&wal, &config);
    for number in 0..20 {
        append(&wal, Signal::Logs, &format!("<{number}>"));
    }
    until_counted(&wal, "backend", (20, 0, 0)).await;
    let image = killed(dir.path());
    first.stop().await;
    let wal = open(&image.path().join("wal"));
    let (second, ..) = export(&wal, &config);
    append(&wal, Signal::Logs, "new");
    until_counted(&wal, "backend", (21, 0, 0)).await;
    second.stop().await;
    assert_eq!(receiver.received().len(), 21);
}

#[tokio::test]
async fn a_dead_exporter_keeps_its_records_and_the_other_does_not_wait() {
    let receiver =
        Receiver::new(
            |request, _| {
                if request.text().contains("guilty") { Reply::status(400) } else { Reply::ok() }
            },
        )
        .await;
    let refusing = Receiver::new(|_, _| Reply::status(403)).await;
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let (alive, _, letters) = export(&wal, &config(&receiver));
    let dead_config = Exporter { name: "dead".to_owned(), ..config_to(&refusing.url()) };
    let (dead, clock, _) = export(&wal, &dead_config);
    for number in 0..50 {
        append(&wal, Signal::Metrics, if number == 33 { "guilty" } else { "x" });
    }
    until_counted(&wal, "backend", (49, 1, 0)).await;
    assert_eq!(letters.kept().len(), 1);
    in_time(clock.someone_sleeps(HOLD)).await;
    assert_eq!(counted(&wal, "dead"), (0, 0, 50));
    assert_eq!(in_time(alive.drain(HOLD)).await, Drained::Empty);
    assert_eq!(in_time(dead.drain(HOLD / 2)).await, Drained::Left);
    alive.stop().await;
    dead.stop().await;
    wal.close().unwrap();
}
