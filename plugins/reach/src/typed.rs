//! Typed batches that say everything that the contract's records can say, and such that say what OTLP has not.

use serde::Deserialize;
use whimbrel_sdk::bindings::whimbrel::plugin::{
    emit,
    types::{
        Attribute, Batch, Data, Histogram, HistogramPoint, LogRecord, Metric, Number, Point, ResourceLogs,
        ResourceMetrics, Scope, Sum, Temporality, Value,
    },
};

/// What is pushed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Typed {
    /// Metrics of each kind, in two resources.
    Metrics,
    /// Log records with every field, and with none.
    Logs,
    /// An attribute without a key.
    Key,
    /// A histogram with as many buckets as bounds.
    Buckets,
    /// A histogram whose bounds descend.
    Bounds,
    /// A severity that OTLP has not.
    Severity,
    /// A trace id of 15 bytes.
    Id,
    /// A JSON value that is no JSON.
    Json,
    /// A JSON value that is nested too deep.
    Deep,
}

pub(crate) fn push(what: Typed) -> Result<String, String> {
    let gauge = |attributes| vec![metric("m", Data::Gauge(vec![point(attributes, Number::Int(1))]))];
    let record = |record| logs(vec![record]);
    let batch = match what {
        Typed::Metrics => everything_measured(),
        Typed::Logs => logs(vec![everything_logged(), nothing_logged()]),
        Typed::Key => metrics(gauge(vec![attribute("", Value::Int(1))])),
        Typed::Buckets => metrics(vec![metric("h", histogram(vec![1.0, 2.0], vec![1, 2]))]),
        Typed::Bounds => metrics(vec![metric("h", histogram(vec![2.0, 1.0], vec![1, 2, 3]))]),
        Typed::Severity => record(LogRecord { severity: 25, ..nothing_logged() }),
        Typed::Id => record(LogRecord { trace_id: vec![1; 15], ..nothing_logged() }),
        Typed::Json => metrics(gauge(vec![attribute("it", Value::Json("{".to_owned()))])),
        Typed::Deep => {
            let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
            metrics(gauge(vec![attribute("it", Value::Json(deep))]))
        }
    };
    emit::push(&batch, Some(b"here")).map(|()| "pushed".to_owned()).map_err(|error| format!("{error:?}"))
}

fn everything_measured() -> Batch {
    let attributes = vec![
        attribute("text", Value::Text("grüße".to_owned())),
        attribute("none", Value::Text(String::new())),
        attribute("boolean", Value::Boolean(true)),
        attribute("int", Value::Int(-5)),
        attribute("double", Value::Double(0.5)),
        attribute("bytes", Value::Bytes(vec![0, 255])),
        attribute("json", Value::Json(r#"{"a": [1, 2.5, "x", null], "b": {"c": false}}"#.to_owned())),
    ];
    let sum = |temporality, monotonic, points| Data::Sum(Sum { temporality, monotonic, points });
    let group = ResourceMetrics {
        resource: vec![attribute("device", Value::Text("one".to_owned()))],
        scope: Some(scope()),
        metrics: vec![
            metric("gauge", Data::Gauge(vec![point(attributes, Number::Double(1.5))])),
            metric("sum", sum(Temporality::Cumulative, true, vec![point(Vec::new(), Number::Int(7))])),
            metric("delta", sum(Temporality::Delta, false, vec![point(Vec::new(), Number::Int(-7))])),
            metric("histogram", histogram(vec![1.0, 2.0], vec![1, 2, 3])),
            metric("empty", Data::Gauge(Vec::new())),
        ],
    };
    let other = ResourceMetrics {
        resource: vec![attribute("device", Value::Text("two".to_owned()))],
        scope: None,
        metrics: vec![metric(
            "now",
            Data::Gauge(vec![Point { time_ns: 0, start_ns: 0, ..point(Vec::new(), Number::Int(0)) }]),
        )],
    };
    Batch::Metrics(vec![group, other])
}

fn everything_logged() -> LogRecord {
    LogRecord {
        time_ns: 1,
        observed_ns: 2,
        severity: 9,
        severity_text: "notice".to_owned(),
        event_name: "device.app".to_owned(),
        body: Value::Json(r#"["a", {"b": 1}]"#.to_owned()),
        attributes: vec![attribute("key", Value::Text("value".to_owned()))],
        flags: 1,
        trace_id: (0..16).collect(),
        span_id: (0..8).collect(),
    }
}

fn nothing_logged() -> LogRecord {
    LogRecord {
        time_ns: 0,
        observed_ns: 0,
        severity: 0,
        severity_text: String::new(),
        event_name: String::new(),
        body: Value::Text("plain".to_owned()),
        attributes: Vec::new(),
        flags: 0,
        trace_id: Vec::new(),
        span_id: Vec::new(),
    }
}

fn metrics(metrics: Vec<Metric>) -> Batch {
    Batch::Metrics(vec![ResourceMetrics { resource: Vec::new(), scope: None, metrics }])
}

fn logs(records: Vec<LogRecord>) -> Batch {
    Batch::Logs(vec![ResourceLogs { resource: Vec::new(), scope: Some(scope()), records }])
}

fn scope() -> Scope {
    Scope {
        name: "reach".to_owned(),
        version: "1".to_owned(),
        attributes: vec![attribute("of", Value::Text("scope".to_owned()))],
    }
}

fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: "By".to_owned(), description: "what it is".to_owned(), data }
}

fn point(attributes: Vec<Attribute>, value: Number) -> Point {
    Point { attributes, start_ns: 3, time_ns: 4, value }
}

fn histogram(bounds: Vec<f64>, buckets: Vec<u64>) -> Data {
    let point = HistogramPoint {
        attributes: vec![attribute("of", Value::Text("histogram".to_owned()))],
        start_ns: 3,
        time_ns: 4,
        count: buckets.iter().sum(),
        sum: Some(9.5),
        min: None,
        max: Some(4.0),
        bounds,
        buckets,
    };
    Data::Histogram(Histogram { temporality: Temporality::Delta, points: vec![point] })
}

fn attribute(key: &str, value: Value) -> Attribute {
    Attribute { key: key.to_owned(), value }
}
