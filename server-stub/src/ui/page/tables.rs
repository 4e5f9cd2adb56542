//! What was heard, as tables: hosts, metrics, logs, spans, requests.
//!
//! Names, values and bodies are the senders' own and may be anything: they are cut to a bearable length, and
//! `maud` escapes them.

use std::collections::BTreeMap;

use http::Uri;
use maud::{Markup, html};
use serde_json::Value;
use whimbrel_otlp::read::unit_for_people;

use super::{Look, text};
use crate::store::trail::HostRow;

/// A host that was silent for so long is marked.
const SILENT_NS: i64 = 60 * 1_000_000_000;
/// OTLP severity numbers from which a line is a warning, and an error.
const WARN: i64 = 13;
const ERROR: i64 = 17;

/// Who sent.
pub(super) fn hosts(hosts: &[HostRow], now_ns: i64) -> Markup {
    let mut by_id: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for host in hosts {
        if let (Some(id), Some(name)) = (host.attributes["host.id"].as_str(), host.host.as_deref()) {
            by_id.entry(id).or_default().push(name);
        }
    }
    html! {
        @for (id, names) in by_id.iter().filter(|(_, names)| names.len() > 1) {
            p.warn {
                "Hosts " (text::cut(&names.join(", "))) " share one host.id (" code { (text::cut(id)) }
                "): cloned machines? On the clones, remove /etc/machine-id and run systemd-machine-id-setup."
            }
        }
        table.cards {
            thead { tr { th { "host" } th { "system" } th { "service" } th.n { "resources" } th { "first heard (UTC)" } th.n { "last heard" } } }
            tbody {
                @for host in hosts {
                    tr {
                        td {
                            @match &host.host {
                                Some(name) => { a href=(Look::of_host(name).link()) { (text::cut(name)) } }
                                None => "(no host.name)",
                            }
                        }
                        td.wide { (system(&host.attributes)) }
                        td { (text::plain(&host.attributes["service.name"])) }
                        td.n data-is="resources" { (text::count(host.resources.unsigned_abs())) }
                        td { (text::clock(host.first_ns)) }
                        td.n.warn[now_ns.saturating_sub(host.last_ns) > SILENT_NS] { (text::ago(host.last_ns, now_ns)) }
                    }
                }
            }
        }
    }
}

fn system(attributes: &Value) -> String {
    let described = text::plain(&attributes["os.description"]);
    let named = if described.is_empty() { text::plain(&attributes["os.type"]) } else { described };
    let arch = text::plain(&attributes["host.arch"]);
    if arch.is_empty() { named } else { format!("{named}, {arch}") }
}

/// What was measured; each links to its chart.
pub(super) fn metrics(metrics: &Value, look: &Look, now_ns: i64) -> Markup {
    let metrics = metrics["metrics"].as_array().map_or(&[][..], Vec::as_slice);
    html! {
        table.cards {
            thead {
                tr { th { "metric" } th { "kind" } th { "unit" } th.n { "series" } th.n { "last value" } th.n { "when" } }
            }
            tbody {
                @for metric in metrics.iter().take(super::MAX_ROWS) {
                    @let name = metric["name"].as_str().unwrap_or("");
                    @let unit = metric["unit"].as_str().unwrap_or("");
                    @let chosen = look.metric.as_deref() == Some(name);
                    tr data-name=(text::cut(name)) aria-current=[chosen.then_some("true")] {
                        td.wide { a id={ "m-" (text::cut(name)) } href={ (look.with_metric(name).link()) "#metric" } { (text::cut(name)) } }
                        td { (kind(metric)) }
                        td { (text::cut(unit)) }
                        td.n data-is="series" { (text::count(metric["series"].as_u64().unwrap_or(0))) }
                        td.n {
                            (text::value(&metric["last"]["value"], unit_for_people(name, unit)))
                            @if metric["series"].as_u64() > Some(1) { " " br; span.dim { (text::values(&metric["last"]["attributes"])) } }
                        }
                        td.n { @if let Some(arrived) = metric["last"]["arrived_ns"].as_i64() { (text::ago(arrived, now_ns)) } }
                    }
                }
            }
        }
        @if metrics.len() > super::MAX_ROWS {
            p.note { (text::count((metrics.len() - super::MAX_ROWS) as u64)) " more are at " code { "/api/metrics" } "." }
        }
        @if metrics.is_empty() {
            p.none { "No metrics yet." }
        }
    }
}

fn kind(metric: &Value) -> &str {
    match metric["kind"].as_str().unwrap_or("") {
        "updowncounter" => "up-down counter",
        "exponential_histogram" => "exponential histogram",
        other => other,
    }
}

/// Log records, the newest first.
pub(super) fn logs(logs: &Value) -> Markup {
    let logs = logs["logs"].as_array().map_or(&[][..], Vec::as_slice);
    html! {
        @if logs.is_empty() {
            p.none { "No log records yet." }
        } @else {
            table.cards {
                thead { tr { th { "time (UTC)" } th { "severity" } th { "host" } th { "record" } } }
                tbody {
                    @for log in logs {
                        @let severity = log["severity"].as_i64().unwrap_or(0);
                        tr {
                            td { (text::clock(first_time(log))) }
                            td.warn[(WARN..ERROR).contains(&severity)].bad[severity >= ERROR] { (severity_text(log, severity)) }
                            td { (text::plain(&log["host"])) }
                            td.wide {
                                @if let Some(event) = log["event_name"].as_str().filter(|event| !event.is_empty()) {
                                    b { (text::cut(event)) } " "
                                }
                                (text::plain(&log["body"])) " "
                                span.dim { (text::attributes(&log["attributes"])) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn first_time(log: &Value) -> i64 {
    let time = |key: &str| log[key].as_i64().filter(|time| *time > 0);
    time("time_ns").or_else(|| time("observed_ns")).or_else(|| time("arrived_ns")).unwrap_or(0)
}

fn severity_text(log: &Value, severity: i64) -> String {
    match log["severity_text"].as_str() {
        Some(given) if !given.is_empty() => text::cut(given),
        _ => match severity {
            1..=4 => "TRACE",
            5..=8 => "DEBUG",
            9..=12 => "INFO",
            13..=16 => "WARN",
            17..=20 => "ERROR",
            21..=24 => "FATAL",
            _ => "-",
        }
        .to_owned(),
    }
}

/// Spans, the newest first.
pub(super) fn spans(spans: &Value) -> Markup {
    let spans = spans["spans"].as_array().map_or(&[][..], Vec::as_slice);
    html! {
        @if spans.is_empty() {
            p.none { "No spans yet." }
        } @else {
            table {
                thead { tr { th { "start (UTC)" } th.n { "duration" } th { "service" } th { "span" } th { "trace" } } }
                tbody {
                    @for span in spans {
                        @let (start, end) = (span["start_ns"].as_i64().unwrap_or(0), span["end_ns"].as_i64().unwrap_or(0));
                        tr {
                            td { (text::clock(start)) }
                            td.n { (text::Unit::Seconds.show(end.saturating_sub(start) as f64 / 1e9)) }
                            td { (text::plain(&span["service"])) }
                            td.wide.bad[span["status"] == 2] { (text::plain(&span["name"])) }
                            td { code { (text::plain(&span["trace_id"])) } }
                        }
                    }
                }
            }
        }
    }
}

/// How it came: the newest requests.
pub(super) fn requests(requests: &Value, now_ns: i64) -> Markup {
    let requests = requests["requests"].as_array().map_or(&[][..], Vec::as_slice);
    html! {
        @if requests.is_empty() {
            p.none { "No requests yet." }
        } @else {
            table.cards {
                thead { tr { th { "signal" } th { "protocol" } th { "encoding" } th.n { "items" } th.n { "bytes" } th.n { "when" } th { "idempotency key" } } }
                tbody {
                    @for request in requests {
                        tr {
                            td { (text::plain(&request["signal"])) }
                            td { (text::plain(&request["protocol"])) }
                            td { (text::plain(&request["encoding"])) }
                            td.n data-is="items" { (text::count(request["items"].as_u64().unwrap_or(0))) }
                            td.n { (text::Unit::Bytes.show(request["wire_bytes"].as_f64().unwrap_or(0.0))) }
                            td.n { (text::ago(request["arrived_ns"].as_i64().unwrap_or(0), now_ns)) }
                            td.wide { code { (text::plain(&request["key"])) } }
                        }
                    }
                }
            }
        }
    }
}

impl Look {
    /// Where this look is to be seen.
    pub(super) fn link(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in [("host", &self.host), ("metric", &self.metric)] {
            if let Some(value) = value {
                query.append_pair(key, value);
            }
        }
        let query = query.finish();
        let link = if query.is_empty() { "/".to_owned() } else { format!("/?{query}") };
        // What can't be a link (it is longer than a URI may be) leads to the whole.
        if link.parse::<Uri>().is_ok() { link } else { "/".to_owned() }
    }
}
