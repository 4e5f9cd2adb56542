//! Reads OTLP's JSON into the structures that protobuf is decoded into.
//!
//! `opentelemetry-proto` can do this with serde, but its flattened `Option`s turn a malformed metric or
//! number into an absent one without an error: a backend that did so would answer 200 for data it lost.
//!
//! What the OTLP specification says ("JSON Protobuf Encoding"): names are lowerCamelCase, unknown ones are
//! ignored, trace and span ids are hexadecimal, other bytes base64, 64-bit integers are text or numbers,
//! enumerations are numbers. `null` is the same as absent.

use base64::{Engine, prelude::BASE64_STANDARD};
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
use serde_json::{Map, Value};

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub(crate) struct JsonError {
    /// Such as `resourceMetrics[0].scopeMetrics[0].metrics[2].name`.
    path: String,
    reason: String,
}

pub(crate) fn metrics(value: &Value) -> Result<ExportMetricsServiceRequest, JsonError> {
    let fields = fields(value)?;
    Ok(ExportMetricsServiceRequest { resource_metrics: each(fields, "resourceMetrics", resource_metrics)? })
}

pub(crate) fn logs(value: &Value) -> Result<ExportLogsServiceRequest, JsonError> {
    let fields = fields(value)?;
    Ok(ExportLogsServiceRequest { resource_logs: each(fields, "resourceLogs", resource_logs)? })
}

pub(crate) fn traces(value: &Value) -> Result<ExportTraceServiceRequest, JsonError> {
    let fields = fields(value)?;
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
                let points = each(self::fields(value)?, "dataPoints", number_point)?;
                Ok(metric::Data::Gauge(Gauge { data_points: points }))
            }),
            ("sum", &|value| {
                let fields = self::fields(value)?;
                Ok(metric::Data::Sum(Sum {
                    data_points: each(fields, "dataPoints", number_point)?,
                    aggregation_temporality: field(fields, "aggregationTemporality", i32_of)?,
                    is_monotonic: field(fields, "isMonotonic", boolean)?,
                }))
            }),
            ("histogram", &|value| {
                let fields = self::fields(value)?;
                Ok(metric::Data::Histogram(Histogram {
                    data_points: each(fields, "dataPoints", histogram_point)?,
                    aggregation_temporality: field(fields, "aggregationTemporality", i32_of)?,
                }))
            }),
            ("exponentialHistogram", &|value| {
                let fields = self::fields(value)?;
                Ok(metric::Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: each(fields, "dataPoints", exponential_point)?,
                    aggregation_temporality: field(fields, "aggregationTemporality", i32_of)?,
                }))
            }),
            ("summary", &|value| {
                let points = each(self::fields(value)?, "dataPoints", summary_point)?;
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
                let values = each(self::fields(value)?, "values", any)?;
                Ok(Any::ArrayValue(ArrayValue { values }))
            }),
            ("kvlistValue", &|value| {
                let values = each(self::fields(value)?, "values", key_value)?;
                Ok(Any::KvlistValue(KeyValueList { values }))
            }),
            ("bytesValue", &|value| Ok(Any::BytesValue(base64(value)?))),
        ],
    )?;
    Ok(AnyValue { value })
}

// What follows knows JSON only.

type Fields = Map<String, Value>;

impl JsonError {
    fn new(reason: impl Into<String>) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }

    fn wanted(what: &str, found: &Value) -> Self {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "another number",
            Value::String(_) => "other text",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        Self::new(format!("{what} is needed here, this is {found}"))
    }

    fn under(mut self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }
}

fn fields(value: &Value) -> Result<&Fields, JsonError> {
    value.as_object().ok_or_else(|| JsonError::wanted("an object", value))
}

fn optional<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Value) -> Result<T, JsonError>,
) -> Result<Option<T>, JsonError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).map_err(|error| error.under(name)),
    }
}

fn field<T: Default>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Value) -> Result<T, JsonError>,
) -> Result<T, JsonError> {
    Ok(optional(fields, name, read)?.unwrap_or_default())
}

fn one<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Fields) -> Result<T, JsonError>,
) -> Result<Option<T>, JsonError> {
    optional(fields, name, |value| read(self::fields(value)?))
}

fn values<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Value) -> Result<T, JsonError>,
) -> Result<Vec<T>, JsonError> {
    field(fields, name, |value| {
        let list = value.as_array().ok_or_else(|| JsonError::wanted("an array", value))?;
        let read =
            |(index, value)| read(value).map_err(|error: JsonError| error.under(&format!("[{index}]")));
        list.iter().enumerate().map(read).collect()
    })
}

fn each<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Fields) -> Result<T, JsonError>,
) -> Result<Vec<T>, JsonError> {
    values(fields, name, |value| read(self::fields(value)?))
}

/// A way to read one member of a `oneof`.
type Member<'a, T> = (&'a str, &'a dyn Fn(&Value) -> Result<T, JsonError>);

fn one_of<T>(fields: &Fields, members: &[Member<'_, T>]) -> Result<Option<T>, JsonError> {
    let mut found: Option<(&str, T)> = None;
    for (name, read) in members {
        if let Some(value) = optional(fields, name, read)? {
            if let Some((other, _)) = found {
                return Err(
                    JsonError::new(format!("only one of {other} and {name} can be given")).under(name)
                );
            }
            found = Some((name, value));
        }
    }
    Ok(found.map(|(_, value)| value))
}

fn text(value: &Value) -> Result<String, JsonError> {
    value.as_str().map(str::to_owned).ok_or_else(|| JsonError::wanted("text", value))
}

fn boolean(value: &Value) -> Result<bool, JsonError> {
    value.as_bool().ok_or_else(|| JsonError::wanted("true or false", value))
}

fn u64_of(value: &Value) -> Result<u64, JsonError> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| JsonError::wanted("an unsigned integer (a number, or text of one)", value))
}

fn i64_of(value: &Value) -> Result<i64, JsonError> {
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| JsonError::wanted("an integer (a number, or text of one)", value))
}

fn u32_of(value: &Value) -> Result<u32, JsonError> {
    u64_of(value)?.try_into().map_err(|_| JsonError::new("the number is above 4294967295"))
}

fn i32_of(value: &Value) -> Result<i32, JsonError> {
    let number = value.as_i64().ok_or_else(|| JsonError::wanted("an integer", value))?;
    number.try_into().map_err(|_| JsonError::new("the number is beyond 32 bits"))
}

fn f64_of(value: &Value) -> Result<f64, JsonError> {
    // Rust reads "inf" and "nan" too; JSON's mapping of protobuf knows these three only.
    let number = match value {
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            other => other.parse().ok().filter(|number: &f64| number.is_finite()),
        },
        other => other.as_f64(),
    };
    number.ok_or_else(|| JsonError::wanted("a number (or text of one, NaN, Infinity, -Infinity)", value))
}

fn hex(value: &Value) -> Result<Vec<u8>, JsonError> {
    let wanted = || JsonError::wanted("text of hexadecimal digits", value);
    let digits = value.as_str().ok_or_else(wanted)?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or_else(wanted)
}

fn base64(value: &Value) -> Result<Vec<u8>, JsonError> {
    let wanted = || JsonError::wanted("base64 text", value);
    BASE64_STANDARD.decode(value.as_str().ok_or_else(wanted)?).map_err(|_| wanted())
}
