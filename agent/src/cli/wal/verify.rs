//! `whimbrel wal verify`: reads everything and says what is damaged or missing.

use serde_json::{Value, json};
use whimbrel_wal::{Damage, VerifyReport};

use super::{
    super::{
        exit::{Exit, Outcome},
        print, words,
    },
    Args,
    progress::Meter,
};
use crate::{keys, pipeline::Places};

/// Reads everything, and says what is wrong.
pub(super) fn run(args: &Args) -> Outcome {
    let config = args.source.load()?.config;
    let folder = Places::of(&config.data_dir).wal;
    let keys = keys::existing(&config.wal.encryption)?;
    let mut meter = Meter::new();
    let report = whimbrel_wal::verify(&folder, keys.as_ref(), &mut |progress| meter.show(progress))?;
    if args.json {
        print::json(&as_json(&report))?;
    } else {
        print::text(verdict(&report))?;
    }
    Ok(if report.is_sound() { Exit::Done } else { Exit::Damaged })
}

fn as_json(report: &VerifyReport) -> Value {
    let shown = |damages: &[Damage]| -> Vec<Value> {
        damages
            .iter()
            .map(|damage| json!({ "file": damage.path, "offset": damage.offset, "what": damage.what }))
            .collect()
    };
    json!({
        "segments": report.segments.len(),
        "records": report.segments.iter().flat_map(|s| s.records).sum::<u64>(),
        "items": report.segments.iter().flat_map(|s| s.items).sum::<u64>(),
        "bytes": report.segments.iter().map(|s| s.bytes).sum::<u64>(),
        "authenticated": report.authenticated,
        "torn_bytes": report.torn_bytes,
        "damages": shown(&report.damages),
        "known": shown(&report.known),
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
    for damage in &report.known {
        out.push_str(&format!("known: {}\n", described(damage)));
    }
    for damage in &report.damages {
        out.push_str(&format!("damaged: {}\n", described(damage)));
    }
    for file in &report.quarantined {
        out.push_str(&format!("in quarantine: {}\n", file.display()));
    }
    out.push_str(match (report.is_sound(), report.known.is_empty()) {
        (true, true) => "whole\n",
        (true, false) => "whole, but for what a repair has noted\n",
        (false, _) => "DAMAGED: `whimbrel wal repair` says what can be done\n",
    });
    out
}

/// Where, and what.
pub(super) fn described(damage: &Damage) -> String {
    format!("{} at byte {}: {}", damage.path.display(), damage.offset, damage.what)
}
