//! Requests as people and tests want to see them.
//!
//! For `plugin run`, taps and tests, which look at few batches; never on the path of a batch. What is shown is a
//! flat list of items, each with what encloses it. Fields that nobody has asked for yet (exemplars, the buckets of
//! exponential histograms, quantiles) are left out.

mod value;

use std::sync::Arc;

use crate::wire::{Field, Fields};
use crate::write::{Severity, Temporality};
use crate::{Signal, WalkError, walk};

pub use value::{Attributes, Value};

/// What encloses an item: the resource that it belongs to, and the code that measured it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Source {
    /// The resource's attributes.
    pub resource: Attributes,
    /// The scope's name.
    pub scope_name: String,
    /// The scope's version.
    pub scope_version: String,
}

/// A metric without its points.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Such as `system.cpu.time`.
    pub name: String,
    /// UCUM: `By`, `s`, `1`.
    pub unit: String,
    /// What it means.
    pub description: String,
    /// What its points mean.
    pub kind: Kind,
}

/// What the points of a metric mean. A temporality of `None` is unspecified, which OTLP does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each point is a reading of its own.
    Gauge,
    /// Points add up over series.
    Sum {
        /// Whether a point counts from the start or from the one before.
        temporality: Option<Temporality>,
        /// Whether it can only grow.
        monotonic: bool,
    },
    /// Histograms with bounds.
    Histogram {
        /// Whether a point counts from the start or from the one before.
        temporality: Option<Temporality>,
    },
    /// Histograms with exponential bounds.
    ExponentialHistogram {
        /// Whether a point counts from the start or from the one before.
        temporality: Option<Temporality>,
    },
    /// Quantiles.
    Summary,
}

/// A data point. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What it belongs to.
    pub source: Arc<Source>,
    /// The metric that it is of.
    pub metric: Arc<Metric>,
    /// What distinguishes its series.
    pub attributes: Attributes,
    /// When counting began; 0: not known.
    pub start_ns: u64,
    /// When it was read.
    pub time_ns: u64,
    /// What was read.
    pub value: PointValue,
}

/// What a data point holds.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    /// Nothing, which is how OTLP marks a series that ended.
    None,
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// A histogram, an exponential histogram or a summary, the latter two without buckets and quantiles.
    Distribution {
        /// How many values.
        count: u64,
        /// Their sum, if given.
        sum: Option<f64>,
        /// The least of them, if given.
        min: Option<f64>,
        /// The greatest of them, if given.
        max: Option<f64>,
        /// Upper bounds.
        bounds: Vec<f64>,
        /// How many values in each bucket.
        buckets: Vec<u64>,
    },
}

/// A log record. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it belongs to.
    pub source: Arc<Source>,
    /// When it happened; 0: not known.
    pub time_ns: u64,
    /// When it was seen; 0: not given.
    pub observed_ns: u64,
    /// How bad it is; unspecified also for numbers that OTLP doesn't have.
    pub severity: Severity,
    /// The source's own word for it.
    pub severity_text: String,
    /// Which kind of event it is.
    pub event_name: String,
    /// The message, or a structure.
    pub body: Value,
    /// Its attributes.
    pub attributes: Attributes,
    /// W3C trace flags in the lowest byte.
    pub flags: u32,
    /// The trace that it belongs to; empty or 16 bytes.
    pub trace_id: Vec<u8>,
    /// The span that it belongs to; empty or 8 bytes.
    pub span_id: Vec<u8>,
}

/// The data points of a metrics request, in order.
///
/// # Errors
/// As [`walk`].
pub fn points(request: &[u8]) -> Result<Vec<Point>, WalkError> {
    walk(Signal::Metrics, request)?;
    let mut points = Vec::new();
    each_scope(request, |source, message| {
        let metric = Metric {
            name: text(message, 1),
            description: text(message, 2),
            unit: text(message, 3),
            kind: Kind::Gauge,
        };
        for data in fields(message).filter(|field| matches!(field.number, 5 | 7 | 9 | 10 | 11)) {
            let temporality = match last(data.content, 2).map(|field| field.varint()) {
                Some(1) => Some(Temporality::Delta),
                Some(2) => Some(Temporality::Cumulative),
                _ => None,
            };
            let monotonic = last(data.content, 3).is_some_and(|field| field.varint() != 0);
            let kind = match data.number {
                7 => Kind::Sum { temporality, monotonic },
                9 => Kind::Histogram { temporality },
                10 => Kind::ExponentialHistogram { temporality },
                11 => Kind::Summary,
                _ => Kind::Gauge,
            };
            let metric = Arc::new(Metric { kind, ..metric.clone() });
            for field in fields(data.content).filter(|field| field.number == 1) {
                points.push(point(Arc::clone(source), &metric, field.content));
            }
        }
    });
    Ok(points)
}

/// The records of a logs request, in order.
///
/// # Errors
/// As [`walk`].
pub fn records(request: &[u8]) -> Result<Vec<Record>, WalkError> {
    walk(Signal::Logs, request)?;
    let mut records = Vec::new();
    each_scope(request, |source, record| {
        let fixed64 = |number| last(record, number).map_or(0, |field| field.fixed64());
        let bytes = |number| last(record, number).map_or_else(Vec::new, |field| field.content.to_vec());
        let severity = last(record, 2).and_then(|field| u8::try_from(field.varint()).ok());
        records.push(Record {
            source: Arc::clone(source),
            time_ns: fixed64(1),
            observed_ns: fixed64(11),
            severity: severity.and_then(Severity::new).unwrap_or_default(),
            severity_text: text(record, 3),
            event_name: text(record, 12),
            body: last(record, 5).map_or(Value::Empty, |field| value(field.content)),
            attributes: attributes(record, 6),
            flags: last(record, 8).map_or(0, |field| field.fixed32()),
            trace_id: bytes(9),
            span_id: bytes(10),
        });
    });
    Ok(records)
}

/// Visits the metrics or log records of all scopes.
fn each_scope(request: &[u8], mut visit: impl FnMut(&Arc<Source>, &[u8])) {
    for resource in fields(request).filter(|field| field.number == 1) {
        let own = last(resource.content, 1).map_or(Attributes::default(), |own| attributes(own.content, 1));
        for scope in fields(resource.content).filter(|field| field.number == 2) {
            let named = last(scope.content, 1).map_or(&[][..], |field| field.content);
            let source = Arc::new(Source {
                resource: own.clone(),
                scope_name: text(named, 1),
                scope_version: text(named, 2),
            });
            for item in fields(scope.content).filter(|field| field.number == 2) {
                visit(&source, item.content);
            }
        }
    }
}

fn point(source: Arc<Source>, metric: &Arc<Metric>, point: &[u8]) -> Point {
    let fixed64 = |number| last(point, number).map(|field| field.fixed64());
    let double = |number| fixed64(number).map(f64::from_bits);
    let (attributes_in, value) = match metric.kind {
        Kind::Gauge | Kind::Sum { .. } => {
            // Of a oneof the last counts.
            let value = fields(point).filter(|field| matches!(field.number, 4 | 6)).last();
            let value = value.map_or(PointValue::None, |field| match field.number {
                4 => PointValue::Double(f64::from_bits(field.fixed64())),
                _ => PointValue::Int(field.fixed64() as i64),
            });
            (7, value)
        }
        Kind::Histogram { .. } => {
            let bounds = packed(point, 7).into_iter().map(f64::from_bits).collect();
            (9, distribution(fixed64(4), double(5), double(11), double(12), bounds, packed(point, 6)))
        }
        Kind::ExponentialHistogram { .. } => {
            (1, distribution(fixed64(4), double(5), double(12), double(13), Vec::new(), Vec::new()))
        }
        Kind::Summary => (7, distribution(fixed64(4), double(5), None, None, Vec::new(), Vec::new())),
    };
    Point {
        source,
        metric: Arc::clone(metric),
        attributes: attributes(point, attributes_in),
        start_ns: fixed64(2).unwrap_or(0),
        time_ns: fixed64(3).unwrap_or(0),
        value,
    }
}

fn distribution(
    count: Option<u64>,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    bounds: Vec<f64>,
    buckets: Vec<u64>,
) -> PointValue {
    PointValue::Distribution { count: count.unwrap_or(0), sum, min, max, bounds, buckets }
}

/// The fields of a message that has been walked: without errors.
fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    Fields::of(message).flatten()
}

/// Of a field that is not repeated the last counts.
fn last(message: &[u8], number: u32) -> Option<Field<'_>> {
    fields(message).filter(|field| field.number == number).last()
}

fn text(message: &[u8], number: u32) -> String {
    last(message, number)
        .map_or_else(String::new, |field| String::from_utf8_lossy(field.content).into_owned())
}

/// 8-byte numbers, packed or one by one.
fn packed(message: &[u8], number: u32) -> Vec<u64> {
    fields(message)
        .filter(|field| field.number == number)
        .flat_map(|field| field.content.as_chunks::<8>().0)
        .map(|bytes| u64::from_le_bytes(*bytes))
        .collect()
}

fn attributes(message: &[u8], number: u32) -> Attributes {
    let pairs = fields(message).filter(|field| field.number == number).map(|field| {
        (text(field.content, 1), last(field.content, 2).map_or(Value::Empty, |field| value(field.content)))
    });
    Attributes(pairs.collect())
}

/// Reads an `AnyValue`. The walk has bounded how deep it goes.
fn value(any: &[u8]) -> Value {
    let Some(field) = fields(any).filter(|field| field.number < 8).last() else { return Value::Empty };
    match field.number {
        1 => Value::Text(String::from_utf8_lossy(field.content).into_owned()),
        2 => Value::Bool(field.varint() != 0),
        3 => Value::Int(field.varint() as i64),
        4 => Value::Double(f64::from_bits(field.fixed64())),
        5 => Value::Array(
            fields(field.content).filter(|value| value.number == 1).map(|item| value(item.content)).collect(),
        ),
        6 => Value::Map(attributes(field.content, 1)),
        _ => Value::Bytes(field.content.to_vec()),
    }
}

/// The unit in which people read a metric. The unit `1` stands for shares and for much else; those that are shares, and
/// read in per cent, are named `utilization` or `ratio`, as the semantic conventions have it ("Instrument naming").
#[must_use]
pub fn unit_for_people<'a>(name: &str, unit: &'a str) -> &'a str {
    let share = name.ends_with("utilization") || name.ends_with("ratio");
    if unit == "1" && !share { "" } else { unit }
}

#[cfg(test)]
mod tests {
    use super::unit_for_people;

    #[test]
    fn only_shares_are_read_in_per_cent() {
        for share in ["system.cpu.utilization", "process.memory.utilization", "cache.hit.ratio", "hit_ratio"]
        {
            assert_eq!(unit_for_people(share, "1"), "1", "{share}");
        }
        assert_eq!(unit_for_people("httpcheck.up", "1"), "");
        assert_eq!(unit_for_people("system.memory.usage", "By"), "By");
    }
}
