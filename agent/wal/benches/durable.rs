//! Durable appends of 8 KiB beside what the disk allows, in one run: `write` and `fdatasync` on a growing file, the same
//! into zeros, and an ideal group commit, which does nothing but collect, write into zeros, sync once and answer.
//!
//! `cargo bench -p whimbrel-wal --bench durable`. All of them take their turn in each round; ratios are taken within a round,
//! and the median over the rounds is told, with the least and the most. Fails below the limits: 1.3 times as fast as the
//! growing file with one appender, 60 % of the ideal group commit with 64. `WHIMBREL_BENCH_DIR` says where to write.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first thing that fails")]

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    process::ExitCode,
    sync::{Condvar, Mutex, mpsc},
    time::Instant,
};

use rustix::time::{ClockId, clock_gettime};
use whimbrel_wal::{Encryption, Key, KeyRing, Lane, NewRecord, Options, Prepared, SyncPolicy, Wal, WhenFull};

const RECORD: usize = 8192;
const ROUNDS: usize = 9;
/// Records a round, whoever many appenders share them.
const ALONE: usize = 400;
const TOGETHER: usize = 64 * 60;
const APPENDERS: [usize; 4] = [1, 4, 16, 64];
const LEAST_AGAINST_RAW: f64 = 1.3;
const LEAST_OF_IDEAL: f64 = 0.6;

fn main() -> ExitCode {
    let base = std::env::var_os("WHIMBREL_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(base).unwrap();
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        rounds.push(Round::run(&dir.path().join(round.to_string())));
    }
    let column = |pick: &dyn Fn(&Round) -> f64| rounds.iter().map(pick).collect::<Vec<_>>();
    let raw = |round: &Round| round.growing;
    say("write + fdatasync, growing file", &column(&|r| r.growing), "us a record", "");
    say("write + fdatasync into zeros", &column(&|r| r.zeroed), "us a record", "");
    let mut good = true;
    for (n, appenders) in APPENDERS.into_iter().enumerate() {
        say(
            &format!("ideal group commit, {appenders} appenders"),
            &column(&|r| r.ideal[n]),
            "us a record",
            "",
        );
        say(&format!("append, durable, {appenders} appenders"), &column(&|r| r.wal[n].us), "us a record", "");
        say("  its CPU, with the disk's", &column(&|r| r.wal[n].cpu_us), "us a record", "");
        let of_ideal = column(&|r| r.ideal[n] / r.wal[n].us);
        let against = column(&|r| raw(r) / r.wal[n].us);
        let limits = match appenders {
            1 => (String::new(), format!("limit {LEAST_AGAINST_RAW}")),
            64 => (format!("limit {LEAST_OF_IDEAL}"), String::new()),
            _ => Default::default(),
        };
        say("  speed, of the ideal", &of_ideal, "x", &limits.0);
        say("  speed, of the growing file", &against, "x", &limits.1);
        good &= appenders != 1 || median(&against) >= LEAST_AGAINST_RAW;
        good &= appenders != 64 || median(&of_ideal) >= LEAST_OF_IDEAL;
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(what: &str, figures: &[f64], unit: &str, limit: &str) {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    let range = format!("{least:.2} to {most:.2}");
    // A reader who went away is no reason to fail.
    let _gone =
        writeln!(std::io::stdout(), "{what:<42} {:>9.2} {unit:<12} {range:<20} {limit}", median(figures));
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

struct Timed {
    us: f64,
    cpu_us: f64,
}

/// Microseconds a record.
struct Round {
    growing: f64,
    zeroed: f64,
    ideal: [f64; APPENDERS.len()],
    wal: [Timed; APPENDERS.len()],
}

impl Round {
    fn run(dir: &Path) -> Self {
        std::fs::create_dir(dir).unwrap();
        let bytes = payload(7);
        let round = Self {
            growing: raw(&dir.join("growing"), &bytes, false),
            zeroed: raw(&dir.join("zeroed"), &bytes, true),
            ideal: APPENDERS.map(|appenders| ideal(&dir.join("ideal"), &bytes, appenders)),
            wal: APPENDERS.map(|appenders| wal(&dir.join("wal"), &bytes, appenders)),
        };
        std::fs::remove_dir_all(dir).unwrap();
        round
    }
}

fn records_of(appenders: usize) -> usize {
    if appenders == 1 { ALONE } else { TOGETHER }
}

/// As good as random: what zstd leaves.
fn payload(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..RECORD)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// A file of this length, zeros, synced.
fn zeros(path: &Path, len: usize) -> File {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
    let megabyte = vec![0; 1 << 20];
    for at in (0..len).step_by(megabyte.len()) {
        file.write_all_at(&megabyte, at as u64).unwrap();
    }
    file.sync_all().unwrap();
    file
}

fn raw(path: &Path, bytes: &[u8], zeroed: bool) -> f64 {
    let file = zeros(path, if zeroed { ALONE * RECORD } else { 0 });
    let begin = Instant::now();
    for n in 0..ALONE {
        file.write_all_at(bytes, (n * RECORD) as u64).unwrap();
        file.sync_data().unwrap();
    }
    begin.elapsed().as_secs_f64() * 1e6 / ALONE as f64
}

/// What waits for the ideal writer.
#[derive(Default)]
struct Waiting {
    records: Vec<(Vec<u8>, mpsc::SyncSender<()>)>,
    over: bool,
}

/// The least that group commit can be.
fn ideal(path: &Path, bytes: &[u8], appenders: usize) -> f64 {
    let count = records_of(appenders);
    let file = zeros(path, count * RECORD);
    let (waiting, ready) = (Mutex::new(Waiting::default()), Condvar::new());
    let mut took = 0.0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut at = 0;
            let mut buffer = Vec::new();
            loop {
                let mut guard = waiting.lock().unwrap();
                while guard.records.is_empty() && !guard.over {
                    guard = ready.wait(guard).unwrap();
                }
                let records = std::mem::take(&mut guard.records);
                drop(guard);
                if records.is_empty() {
                    return;
                }
                buffer.clear();
                records.iter().for_each(|(record, _)| buffer.extend_from_slice(record));
                file.write_all_at(&buffer, at).unwrap();
                at += buffer.len() as u64;
                file.sync_data().unwrap();
                records.iter().for_each(|(_, done)| done.send(()).unwrap());
            }
        });
        let begin = Instant::now();
        std::thread::scope(|appending| {
            for _ in 0..appenders {
                appending.spawn(|| {
                    for _ in 0..count / appenders {
                        let (done, answered) = mpsc::sync_channel(1);
                        waiting.lock().unwrap().records.push((bytes.to_vec(), done));
                        ready.notify_one();
                        answered.recv().unwrap();
                    }
                });
            }
        });
        took = begin.elapsed().as_secs_f64();
        waiting.lock().unwrap().over = true;
        ready.notify_one();
    });
    took * 1e6 / count as f64
}

fn wal(dir: &Path, bytes: &[u8], appenders: usize) -> Timed {
    let count = records_of(appenders);
    let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::generate().unwrap())));
    options.sync = SyncPolicy::Always;
    // The records would not compress.
    options.zstd_level = 0;
    options.consumers = vec!["bench".into()];
    let (wal, _) = Wal::open(dir, options).unwrap();
    let work: Vec<Vec<Prepared>> = (0..appenders)
        .map(|_| (0..count / appenders).map(|_| wal.prepare(record(bytes)).unwrap()).collect())
        .collect();
    let (begin, used) = (Instant::now(), cpu_us());
    std::thread::scope(|scope| {
        for records in work {
            let wal = wal.clone();
            scope.spawn(move || {
                for record in records {
                    wal.append_blocking(record).unwrap();
                }
            });
        }
    });
    let timed = Timed {
        us: begin.elapsed().as_secs_f64() * 1e6 / count as f64,
        cpu_us: (cpu_us() - used) / count as f64,
    };
    wal.close().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    timed
}

fn record(payload: &[u8]) -> NewRecord<'_> {
    NewRecord {
        lane: Lane::ALL[0],
        source: "collectors/host",
        label: "default",
        items: 1000,
        ingest_ns: 1,
        payload,
        checkpoint: None,
        when_full: WhenFull::DropOldest,
    }
}
