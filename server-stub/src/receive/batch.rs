//! A request as rows: what the store writes, and what rules about names look at.
//!
//! Resources, scopes and attributes are canonical JSON (keys sorted), so that equal ones are equal text.

use crate::{figures::Latencies, signal::Signal};

/// One export request of one signal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    pub(crate) signal: Signal,
    pub(crate) groups: Vec<Group>,
}

/// What shares a resource and a scope.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) resource: Resource,
    pub(crate) scope: Scope,
    pub(crate) rows: Rows,
}

/// Who sent it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub(crate) struct Resource {
    /// A JSON object.
    pub(crate) attributes: String,
    /// `host.name`, if it is text.
    pub(crate) host: Option<String>,
    /// `service.name`, if it is text.
    pub(crate) service: Option<String>,
}

/// Which instrumentation it came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub(crate) struct Scope {
    pub(crate) name: String,
    pub(crate) version: String,
    /// A JSON object.
    pub(crate) attributes: String,
}

/// The items of a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rows {
    Metrics(Vec<SeriesRows>),
    Logs(Vec<LogRow>),
    Spans(Vec<SpanRow>),
}

/// Points of one series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeriesRows {
    pub(crate) series: Series,
    pub(crate) points: Vec<Point>,
}

/// What makes a series, besides its resource and scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// `gauge`, `counter` (monotonic sum), `updowncounter` (other sums), `histogram`,
    /// `exponential_histogram` or `summary`.
    pub(crate) kind: &'static str,
    /// `cumulative`, `delta` or `unspecified`; empty where the kind has none.
    pub(crate) temporality: &'static str,
    /// A JSON object.
    pub(crate) attributes: String,
}

/// One data point.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) time_ns: u64,
    pub(crate) start_ns: u64,
    pub(crate) flags: u32,
    pub(crate) value: PointValue,
}

/// What a data point says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PointValue {
    /// "No recorded value".
    None,
    Int(i64),
    Double(f64),
    /// A histogram or summary, as JSON.
    Detail(String),
}

/// One log record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogRow {
    pub(crate) time_ns: u64,
    pub(crate) observed_ns: u64,
    pub(crate) severity: i32,
    pub(crate) severity_text: String,
    pub(crate) event_name: String,
    /// JSON.
    pub(crate) body: String,
    /// A JSON object.
    pub(crate) attributes: String,
    /// 32 hexadecimal digits, or empty.
    pub(crate) trace_id: String,
    /// 16 hexadecimal digits, or empty.
    pub(crate) span_id: String,
}

/// One span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpanRow {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_span_id: String,
    pub(crate) name: String,
    /// As OTLP numbers it.
    pub(crate) kind: i32,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// As OTLP numbers it: 0 unset, 1 ok, 2 error.
    pub(crate) status: i32,
    pub(crate) status_message: String,
    /// A JSON object.
    pub(crate) attributes: String,
    /// Events and links, as JSON.
    pub(crate) detail: String,
}

impl Batch {
    /// Data points, log records or spans.
    pub(crate) fn items(&self) -> u64 {
        let items = |rows: &Rows| match rows {
            Rows::Metrics(series) => series.iter().map(|series| series.points.len()).sum(),
            Rows::Logs(logs) => logs.len(),
            Rows::Spans(spans) => spans.len(),
        };
        self.groups.iter().map(|group| items(&group.rows) as u64).sum()
    }

    /// Whether a metric, a span, a log event or a log body (a text) is called `name`.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.groups.iter().any(|group| match &group.rows {
            Rows::Metrics(series) => series.iter().any(|rows| rows.series.name == name),
            Rows::Spans(spans) => spans.iter().any(|span| span.name == name),
            Rows::Logs(logs) => {
                let body = serde_json::Value::from(name).to_string();
                logs.iter().any(|log| log.event_name == name || log.body == body)
            }
        })
    }

    /// How long each item took from collection to `arrived_ns`.
    pub(crate) fn latencies(&self, arrived_ns: u64) -> Latencies {
        let mut latencies = Latencies::default();
        let mut take = |collected| latencies.take(collected, arrived_ns);
        for group in &self.groups {
            match &group.rows {
                Rows::Metrics(series) => {
                    series.iter().flat_map(|rows| &rows.points).for_each(|point| take(point.time_ns));
                }
                Rows::Logs(logs) => {
                    logs.iter().for_each(|log| {
                        take(if log.observed_ns == 0 { log.time_ns } else { log.observed_ns })
                    });
                }
                Rows::Spans(spans) => spans.iter().for_each(|span| take(span.end_ns)),
            }
        }
        latencies
    }
}
