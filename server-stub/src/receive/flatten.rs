//! From decoded OTLP to rows.

use std::{collections::BTreeMap, fmt::Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    logs::v1::LogRecord,
    metrics::v1::{
        ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
        exponential_histogram_data_point::Buckets, metric, number_data_point,
    },
    resource::v1::Resource as ProtoResource,
    trace::v1::Span,
};
use serde_json::{Map, Value, json};

use super::batch::{
    Batch, Group, LogRow, Point, PointValue, Resource, Rows, Scope, Series, SeriesRows, SpanRow,
};
use crate::signal::Signal;

/// An id of a trace or span that is neither absent nor of its one length.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {len} bytes long; it must be {want}, or empty")]
pub(crate) struct BadId {
    field: &'static str,
    len: usize,
    want: usize,
}

pub(crate) fn metrics(request: ExportMetricsServiceRequest) -> Batch {
    let mut groups = Vec::new();
    for of_resource in request.resource_metrics {
        let resource = resource(of_resource.resource);
        for of_scope in of_resource.scope_metrics {
            let rows = of_scope.metrics.into_iter().flat_map(series).collect();
            groups.push(Group {
                resource: resource.clone(),
                scope: scope(of_scope.scope),
                rows: Rows::Metrics(rows),
            });
        }
    }
    Batch { signal: Signal::Metrics, groups }
}

pub(crate) fn logs(request: ExportLogsServiceRequest) -> Result<Batch, BadId> {
    let mut groups = Vec::new();
    for of_resource in request.resource_logs {
        let resource = resource(of_resource.resource);
        for of_scope in of_resource.scope_logs {
            let rows = of_scope.log_records.into_iter().map(log).collect::<Result<_, _>>()?;
            groups.push(Group {
                resource: resource.clone(),
                scope: scope(of_scope.scope),
                rows: Rows::Logs(rows),
            });
        }
    }
    Ok(Batch { signal: Signal::Logs, groups })
}

pub(crate) fn traces(request: ExportTraceServiceRequest) -> Result<Batch, BadId> {
    let mut groups = Vec::new();
    for of_resource in request.resource_spans {
        let resource = resource(of_resource.resource);
        for of_scope in of_resource.scope_spans {
            let rows = of_scope.spans.into_iter().map(span).collect::<Result<_, _>>()?;
            groups.push(Group {
                resource: resource.clone(),
                scope: scope(of_scope.scope),
                rows: Rows::Spans(rows),
            });
        }
    }
    Ok(Batch { signal: Signal::Traces, groups })
}

fn resource(resource: Option<ProtoResource>) -> Resource {
    let attributes = resource.unwrap_or_default().attributes;
    let text = |key: &str| {
        attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| {
            match attribute.value.as_ref()?.value.as_ref()? {
                any_value::Value::StringValue(text) => Some(text.clone()),
                _ => None,
            }
        })
    };
    Resource {
        host: text("host.name"),
        service: text("service.name"),
        attributes: object(&attributes).to_string(),
    }
}

fn scope(scope: Option<InstrumentationScope>) -> Scope {
    let scope = scope.unwrap_or_default();
    Scope { name: scope.name, version: scope.version, attributes: object(&scope.attributes).to_string() }
}

/// One entry a point: points of one metric differ in their attributes, as a rule.
fn series(metric: Metric) -> Vec<SeriesRows> {
    let Metric { name, unit, data, .. } = metric;
    let of = |kind: &'static str, temporality: &'static str, attributes: &[KeyValue], point: Point| {
        let attributes = object(attributes).to_string();
        let series = Series { name: name.clone(), unit: unit.clone(), kind, temporality, attributes };
        SeriesRows { series, points: vec![point] }
    };
    match data {
        None => Vec::new(),
        Some(metric::Data::Gauge(gauge)) => {
            gauge.data_points.iter().map(|point| of("gauge", "", &point.attributes, number(point))).collect()
        }
        Some(metric::Data::Sum(sum)) => {
            let kind = if sum.is_monotonic { "counter" } else { "updowncounter" };
            let temporality = temporality(sum.aggregation_temporality);
            sum.data_points
                .iter()
                .map(|point| of(kind, temporality, &point.attributes, number(point)))
                .collect()
        }
        Some(metric::Data::Histogram(data)) => {
            let temporality = temporality(data.aggregation_temporality);
            let points = data.data_points.iter();
            points.map(|point| of("histogram", temporality, &point.attributes, histogram(point))).collect()
        }
        Some(metric::Data::ExponentialHistogram(data)) => {
            let temporality = temporality(data.aggregation_temporality);
            let points = data.data_points.iter();
            points
                .map(|point| of("exponential_histogram", temporality, &point.attributes, exponential(point)))
                .collect()
        }
        Some(metric::Data::Summary(data)) => data
            .data_points
            .iter()
            .map(|point| of("summary", "", &point.attributes, summary(point)))
            .collect(),
    }
}

fn temporality(number: i32) -> &'static str {
    match number {
        1 => "delta",
        2 => "cumulative",
        _ => "unspecified",
    }
}

fn number(point: &NumberDataPoint) -> Point {
    let value = match point.value {
        None => PointValue::None,
        Some(number_data_point::Value::AsInt(value)) => PointValue::Int(value),
        Some(number_data_point::Value::AsDouble(value)) => PointValue::Double(value),
    };
    Point { time_ns: point.time_unix_nano, start_ns: point.start_time_unix_nano, flags: point.flags, value }
}

fn histogram(point: &HistogramDataPoint) -> Point {
    let detail = json!({
        "count": point.count,
        "sum": point.sum.map(double),
        "min": point.min.map(double),
        "max": point.max.map(double),
        "bounds": point.explicit_bounds.iter().copied().map(double).collect::<Vec<_>>(),
        "counts": point.bucket_counts,
    });
    Point {
        time_ns: point.time_unix_nano,
        start_ns: point.start_time_unix_nano,
        flags: point.flags,
        value: PointValue::Detail(detail.to_string()),
    }
}

fn exponential(point: &ExponentialHistogramDataPoint) -> Point {
    let buckets = |buckets: &Option<Buckets>| {
        buckets.as_ref().map(|buckets| json!({ "offset": buckets.offset, "counts": buckets.bucket_counts }))
    };
    let detail = json!({
        "count": point.count,
        "sum": point.sum.map(double),
        "min": point.min.map(double),
        "max": point.max.map(double),
        "scale": point.scale,
        "zero_count": point.zero_count,
        "zero_threshold": double(point.zero_threshold),
        "positive": buckets(&point.positive),
        "negative": buckets(&point.negative),
    });
    Point {
        time_ns: point.time_unix_nano,
        start_ns: point.start_time_unix_nano,
        flags: point.flags,
        value: PointValue::Detail(detail.to_string()),
    }
}

fn summary(point: &SummaryDataPoint) -> Point {
    let quantiles = point.quantile_values.iter().map(|at| json!([double(at.quantile), double(at.value)]));
    let detail = json!({
        "count": point.count,
        "sum": double(point.sum),
        "quantiles": quantiles.collect::<Vec<_>>(),
    });
    Point {
        time_ns: point.time_unix_nano,
        start_ns: point.start_time_unix_nano,
        flags: point.flags,
        value: PointValue::Detail(detail.to_string()),
    }
}

fn log(log: LogRecord) -> Result<LogRow, BadId> {
    Ok(LogRow {
        trace_id: id("trace_id", &log.trace_id, 16)?,
        span_id: id("span_id", &log.span_id, 8)?,
        time_ns: log.time_unix_nano,
        observed_ns: log.observed_time_unix_nano,
        severity: log.severity_number,
        severity_text: log.severity_text,
        event_name: log.event_name,
        body: log.body.as_ref().map_or(Value::Null, any).to_string(),
        attributes: object(&log.attributes).to_string(),
    })
}

fn span(span: Span) -> Result<SpanRow, BadId> {
    let events = span.events.iter().map(|event| {
        json!({
            "time_ns": event.time_unix_nano,
            "name": event.name,
            "attributes": object(&event.attributes),
        })
    });
    let links = span.links.iter().map(|link| {
        Ok(json!({
            "trace_id": id("links.trace_id", &link.trace_id, 16)?,
            "span_id": id("links.span_id", &link.span_id, 8)?,
            "attributes": object(&link.attributes),
        }))
    });
    let detail = json!({
        "events": events.collect::<Vec<_>>(),
        "links": links.collect::<Result<Vec<_>, BadId>>()?,
    });
    let status = span.status.unwrap_or_default();
    Ok(SpanRow {
        trace_id: id("trace_id", &span.trace_id, 16)?,
        span_id: id("span_id", &span.span_id, 8)?,
        parent_span_id: id("parent_span_id", &span.parent_span_id, 8)?,
        name: span.name,
        kind: span.kind,
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        status: status.code,
        status_message: status.message,
        attributes: object(&span.attributes).to_string(),
        detail: detail.to_string(),
    })
}

fn id(field: &'static str, bytes: &[u8], want: usize) -> Result<String, BadId> {
    if !bytes.is_empty() && bytes.len() != want {
        return Err(BadId { field, len: bytes.len(), want });
    }
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    Ok(text)
}

/// Attributes as a JSON object with sorted keys; of a key given twice the last counts.
fn object(attributes: &[KeyValue]) -> Value {
    let sorted: BTreeMap<&str, Value> = attributes
        .iter()
        .map(|attribute| (attribute.key.as_str(), attribute.value.as_ref().map_or(Value::Null, any)))
        .collect();
    Value::Object(sorted.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

/// A value as JSON; bytes, and numbers that JSON lacks, stand in an object that names their type.
fn any(value: &AnyValue) -> Value {
    use any_value::Value as Any;
    match value.value.as_ref() {
        None | Some(Any::StringValueStrindex(_)) => Value::Null,
        Some(Any::StringValue(text)) => Value::from(text.as_str()),
        Some(Any::BoolValue(value)) => Value::from(*value),
        Some(Any::IntValue(value)) => Value::from(*value),
        Some(Any::DoubleValue(value)) if value.is_finite() => Value::from(*value),
        Some(Any::DoubleValue(value)) => json!({ "doubleValue": double(*value) }),
        Some(Any::ArrayValue(array)) => array.values.iter().map(any).collect(),
        Some(Any::KvlistValue(list)) => object(&list.values),
        Some(Any::BytesValue(bytes)) => json!({ "bytesValue": BASE64_STANDARD.encode(bytes) }),
    }
}

/// A number, or as text what JSON has no number for: `NaN`, `Infinity`, `-Infinity`.
pub(crate) fn double(value: f64) -> Value {
    if value.is_finite() {
        Value::from(value)
    } else if value.is_nan() {
        Value::from("NaN")
    } else if value > 0.0 {
        Value::from("Infinity")
    } else {
        Value::from("-Infinity")
    }
}
