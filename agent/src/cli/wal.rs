//! `whimbrel wal`: the durable buffer as it lies on disk.

use std::{io::IsTerminal as _, time::Instant};

use serde_json::{Value, json};
use whimbrel_wal::{Inspection, VerifyReport};

use super::{
    exit::{Exit, Outcome},
    forget, print, record,
    source::Source,
    words,
};
use crate::{config::Config, keys, pipeline::Places, status::WalConsumer};

/// What `wal` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// What is stored, and what each exporter has still to send
    Status(Args),
    /// Read everything and say what is damaged or missing; exits with 3 if anything is. Changes nothing
    Verify(Args),
    /// Let go of what waits for an exporter that left the configuration
    Forget(forget::Args),
    /// The newest stored record of the running agent: its bytes, beside what they say
    Record(record::Args),
}

/// What each of its commands takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) source: Source,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs one of them.
pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::Status(args) => status(args),
        Command::Verify(args) => verify(args),
        Command::Forget(args) => forget::run(args),
        Command::Record(args) => record::run(args),
    }
}

/// From the running agent where there is one, because only it knows what is in flight; else from the disk.
fn status(args: &Args) -> Outcome {
    let config = args.source.load()?.config;
    match super::status::ask(&config.control_socket) {
        Ok(answer) if args.json => print::json(&answer["wal"])?,
        Ok(answer) => print::text(words::wal(&answer["wal"]))?,
        Err(_) => {
            let places = Places::of(&config.data_dir);
            let found = whimbrel_wal::inspect(&places.wal)?;
            if args.json {
                print::json(&on_disk(&found, &config))?;
            } else {
                print::text(described(&found, &config))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn on_disk(found: &Inspection, config: &Config) -> Value {
    let consumers: Vec<_> = found.consumers.iter().map(WalConsumer::from).collect();
    let segments: Vec<_> = found
        .segments
        .iter()
        .map(|segment| {
            json!({
                "file": segment.path,
                "bytes": segment.bytes,
                "sealed": segment.sealed,
                "records": segment.records,
                "items": segment.items,
                "created_ns": segment.created_ns,
            })
        })
        .collect();
    json!({
        "folder": Places::of(&config.data_dir).wal,
        "in_use": found.in_use,
        "disk_bytes": found.disk_bytes,
        "max_size_bytes": config.wal.max_size,
        "segments": segments,
        "consumers": consumers,
        "quarantined": found.quarantined,
        "foreign": found.foreign,
    })
}

fn described(found: &Inspection, config: &Config) -> String {
    let folder = Places::of(&config.data_dir).wal;
    if found.store_uuid.is_none() {
        return format!("there is no WAL in {} yet\n", folder.display());
    }
    let mut out = format!(
        "{}: {} of {} in {} segments; {}\n",
        folder.display(),
        words::bytes(Some(found.disk_bytes)),
        words::bytes(Some(config.wal.max_size)),
        found.segments.len(),
        if found.in_use { "in use by an agent that does not answer" } else { "no agent runs on it" },
    );
    let consumers: Vec<_> = found.consumers.iter().map(WalConsumer::from).collect();
    let consumers = serde_json::to_value(consumers).unwrap_or_default();
    out.push_str(&words::accounts(&consumers));
    for file in &found.quarantined {
        out.push_str(&format!("in quarantine: {}\n", file.display()));
    }
    for file in &found.foreign {
        out.push_str(&format!("not a file of the WAL's: {}\n", file.display()));
    }
    out
}

fn verify(args: &Args) -> Outcome {
    let config = args.source.load()?.config;
    let folder = Places::of(&config.data_dir).wal;
    let keys = keys::existing(&config.wal.encryption)?;
    let show = std::io::stderr().is_terminal();
    let mut shown = Instant::now();
    let report = whimbrel_wal::verify(&folder, keys.as_ref(), &mut |progress| {
        if show && shown.elapsed().as_millis() > 500 {
            shown = Instant::now();
            let percent = progress.done * 100 / progress.total.max(1);
            print::message(format_args!("{percent} % of {}", words::bytes(Some(progress.total))));
        }
    })?;
    if args.json {
        print::json(&as_json(&report))?;
    } else {
        print::text(verdict(&report))?;
    }
    Ok(if report.damages.is_empty() { Exit::Done } else { Exit::Damaged })
}

fn as_json(report: &VerifyReport) -> Value {
    let damages: Vec<_> = report
        .damages
        .iter()
        .map(|damage| json!({ "file": damage.path, "offset": damage.offset, "what": damage.what }))
        .collect();
    json!({
        "segments": report.segments.len(),
        "records": report.segments.iter().flat_map(|s| s.records).sum::<u64>(),
        "items": report.segments.iter().flat_map(|s| s.items).sum::<u64>(),
        "bytes": report.segments.iter().map(|s| s.bytes).sum::<u64>(),
        "authenticated": report.authenticated,
        "torn_bytes": report.torn_bytes,
        "damages": damages,
        "quarantined": report.quarantined,
        "foreign": report.foreign,
    })
}

fn verdict(report: &VerifyReport) -> String {
    let records: u64 = report.segments.iter().flat_map(|s| s.records).sum();
    let bytes: u64 = report.segments.iter().map(|s| s.bytes).sum();
    let checked = if report.authenticated {
        "checksums and authentication tags"
    } else {
        "checksums (no key: tags were not checked)"
    };
    let mut out = format!(
        "{} segments, {}, {records} records: {checked}\n",
        report.segments.len(),
        words::bytes(Some(bytes))
    );
    if report.torn_bytes > 0 {
        out.push_str(&format!(
            "{} bytes after the last good record of unsealed segments: normal after a crash, and while an agent runs\n",
            report.torn_bytes
        ));
    }
    for damage in &report.damages {
        out.push_str(&format!(
            "damaged: {} at byte {}: {}\n",
            damage.path.display(),
            damage.offset,
            damage.what
        ));
    }
    for file in &report.quarantined {
        out.push_str(&format!("in quarantine: {}\n", file.display()));
    }
    out.push_str(if report.damages.is_empty() { "whole\n" } else { "DAMAGED\n" });
    out
}
