//! Kills a process that appends and delivers, again and again, and judges from outside: everything it said was durable
//! is delivered, once, by a receiver that drops repeats of an idempotency key.
//!
//! Not under the test harness: this program is the judge, and with an argument the one that is killed.

#![expect(clippy::unwrap_used, reason = "a test's own functions")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use whimbrel_wal::{
    Encryption, Key, KeyRing, Lane, NewRecord, Options, Outcome, Plan, ReadLimit, Record, SyncPolicy, Wal,
    WhenFull,
};

const KILLS: u64 = 20;
const LANE: Lane = Lane::ALL[1];

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "victim") {
        return victim(Path::new(&arguments[2]), &arguments[3], arguments[4].parse().unwrap());
    }
    for policy in ["always", "interval", "never"] {
        judge(policy);
    }
}

fn options(policy: &str) -> Options {
    let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::from_bytes([5; 32]))));
    options.consumers = vec!["backend".into()];
    options.max_size = 16 * 1024 * 1024;
    options.segment_size = 128 * 1024;
    options.sync = match policy {
        "always" => SyncPolicy::Always,
        "interval" => SyncPolicy::Interval { every: Duration::from_millis(5), bytes: 100_000 },
        _ => SyncPolicy::Never,
    };
    options
}

/// Appends numbers from `next` on, says `A n` when one is answered, and `D key n n n` for every request it sends.
fn victim(dir: &Path, policy: &str, next: u64) {
    let (wal, _) = Wal::open(dir, options(policy)).unwrap();
    let consumer = wal.consumer("backend").unwrap();
    for plan in consumer.plans(LANE).unwrap() {
        let records = consumer.read_plan(LANE, &plan).unwrap();
        assert_eq!(records.len(), plan.count as usize);
        send(&records);
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        consumer.acknowledge(LANE, &ids, Outcome::Delivered).unwrap();
    }
    let appender = wal.clone();
    std::thread::spawn(move || {
        for n in next.. {
            let mut payload = n.to_le_bytes().to_vec();
            payload.resize(8 + (n as usize * 37) % 3000, n as u8);
            let record = NewRecord {
                lane: LANE,
                source: "test",
                label: "",
                items: 1,
                ingest_ns: n,
                payload: &payload,
                checkpoint: Some(&n.to_le_bytes()),
                when_full: WhenFull::Block { up_to: Duration::from_secs(5) },
            };
            appender.append_blocking(appender.prepare(record).unwrap()).unwrap();
            say(&format!("A {n}\n"));
        }
    });
    let limit = ReadLimit { records: 7, uncompressed_bytes: 20_000 };
    loop {
        let records = consumer.read(LANE, None, limit).unwrap();
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let plan = Plan { first: first.id, last: last.id, count: records.len() as u32, generation: 0 };
        consumer.plan(LANE, plan).unwrap();
        send(&records);
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        consumer.acknowledge(LANE, &ids, Outcome::Delivered).unwrap();
    }
}

fn send(records: &[Record]) {
    let (first, last) = (&records[0], &records[records.len() - 1]);
    let mut line = format!("D {}..{}/{}", first.id, last.id, records.len());
    for record in records {
        let payload = record.payload().unwrap();
        line.push_str(&format!(" {}", u64::from_le_bytes(payload[..8].try_into().unwrap())));
    }
    line.push('\n');
    say(&line);
}

/// One write: a line arrives whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}

fn judge(policy: &str) {
    let dir = tempfile::tempdir().unwrap();
    let wal = dir.path().join("wal");
    let mut answered = BTreeSet::new();
    let mut requests: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut repeats = 0;
    let mut seed = u64::from(std::process::id());
    for kill in 0..KILLS {
        let next = answered.last().map_or(0, |last| last + 1) + 1000 * kill;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["victim", wal.to_str().unwrap(), policy, &next.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let reader =
            std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).collect::<Vec<_>>());
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(20 + (seed >> 33) % 150));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reader.join().unwrap() {
            let mut words = line.split(' ');
            match words.next() {
                Some("A") => drop(answered.insert(words.next().unwrap().parse().unwrap())),
                Some("D") => {
                    let key = words.next().unwrap().to_owned();
                    let numbers: Vec<u64> = words.map(|n| n.parse().unwrap()).collect();
                    if let Some(known) = requests.get(&key) {
                        assert_eq!(*known, numbers, "the same key, another request");
                        repeats += 1;
                    }
                    requests.insert(key, numbers);
                }
                _ => panic!("{policy}: what is {line:?}?"),
            }
        }
    }
    // What is left is delivered now.
    let (wal, report) = Wal::open(&wal, options(policy)).unwrap();
    assert!(!report.is_damaged(), "{policy}: {report:?}");
    let consumer = wal.consumer("backend").unwrap();
    let mut delivered: Vec<u64> = requests.values().flatten().copied().collect();
    for plan in consumer.plans(LANE).unwrap() {
        let records = consumer.read_plan(LANE, &plan).unwrap();
        let key = format!("{}..{}/{}", plan.first, plan.last, plan.count);
        if !requests.contains_key(&key) {
            delivered.extend(records.iter().map(|record| record.ingest_ns));
        }
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        consumer.acknowledge(LANE, &ids, Outcome::Delivered).unwrap();
    }
    let all = ReadLimit { records: usize::MAX, uncompressed_bytes: u64::MAX };
    delivered.extend(consumer.read(LANE, None, all).unwrap().iter().map(|record| record.ingest_ns));
    let once: BTreeSet<u64> = delivered.iter().copied().collect();
    assert_eq!(once.len(), delivered.len(), "{policy}: delivered more than once");
    let lost: Vec<_> = answered.difference(&once).collect();
    assert!(lost.is_empty(), "{policy}: answered and lost: {lost:?}");
    assert!(answered.len() > 50 && requests.len() > 10, "{policy}: something happened");
    let total = wal.status().consumers[0].total();
    assert!(total.adds_up() && total.corrupt() == 0, "{policy}: {total:?}");
    let line = format!(
        "{policy}: {KILLS} kills, {} appended, {} requests, {repeats} of them repeated identically\n",
        answered.len(),
        requests.len()
    );
    say(&line);
    wal.close().unwrap();
}
