//! Numbers, sizes, times and the WAL's counts as people read them.
//!
//! The commands print what the agent answers as JSON; a field that is missing is shown as `-`, because agent and
//! command may be of different versions.

use serde_json::Value;

use super::print;

/// A text without quotes, a number, or `-`.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The elements of an array; none of anything else.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The cells of a heading.
pub(super) fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// `1.5 MiB`
pub(super) fn bytes(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return "-".to_owned() };
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// `2h 5m`, the two largest units.
pub(super) fn duration_ms(ms: Option<u64>) -> String {
    let Some(ms) = ms else { return "-".to_owned() };
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86400, s % 86400 / 3600),
    }
}

/// A moment in UTC, to the second.
pub(super) fn moment_ms(unix_ms: Option<u64>) -> String {
    unix_ms
        .and_then(|ms| i64::try_from(ms).ok())
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "-".to_owned(), |moment| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The WAL's part of a status: size, then each exporter's counts.
pub(super) fn wal(wal: &Value) -> String {
    let mut out = format!(
        "  {} of {} in {} segments; {} records appended, {} syncs\n",
        bytes(wal["disk_bytes"].as_u64()),
        bytes(wal["max_size_bytes"].as_u64()),
        plain(&wal["segments"]),
        plain(&wal["appended_records"]),
        plain(&wal["syncs"]),
    );
    if wal["full"] == true {
        out.push_str("  FULL: the last append found no room\n");
    }
    if let Some(error) = wal["last_error"].as_str() {
        out.push_str(&format!("  the disk says: {error}\n"));
    }
    out.push_str(&accounts(&wal["consumers"]));
    out
}

/// Every exporter's counts, what it lost and why, and whether they add up.
pub(super) fn accounts(all: &Value) -> String {
    let mut out = print::table(&consumers(all));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for consumer in list(all) {
        let mut lost: Vec<(&String, u64)> = Vec::new();
        for lane in list(&consumer["lanes"]) {
            let count = |key: &str| lane[key].as_u64().unwrap_or(0);
            seen += count("seen");
            let parts = ["delivered", "skipped", "dead_lettered", "dropped", "corrupt", "pending"];
            if count("seen") + count("rewound") != parts.into_iter().map(count).sum::<u64>() {
                wrong.push(format!("{} {}", plain(&consumer["name"]), plain(&lane["signal"])));
            }
            for (cause, count) in lane["losses"].as_object().into_iter().flatten() {
                let count = count.as_u64().unwrap_or(0);
                match lost.iter_mut().find(|(known, _)| *known == cause) {
                    Some((_, sum)) => *sum += count,
                    None => lost.push((cause, count)),
                }
            }
        }
        let lost: Vec<_> = lost
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(cause, count)| format!("{count} {}", cause.replace('_', " ")))
            .collect();
        if !lost.is_empty() {
            out.push_str(&format!("  {} lost: {}\n", plain(&consumer["name"]), lost.join(", ")));
        }
    }
    if !wrong.is_empty() {
        out.push_str(&format!("  DOES NOT ADD UP, please report it: {}\n", wrong.join(", ")));
    } else if seen > 0 {
        out.push_str(
            "  every record is accounted for: seen + again = delivered + skipped + dead letters + dropped + corrupt + pending\n",
        );
    }
    out
}

/// Each exporter's counts, a signal a row.
fn consumers_heading() -> Vec<String> {
    row(&[
        "  exporter",
        "signal",
        "seen",
        "again",
        "delivered",
        "skipped",
        "dead letters",
        "dropped",
        "corrupt",
        "pending",
    ])
}

fn consumers(consumers: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![consumers_heading()];
    for consumer in list(consumers) {
        for lane in list(&consumer["lanes"]).filter(|lane| lane["seen"] != 0) {
            let left = if consumer["configured"] == false { " (not configured)" } else { "" };
            rows.push(vec![
                format!("  {}{left}", plain(&consumer["name"])),
                plain(&lane["signal"]),
                plain(&lane["seen"]),
                plain(&lane["rewound"]),
                plain(&lane["delivered"]),
                plain(&lane["skipped"]),
                plain(&lane["dead_lettered"]),
                plain(&lane["dropped"]),
                plain(&lane["corrupt"]),
                plain(&lane["pending"]),
            ]);
        }
    }
    if rows.len() == 1 { vec![row(&["  nothing has been seen by any exporter yet"])] } else { rows }
}

/// Records that wait for any exporter, by a running agent's status.
pub(super) fn pending(agent: &Value) -> u64 {
    list(&agent["wal"]["consumers"])
        .flat_map(|consumer| list(&consumer["lanes"]))
        .filter_map(|lane| lane["pending"].as_u64())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_say_what_was_lost_and_whether_they_add_up() {
        let mut lane = serde_json::json!({
            "signal": "logs", "seen": 10, "rewound": 2, "delivered": 7, "skipped": 0, "dead_lettered": 1,
            "dropped": 3, "corrupt": 0, "pending": 1, "losses": {"dropped_for_space": 3, "missing": 0},
        });
        let told = |lane: &Value| accounts(&serde_json::json!([{"name": "backend", "lanes": [lane, lane]}]));
        let text = told(&lane);
        assert!(
            text.contains("backend lost: 6 dropped for space\n") && text.contains("accounted for"),
            "{text}"
        );
        lane["delivered"] = 6.into();
        let text = told(&lane);
        assert!(text.contains("DOES NOT ADD UP") && text.contains("backend logs, backend logs"), "{text}");
        assert!(!accounts(&serde_json::json!([])).contains("accounted for"));
    }

    #[test]
    fn figures_read_as_people_write_them() {
        assert_eq!(bytes(Some(1023)), "1023 B");
        assert_eq!(bytes(Some(1536)), "1.5 KiB");
        assert_eq!(bytes(Some(3 << 40)), "3.0 TiB");
        assert_eq!(duration_ms(Some(900)), "900ms");
        assert_eq!(duration_ms(Some(7_500_000)), "2h 5m");
        assert_eq!(moment_ms(Some(0)), "1970-01-01T00:00:00Z");
        assert_eq!((bytes(None), duration_ms(None), moment_ms(None)), ("-".into(), "-".into(), "-".into()));
    }
}
