//! What appending beyond zstd, reading and opening cost in CPU, each with its limit and the bare write measured in the same
//! run. Durable appends: the bench `durable`.
//!
//! `cargo bench -p whimbrel-wal` (`-- --idle` adds twenty seconds of one record a second). `WHIMBREL_BENCH_DIR` says where
//! to write; default the system's temporary directory. A record is 9 KB, the size of 1000 data points after zstd, and
//! does not compress further.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first thing that fails")]

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use whimbrel_wal::{
    Encryption, Key, KeyRing, Lane, NewRecord, Options, Outcome, Prepared, ReadLimit, SyncPolicy, Wal,
    WhenFull,
};

const RECORD: usize = 9000;
const POINTS: u64 = 1000;
/// What zstd leaves of 9 KB, 100 data points.
const SMALL_RECORD: usize = 2400;

fn main() {
    let base = std::env::var_os("WHIMBREL_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(base).unwrap();
    append_cpu(&dir.path().join("cpu"), POINTS, RECORD, 18.0);
    append_cpu(&dir.path().join("small"), 100, SMALL_RECORD, 45.0);
    first_append(&dir.path().join("first"));
    let big = dir.path().join("read");
    read_back(&big);
    if std::env::args().any(|argument| argument == "--idle") {
        idle(&dir.path().join("idle"));
    }
}

fn say(what: &str, figure: f64, unit: &str, against: &str) {
    // A reader who went away is no reason to fail.
    let _gone = writeln!(std::io::stdout(), "{what:<58} {figure:>10.2} {unit:<14} {against}");
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn options(sync: SyncPolicy) -> Options {
    let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::generate().unwrap())));
    options.sync = sync;
    options.zstd_level = 0;
    options.consumers = vec!["bench".into()];
    options.max_queued = 1 << 30;
    options
}

/// What zstd leaves: as good as random.
fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

fn prepared(wal: &Wal, count: usize) -> Vec<Prepared> {
    prepared_of(wal, count, POINTS, RECORD)
}

fn prepared_of(wal: &Wal, count: usize, points: u64, len: usize) -> Vec<Prepared> {
    let payload = payload(count as u64, len);
    let record = NewRecord {
        lane: Lane::ALL[0],
        source: "collectors/host",
        label: "default",
        items: points as u32,
        ingest_ns: 1,
        payload: &payload,
        checkpoint: None,
        when_full: WhenFull::DropOldest,
    };
    (0..count).map(|_| wal.prepare(record).unwrap()).collect()
}

/// CPU time of frame, AES, CRC, copy and write; and of the same bytes written bare.
fn append_cpu(dir: &Path, points: u64, len: usize, limit: f64) {
    const ROUNDS: usize = 20;
    const BATCH: usize = 500;
    let (wal, _) = Wal::open(dir, options(SyncPolicy::Never)).unwrap();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let records = prepared_of(&wal, BATCH, points, len);
        let (done, all) = mpsc::channel();
        let left = Arc::new(AtomicU64::new(BATCH as u64));
        let begin = cpu();
        for record in records {
            let (done, left) = (done.clone(), left.clone());
            wal.append(record, move |result| {
                result.unwrap();
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    done.send(()).unwrap();
                }
            });
        }
        all.recv().unwrap();
        rounds.push((cpu() - begin).as_nanos() as f64 / (BATCH as f64 * points as f64));
    }
    wal.close().unwrap();
    let path = dir.with_extension("bare");
    let file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    let bytes = payload(3, len);
    let mut bare = Vec::new();
    for round in 0..ROUNDS {
        let begin = cpu();
        for n in 0..BATCH {
            file.write_all_at(&bytes, ((round * BATCH + n) * len) as u64).unwrap();
        }
        bare.push((cpu() - begin).as_nanos() as f64 / (BATCH as f64 * points as f64));
    }
    std::fs::remove_file(path).unwrap();
    let against = format!("limit {limit}; p90 {:.1}", percentile(&mut rounds, 90));
    let what = format!("append of {points} points beyond zstd, CPU, median");
    say(&what, percentile(&mut rounds, 50), "ns/point", &against);
    say("  the write alone, to a growing file, CPU, median", percentile(&mut bare, 50), "ns/point", "");
}

fn percentile(times: &mut [f64], percent: usize) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[(times.len() - 1) * percent / 100]
}

/// From nothing open to the first durable record, as after each start of the agent.
fn first_append(dir: &Path) {
    let mut times = Vec::new();
    let mut options = options(SyncPolicy::Always);
    options.encryption = Encryption::Aes256Gcm(KeyRing::new(Key::from_bytes([1; 32])));
    for _ in 0..10 {
        let begin = Instant::now();
        let (wal, _) = Wal::open(dir, options.clone()).unwrap();
        let mut record = prepared(&wal, 1);
        wal.append_blocking(record.remove(0)).unwrap();
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
        wal.close().unwrap();
    }
    let against = format!("p90 {:.1}; limit 60 for the whole agent", percentile(&mut times, 90));
    say("open and append the first record durably", percentile(&mut times, 50), "ms p50", &against);
}

/// Reading, CRC, decryption; then opening what is there.
fn read_back(dir: &Path) {
    const COUNT: usize = 40_000;
    let mut options = options(SyncPolicy::Never);
    options.encryption = Encryption::Aes256Gcm(KeyRing::new(Key::from_bytes([1; 32])));
    let (wal, _) = Wal::open(dir, options.clone()).unwrap();
    for _ in 0..COUNT / 500 {
        let mut records = prepared(&wal, 500);
        let last = records.pop().unwrap();
        for record in records {
            wal.append(record, |result| assert!(result.is_ok()));
        }
        wal.append_blocking(last).unwrap();
    }
    let consumer = wal.consumer("bench").unwrap();
    let limit = ReadLimit { records: 400, uncompressed_bytes: u64::MAX };
    let begin = cpu();
    let (mut after, mut count) = (None, 0u64);
    loop {
        let records = consumer.read(Lane::ALL[0], after, limit).unwrap();
        let Some(last) = records.last() else { break };
        after = Some(last.id);
        count += records.len() as u64;
    }
    let seconds = (cpu() - begin).as_secs_f64();
    assert_eq!(count, COUNT as u64);
    say(
        "read back: CRC and decryption",
        (count * POINTS) as f64 / seconds / 1e6,
        "M points/s",
        "CPU of one core; limit 98, 60 % of 163",
    );
    let size = wal.status().disk_bytes;
    wal.close().unwrap();
    let begin = Instant::now();
    let (wal, report) = Wal::open(dir, options).unwrap();
    let what = format!("open {} MiB, {} segments, all pending", size >> 20, report.segments);
    say(&what, begin.elapsed().as_secs_f64() * 1000.0, "ms", "");
    wal.close().unwrap();
}

/// One record a second, delivered and acknowledged at once.
fn idle(dir: &Path) {
    const SECONDS: u64 = 20;
    let (wal, _) = Wal::open(dir, options(SyncPolicy::Always)).unwrap();
    let consumer = wal.consumer("bench").unwrap();
    let records = prepared(&wal, SECONDS as usize);
    let begin = cpu();
    for record in records {
        std::thread::sleep(Duration::from_secs(1));
        wal.append_blocking(record).unwrap();
        let limit = ReadLimit { records: 10, uncompressed_bytes: u64::MAX };
        let read = consumer.read(Lane::ALL[0], None, limit).unwrap();
        let ids: Vec<_> = read.iter().map(|record| record.id).collect();
        consumer.acknowledge(Lane::ALL[0], &ids, Outcome::Delivered).unwrap();
    }
    let share = (cpu() - begin).as_secs_f64() / SECONDS as f64 * 100.0;
    say("one record a second: append, read, acknowledge, CPU", share, "% of a core", "of 0.2 for all");
    wal.close().unwrap();
}
