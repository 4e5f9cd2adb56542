//! What the demo shows: on a terminal a picture that is drawn anew each second, elsewhere a line a second.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use serde_json::Value;

use super::{print, words};

/// Home, and clear what is below: the picture is drawn over the one before.
const REDRAW: &str = "\x1b[H\x1b[J";
/// Metrics that a person recognises at once, with what to call them.
const KNOWN: [(&str, &str); 9] = [
    ("system.cpu.load_average.1m", "load, 1 minute"),
    ("system.cpu.utilization", "CPU utilization, last series"),
    ("system.memory.usage", "memory, last series"),
    ("system.memory.limit", "memory in all"),
    ("system.filesystem.usage", "file system, last series"),
    ("system.disk.io", "disk I/O, last series"),
    ("system.network.io", "network I/O, last series"),
    ("system.process.count", "processes, last state"),
    ("system.uptime", "uptime"),
];

/// The demo's screen.
pub(super) struct Screen {
    terminal: bool,
    greeting: String,
    listed: bool,
    ticks: u64,
}

impl Screen {
    pub(super) fn new(terminal: bool, agent: u32, home: &Path, otlp: SocketAddr, ui: SocketAddr) -> Self {
        let greeting = format!(
            "whimbrel demo\n  agent    pid {agent}, its data encrypted in {}\n  backend  whimbrel-stub, OTLP/HTTP at http://{otlp}, its answers at http://{ui}/api/metrics\n  Ctrl-C ends it\n\n",
            home.display()
        );
        Self { terminal, greeting, listed: false, ticks: 0 }
    }

    /// Printed once; on a terminal the picture repeats it.
    pub(super) fn greeting(&self) -> String {
        format!("{}waiting for the first figures: plugins are compiled at the first start\n", self.greeting)
    }

    /// What to print for this second. `None` where one of them did not answer.
    pub(super) fn draw(
        &mut self,
        metrics: Option<&Value>,
        stats: Option<&Value>,
        agent: Option<&Value>,
    ) -> String {
        self.ticks += 1;
        let Some(metrics) =
            metrics.map(|m| words::list(&m["metrics"]).collect::<Vec<_>>()).filter(|m| !m.is_empty())
        else {
            return String::new();
        };
        let summary = summary(metrics.len(), stats, agent);
        if self.terminal {
            return format!("{REDRAW}{}{summary}\n{}", self.greeting, print::table(&rows(&metrics)));
        }
        let mut out = String::new();
        if !self.listed && self.ticks > 2 {
            self.listed = true;
            let _ = writeln!(out, "\nwhat arrived, with its last value:\n{}", print::table(&rows(&metrics)));
        }
        let _ = writeln!(out, "{summary}");
        out
    }
}

fn summary(names: usize, stats: Option<&Value>, agent: Option<&Value>) -> String {
    let signal = stats.map_or(&Value::Null, |s| &s["signals"]["metrics"]);
    let latency = &signal["latency"]["last_minute"];
    let pending: u64 = agent
        .into_iter()
        .flat_map(|a| words::list(&a["wal"]["consumers"]))
        .flat_map(|consumer| words::list(&consumer["lanes"]))
        .filter_map(|lane| lane["pending"].as_u64())
        .sum();
    let lost: u64 = agent
        .and_then(|a| a["wal"]["losses"].as_object())
        .map_or(0, |losses| losses.values().filter_map(Value::as_u64).sum());
    format!(
        "{names} metrics, {} points arrived; collection to arrival p50 {}, p99 {}; {} in the WAL, {pending} records pending, {lost} lost, {} repeated",
        words::plain(&signal["items"]),
        milliseconds(&latency["p50_ms"]),
        milliseconds(&latency["p99_ms"]),
        words::bytes(agent.and_then(|a| a["wal"]["disk_bytes"].as_u64())),
        words::plain(&signal["repeated_requests"]),
    )
}

fn milliseconds(ms: &Value) -> String {
    ms.as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}

/// The known ones first, then the rest by name.
fn rows(metrics: &[&Value]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let order = |name: &str| KNOWN.iter().position(|(known, _)| *known == name).unwrap_or(KNOWN.len());
    let mut sorted = metrics.to_vec();
    sorted.sort_by_key(|metric| (order(metric["name"].as_str().unwrap_or("")), metric["name"].to_string()));
    for metric in sorted {
        let name = words::plain(&metric["name"]);
        let called = KNOWN.iter().find(|(known, _)| *known == name).map_or("", |(_, called)| called);
        rows.push(vec![
            format!("  {name}"),
            measured(&metric["last"]["value"], metric["unit"].as_str().unwrap_or("")),
            format!("{} series", words::plain(&metric["series"])),
            called.to_owned(),
        ]);
    }
    rows
}

/// A value with its UCUM unit, as people write it.
fn measured(value: &Value, unit: &str) -> String {
    match (value.as_f64(), unit) {
        (Some(bytes), "By") if bytes >= 0.0 => words::bytes(Some(bytes as u64)),
        (Some(share), "1") => format!("{:.1} %", share * 100.0),
        (Some(seconds), "s") if seconds >= 3600.0 => words::duration_ms(Some((seconds * 1000.0) as u64)),
        (Some(number), _) => {
            let unit = unit.trim_matches(['{', '}']);
            let shown = if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.2}") };
            format!("{shown} {unit}").trim_end().to_owned()
        }
        (None, _) => words::plain(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_with_their_units() {
        assert_eq!(measured(&json!(1536), "By"), "1.5 KiB");
        assert_eq!(measured(&json!(0.256), "1"), "25.6 %");
        assert_eq!(measured(&json!(7500.0), "s"), "2h 5m");
        assert_eq!(measured(&json!(12), "{process}"), "12 process");
        assert_eq!(measured(&json!(0.5), "{thread}"), "0.50 thread");
    }

    #[test]
    fn nothing_is_shown_before_something_arrived() {
        let address = "127.0.0.1:1".parse().unwrap();
        let mut screen = Screen::new(false, 1, Path::new("/tmp/x"), address, address);
        assert_eq!(screen.draw(Some(&json!({ "metrics": [] })), None, None), "");
        let shown = screen.draw(Some(&json!({ "metrics": [{ "name": "a" }] })), None, None);
        assert!(shown.starts_with("1 metrics, - points arrived"), "{shown}");
    }
}
