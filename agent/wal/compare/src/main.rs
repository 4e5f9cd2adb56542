//! The same durable appends through this crate, through others, and through nothing but a file, in one run.
//!
//! `cargo run --release` prints a table in Markdown. `WHIMBREL_BENCH_DIR` says where to write; default the system's
//! temporary directory. `-- --rounds N` for more or fewer than five rounds; `-- --syncs` counts with `strace` how often
//! each one syncs, and fails if one appender's records are answered unsynced.
//!
//! Each measurement is a process of its own, over a fresh directory: no memory, cache or background thread of one is
//! there in the time of another. Opening and closing are not timed.

mod contenders;
mod machine;
mod syncs;

use std::{
    path::Path,
    process::Command,
    sync::Barrier,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};

use contenders::{CONTENDERS, Contender, Log};

/// Bytes of a record; they don't compress.
const RECORD: usize = 8192;
const ROUNDS: usize = 5;

/// How much is appended by how many.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    appenders: usize,
    each: usize,
}

const CASES: [Case; 2] = [
    Case { name: "one appender", appenders: 1, each: 2000 },
    Case { name: "64 appenders", appenders: 64, each: 200 },
];

/// What one measurement found.
#[derive(Debug, Clone, Copy)]
struct Measured {
    wall: Duration,
    cpu: Duration,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => compare(ROUNDS),
        ["--rounds", rounds] => compare(rounds.parse().context("--rounds takes a number")?),
        ["--syncs"] => syncs::count(),
        ["--one", contender, appenders, each, dir] => {
            let measured = measure(contender, appenders.parse()?, each.parse()?, Path::new(dir))?;
            println!("{} {}", measured.wall.as_nanos(), measured.cpu.as_nanos());
            Ok(())
        }
        _ => bail!("usage: compare [--rounds N | --syncs]"),
    }
}

fn compare(rounds: usize) -> Result<()> {
    ensure!(rounds > 0, "no rounds, no medians");
    machine::describe(rounds)?;
    for case in CASES {
        let Case { name, appenders, each } = case;
        let mut found: Vec<Vec<Measured>> = vec![Vec::new(); CONTENDERS.len()];
        for _ in 0..rounds {
            for (contender, found) in CONTENDERS.iter().zip(&mut found) {
                found.push(in_a_process(contender, appenders, each)?);
            }
        }
        println!("\n### {name}, {each} records of {RECORD} bytes each\n");
        println!("| | records/s | µs a record | × raw, growing | least to most | CPU, µs a record |");
        println!("|---|---:|---:|---:|---:|---:|");
        let records = (appenders * each) as f64;
        for (contender, measured) in CONTENDERS.iter().zip(&found) {
            let mut walls: Vec<f64> = measured.iter().map(|one| one.wall.as_secs_f64()).collect();
            let mut cpus: Vec<f64> = measured.iter().map(|one| one.cpu.as_secs_f64()).collect();
            // Against the raw file of the same round: what disturbs the disk disturbs both.
            let of_round = measured.iter().zip(&found[0]);
            let mut ratios: Vec<f64> =
                of_round.map(|(one, raw)| raw.wall.as_secs_f64() / one.wall.as_secs_f64()).collect();
            let (wall, cpu, ratio) = (median(&mut walls), median(&mut cpus), median(&mut ratios));
            println!(
                "| {} | {:.0} | {:.0} | {ratio:.2} | {:.2} to {:.2} | {:.0} |",
                contender.title,
                records / wall,
                wall / records * 1e6,
                ratios[0],
                ratios[ratios.len() - 1],
                cpu / records * 1e6,
            );
        }
    }
    Ok(())
}

/// Sorts, and takes the middle one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn in_a_process(contender: &Contender, appenders: usize, each: usize) -> Result<Measured> {
    let dir = tempfile::tempdir_in(machine::base())?;
    let own = std::env::current_exe()?;
    let output = Command::new(own)
        .args(["--one", contender.name, &appenders.to_string(), &each.to_string()])
        .arg(dir.path())
        .output()?;
    ensure!(output.status.success(), "{}: {}", contender.name, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut next = || numbers.next().context("two numbers")?.map(Duration::from_nanos).context("a number");
    Ok(Measured { wall: next()?, cpu: next()? })
}

/// Opens, appends from so many threads, waits for every answer.
fn measure(contender: &str, appenders: usize, each: usize, dir: &Path) -> Result<Measured> {
    let contender =
        CONTENDERS.iter().find(|other| other.name == contender).context("no contender of this name")?;
    let log = (contender.open)(dir, appenders * each)?;
    let log: &dyn Log = log.as_ref();
    // A few payloads, made beforehand, so that making them is not measured.
    let payloads: Vec<Vec<u8>> = (1..=16).map(payload).collect();
    let ready = Barrier::new(appenders + 1);
    let (mut begin, mut cpu_before) = (Instant::now(), Duration::ZERO);
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..appenders)
            .map(|appender| {
                let (payloads, ready) = (&payloads, &ready);
                scope.spawn(move || {
                    ready.wait();
                    (0..each).try_for_each(|n| {
                        let key = (appender * each + n) as u64;
                        log.append(appender as u64, key, &payloads[(appender + n) % payloads.len()])
                    })
                })
            })
            .collect();
        (begin, cpu_before) = (Instant::now(), cpu());
        ready.wait();
        for thread in threads {
            thread.join().expect("an appender only returns")?;
        }
        Ok(())
    })?;
    Ok(Measured { wall: begin.elapsed(), cpu: cpu() - cpu_before })
}

/// As good as random.
fn payload(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..RECORD)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Of the whole process, all threads, system calls included.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
