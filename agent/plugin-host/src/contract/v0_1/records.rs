//! The records of `types` as they lie in a guest's memory: texts and lists are ranges of it, read when they are asked
//! for. The order of fields and cases is the contract's.
//!
//! The generated bindings would make a `String` of every key and every value: eight for a point of four attributes, made
//! and dropped before anything is encoded.

use wasmtime::component::{ComponentType, Lift, WasmList, WasmStr};

use super::types::{Number, Signal, Temporality};

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum Value {
    #[component(name = "text")]
    Text(WasmStr),
    #[component(name = "boolean")]
    Boolean(bool),
    #[component(name = "int")]
    Int(i64),
    #[component(name = "double")]
    Double(f64),
    #[component(name = "bytes")]
    Bytes(WasmList<u8>),
    #[component(name = "json")]
    Json(WasmStr),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Attribute {
    pub(super) key: WasmStr,
    pub(super) value: Value,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Scope {
    pub(super) name: WasmStr,
    pub(super) version: WasmStr,
    pub(super) attributes: WasmList<Attribute>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Point {
    pub(super) attributes: WasmList<Attribute>,
    #[component(name = "start-ns")]
    pub(super) start_ns: u64,
    #[component(name = "time-ns")]
    pub(super) time_ns: u64,
    pub(super) value: Number,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct HistogramPoint {
    pub(super) attributes: WasmList<Attribute>,
    #[component(name = "start-ns")]
    pub(super) start_ns: u64,
    #[component(name = "time-ns")]
    pub(super) time_ns: u64,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) bounds: WasmList<f64>,
    pub(super) buckets: WasmList<u64>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Sum {
    pub(super) temporality: Temporality,
    pub(super) monotonic: bool,
    pub(super) points: WasmList<Point>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Histogram {
    pub(super) temporality: Temporality,
    pub(super) points: WasmList<HistogramPoint>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum Data {
    #[component(name = "gauge")]
    Gauge(WasmList<Point>),
    #[component(name = "sum")]
    Sum(Sum),
    #[component(name = "histogram")]
    Histogram(Histogram),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Metric {
    pub(super) name: WasmStr,
    pub(super) unit: WasmStr,
    pub(super) description: WasmStr,
    pub(super) data: Data,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct LogRecord {
    #[component(name = "time-ns")]
    pub(super) time_ns: u64,
    #[component(name = "observed-ns")]
    pub(super) observed_ns: u64,
    pub(super) severity: u8,
    #[component(name = "severity-text")]
    pub(super) severity_text: WasmStr,
    #[component(name = "event-name")]
    pub(super) event_name: WasmStr,
    pub(super) body: Value,
    pub(super) attributes: WasmList<Attribute>,
    pub(super) flags: u32,
    #[component(name = "trace-id")]
    pub(super) trace_id: WasmList<u8>,
    #[component(name = "span-id")]
    pub(super) span_id: WasmList<u8>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ResourceMetrics {
    pub(super) resource: WasmList<Attribute>,
    pub(super) scope: Option<Scope>,
    pub(super) metrics: WasmList<Metric>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ResourceLogs {
    pub(super) resource: WasmList<Attribute>,
    pub(super) scope: Option<Scope>,
    pub(super) records: WasmList<LogRecord>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum Batch {
    #[component(name = "metrics")]
    Metrics(WasmList<ResourceMetrics>),
    #[component(name = "logs")]
    Logs(WasmList<ResourceLogs>),
    #[component(name = "otlp")]
    Otlp((Signal, WasmList<u8>)),
}
