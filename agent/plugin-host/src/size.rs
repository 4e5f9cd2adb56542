//! How large a batch is: for `otlp` its bytes, for typed records about what they come to as OTLP. What the
//! output limit counts.

use crate::services::{Attribute, Batch, Data, Metric, ResourceLogs, ResourceMetrics, Scope, Value};

/// Tag, length and number of a field, or of a small message.
const FIELD: u64 = 10;
/// An empty batch is not free: each costs a record.
const BATCH: u64 = 64;

/// The size of a batch, in bytes.
pub(crate) fn of(batch: &Batch) -> u64 {
    BATCH
        + match batch {
            Batch::Metrics(all) => all.iter().map(resource_metrics).sum(),
            Batch::Logs(all) => all.iter().map(resource_logs).sum(),
            Batch::Otlp(_, bytes) => bytes.len() as u64,
        }
}

fn resource_metrics(of: &ResourceMetrics) -> u64 {
    FIELD
        + attributes(&of.resource)
        + of.scope.as_ref().map_or(0, scope)
        + of.metrics.iter().map(metric).sum::<u64>()
}

fn resource_logs(of: &ResourceLogs) -> u64 {
    let records = of.records.iter().map(|record| {
        6 * FIELD
            + value(&record.body)
            + attributes(&record.attributes)
            + len(&record.severity_text)
            + len(&record.event_name)
            + record.trace_id.len() as u64
            + record.span_id.len() as u64
    });
    FIELD + attributes(&of.resource) + of.scope.as_ref().map_or(0, scope) + records.sum::<u64>()
}

fn scope(of: &Scope) -> u64 {
    FIELD + len(&of.name) + len(&of.version) + attributes(&of.attributes)
}

fn metric(of: &Metric) -> u64 {
    let points = match &of.data {
        Data::Gauge(points) => points.iter().map(|p| 4 * FIELD + attributes(&p.attributes)).sum(),
        Data::Sum(sum) => sum.points.iter().map(|p| 4 * FIELD + attributes(&p.attributes)).sum(),
        Data::Histogram(histogram) => histogram
            .points
            .iter()
            .map(|p| 8 * FIELD + attributes(&p.attributes) + 8 * (p.bounds.len() + p.buckets.len()) as u64)
            .sum::<u64>(),
    };
    4 * FIELD + len(&of.name) + len(&of.unit) + len(&of.description) + points
}

fn attributes(of: &[Attribute]) -> u64 {
    of.iter().map(|it| FIELD + len(&it.key) + value(&it.value)).sum()
}

fn value(of: &Value) -> u64 {
    FIELD
        + match of {
            Value::Text(text) | Value::Json(text) => len(text),
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::Boolean(_) | Value::Int(_) | Value::Double(_) => 0,
        }
}

fn len(text: &str) -> u64 {
    text.len() as u64
}
