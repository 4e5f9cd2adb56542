//! What opening a big WAL costs, in time and in memory, with the limits beside it; it fails where one is passed.
//!
//! `cargo bench -p whimbrel-wal --bench open`. Fills 10 GiB of records that don't compress, all pending for two consumers,
//! twice: with records of 9,000 bytes and of 2,000. Then it is opened again and again, each time by a fresh process, as
//! `kill -9` leaves it (the last segment is nearly full and not sealed: it is read through) and as closing does; with what
//! the page cache holds and, where that is possible, without. `WHIMBREL_BENCH_DIR` says where to write; default the
//! system's temporary directory. Where there are not 25 GiB free, it fills two fifths of what is.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first thing that fails")]

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use rustix::fs::{Advice, fadvise, statvfs, syncfs};
use whimbrel_wal::{
    Encryption, Key, KeyRing, Lane, NewRecord, Options, ReadLimit, SyncPolicy, Wal, WhenFull, inspect,
};

const GIB: u64 = 1 << 30;
const FILL: u64 = 10 * GIB;
const FREE_NEEDED: u64 = 25 * GIB;
const LIMIT_MS: f64 = 200.0;
const LIMIT_MIB: f64 = 32.0;
const ROUNDS: usize = 9;
const CONSUMERS: [&str; 2] = ["archive", "backend"];
/// Longer than a segment's rest may be for it to count as nearly full.
const NEARLY: u64 = 56 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[1..] {
        ["--fill", dir, record, fill] => {
            fill_up(Path::new(dir), record.parse().unwrap(), fill.parse().unwrap());
        }
        ["--open", dir, pending, end] => open(Path::new(dir), pending.parse().unwrap(), end == "close"),
        _ => return measure(),
    }
    ExitCode::SUCCESS
}

fn measure() -> ExitCode {
    let base: PathBuf = std::env::var_os("WHIMBREL_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let room = statvfs(&base).unwrap();
    let free = room.f_bavail * room.f_frsize;
    let fill = if free >= FREE_NEEDED { FILL } else { free / 5 * 2 };
    let mut within = true;
    for record in [9000, 2000] {
        let dir = tempfile::tempdir_in(&base).unwrap();
        within &= one_size(&dir.path().join("wal"), record, fill);
    }
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(text: &str) {
    // A reader who went away is no reason to fail.
    let _gone = writeln!(std::io::stdout(), "{text}");
}

fn options() -> Options {
    let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::from_bytes([1; 32]))));
    options.sync = SyncPolicy::Never;
    options.zstd_level = 0;
    options.max_size = 12 * GIB;
    options.consumers = CONSUMERS.map(Into::into).to_vec();
    options
}

/// Fills one WAL and opens it in every way; `false` where a limit was passed.
fn one_size(dir: &Path, record: usize, fill: u64) -> bool {
    let begin = Instant::now();
    let filled = own(&["--fill", dir.to_str().unwrap(), &record.to_string(), &fill.to_string()]);
    let pending: u64 = filled.trim().parse().unwrap();
    let found = inspect(dir).unwrap();
    say(&format!(
        "{:.1} GiB, {} segments, {pending} records of {record} bytes pending for {}; filled in {:.0} s",
        found.disk_bytes as f64 / GIB as f64,
        found.segments.len(),
        CONSUMERS.len(),
        begin.elapsed().as_secs_f64(),
    ));
    let filled = Snapshot::take(dir);
    let mut within = true;
    for end in ["kill", "close"] {
        if end == "close" {
            in_a_process(dir, pending, end);
        }
        for cold in [false, true] {
            let mut opened = Vec::new();
            for _ in 0..ROUNDS {
                if cold {
                    drop_cache(dir);
                }
                opened.push(in_a_process(dir, pending, end));
                if end == "kill" {
                    filled.restore();
                }
            }
            within &= tell(end, cold, &mut opened);
        }
    }
    within
}

fn tell(end: &str, cold: bool, opened: &mut [Opened]) -> bool {
    opened.sort_unstable_by(|a, b| a.ms.total_cmp(&b.ms));
    let middle = opened[opened.len() / 2].ms;
    let longest = opened[opened.len() - 1].ms;
    let memory = opened.iter().map(|one| one.peak_mib).fold(0.0, f64::max);
    let read = opened.iter().map(|one| one.read_mib).fold(0.0, f64::max);
    let within = middle <= LIMIT_MS && memory <= LIMIT_MIB;
    say(&format!(
        "  {:<18} {:<17} {middle:>7.1} ms p50 (limit {LIMIT_MS:.0}), longest {longest:.1}; at most {memory:.1} MiB of \
         memory (limit {LIMIT_MIB:.0}), {read:.1} MiB from the disk{}",
        if end == "kill" { "after kill -9," } else { "after close," },
        if cold { "nothing cached" } else { "in the page cache" },
        if within { "" } else { "  PASSED A LIMIT" },
    ));
    within
}

/// Appends until there is so much, and the last segment is nearly full; ends without closing, as `kill -9` ends it.
fn fill_up(dir: &Path, record: usize, fill: u64) {
    const BATCH: usize = 500;
    let (wal, _) = Wal::open(dir, options()).unwrap();
    let payloads: Vec<Vec<u8>> = (1..=64).map(|seed| payload(seed, record)).collect();
    let mut count = 0;
    while wal.status().disk_bytes < fill || last_segment(dir) < NEARLY {
        for n in 0..BATCH {
            let record = wal
                .prepare(NewRecord {
                    lane: Lane::ALL[n % 3],
                    source: "collectors/host",
                    label: "default",
                    items: 1000,
                    ingest_ns: 1,
                    payload: &payloads[n % payloads.len()],
                    checkpoint: None,
                    when_full: WhenFull::DropNewest,
                })
                .unwrap();
            if n + 1 < BATCH {
                wal.append(record, |result| assert!(result.is_ok(), "{result:?}"));
            } else {
                wal.append_blocking(record).unwrap();
            }
        }
        count += BATCH;
    }
    say(&count.to_string());
    std::process::exit(0);
}

/// Length of the last segment's file.
fn last_segment(dir: &Path) -> u64 {
    files(dir)
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "wal"))
        .max()
        .unwrap()
        .1
}

/// Files in a directory, and their lengths.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.path(), entry.metadata().unwrap()))
        .filter(|(_, meta)| meta.is_file())
        .map(|(path, meta)| (path, meta.len()))
        .collect()
}

/// What one opening cost.
struct Opened {
    ms: f64,
    peak_mib: f64,
    read_mib: f64,
}

fn in_a_process(dir: &Path, pending: u64, end: &str) -> Opened {
    let text = own(&["--open", dir.to_str().unwrap(), &pending.to_string(), end]);
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    Opened { ms: numbers[0], peak_mib: numbers[1], read_mib: numbers[2] }
}

/// Starts this program again, and gives what it prints.
fn own(arguments: &[&str]) -> String {
    let output = Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Opens it, prints what that cost, and checks that everything is there.
fn open(dir: &Path, pending: u64, close: bool) {
    let options = options();
    let read_before = of_process("/proc/self/io", "read_bytes:");
    let begin = Instant::now();
    let (wal, report) = Wal::open(dir, options).unwrap();
    let ms = begin.elapsed().as_secs_f64() * 1000.0;
    let peak = of_process("/proc/self/status", "VmHWM:") / 1024.0;
    let read = (of_process("/proc/self/io", "read_bytes:") - read_before) / (1 << 20) as f64;
    say(&format!("{ms} {peak} {read}"));
    assert!(!report.is_damaged() && report.foreign.is_empty(), "{report:?}");
    for consumer in &wal.status().consumers {
        assert_eq!(consumer.total().pending, pending, "{}", consumer.name);
    }
    let limit = ReadLimit { records: 1, uncompressed_bytes: u64::MAX };
    let first = wal.consumer(CONSUMERS[0]).unwrap().read(Lane::ALL[2], None, limit).unwrap();
    assert!(first[0].payload().is_ok());
    if close {
        wal.close().unwrap();
    } else {
        std::process::exit(0);
    }
}

/// A number of `/proc`, in the unit it has there.
fn of_process(path: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap();
    let rest = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Which files there are, and what is in the small ones: openings are undone, so that each finds what the first found.
struct Snapshot {
    dir: PathBuf,
    files: Vec<PathBuf>,
    cursors: Vec<(PathBuf, Vec<u8>)>,
}

impl Snapshot {
    fn take(dir: &Path) -> Self {
        let cursors = files(&dir.join("cursors")).into_iter();
        Self {
            dir: dir.to_owned(),
            files: files(dir).into_iter().map(|(path, _)| path).collect(),
            cursors: cursors.map(|(path, _)| (path.clone(), std::fs::read(path).unwrap())).collect(),
        }
    }

    fn restore(&self) {
        for (path, _) in files(&self.dir) {
            if !self.files.contains(&path) {
                std::fs::remove_file(path).unwrap();
            }
        }
        for (path, content) in &self.cursors {
            std::fs::write(path, content).unwrap();
        }
    }
}

/// Takes the files out of the page cache; directories and inodes too, where this user may.
fn drop_cache(dir: &Path) {
    syncfs(File::open(dir).unwrap()).unwrap();
    for (path, _) in files(dir).into_iter().chain(files(&dir.join("cursors"))) {
        fadvise(File::open(path).unwrap(), 0, None, Advice::DontNeed).unwrap();
    }
    // Only root may.
    let _refused = std::fs::write("/proc/sys/vm/drop_caches", "2");
}

/// What zstd makes of points: as good as random.
fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
