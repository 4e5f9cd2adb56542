//! `whimbrel wal status`: what is stored, and what each exporter has still to send.

use serde_json::{Value, json};
use whimbrel_wal::Inspection;

use super::{
    super::{
        exit::{Exit, Outcome},
        print, status as agent, words,
    },
    Args,
};
use crate::{config::Config, pipeline::Places, status::WalConsumer};

/// From the running agent where there is one, because only it knows what is in flight; else from the disk.
pub(super) fn run(args: &Args) -> Outcome {
    let config = args.source.load()?.config;
    match agent::ask(&config.control_socket) {
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
