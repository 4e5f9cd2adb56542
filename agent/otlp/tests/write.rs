//! The builders and the reader against prost.

#![allow(clippy::unwrap_used, reason = "what a test relies on is true, or the test fails")]

mod oracle;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as proto;
use oracle::Random;
use prost::Message;
use whimbrel_otlp::read::{self, PointValue};
use whimbrel_otlp::write::{
    Attributes, Data, Histogram, HistogramPoint, LogRecord, Logs, Metric, Metrics, Number, Scope, Severity,
    Temporality, Value,
};
use whimbrel_otlp::{Signal, walk};

/// prost's value as the builders take it.
fn value(any: &AnyValue) -> Value<'_> {
    match &any.value {
        None | Some(any_value::Value::StringValueStrindex(_)) => Value::Empty,
        Some(any_value::Value::StringValue(text)) => Value::Text(text),
        Some(any_value::Value::BoolValue(value)) => Value::Bool(*value),
        Some(any_value::Value::IntValue(value)) => Value::Int(*value),
        Some(any_value::Value::DoubleValue(value)) => Value::Double(*value),
        Some(any_value::Value::BytesValue(bytes)) => Value::Bytes(bytes),
        Some(any_value::Value::ArrayValue(array)) => Value::Array(array.values.iter().map(value).collect()),
        Some(any_value::Value::KvlistValue(map)) => Value::Map(
            map.values
                .iter()
                .map(|pair| (pair.key.as_str(), pair.value.as_ref().map_or(Value::Empty, value)))
                .collect(),
        ),
    }
}

fn attributes(pairs: &[KeyValue]) -> Attributes {
    pairs.iter().map(|pair| (&pair.key, pair.value.as_ref().map_or(Value::Empty, value))).collect()
}

/// What the builders make of an attribute without value: one with an empty value, which means the same.
fn normal(any: &mut Option<AnyValue>) {
    match &mut any.get_or_insert_with(AnyValue::default).value {
        Some(any_value::Value::ArrayValue(array)) => {
            array.values.iter_mut().for_each(|value| {
                let mut some = Some(std::mem::take(value));
                normal(&mut some);
                *value = some.unwrap_or_default();
            });
        }
        Some(any_value::Value::KvlistValue(map)) => {
            map.values.iter_mut().for_each(|pair| normal(&mut pair.value))
        }
        _ => {}
    }
}

fn normal_attributes(pairs: &mut [KeyValue]) {
    pairs.iter_mut().for_each(|pair| normal(&mut pair.value));
}

fn temporality(number: i32) -> Temporality {
    if number == 1 { Temporality::Delta } else { Temporality::Cumulative }
}

/// Leaves of a random request what the builders can say.
fn sayable_metrics(request: &mut ExportMetricsServiceRequest) {
    for resource in &mut request.resource_metrics {
        resource.schema_url.clear();
        let own = resource.resource.get_or_insert_default();
        own.dropped_attributes_count = 0;
        own.entity_refs.clear();
        normal_attributes(&mut own.attributes);
        for scope in &mut resource.scope_metrics {
            scope.schema_url.clear();
            let own = scope.scope.get_or_insert_default();
            own.dropped_attributes_count = 0;
            normal_attributes(&mut own.attributes);
            scope.metrics.retain_mut(|metric| {
                metric.metadata.clear();
                match &mut metric.data {
                    Some(proto::metric::Data::Gauge(data)) => sayable_points(&mut data.data_points),
                    Some(proto::metric::Data::Sum(data)) => {
                        data.aggregation_temporality = temporality(data.aggregation_temporality) as i32 + 1;
                        sayable_points(&mut data.data_points)
                    }
                    Some(proto::metric::Data::Histogram(data)) => {
                        data.aggregation_temporality = temporality(data.aggregation_temporality) as i32 + 1;
                        for point in &mut data.data_points {
                            point.exemplars.clear();
                            point.flags = 0;
                            normal_attributes(&mut point.attributes);
                        }
                        !data.data_points.is_empty()
                    }
                    _ => false,
                }
            });
        }
        resource.scope_metrics.retain(|scope| !scope.metrics.is_empty());
    }
    request.resource_metrics.retain(|resource| !resource.scope_metrics.is_empty());
}

fn sayable_points(points: &mut Vec<proto::NumberDataPoint>) -> bool {
    points.retain(|point| point.value.is_some());
    for point in points.iter_mut() {
        point.exemplars.clear();
        point.flags = 0;
        normal_attributes(&mut point.attributes);
    }
    !points.is_empty()
}

/// Builds, call by call, what prost holds.
fn write_metrics(source: &ExportMetricsServiceRequest, request: &mut Metrics) {
    for resource in &source.resource_metrics {
        request.resource(&attributes(&resource.resource.as_ref().unwrap().attributes));
        for scope in &resource.scope_metrics {
            let own = scope.scope.as_ref().unwrap();
            let own_attributes = attributes(&own.attributes);
            request.scope(&Scope {
                name: &own.name,
                version: &own.version,
                attributes: Some(&own_attributes),
            });
            for metric in &scope.metrics {
                write_metric(metric, request);
            }
        }
    }
}

fn write_metric(metric: &proto::Metric, request: &mut Metrics) {
    let (name, unit, description) = (&metric.name, &metric.unit, &metric.description);
    match metric.data.as_ref().unwrap() {
        proto::metric::Data::Gauge(data) => {
            write_points(&data.data_points, Metric { name, unit, description, data: Data::Gauge }, request);
        }
        proto::metric::Data::Sum(data) => {
            let (temporality, monotonic) = (temporality(data.aggregation_temporality), data.is_monotonic);
            let data_kind = Data::Sum { temporality, monotonic };
            write_points(&data.data_points, Metric { name, unit, description, data: data_kind }, request);
        }
        proto::metric::Data::Histogram(data) => {
            let temporality = temporality(data.aggregation_temporality);
            let mut points = request.histogram(&Histogram { name, unit, description, temporality });
            for point in &data.data_points {
                points.point(
                    &attributes(&point.attributes),
                    &HistogramPoint {
                        start_ns: point.start_time_unix_nano,
                        time_ns: point.time_unix_nano,
                        count: point.count,
                        sum: point.sum,
                        min: point.min,
                        max: point.max,
                        bounds: &point.explicit_bounds,
                        buckets: &point.bucket_counts,
                    },
                );
            }
        }
        other => panic!("{other:?} cannot be said"),
    }
}

fn write_points(points: &[proto::NumberDataPoint], metric: Metric<'_>, request: &mut Metrics) {
    let mut out = request.metric(&metric);
    for point in points {
        let value = match point.value.unwrap() {
            proto::number_data_point::Value::AsInt(value) => Number::Int(value),
            proto::number_data_point::Value::AsDouble(value) => Number::Double(value),
        };
        out.point(&attributes(&point.attributes), point.start_time_unix_nano, point.time_unix_nano, value);
    }
}

/// The builders leave out a resource and a scope that say nothing.
fn without_empty_envelopes(request: &mut ExportMetricsServiceRequest) {
    for resource in &mut request.resource_metrics {
        resource.resource = resource.resource.take().filter(|own| !own.attributes.is_empty());
        for scope in &mut resource.scope_metrics {
            scope.scope = scope.scope.take().filter(|own| own.encoded_len() > 0);
        }
    }
}

#[test]
fn metrics_decode_to_what_was_written() {
    let mut request = Metrics::new();
    let mut points = 0;
    for seed in 0..300 {
        let mut source = Random::new(seed).metrics();
        sayable_metrics(&mut source);
        request.clear();
        write_metrics(&source, &mut request);
        let written = request.points();
        let bytes = request.finish();
        assert_eq!(walk(Signal::Metrics, bytes).unwrap().items, written, "seed {seed}");
        without_empty_envelopes(&mut source);
        assert_eq!(ExportMetricsServiceRequest::decode(bytes).unwrap(), source, "seed {seed}");
        points += written;
    }
    assert!(points > 1000, "{points}");
}

#[test]
fn logs_decode_to_what_was_written() {
    let mut records = 0;
    for seed in 0..300 {
        let mut source = Random::new(seed).logs();
        let mut request = Logs::new();
        for resource in &mut source.resource_logs {
            resource.schema_url.clear();
            let own = resource.resource.get_or_insert_default();
            own.dropped_attributes_count = 0;
            own.entity_refs.clear();
            normal_attributes(&mut own.attributes);
            request.resource(&attributes(&own.attributes));
            for scope in &mut resource.scope_logs {
                scope.schema_url.clear();
                scope.scope = None;
                request.scope(&Scope::default());
                for record in &mut scope.log_records {
                    record.dropped_attributes_count = 0;
                    normal_attributes(&mut record.attributes);
                    if record.body.is_some() {
                        normal(&mut record.body);
                    }
                    write_record(record, &mut request);
                    // A body without value is left out.
                    record.body = record.body.take().filter(|body| body.value.is_some());
                    records += 1;
                }
            }
            resource.scope_logs.retain(|scope| !scope.log_records.is_empty());
            resource.resource = resource.resource.take().filter(|own| !own.attributes.is_empty());
        }
        source.resource_logs.retain(|resource| !resource.scope_logs.is_empty());
        let bytes = request.take();
        walk(Signal::Logs, &bytes).unwrap();
        assert_eq!(ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap(), source, "seed {seed}");
    }
    assert!(records > 1000, "{records}");
}

fn write_record(record: &logs::LogRecord, request: &mut Logs) {
    let own = attributes(&record.attributes);
    request.record(&LogRecord {
        time_ns: record.time_unix_nano,
        observed_ns: record.observed_time_unix_nano,
        severity: Severity::new(record.severity_number as u8).unwrap(),
        severity_text: &record.severity_text,
        event_name: &record.event_name,
        body: record.body.as_ref().map_or(Value::Empty, value),
        attributes: Some(&own),
        flags: record.flags,
        trace_id: record.trace_id.as_slice().try_into().ok(),
        span_id: record.span_id.as_slice().try_into().ok(),
    });
}

#[test]
fn what_stayed_empty_leaves_no_trace() {
    let series = Attributes::new();
    let mut request = Metrics::new();
    request.resource(&Attributes::new().with("a", 1i64));
    request.scope(&Scope { name: "empty", ..Scope::default() });
    request.metric(&Metric::gauge("empty", "1", ""));
    assert!(request.finish().is_empty(), "nothing but envelopes");

    request.resource(&Attributes::new().with("b", 1i64));
    request.scope(&Scope { name: "empty", ..Scope::default() });
    request.scope(&Scope { name: "full", ..Scope::default() });
    request.metric(&Metric::gauge("empty", "1", ""));
    request.metric(&Metric::gauge("full", "1", "")).point(&series, 0, 1, 1i64);
    request.metric(&Metric::counter("empty", "1", ""));
    request.resource(&Attributes::new().with("c", 1i64));
    let points = read::points(request.finish()).unwrap();
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].metric.name, "full");
    assert_eq!(points[0].source.scope_name, "full");
    let decoded = ExportMetricsServiceRequest::decode(request.finish()).unwrap();
    assert_eq!(decoded.resource_metrics.len(), 1);
    assert_eq!(decoded.resource_metrics[0].scope_metrics.len(), 1);
    assert_eq!(decoded.resource_metrics[0].scope_metrics[0].metrics.len(), 1);
}

#[test]
fn resuming_goes_on_with_the_open_metric_and_begins_one_after_the_end() {
    let metric = Metric::counter("c", "1", "");
    let series = Attributes::new();
    let mut request = Metrics::new();
    request.metric(&metric).point(&series, 0, 1, 1i64);
    request.resume(&metric).point(&series, 0, 2, 2i64);
    let first = request.take();
    request.resume(&metric).point(&series, 0, 3, 3i64);
    let metrics = |bytes: &[u8]| {
        let request = ExportMetricsServiceRequest::decode(bytes).unwrap();
        request.resource_metrics[0].scope_metrics[0].metrics.len()
    };
    assert_eq!(metrics(&first), 1);
    assert_eq!(read::points(&first).unwrap().len(), 2);
    assert_eq!(read::points(request.finish()).unwrap().len(), 1);
    assert_eq!(request.points(), 1, "taking begins a new count");
}

#[test]
fn golden_bytes_of_a_gauge() {
    let mut request = Metrics::new();
    request.metric(&Metric::gauge("g", "1", "")).point(&Attributes::new().with("k", "v"), 0, 1, 2i64);
    let expected = [
        &[0x0a, 0xb3, 0x80, 0x80, 0x00][..], // resource_metrics: 51 bytes, in four bytes of length
        &[0x12, 0xae, 0x80, 0x80, 0x00],     // scope_metrics: 46
        &[0x12, 0xa9, 0x80, 0x80, 0x00],     // metrics: 41
        b"\x0a\x01g\x1a\x011",               // name, unit
        &[0x2a, 0x9e, 0x80, 0x80, 0x00],     // gauge: 30
        &[0x0a, 28],                         // data_points
        &[0x19, 1, 0, 0, 0, 0, 0, 0, 0],     // time
        &[0x31, 2, 0, 0, 0, 0, 0, 0, 0],     // as_int
        b"\x3a\x08\x0a\x01k\x12\x03\x0a\x01v", // attributes
    ]
    .concat();
    assert_eq!(request.finish(), expected);
}

#[test]
fn unsigned_numbers_stay_at_the_largest_that_otlp_has() {
    assert_eq!(Number::from(u64::MAX), Number::Int(i64::MAX));
    assert_eq!(Number::from(7u64), Number::Int(7));
}

#[test]
fn the_reader_shows_what_prost_decodes() {
    for seed in 0..200 {
        let source = Random::new(seed).metrics();
        let points = read::points(&source.encode_to_vec()).unwrap();
        let mut rest = points.iter();
        for resource in &source.resource_metrics {
            for scope in &resource.scope_metrics {
                for metric in &scope.metrics {
                    for index in 0..oracle::points_of(metric) {
                        let point = rest.next().unwrap();
                        assert_eq!(point.metric.name, metric.name);
                        assert_eq!(point.metric.unit, metric.unit);
                        let own = scope.scope.as_ref().map_or("", |scope| scope.name.as_str());
                        assert_eq!(point.source.scope_name, own);
                        let own = resource.resource.as_ref().map_or(0, |resource| resource.attributes.len());
                        assert_eq!(point.source.resource.0.len(), own);
                        same_value(metric.data.as_ref().unwrap(), index, point);
                    }
                }
            }
        }
        assert!(rest.next().is_none());
    }
}

fn same_value(data: &proto::metric::Data, index: usize, point: &read::Point) {
    use proto::number_data_point::Value as Proto;
    let number = |proto: &proto::NumberDataPoint| {
        let value = match proto.value {
            None => PointValue::None,
            Some(Proto::AsInt(value)) => PointValue::Int(value),
            Some(Proto::AsDouble(value)) => PointValue::Double(value),
        };
        assert_eq!(point.value, value);
        assert_eq!(point.time_ns, proto.time_unix_nano);
        assert_eq!(point.start_ns, proto.start_time_unix_nano);
        assert_eq!(point.attributes.0.len(), proto.attributes.len());
        for ((key, shown), proto) in point.attributes.0.iter().zip(&proto.attributes) {
            assert_eq!(*key, proto.key);
            if let Some(any_value::Value::StringValue(text)) =
                proto.value.as_ref().and_then(|any| any.value.as_ref())
            {
                assert_eq!(*shown, read::Value::Text(text.clone()));
            }
        }
    };
    match data {
        proto::metric::Data::Gauge(data) => number(&data.data_points[index]),
        proto::metric::Data::Sum(data) => number(&data.data_points[index]),
        proto::metric::Data::Histogram(data) => {
            let proto = &data.data_points[index];
            let expected = PointValue::Distribution {
                count: proto.count,
                sum: proto.sum,
                min: proto.min,
                max: proto.max,
                bounds: proto.explicit_bounds.clone(),
                buckets: proto.bucket_counts.clone(),
            };
            assert_eq!(point.value, expected);
        }
        proto::metric::Data::ExponentialHistogram(data) => {
            let proto = &data.data_points[index];
            let PointValue::Distribution { count, min, .. } = point.value else { panic!("{point:?}") };
            assert_eq!((count, min), (proto.count, proto.min));
            assert_eq!(point.attributes.0.len(), proto.attributes.len());
        }
        proto::metric::Data::Summary(data) => {
            let PointValue::Distribution { count, .. } = point.value else { panic!("{point:?}") };
            assert_eq!(count, data.data_points[index].count);
        }
    }
}

#[test]
fn values_are_shown_as_json() {
    let mut request = Logs::new();
    let body = Value::Map(vec![
        ("text", Value::Text("say \"hi\"\n\u{1}")),
        ("list", Value::Array(vec![Value::Int(-1), Value::Double(1.5), Value::Bool(true), Value::Empty])),
        ("bytes", Value::Bytes(&[0, 0xff])),
    ]);
    request.record(&LogRecord { body, time_ns: 5, severity: Severity::ERROR, ..LogRecord::default() });
    let records = read::records(request.finish()).unwrap();
    assert_eq!(records[0].severity, Severity::ERROR);
    assert_eq!(
        records[0].body.to_string(),
        r#"{"text":"say \"hi\"\n\u0001","list":[-1,1.5,true,null],"bytes":"00ff"}"#
    );
}
