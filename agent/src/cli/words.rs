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
    out.push_str(&print::table(&consumers(&wal["consumers"])));
    out
}

/// Each exporter's counts: `seen` is the sum of the others.
pub(super) fn consumers(consumers: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![row(&[
        "  exporter",
        "signal",
        "seen",
        "delivered",
        "pending",
        "dropped",
        "corrupt",
        "dead letters",
    ])];
    for consumer in list(consumers) {
        for lane in list(&consumer["lanes"]).filter(|lane| lane["seen"] != 0) {
            let left = if consumer["configured"] == false { " (not configured)" } else { "" };
            rows.push(vec![
                format!("  {}{left}", plain(&consumer["name"])),
                plain(&lane["signal"]),
                plain(&lane["seen"]),
                plain(&lane["delivered"]),
                plain(&lane["pending"]),
                plain(&lane["dropped"]),
                plain(&lane["corrupt"]),
                plain(&lane["dead_lettered"]),
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
