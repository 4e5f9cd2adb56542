//! Reads OTLP's JSON into the structures that protobuf is decoded into.
//!
//! `opentelemetry-proto` can do this with serde, but its flattened `Option`s turn a malformed metric or
//! number into an absent one without an error: a backend that did so would answer 200 for data it lost.
//!
//! What the OTLP specification says ("JSON Protobuf Encoding"): names are lowerCamelCase, unknown ones are
//! ignored, trace and span ids are hexadecimal, other bytes base64, 64-bit integers are text or numbers,
//! enumerations are numbers. `null` is the same as absent.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use serde_json::Value;

use super::fields::{
    Fields, JsonError, base64, boolean, each, f64_of, field, hex, i32_of, i64_of, object, one, one_of,
    optional, text, u32_of, u64_of, values,
};

pub(crate) fn metrics(value: &Value) -> Result<ExportMetricsServiceRequest, JsonError> {
    let fields = object(value)?;
    Ok(ExportMetricsServiceRequest { resource_metrics: each(fields, "resourceMetrics", resource_metrics)? })
}

pub(crate) fn logs(value: &Value) -> Result<ExportLogsServiceRequest, JsonError> {
    let fields = object(value)?;
    Ok(ExportLogsServiceRequest { resource_logs: each(fields, "resourceLogs", resource_logs)? })
}

pub(crate) fn traces(value: &Value) -> Result<ExportTraceServiceRequest, JsonError> {
    let fields = object(value)?;
    Ok(ExportTraceServiceRequest { resource_spans: each(fields, "resourceSpans", resource_spans)? })
}

fn resource_metrics(fields: &Fields) -> Result<ResourceMetrics, JsonError> {
    Ok(ResourceMetrics {
        resource: one(fields, "resource", resource)?,
        scope_metrics: each(fields, "scopeMetrics", |fields| {
            Ok(ScopeMetrics {
                scope: one(fields, "scope", scope)?,
                metrics: each(fields, "metrics", metric)?,
                schema_url: field(fields, "schemaUrl", text)?,
            })
        })?,
        schema_url: field(fields, "schemaUrl", text)?,
    })
}

fn resource_logs(fields: &Fields) -> Result<ResourceLogs, JsonError> {
    Ok(ResourceLogs {
        resource: one(fields, "resource", resource)?,
        scope_logs: each(fields, "scopeLogs", |fields| {
            Ok(ScopeLogs {
                scope: one(fields, "scope", scope)?,
                log_records: each(fields, "logRecords", log_record)?,
                schema_url: field(fields, "schemaUrl", text)?,
            })
        })?,
        schema_url: field(fields, "schemaUrl", text)?,
    })
}

fn resource_spans(fields: &Fields) -> Result<ResourceSpans, JsonError> {
    Ok(ResourceSpans {
        resource: one(fields, "resource", resource)?,
        scope_spans: each(fields, "scopeSpans", |fields| {
            Ok(ScopeSpans {
                scope: one(fields, "scope", scope)?,
                spans: each(fields, "spans", span_of)?,
                schema_url: field(fields, "schemaUrl", text)?,
            })
        })?,
        schema_url: field(fields, "schemaUrl", text)?,
    })
}

fn resource(fields: &Fields) -> Result<Resource, JsonError> {
    Ok(Resource {
        attributes: each(fields, "attributes", key_value)?,
        dropped_attributes_count: field(fields, "droppedAttributesCount", u32_of)?,
        // Entities are in development; the stub shows none.
        entity_refs: Vec::new(),
    })
}

fn scope(fields: &Fields) -> Result<InstrumentationScope, JsonError> {
    Ok(InstrumentationScope {
        name: field(fields, "name", text)?,
        version: field(fields, "version", text)?,
        attributes: each(fields, "attributes", key_value)?,
        dropped_attributes_count: field(fields, "droppedAttributesCount", u32_of)?,
    })
}

fn metric(fields: &Fields) -> Result<Metric, JsonError> {
    let data = one_of(
        fields,
        &[
            ("gauge", &|value| {
                let points = each(object(value)?, "dataPoints", number_point)?;
                Ok(metric::Data::Gauge(Gauge { data_points: points }))
            }),
            ("sum", &|value| {
                let fields = object(value)?;
                Ok(metric::Data::Sum(Sum {
                    data_points: each(fields, "dataPoints", number_point)?,
                    aggregation_temporality: field(fields, "aggregationTemporality", i32_of)?,
                    is_monotonic: field(fields, "isMonotonic", boolean)?,
                }))
            }),
            ("histogram", &|value| {
                let fields = object(value)?;
                Ok(metric::Data::Histogram(Histogram {
                    data_points: each(fields, "dataPoints", histogram_point)?,
                    aggregation_temporality: field(fields, "aggregationTemporality", i32_of)?,
                }))
            }),
            ("exponentialHistogram", &|value| {
                let fields = object(value)?;
                Ok(metric::Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: each(fields, "dataPoints", exponential_point)?,
                    aggregation_temporality: field(fields, "aggregationTemporality", i32_of)?,
                }))
            }),
            ("summary", &|value| {
                let points = each(object(value)?, "dataPoints", summary_point)?;
                Ok(metric::Data::Summary(Summary { data_points: points }))
            }),
        ],
    )?;
    Ok(Metric {
        name: field(fields, "name", text)?,
        description: field(fields, "description", text)?,
        unit: field(fields, "unit", text)?,
        metadata: each(fields, "metadata", key_value)?,
        data,
    })
}

fn number_point(fields: &Fields) -> Result<NumberDataPoint, JsonError> {
    use number_data_point::Value as Number;
    Ok(NumberDataPoint {
        attributes: each(fields, "attributes", key_value)?,
        start_time_unix_nano: field(fields, "startTimeUnixNano", u64_of)?,
        time_unix_nano: field(fields, "timeUnixNano", u64_of)?,
        exemplars: each(fields, "exemplars", exemplar_of)?,
        flags: field(fields, "flags", u32_of)?,
        value: one_of(
            fields,
            &[
                ("asDouble", &|value| Ok(Number::AsDouble(f64_of(value)?))),
                ("asInt", &|value| Ok(Number::AsInt(i64_of(value)?))),
            ],
        )?,
    })
}

fn exemplar_of(fields: &Fields) -> Result<Exemplar, JsonError> {
    Ok(Exemplar {
        filtered_attributes: each(fields, "filteredAttributes", key_value)?,
        time_unix_nano: field(fields, "timeUnixNano", u64_of)?,
        span_id: field(fields, "spanId", hex)?,
        trace_id: field(fields, "traceId", hex)?,
        value: one_of(
            fields,
            &[
                ("asDouble", &|value| Ok(exemplar::Value::AsDouble(f64_of(value)?))),
                ("asInt", &|value| Ok(exemplar::Value::AsInt(i64_of(value)?))),
            ],
        )?,
    })
}

fn histogram_point(fields: &Fields) -> Result<HistogramDataPoint, JsonError> {
    Ok(HistogramDataPoint {
        attributes: each(fields, "attributes", key_value)?,
        start_time_unix_nano: field(fields, "startTimeUnixNano", u64_of)?,
        time_unix_nano: field(fields, "timeUnixNano", u64_of)?,
        count: field(fields, "count", u64_of)?,
        sum: optional(fields, "sum", f64_of)?,
        bucket_counts: values(fields, "bucketCounts", u64_of)?,
        explicit_bounds: values(fields, "explicitBounds", f64_of)?,
        exemplars: each(fields, "exemplars", exemplar_of)?,
        flags: field(fields, "flags", u32_of)?,
        min: optional(fields, "min", f64_of)?,
        max: optional(fields, "max", f64_of)?,
    })
}

fn exponential_point(fields: &Fields) -> Result<ExponentialHistogramDataPoint, JsonError> {
    let buckets = |fields: &Fields| {
        Ok(Buckets {
            offset: field(fields, "offset", i32_of)?,
            bucket_counts: values(fields, "bucketCounts", u64_of)?,
        })
    };
    Ok(ExponentialHistogramDataPoint {
        attributes: each(fields, "attributes", key_value)?,
        start_time_unix_nano: field(fields, "startTimeUnixNano", u64_of)?,
        time_unix_nano: field(fields, "timeUnixNano", u64_of)?,
        count: field(fields, "count", u64_of)?,
        sum: optional(fields, "sum", f64_of)?,
        scale: field(fields, "scale", i32_of)?,
        zero_count: field(fields, "zeroCount", u64_of)?,
        positive: one(fields, "positive", buckets)?,
        negative: one(fields, "negative", buckets)?,
        flags: field(fields, "flags", u32_of)?,
        exemplars: each(fields, "exemplars", exemplar_of)?,
        min: optional(fields, "min", f64_of)?,
        max: optional(fields, "max", f64_of)?,
        zero_threshold: field(fields, "zeroThreshold", f64_of)?,
    })
}

fn summary_point(fields: &Fields) -> Result<SummaryDataPoint, JsonError> {
    Ok(SummaryDataPoint {
        attributes: each(fields, "attributes", key_value)?,
        start_time_unix_nano: field(fields, "startTimeUnixNano", u64_of)?,
        time_unix_nano: field(fields, "timeUnixNano", u64_of)?,
        count: field(fields, "count", u64_of)?,
        sum: field(fields, "sum", f64_of)?,
        quantile_values: each(fields, "quantileValues", |fields| {
            Ok(ValueAtQuantile {
                quantile: field(fields, "quantile", f64_of)?,
                value: field(fields, "value", f64_of)?,
            })
        })?,
        flags: field(fields, "flags", u32_of)?,
    })
}

fn log_record(fields: &Fields) -> Result<LogRecord, JsonError> {
    Ok(LogRecord {
        time_unix_nano: field(fields, "timeUnixNano", u64_of)?,
        observed_time_unix_nano: field(fields, "observedTimeUnixNano", u64_of)?,
        severity_number: field(fields, "severityNumber", i32_of)?,
        severity_text: field(fields, "severityText", text)?,
        body: one(fields, "body", any)?,
        attributes: each(fields, "attributes", key_value)?,
        dropped_attributes_count: field(fields, "droppedAttributesCount", u32_of)?,
        flags: field(fields, "flags", u32_of)?,
        trace_id: field(fields, "traceId", hex)?,
        span_id: field(fields, "spanId", hex)?,
        event_name: field(fields, "eventName", text)?,
    })
}

fn span_of(fields: &Fields) -> Result<Span, JsonError> {
    Ok(Span {
        trace_id: field(fields, "traceId", hex)?,
        span_id: field(fields, "spanId", hex)?,
        trace_state: field(fields, "traceState", text)?,
        parent_span_id: field(fields, "parentSpanId", hex)?,
        flags: field(fields, "flags", u32_of)?,
        name: field(fields, "name", text)?,
        kind: field(fields, "kind", i32_of)?,
        start_time_unix_nano: field(fields, "startTimeUnixNano", u64_of)?,
        end_time_unix_nano: field(fields, "endTimeUnixNano", u64_of)?,
        attributes: each(fields, "attributes", key_value)?,
        dropped_attributes_count: field(fields, "droppedAttributesCount", u32_of)?,
        events: each(fields, "events", |fields| {
            Ok(span::Event {
                time_unix_nano: field(fields, "timeUnixNano", u64_of)?,
                name: field(fields, "name", text)?,
                attributes: each(fields, "attributes", key_value)?,
                dropped_attributes_count: field(fields, "droppedAttributesCount", u32_of)?,
            })
        })?,
        dropped_events_count: field(fields, "droppedEventsCount", u32_of)?,
        links: each(fields, "links", |fields| {
            Ok(span::Link {
                trace_id: field(fields, "traceId", hex)?,
                span_id: field(fields, "spanId", hex)?,
                trace_state: field(fields, "traceState", text)?,
                attributes: each(fields, "attributes", key_value)?,
                dropped_attributes_count: field(fields, "droppedAttributesCount", u32_of)?,
                flags: field(fields, "flags", u32_of)?,
            })
        })?,
        dropped_links_count: field(fields, "droppedLinksCount", u32_of)?,
        status: one(fields, "status", |fields| {
            Ok(Status { message: field(fields, "message", text)?, code: field(fields, "code", i32_of)? })
        })?,
    })
}

fn key_value(fields: &Fields) -> Result<KeyValue, JsonError> {
    Ok(KeyValue { key: field(fields, "key", text)?, value: one(fields, "value", any)?, key_strindex: 0 })
}

fn any(fields: &Fields) -> Result<AnyValue, JsonError> {
    use any_value::Value as Any;
    let value = one_of(
        fields,
        &[
            ("stringValue", &|value| Ok(Any::StringValue(text(value)?))),
            ("boolValue", &|value| Ok(Any::BoolValue(boolean(value)?))),
            ("intValue", &|value| Ok(Any::IntValue(i64_of(value)?))),
            ("doubleValue", &|value| Ok(Any::DoubleValue(f64_of(value)?))),
            ("arrayValue", &|value| {
                let values = each(object(value)?, "values", any)?;
                Ok(Any::ArrayValue(ArrayValue { values }))
            }),
            ("kvlistValue", &|value| {
                let values = each(object(value)?, "values", key_value)?;
                Ok(Any::KvlistValue(KeyValueList { values }))
            }),
            ("bytesValue", &|value| Ok(Any::BytesValue(base64(value)?))),
        ],
    )?;
    Ok(AnyValue { value })
}
