//! What the demo shows: on a terminal a picture that is drawn anew each second, elsewhere a line a second.

use std::{collections::VecDeque, fmt::Write as _, path::Path};

use serde_json::Value;

use super::{launcher::Seen, programs::Listening};
use crate::cli::{print, words};

/// Home, and clear what is below: the picture is drawn over the one before.
const REDRAW: &str = "\x1b[H\x1b[J";
/// Metrics that a person recognises at once: shown first, with the last value of each series.
pub(super) const KNOWN: [&str; 9] = [
    "system.cpu.utilization",
    "system.cpu.load_average.1m",
    "system.memory.usage",
    "system.filesystem.usage",
    "system.disk.io",
    "system.network.io",
    "system.process.count",
    "system.uptime",
    "whimbrel.heartbeat.count",
];
/// So many of the last events are in the picture.
const EVENTS: usize = 6;
/// So many series of one metric are shown, the largest.
const SERIES: usize = 5;

/// The demo's screen.
pub(super) struct Screen {
    terminal: bool,
    greeting: String,
    listed: bool,
    ticks: u64,
    /// The last things that happened, for the picture.
    events: VecDeque<String>,
}

impl Screen {
    pub(super) fn new(terminal: bool, home: &Path, listening: Listening) -> Self {
        let Listening { otlp, ui } = listening;
        let greeting = format!(
            "whimbrel demo\n  open     http://{ui} in a browser: charts, and three buttons that try to lose something\n  agent    its data, encrypted, is in {}\n  backend  whimbrel-stub, OTLP/HTTP at http://{otlp}\n  Ctrl-C ends it\n\n",
            home.display()
        );
        Self { terminal, greeting, listed: false, ticks: 0, events: VecDeque::new() }
    }

    /// Printed once; on a terminal the picture repeats it.
    pub(super) fn greeting(&self) -> String {
        format!("{}waiting for the first figures: plugins are compiled at the first start\n", self.greeting)
    }

    /// What to print for this second.
    pub(super) fn draw(&mut self, seen: &Seen) -> String {
        self.ticks += 1;
        self.events.extend(seen.events.iter().cloned());
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
        let mut out = String::new();
        if !self.terminal {
            seen.events.iter().for_each(|event| out.push_str(&format!("* {event}\n")));
        }
        let Seen { metrics, series, stats, agent, .. } = seen;
        let (metrics, stats, agent) = (metrics.as_ref(), stats.as_ref(), agent.as_ref());
        let Some(metrics) =
            metrics.map(|m| words::list(&m["metrics"]).collect::<Vec<_>>()).filter(|m| !m.is_empty())
        else {
            return out;
        };
        let summary = summary(metrics.len(), stats, agent);
        if self.terminal {
            let events: String = self.events.iter().map(|event| format!("* {event}\n")).collect();
            return format!(
                "{REDRAW}{}{summary}\n{events}\n{}",
                self.greeting,
                print::table(&rows(&metrics, series))
            );
        }
        if !self.listed && self.ticks > 3 {
            self.listed = true;
            let _ = writeln!(
                out,
                "\nwhat arrived, with its last values:\n{}",
                print::table(&rows(&metrics, series))
            );
        }
        let _ = writeln!(out, "{summary}");
        out
    }
}

fn summary(names: usize, stats: Option<&Value>, agent: Option<&Value>) -> String {
    let signal = stats.map_or(&Value::Null, |s| &s["signals"]["metrics"]);
    let latency = &signal["latency"]["last_minute"];
    let pending = agent.map_or(0, words::pending);
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

/// The known ones first, each with its series; then the others by name, each with its last value.
fn rows(metrics: &[&Value], series: &[Value]) -> Vec<Vec<String>> {
    let unit_of = |name: &str| {
        let found = metrics.iter().find(|metric| metric["name"] == name);
        found.map_or("", |metric| metric["unit"].as_str().unwrap_or(""))
    };
    let mut rows = Vec::new();
    for known in series {
        let name = known["name"].as_str().unwrap_or("");
        let shown = of_series(known, unit_of(name));
        if !shown.is_empty() {
            rows.push(vec![format!("  {name}"), shown]);
        }
    }
    let others = metrics.iter().filter(|metric| !KNOWN.iter().any(|known| metric["name"] == **known));
    let mut others: Vec<_> = others
        .map(|metric| {
            let last = measured(&metric["last"]["value"], metric["unit"].as_str().unwrap_or(""));
            let shown = match metric["series"].as_u64() {
                Some(0 | 1) | None => last,
                Some(many) => format!("{last}, and {} more series", many - 1),
            };
            vec![format!("  {}", words::plain(&metric["name"])), shown]
        })
        .collect();
    others.sort();
    rows.extend(others);
    rows
}

/// `used 1.8 GiB · free 20.1 GiB`: the last value of each series, the largest first, by what tells them apart.
fn of_series(known: &Value, unit: &str) -> String {
    let mut last: Vec<(f64, String)> = words::list(&known["series"])
        .filter_map(|series| {
            let value = &words::list(&series["points"]).last()?["value"];
            let label: Vec<_> = series["attributes"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(_, value)| words::plain(value))
                .collect();
            let shown = format!("{} {}", label.join(" "), measured(value, unit));
            Some((value.as_f64().unwrap_or(0.0), shown.trim().to_owned()))
        })
        .collect();
    last.sort_by(|a, b| b.0.total_cmp(&a.0));
    let more = last.len().saturating_sub(SERIES);
    let mut shown = last.into_iter().take(SERIES).map(|(_, shown)| shown).collect::<Vec<_>>().join(" · ");
    if more > 0 {
        let _ = write!(shown, " · {more} more");
    }
    shown
}

/// A value with its UCUM unit, as people write it.
fn measured(value: &Value, unit: &str) -> String {
    match (value.as_f64(), unit) {
        (Some(bytes), "By") if bytes >= 0.0 => words::bytes(Some(bytes as u64)),
        (Some(share), "1") => format!("{:.1} %", share * 100.0),
        (Some(seconds), "s") if seconds >= 3600.0 => words::duration_ms(Some((seconds * 1000.0) as u64)),
        (Some(number), _) => {
            // `{process}` only says what is counted, which the name does, too.
            let unit = if unit.starts_with('{') { "" } else { unit };
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
        assert_eq!(measured(&json!(12), "{process}"), "12");
        assert_eq!(measured(&json!(0.5), "{thread}"), "0.50");
    }

    #[test]
    fn a_metric_shows_its_series_by_what_tells_them_apart() {
        let point = |value| json!([{ "value": 0 }, { "value": value }]);
        let known = json!({ "name": "system.memory.usage", "series": [
            { "attributes": { "system.memory.state": "free" }, "points": point(1024) },
            { "attributes": { "system.memory.state": "used" }, "points": point(2048) },
        ] });
        assert_eq!(of_series(&known, "By"), "used 2.0 KiB · free 1.0 KiB");
    }

    #[test]
    fn nothing_is_shown_before_something_arrived() {
        let address = "127.0.0.1:1".parse().unwrap();
        let listening = Listening { otlp: address, ui: address };
        let mut screen = Screen::new(false, Path::new("/tmp/x"), listening);
        let seen = |metrics: Value| Seen {
            metrics: Some(json!({ "metrics": metrics })),
            series: Vec::new(),
            stats: None,
            agent: None,
            events: vec!["it rains".to_owned()],
        };
        assert_eq!(screen.draw(&seen(json!([]))), "* it rains\n");
        let shown = screen.draw(&seen(json!([{ "name": "a" }])));
        assert!(shown.starts_with("* it rains\n1 metrics, - points arrived"), "{shown}");
    }
}
