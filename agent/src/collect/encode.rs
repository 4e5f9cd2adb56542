//! What crosses between a guest and the agent, turned into what the other side reads: typed batches into OTLP, the
//! host's figures into the contract's entities.
//!
//! Typed data cannot be malformed in its structure; what a type cannot say (the length of an id, a JSON text, the
//! range of a severity) is checked here, and an error names the item.

use whimbrel_otlp::{
    Signal,
    write::{self, Attributes, Logs, Metrics, Severity},
};
use whimbrel_plugin_host::services as guest;

use crate::system;

/// A guest's nested value may be no deeper; OTLP receivers refuse what is nested much deeper.
const JSON_DEPTH: usize = 16;

/// The export request that a push comes to.
///
/// # Errors
/// `invalid`, with what is wrong with typed data; the bytes of an `otlp` batch are walked by the store.
pub fn request(batch: guest::Batch, now_ns: u64) -> Result<(Signal, Vec<u8>), guest::GuestError> {
    match batch {
        guest::Batch::Metrics(groups) => metrics(&groups, now_ns).map(|bytes| (Signal::Metrics, bytes)),
        guest::Batch::Logs(groups) => logs(&groups, now_ns).map(|bytes| (Signal::Logs, bytes)),
        guest::Batch::Otlp(kind, bytes) => Ok((signal(kind), bytes)),
    }
    .map_err(guest::GuestError::Invalid)
}

fn signal(signal: guest::Signal) -> Signal {
    match signal {
        guest::Signal::Metrics => Signal::Metrics,
        guest::Signal::Logs => Signal::Logs,
        guest::Signal::Traces => Signal::Traces,
    }
}

/// An export request of the groups; `now_ns` stands where a point has no time.
///
/// # Errors
/// What is wrong, and with which attribute or metric.
fn metrics(groups: &[guest::ResourceMetrics], now_ns: u64) -> Result<Vec<u8>, String> {
    let mut request = Metrics::new();
    for group in groups {
        request.resource(&attributes(&group.resource)?);
        if let Some(scope) = &group.scope {
            let own = attributes(&scope.attributes)?;
            request.scope(&scope_of(scope, &own));
        }
        for metric in &group.metrics {
            write_metric(&mut request, metric, now_ns)
                .map_err(|e| format!("metric {:?}: {e}", metric.name))?;
        }
    }
    Ok(request.take())
}

fn write_metric(request: &mut Metrics, metric: &guest::Metric, now_ns: u64) -> Result<(), String> {
    let numbers = |data| write::Metric {
        name: &metric.name,
        unit: &metric.unit,
        description: &metric.description,
        data,
    };
    match &metric.data {
        guest::Data::Gauge(points) => {
            write_points(request.metric(&numbers(write::Data::Gauge)), points, now_ns)
        }
        guest::Data::Sum(sum) => {
            let data =
                write::Data::Sum { temporality: temporality(sum.temporality), monotonic: sum.monotonic };
            write_points(request.metric(&numbers(data)), &sum.points, now_ns)
        }
        guest::Data::Histogram(histogram) => {
            let mut out = request.histogram(&write::Histogram {
                name: &metric.name,
                unit: &metric.unit,
                description: &metric.description,
                temporality: temporality(histogram.temporality),
            });
            for point in &histogram.points {
                check_buckets(point)?;
                out.point(
                    &attributes(&point.attributes)?,
                    &write::HistogramPoint {
                        start_ns: point.start_ns,
                        time_ns: or_now(point.time_ns, now_ns),
                        count: point.count,
                        sum: point.sum,
                        min: point.min,
                        max: point.max,
                        bounds: &point.bounds,
                        buckets: &point.buckets,
                    },
                );
            }
            Ok(())
        }
    }
}

fn write_points(mut out: write::Numbers<'_>, points: &[guest::Point], now_ns: u64) -> Result<(), String> {
    for point in points {
        let series = attributes(&point.attributes)?;
        let value = match point.value {
            guest::Number::Int(value) => write::Number::Int(value),
            guest::Number::Double(value) => write::Number::Double(value),
        };
        out.point(&series, point.start_ns, or_now(point.time_ns, now_ns), value);
    }
    Ok(())
}

fn check_buckets(point: &guest::HistogramPoint) -> Result<(), String> {
    let (bounds, buckets) = (point.bounds.len(), point.buckets.len());
    if buckets != 0 && buckets != bounds + 1 || buckets == 0 && bounds != 0 {
        return Err(format!(
            "{buckets} buckets for {bounds} bounds: give one bucket more than bounds, or neither"
        ));
    }
    if point.bounds.windows(2).any(|pair| !matches!(pair, [a, b] if a < b)) {
        return Err("the bounds of a histogram must ascend".into());
    }
    Ok(())
}

/// An export request of the groups; `now_ns` stands where a record has no observed time.
///
/// # Errors
/// What is wrong, and with which record.
fn logs(groups: &[guest::ResourceLogs], now_ns: u64) -> Result<Vec<u8>, String> {
    let mut request = Logs::new();
    for group in groups {
        request.resource(&attributes(&group.resource)?);
        if let Some(scope) = &group.scope {
            let own = attributes(&scope.attributes)?;
            request.scope(&scope_of(scope, &own));
        }
        for (index, record) in group.records.iter().enumerate() {
            write_record(&mut request, record, now_ns).map_err(|e| format!("log record {index}: {e}"))?;
        }
    }
    Ok(request.take())
}

fn write_record(request: &mut Logs, record: &guest::LogRecord, now_ns: u64) -> Result<(), String> {
    let parsed = json_of(&record.body)?;
    let attributes = attributes(&record.attributes)?;
    request.record(&write::LogRecord {
        time_ns: record.time_ns,
        observed_ns: or_now(record.observed_ns, now_ns),
        severity: Severity::new(record.severity)
            .ok_or_else(|| format!("severity {}: OTLP has 0 to 24", record.severity))?,
        severity_text: &record.severity_text,
        event_name: &record.event_name,
        body: value(&record.body, parsed.as_ref()),
        attributes: Some(&attributes),
        flags: record.flags,
        trace_id: id(&record.trace_id, "trace-id")?,
        span_id: id(&record.span_id, "span-id")?,
    });
    Ok(())
}

fn id<const N: usize>(bytes: &[u8], name: &str) -> Result<Option<[u8; N]>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| format!("{name} of {} bytes: give {N}, or none", bytes.len()))
}

fn or_now(time_ns: u64, now_ns: u64) -> u64 {
    if time_ns == 0 { now_ns } else { time_ns }
}

fn temporality(temporality: guest::Temporality) -> write::Temporality {
    match temporality {
        guest::Temporality::Delta => write::Temporality::Delta,
        guest::Temporality::Cumulative => write::Temporality::Cumulative,
    }
}

fn scope_of<'a>(scope: &'a guest::Scope, attributes: &'a Attributes) -> write::Scope<'a> {
    write::Scope { name: &scope.name, version: &scope.version, attributes: Some(attributes) }
}

fn attributes(list: &[guest::Attribute]) -> Result<Attributes, String> {
    let mut encoded = Attributes::new();
    for attribute in list {
        if attribute.key.is_empty() {
            return Err("an attribute has an empty key".into());
        }
        let parsed = json_of(&attribute.value).map_err(|e| format!("attribute {:?}: {e}", attribute.key))?;
        encoded.push(&attribute.key, value(&attribute.value, parsed.as_ref()));
    }
    Ok(encoded)
}

/// The parsed text of a `json` value; `None` for the others.
fn json_of(value: &guest::Value) -> Result<Option<serde_json::Value>, String> {
    let guest::Value::Json(text) = value else { return Ok(None) };
    let parsed: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    if depth(&parsed) > JSON_DEPTH {
        return Err(format!("JSON nested deeper than {JSON_DEPTH}"));
    }
    Ok(Some(parsed))
}

/// serde_json bounds its own recursion, so this one is bounded too.
fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn value<'a>(value: &'a guest::Value, parsed: Option<&'a serde_json::Value>) -> write::Value<'a> {
    match value {
        guest::Value::Text(text) => write::Value::Text(text),
        guest::Value::Boolean(yes) => write::Value::Bool(*yes),
        guest::Value::Int(number) => write::Value::Int(*number),
        guest::Value::Double(number) => write::Value::Double(*number),
        guest::Value::Bytes(bytes) => write::Value::Bytes(bytes),
        guest::Value::Json(_) => parsed.map_or(write::Value::Empty, from_json),
    }
}

/// JSON has one kind of number; integers that fit stay integers.
fn from_json(json: &serde_json::Value) -> write::Value<'_> {
    match json {
        serde_json::Value::Null => write::Value::Empty,
        serde_json::Value::Bool(yes) => write::Value::Bool(*yes),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => write::Value::Int(integer),
            None => write::Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => write::Value::Text(text),
        serde_json::Value::Array(list) => write::Value::Array(list.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            write::Value::Map(map.iter().map(|(key, value)| (key.as_str(), from_json(value))).collect())
        }
    }
}

/// What `snapshot` answers a guest.
///
/// # Errors
/// `invalid` for a part that does not exist or a selection that it does not know, which will not get better;
/// `unavailable`, with what the host's figures lack, for the rest.
pub(super) fn snapshot(
    system: &system::System,
    part: &str,
    select: &[(String, String)],
) -> Result<Vec<guest::Entity>, guest::GuestError> {
    system.snapshot(part, select).map(entities).map_err(|error| {
        let why = error.to_string();
        if error.is_unavailable() {
            guest::GuestError::Unavailable(why)
        } else {
            guest::GuestError::Invalid(why)
        }
    })
}

/// The host's figures as the contract has them.
fn entities(entities: Vec<system::Entity>) -> Vec<guest::Entity> {
    entities
        .into_iter()
        .map(|entity| guest::Entity {
            resource: pairs(entity.resource),
            figures: entity
                .figures
                .into_iter()
                .map(|figure| guest::Figure {
                    name: figure.name.to_owned(),
                    attributes: pairs(figure.attributes),
                    start_ns: figure.start_ns,
                    value: figure.value,
                })
                .collect(),
        })
        .collect()
}

fn pairs(attributes: Vec<(&'static str, system::Value)>) -> Vec<guest::Attribute> {
    attributes
        .into_iter()
        .map(|(key, value)| guest::Attribute {
            key: key.to_owned(),
            value: match value {
                system::Value::Text(text) => guest::Value::Text(text.into_owned()),
                system::Value::Int(number) => guest::Value::Int(number),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_does_not_exist_is_invalid_and_not_worth_waiting_for() {
        let error = snapshot(&system::System::default(), "moon", &[]).unwrap_err();
        assert!(matches!(error, guest::GuestError::Invalid(_)), "{error}");
        assert!(error.to_string().contains("moon") && error.to_string().contains("memory"), "{error}");
    }
}
