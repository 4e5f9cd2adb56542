//! `whimbrel wal list`: the segments, what is in them, and who still needs them.

use serde_json::{Map, Value, json};
use whimbrel_otlp::Signal;
use whimbrel_wal::{Listed, Listing};

use super::{
    super::{
        exit::{Exit, Outcome},
        print, words,
    },
    Args,
};
use crate::{pipeline::Places, status::lane_of};

/// Prints them.
pub(super) fn run(args: &Args) -> Outcome {
    let config = args.source.load()?.config;
    let folder = Places::of(&config.data_dir).wal;
    let listing = whimbrel_wal::list(&folder)?;
    if args.json {
        let segments: Vec<_> = listing.segments.iter().map(as_json).collect();
        let unusable: Vec<_> =
            listing.unusable.iter().map(|(file, why)| json!({ "file": file, "why": why })).collect();
        print::json(&json!({
            "folder": folder,
            "in_use": listing.in_use,
            "segments": segments,
            "unusable": unusable,
        }))?;
    } else if listing.segments.is_empty() && listing.unusable.is_empty() {
        print::text(format_args!("there are no segments in {}\n", folder.display()))?;
    } else {
        print::text(format_args!("{}:\n{}", folder.display(), rendered(&listing)))?;
    }
    Ok(Exit::Done)
}

fn as_json(listed: &Listed) -> Value {
    let report = &listed.report;
    let by_signal = |counts: &[u64]| -> Map<String, Value> {
        Signal::ALL.into_iter().map(|signal| (signal.name().to_owned(), of(counts, signal).into())).collect()
    };
    let needed_by: Vec<_> = listed
        .holders
        .iter()
        .map(|holder| json!({ "exporter": holder.consumer, "pending": holder.pending }))
        .collect();
    json!({
        "number": report.segment,
        "file": report.path,
        "key_id": format!("{:08x}", report.key_id),
        "created_ns": report.created_ns,
        "bytes": report.bytes,
        "sealed": report.sealed,
        "first_sequence": report.first_sequence,
        "records": by_signal(&report.records),
        "items": by_signal(&report.items),
        "needed_by": needed_by,
    })
}

fn of(counts: &[u64], signal: Signal) -> u64 {
    counts.get(usize::from(lane_of(signal).number())).copied().unwrap_or_default()
}

fn rendered(listing: &Listing) -> String {
    let mut rows = vec![words::row(&["  segment", "begun", "size", "state", "key", "first record"])];
    rows[0].extend(Signal::ALL.iter().map(|signal| signal.name().to_owned()));
    rows[0].push("needed by".to_owned());
    rows.extend(listing.segments.iter().map(row));
    let mut out = print::table(&rows);
    let items = Signal::ALL.map(|signal| {
        let count: u64 = listing.segments.iter().map(|listed| of(&listed.report.items, signal)).sum();
        format!("{count} {}s", signal.item())
    });
    let bytes: u64 = listing.segments.iter().map(|listed| listed.report.bytes).sum();
    out.push_str(&format!(
        "  {} segments, {}: {}{}\n",
        listing.segments.len(),
        words::bytes(Some(bytes)),
        items.join(", "),
        if listing.in_use { "; an agent runs on it" } else { "" },
    ));
    for (file, why) in &listing.unusable {
        out.push_str(&format!("not usable: {}: {why}\n", file.display()));
    }
    out
}

fn row(listed: &Listed) -> Vec<String> {
    let report = &listed.report;
    let mut row = vec![
        format!("  {}", report.segment),
        words::moment_ms(Some(report.created_ns / 1_000_000)),
        words::bytes(Some(report.bytes)),
        if report.sealed { "sealed" } else { "open" }.to_owned(),
        if report.key_id == 0 { "-".to_owned() } else { format!("{:08x}", report.key_id) },
        report.first_sequence.to_string(),
    ];
    row.extend(Signal::ALL.map(|signal| match of(&report.records, signal) {
        0 => "-".to_owned(),
        records => format!("{records} ({})", of(&report.items, signal)),
    }));
    let holders = listed.holders.iter().map(|holder| format!("{} ({})", holder.consumer, holder.pending));
    row.push(holders.collect::<Vec<_>>().join(", "));
    row
}

#[cfg(test)]
mod tests {
    use whimbrel_wal::{Holder, SegmentReport};

    use super::*;

    #[test]
    fn a_listing_reads_as_a_table_with_a_sum() {
        let report = SegmentReport {
            segment: 7,
            key_id: 0xabc,
            created_ns: 0,
            bytes: 2048,
            first_sequence: 12,
            records: [3, 0, 1],
            items: [30, 0, 9],
            sealed: true,
            ..SegmentReport::default()
        };
        let holders = vec![Holder { consumer: "backend".to_owned(), pending: 2 }];
        let listing = Listing {
            in_use: true,
            segments: vec![Listed { report: report.clone(), holders }],
            unusable: vec![("/w/8.wal".into(), "its header's CRC is wrong".to_owned())],
        };
        assert_eq!(
            rendered(&listing),
            "  segment  begun                 size     state   key       first record  metrics  logs  traces  needed by
  7        1970-01-01T00:00:00Z  2.0 KiB  sealed  00000abc  12            3 (30)   -     1 (9)   backend (2)
  1 segments, 2.0 KiB: 30 data points, 0 log records, 9 spans; an agent runs on it
not usable: /w/8.wal: its header's CRC is wrong
"
        );
        let json = as_json(&Listed { report, holders: Vec::new() });
        assert_eq!((&json["items"]["metrics"], &json["key_id"]), (&30.into(), &"00000abc".into()));
    }
}
