//! Whether each one really syncs: counted from outside, by `strace`.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::{contenders::CONTENDERS, machine};

/// Appended by one appender: each of them needs a sync of its own.
const ALONE: usize = 200;
/// Appended by each of several, who may share.
const TOGETHER: (usize, usize) = (64, 20);
const CALLS: [&str; 5] = ["fsync", "fdatasync", "msync", "sync_file_range", "sync"];

/// Prints calls per record, and fails if one appender's records are not each synced.
pub fn count() -> Result<()> {
    println!("| | syncs a record, one appender | 64 appenders |\n|---|---:|---:|");
    let mut short = Vec::new();
    for contender in &CONTENDERS {
        // What opening and closing cost is not counted: the difference of many and few.
        let opening = calls(contender.name, 1, 1)?;
        let alone = calls(contender.name, 1, ALONE + 1)?.saturating_sub(opening);
        let (appenders, each) = TOGETHER;
        let together = calls(contender.name, appenders, each)?.saturating_sub(opening);
        println!(
            "| {} | {:.2} | {:.2} |",
            contender.title,
            alone as f64 / ALONE as f64,
            together as f64 / (appenders * each) as f64
        );
        if alone < ALONE as u64 {
            short.push(contender.name);
        }
    }
    ensure!(short.is_empty(), "answered without a sync of its own: {}", short.join(", "));
    Ok(())
}

fn calls(contender: &str, appenders: usize, each: usize) -> Result<u64> {
    let dir = tempfile::tempdir_in(machine::base())?;
    let log = tempfile::tempdir()?;
    let summary = log.path().join("strace");
    let status = Command::new("strace")
        .args(["-f", "-c", "-e", &format!("trace={}", CALLS.join(",")), "-o"])
        .arg(&summary)
        .arg(std::env::current_exe()?)
        .args(["--one", contender, &appenders.to_string(), &each.to_string()])
        .arg(dir.path())
        .stdout(Stdio::null())
        .status()
        .context("strace is needed for this: install it")?;
    ensure!(status.success(), "{contender} failed under strace");
    // Columns: share, seconds, microseconds a call, calls, errors if any, name.
    let text = std::fs::read_to_string(&summary)?;
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let counts = lines
        .filter(|fields| fields.last().is_some_and(|name| CALLS.contains(name)))
        .filter_map(|fields| fields.get(3)?.parse::<u64>().ok());
    Ok(counts.sum())
}
