//! A request as people read it: one line a point, a log record or a span, grouped by what it belongs to.
//!
//! It is told from OTLP/JSON, because that is what a running agent answers with too. Values are shown in the unit that
//! people read, beside the exact one where that would be hidden. What is missing is left out: JSON omits defaults.

mod point;

use serde_json::Value;
use whimbrel_otlp::read;

use super::{print, words};

/// The lines of a request. A resource without attributes is the agent's own, and not shown.
pub(super) fn lines(request: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for group in words::list(&request["resourceMetrics"]) {
        resource(group, &mut lines);
        metrics(group, &mut lines);
    }
    for group in words::list(&request["resourceLogs"]) {
        resource(group, &mut lines);
        for scope in words::list(&group["scopeLogs"]) {
            lines.extend(words::list(&scope["logRecords"]).map(record));
        }
    }
    for group in words::list(&request["resourceSpans"]) {
        resource(group, &mut lines);
        for scope in words::list(&group["scopeSpans"]) {
            words::list(&scope["spans"]).for_each(|one| span(one, &mut lines));
        }
    }
    lines
}

/// How many points, records and spans a request holds.
pub(super) fn items(request: &Value) -> usize {
    let within = |groups: &str, scopes: &str, items: &str| -> Vec<Value> {
        let scopes = words::list(&request[groups]).flat_map(|group| words::list(&group[scopes]));
        scopes.flat_map(|scope| words::list(&scope[items]).cloned()).collect()
    };
    within("resourceMetrics", "scopeMetrics", "metrics")
        .iter()
        .map(|one| point::of(one).1.count())
        .sum::<usize>()
        + within("resourceLogs", "scopeLogs", "logRecords").len()
        + within("resourceSpans", "scopeSpans", "spans").len()
}

/// Lines no longer than the terminal, where there is one.
pub(super) fn cut_to(width: Option<usize>, line: &str) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}

/// What a plugin or a network wrote may hold what a terminal obeys.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let escaped: Box<dyn Iterator<Item = char>> = if character.is_control() {
                Box::new(character.escape_default())
            } else {
                Box::new(std::iter::once(character))
            };
            escaped
        })
        .collect()
}

fn resource(group: &Value, lines: &mut Vec<String>) {
    let own = attributes(&group["resource"]["attributes"]);
    if !own.is_empty() {
        lines.push(format!("of {own}"));
    }
}

fn metrics(group: &Value, lines: &mut Vec<String>) {
    let mut rows = Vec::new();
    for scope in words::list(&group["scopeMetrics"]) {
        for metric in words::list(&scope["metrics"]) {
            let (kind, points) = point::of(metric);
            let name = metric["name"].as_str().unwrap_or("");
            let unit = read::unit_for_people(name, metric["unit"].as_str().unwrap_or(""));
            for (at, one) in points.enumerate() {
                let head = |text: String| if at == 0 { text } else { String::new() };
                let (people, exact) = point::value(one, unit);
                let own = within(name, &one["attributes"]);
                rows.push(vec![
                    head(harmless(&words::plain(&metric["name"]))),
                    people,
                    exact,
                    head(kind.clone()),
                    own,
                ]);
            }
        }
    }
    lines.extend(print::table(&rows).lines().map(str::to_owned));
}

/// `12:00:01.250 WARN the message  key=value`
fn record(record: &Value) -> String {
    let time = [&record["timeUnixNano"], &record["observedTimeUnixNano"]].into_iter().find_map(nanoseconds);
    let mut parts = vec![clock_time(time)];
    let severity =
        record["severityText"].as_str().map_or_else(|| severity(&record["severityNumber"]), harmless);
    parts.extend([severity, record["eventName"].as_str().map_or_else(String::new, harmless)]);
    parts.push(any(&record["body"]));
    parts.push(attributes(&record["attributes"]));
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

/// OTLP's ranges of four (logs data model, "Severity Fields").
fn severity(number: &Value) -> String {
    const NAMES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let range = number.as_u64().and_then(|number| usize::try_from(number.checked_sub(1)? / 4).ok());
    range.and_then(|range| NAMES.get(range)).map_or_else(String::new, ToString::to_string)
}

/// The span on one line, its events and links below it.
fn span(span: &Value, lines: &mut Vec<String>) {
    const KINDS: [&str; 6] = ["", "internal", "server", "client", "producer", "consumer"];
    const STATUS: [&str; 3] = ["", "ok", "error"];
    let word = |words: &[&str], number: &Value| {
        let at = number.as_u64().and_then(|number| usize::try_from(number).ok());
        at.and_then(|at| words.get(at)).map_or_else(String::new, ToString::to_string)
    };
    let (start, end) = (nanoseconds(&span["startTimeUnixNano"]), nanoseconds(&span["endTimeUnixNano"]));
    let took = start.zip(end).map(|(start, end)| point::seconds(end.saturating_sub(start) as f64 / 1e9));
    let mut parts = vec![clock_time(start), harmless(&words::plain(&span["name"])), took.unwrap_or_default()];
    parts.extend([word(&KINDS, &span["kind"]), word(&STATUS, &span["status"]["code"])]);
    parts.push(span["status"]["message"].as_str().map_or_else(String::new, harmless));
    parts.push(attributes(&span["attributes"]));
    parts.push(format!("trace {} span {}", words::plain(&span["traceId"]), words::plain(&span["spanId"])));
    parts.retain(|part| !part.is_empty());
    lines.push(parts.join("  "));
    for event in words::list(&span["events"]) {
        let at = nanoseconds(&event["timeUnixNano"]).zip(start);
        let after =
            at.map_or_else(String::new, |(at, start)| point::seconds(at.saturating_sub(start) as f64 / 1e9));
        let own = attributes(&event["attributes"]);
        lines.push(
            format!("    after {after}  {}  {own}", harmless(&words::plain(&event["name"])))
                .trim_end()
                .to_owned(),
        );
    }
    for link in words::list(&span["links"]) {
        lines.push(format!(
            "    link to trace {} span {}",
            words::plain(&link["traceId"]),
            words::plain(&link["spanId"])
        ));
    }
}

/// `key=value key=value`
fn attributes(list: &Value) -> String {
    within("", list)
}

/// The same for a point of this metric: of a key, what both names begin with is left out, so that the points of
/// `system.memory.usage` differ in `state`.
fn within(metric: &str, list: &Value) -> String {
    let pairs = words::list(list).map(|pair| {
        let key = pair["key"].as_str().unwrap_or_default();
        let shared = key.bytes().zip(metric.bytes()).take_while(|(one, other)| one == other).count();
        let from = key.as_bytes()[..shared].iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1);
        format!("{}={}", harmless(&key[from..]), any(&pair["value"]))
    });
    pairs.collect::<Vec<_>>().join(" ")
}

/// An `AnyValue`.
fn any(value: &Value) -> String {
    let Some((kind, value)) = value.as_object().and_then(|fields| fields.iter().next()) else {
        return String::new();
    };
    match kind.as_str() {
        "arrayValue" => {
            let all: Vec<_> = words::list(&value["values"]).map(any).collect();
            format!("[{}]", all.join(", "))
        }
        "kvlistValue" => format!("{{{}}}", attributes(&value["values"])),
        "bytesValue" => format!("base64:{}", words::plain(value)),
        _ => harmless(&words::plain(value)),
    }
}

fn nanoseconds(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok().filter(|ns| *ns > 0)
}

fn clock_time(ns: Option<u64>) -> String {
    ns.and_then(|ns| jiff::Timestamp::from_nanosecond(i128::from(ns)).ok())
        .map_or_else(String::new, |moment| moment.strftime("%H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: &str) -> Value {
        json!({ "stringValue": value })
    }

    #[test]
    fn points_stand_below_their_metric_with_the_exact_value_beside() {
        let point = |state: &str, value: &str| json!({ "asInt": value, "attributes": [{ "key": "state", "value": text(state) }] });
        let usage = json!({
            "name": "memory.usage", "unit": "By",
            "sum": { "dataPoints": [point("used", "2147483648"), point("free", "512")] },
        });
        let load =
            json!({ "name": "load", "unit": "{thread}", "gauge": { "dataPoints": [{ "asDouble": 0.25 }] } });
        let request = json!({ "resourceMetrics": [{
            "resource": { "attributes": [{ "key": "process.pid", "value": { "intValue": "7" } }] },
            "scopeMetrics": [{ "metrics": [usage, load] }],
        }] });
        assert_eq!(
            lines(&request),
            [
                "of process.pid=7",
                "memory.usage  2.0 GiB  2147483648 By  up-down counter  state=used",
                "              512 B                                    state=free",
                "load          0.25                    gauge",
            ]
        );
        assert_eq!(items(&request), 3);
    }

    #[test]
    fn records_and_spans_are_lines_too() {
        let request = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{
            "timeUnixNano": "1250000000", "severityNumber": 13, "body": text("it is\u{1b}[2J late"),
            "attributes": [{ "key": "list", "value": { "arrayValue": { "values": [text("a"), { "boolValue": true }] } } }],
        }] }] }] });
        assert_eq!(lines(&request), ["00:00:01.250Z  WARN  it is\\u{1b}[2J late  list=[a, true]"]);

        let request = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{
            "traceId": "01", "spanId": "02", "name": "GET /", "kind": 2, "status": { "code": 2, "message": "gone" },
            "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1012500000",
            "events": [{ "timeUnixNano": "1001000000", "name": "read" }],
            "links": [{ "traceId": "03", "spanId": "04" }],
        }] }] }] });
        assert_eq!(
            lines(&request),
            [
                "00:00:01.000Z  GET /  12.5 ms  server  error  gone  trace 01 span 02",
                "    after 1 ms  read",
                "    link to trace 03 span 04",
            ]
        );
        assert_eq!(items(&request), 1);
    }

    #[test]
    fn a_line_is_cut_where_the_terminal_ends() {
        assert_eq!(cut_to(Some(5), "abcdef"), "abcd…");
        assert_eq!(cut_to(Some(6), "abcdef"), "abcdef");
        assert_eq!(cut_to(None, "abcdef"), "abcdef");
    }
}
