//! OTLP's messages, as tables: what the walk checks, what errors call things, and what JSON makes of them.
//!
//! Source: opentelemetry-proto 1.10, `common.proto`, `resource.proto`, `metrics.proto`, `logs.proto`,
//! `trace.proto` and the three `*_service.proto`. Fields that stand here in no table are unknown: their wire
//! format is checked, their content is left alone.

use crate::Signal;

/// One more than the largest field number in the tables.
const FIELDS: usize = 17;

/// A message.
#[derive(Debug)]
pub(crate) struct Message {
    /// By field number.
    pub(crate) fields: [Field; FIELDS],
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    pub(crate) name: &'static str,
    /// How its numbers are meant: for `json`; the walk does not care.
    pub(crate) number: Number,
    /// When it is there although it has its default value: for `json`.
    pub(crate) presence: Presence,
}

/// How the number of a field is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Unsigned32,
    /// An enum, or an int32.
    Signed32,
    /// An sint32: zigzag.
    Zigzag32,
    Unsigned64,
    Signed64,
    Double,
    Bool,
}

/// When a field that has its default value is there nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Never: the default is the same as nothing.
    Implicit,
    /// When it was written: `optional`.
    Explicit,
    /// When it was written, and no other field of the message's one `oneof` after it.
    OneOf,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Not in the tables.
    Unknown,
    /// Integers, enums and truth values.
    Varint,
    Fixed32,
    Fixed64,
    /// UTF-8.
    Text,
    Bytes,
    /// 16 bytes, or none.
    TraceId,
    /// 8 bytes, or none.
    SpanId,
    /// 8-byte numbers, packed or one by one.
    PackedFixed64,
    /// Varints, packed or one by one.
    PackedVarint,
    Message(&'static Message),
    /// A message that counts as an item.
    Item(&'static Message),
    /// A `NumberDataPoint`; an item.
    NumberPoint,
    /// A `LogRecord`; an item.
    LogRecord,
    /// One of the fields of a metric that hold its points; only one of them may be there.
    Data(&'static Message),
    /// A `KeyValue`; kept apart because most fields of most requests are one.
    Attribute,
}

impl Message {
    /// The field of a number; an unknown one for what is in no table.
    #[inline]
    pub(crate) fn field(&'static self, number: u32) -> &'static Field {
        self.fields.get(number as usize).unwrap_or(&UNKNOWN)
    }
}

impl Kind {
    /// The message that a field of this kind is.
    pub(crate) const fn message(self) -> Option<&'static Message> {
        match self {
            Kind::Message(message) | Kind::Item(message) | Kind::Data(message) => Some(message),
            Kind::Attribute => Some(&KEY_VALUE),
            Kind::NumberPoint => Some(&NUMBER_POINT),
            Kind::LogRecord => Some(&LOG_RECORD),
            _ => None,
        }
    }
}

/// `KeyValue`.
pub(crate) const fn key_value() -> &'static Message {
    &KEY_VALUE
}

/// `NumberDataPoint`.
pub(crate) const fn number_point() -> &'static Message {
    &NUMBER_POINT
}

/// `LogRecord`.
pub(crate) const fn log_record() -> &'static Message {
    &LOG_RECORD
}

static UNKNOWN: Field = field(Kind::Unknown, false, "an unknown field");

impl Signal {
    /// The export request's message.
    pub(crate) const fn request(self) -> &'static Message {
        match self {
            Signal::Metrics => &METRICS_REQUEST,
            Signal::Logs => &LOGS_REQUEST,
            Signal::Traces => &TRACES_REQUEST,
        }
    }
}

const fn field(kind: Kind, repeated: bool, name: &'static str) -> Field {
    let number = match kind {
        Kind::Varint | Kind::Fixed32 => Number::Unsigned32,
        _ => Number::Unsigned64,
    };
    let presence = if matches!(kind, Kind::Data(_)) { Presence::OneOf } else { Presence::Implicit };
    Field { kind, repeated, name, number, presence }
}

const fn one(number: usize, name: &'static str, kind: Kind) -> (usize, Field) {
    (number, field(kind, false, name))
}

const fn many(number: usize, name: &'static str, kind: Kind) -> (usize, Field) {
    (number, field(kind, true, name))
}

const fn meant(as_: Number, (number, field): (usize, Field)) -> (usize, Field) {
    (number, Field { number: as_, ..field })
}

const fn double(field: (usize, Field)) -> (usize, Field) {
    meant(Number::Double, field)
}

const fn optional((number, field): (usize, Field)) -> (usize, Field) {
    (number, Field { presence: Presence::Explicit, ..field })
}

const fn choice((number, field): (usize, Field)) -> (usize, Field) {
    (number, Field { presence: Presence::OneOf, ..field })
}

const fn message<const N: usize>(named: [(usize, Field); N]) -> Message {
    let unknown = field(Kind::Unknown, false, "an unknown field");
    let mut fields = [unknown; FIELDS];
    let mut i = 0;
    while i < N {
        fields[named[i].0] = named[i].1;
        i += 1;
    }
    Message { fields }
}

use Kind::{
    Attribute, Bytes, Data, Fixed32, Fixed64, Item, LogRecord, Message as Nested, NumberPoint, PackedFixed64,
    PackedVarint, SpanId, Text, TraceId, Varint,
};

static METRICS_REQUEST: Message = message([many(1, "resource_metrics", Nested(&RESOURCE_METRICS))]);
static LOGS_REQUEST: Message = message([many(1, "resource_logs", Nested(&RESOURCE_LOGS))]);
static TRACES_REQUEST: Message = message([many(1, "resource_spans", Nested(&RESOURCE_SPANS))]);

static RESOURCE_METRICS: Message = message([
    one(1, "resource", Nested(&RESOURCE)),
    many(2, "scope_metrics", Nested(&SCOPE_METRICS)),
    one(3, "schema_url", Text),
]);

static RESOURCE_LOGS: Message = message([
    one(1, "resource", Nested(&RESOURCE)),
    many(2, "scope_logs", Nested(&SCOPE_LOGS)),
    one(3, "schema_url", Text),
]);

static RESOURCE_SPANS: Message = message([
    one(1, "resource", Nested(&RESOURCE)),
    many(2, "scope_spans", Nested(&SCOPE_SPANS)),
    one(3, "schema_url", Text),
]);

static SCOPE_METRICS: Message = message([
    one(1, "scope", Nested(&SCOPE)),
    many(2, "metrics", Nested(&METRIC)),
    one(3, "schema_url", Text),
]);

static SCOPE_LOGS: Message =
    message([one(1, "scope", Nested(&SCOPE)), many(2, "log_records", LogRecord), one(3, "schema_url", Text)]);

static SCOPE_SPANS: Message =
    message([one(1, "scope", Nested(&SCOPE)), many(2, "spans", Item(&SPAN)), one(3, "schema_url", Text)]);

static RESOURCE: Message = message([
    many(1, "attributes", Attribute),
    one(2, "dropped_attributes_count", Varint),
    many(3, "entity_refs", Nested(&ENTITY_REF)),
]);

static ENTITY_REF: Message = message([
    one(1, "schema_url", Text),
    one(2, "type", Text),
    many(3, "id_keys", Text),
    many(4, "description_keys", Text),
]);

static SCOPE: Message = message([
    one(1, "name", Text),
    one(2, "version", Text),
    many(3, "attributes", Attribute),
    one(4, "dropped_attributes_count", Varint),
]);

static KEY_VALUE: Message = message([
    one(1, "key", Text),
    one(2, "value", Nested(&ANY_VALUE)),
    meant(Number::Signed32, one(3, "key_strindex", Varint)),
]);

static ANY_VALUE: Message = message([
    choice(one(1, "string_value", Text)),
    choice(meant(Number::Bool, one(2, "bool_value", Varint))),
    choice(meant(Number::Signed64, one(3, "int_value", Varint))),
    choice(double(one(4, "double_value", Fixed64))),
    choice(one(5, "array_value", Nested(&ARRAY_VALUE))),
    choice(one(6, "kvlist_value", Nested(&KEY_VALUE_LIST))),
    choice(one(7, "bytes_value", Bytes)),
    choice(meant(Number::Signed32, one(8, "string_value_strindex", Varint))),
]);

static ARRAY_VALUE: Message = message([many(1, "values", Nested(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = message([many(1, "values", Attribute)]);

static METRIC: Message = message([
    one(1, "name", Text),
    one(2, "description", Text),
    one(3, "unit", Text),
    one(5, "gauge", Data(&GAUGE)),
    one(7, "sum", Data(&SUM)),
    one(9, "histogram", Data(&HISTOGRAM)),
    one(10, "exponential_histogram", Data(&EXPONENTIAL_HISTOGRAM)),
    one(11, "summary", Data(&SUMMARY)),
    many(12, "metadata", Attribute),
]);

static GAUGE: Message = message([many(1, "data_points", NumberPoint)]);
static SUM: Message = message([
    many(1, "data_points", NumberPoint),
    meant(Number::Signed32, one(2, "aggregation_temporality", Varint)),
    meant(Number::Bool, one(3, "is_monotonic", Varint)),
]);
static HISTOGRAM: Message = message([
    many(1, "data_points", Item(&HISTOGRAM_POINT)),
    meant(Number::Signed32, one(2, "aggregation_temporality", Varint)),
]);
static EXPONENTIAL_HISTOGRAM: Message = message([
    many(1, "data_points", Item(&EXPONENTIAL_HISTOGRAM_POINT)),
    meant(Number::Signed32, one(2, "aggregation_temporality", Varint)),
]);
static SUMMARY: Message = message([many(1, "data_points", Item(&SUMMARY_POINT))]);

static NUMBER_POINT: Message = message([
    one(2, "start_time_unix_nano", Fixed64),
    one(3, "time_unix_nano", Fixed64),
    choice(double(one(4, "as_double", Fixed64))),
    many(5, "exemplars", Nested(&EXEMPLAR)),
    choice(meant(Number::Signed64, one(6, "as_int", Fixed64))),
    many(7, "attributes", Attribute),
    one(8, "flags", Varint),
]);

static HISTOGRAM_POINT: Message = message([
    one(2, "start_time_unix_nano", Fixed64),
    one(3, "time_unix_nano", Fixed64),
    one(4, "count", Fixed64),
    optional(double(one(5, "sum", Fixed64))),
    many(6, "bucket_counts", PackedFixed64),
    double(many(7, "explicit_bounds", PackedFixed64)),
    many(8, "exemplars", Nested(&EXEMPLAR)),
    many(9, "attributes", Attribute),
    one(10, "flags", Varint),
    optional(double(one(11, "min", Fixed64))),
    optional(double(one(12, "max", Fixed64))),
]);

static EXPONENTIAL_HISTOGRAM_POINT: Message = message([
    many(1, "attributes", Attribute),
    one(2, "start_time_unix_nano", Fixed64),
    one(3, "time_unix_nano", Fixed64),
    one(4, "count", Fixed64),
    optional(double(one(5, "sum", Fixed64))),
    meant(Number::Zigzag32, one(6, "scale", Varint)),
    one(7, "zero_count", Fixed64),
    one(8, "positive", Nested(&BUCKETS)),
    one(9, "negative", Nested(&BUCKETS)),
    one(10, "flags", Varint),
    many(11, "exemplars", Nested(&EXEMPLAR)),
    optional(double(one(12, "min", Fixed64))),
    optional(double(one(13, "max", Fixed64))),
    double(one(14, "zero_threshold", Fixed64)),
]);

static BUCKETS: Message =
    message([meant(Number::Zigzag32, one(1, "offset", Varint)), many(2, "bucket_counts", PackedVarint)]);

static SUMMARY_POINT: Message = message([
    one(2, "start_time_unix_nano", Fixed64),
    one(3, "time_unix_nano", Fixed64),
    one(4, "count", Fixed64),
    double(one(5, "sum", Fixed64)),
    many(6, "quantile_values", Nested(&QUANTILE)),
    many(7, "attributes", Attribute),
    one(8, "flags", Varint),
]);

static QUANTILE: Message = message([double(one(1, "quantile", Fixed64)), double(one(2, "value", Fixed64))]);

static EXEMPLAR: Message = message([
    one(2, "time_unix_nano", Fixed64),
    choice(double(one(3, "as_double", Fixed64))),
    one(4, "span_id", SpanId),
    one(5, "trace_id", TraceId),
    choice(meant(Number::Signed64, one(6, "as_int", Fixed64))),
    many(7, "filtered_attributes", Attribute),
]);

static LOG_RECORD: Message = message([
    one(1, "time_unix_nano", Fixed64),
    meant(Number::Signed32, one(2, "severity_number", Varint)),
    one(3, "severity_text", Text),
    one(5, "body", Nested(&ANY_VALUE)),
    many(6, "attributes", Attribute),
    one(7, "dropped_attributes_count", Varint),
    one(8, "flags", Fixed32),
    one(9, "trace_id", TraceId),
    one(10, "span_id", SpanId),
    one(11, "observed_time_unix_nano", Fixed64),
    one(12, "event_name", Text),
]);

static SPAN: Message = message([
    one(1, "trace_id", TraceId),
    one(2, "span_id", SpanId),
    one(3, "trace_state", Text),
    one(4, "parent_span_id", SpanId),
    one(5, "name", Text),
    meant(Number::Signed32, one(6, "kind", Varint)),
    one(7, "start_time_unix_nano", Fixed64),
    one(8, "end_time_unix_nano", Fixed64),
    many(9, "attributes", Attribute),
    one(10, "dropped_attributes_count", Varint),
    many(11, "events", Nested(&EVENT)),
    one(12, "dropped_events_count", Varint),
    many(13, "links", Nested(&LINK)),
    one(14, "dropped_links_count", Varint),
    one(15, "status", Nested(&STATUS)),
    one(16, "flags", Fixed32),
]);

static EVENT: Message = message([
    one(1, "time_unix_nano", Fixed64),
    one(2, "name", Text),
    many(3, "attributes", Attribute),
    one(4, "dropped_attributes_count", Varint),
]);

static LINK: Message = message([
    one(1, "trace_id", TraceId),
    one(2, "span_id", SpanId),
    one(3, "trace_state", Text),
    many(4, "attributes", Attribute),
    one(5, "dropped_attributes_count", Varint),
    one(6, "flags", Fixed32),
]);

static STATUS: Message = message([one(2, "message", Text), meant(Number::Signed32, one(3, "code", Varint))]);
