//! Random requests, made of `prost`'s structures: what OTLP can say, and what prost makes of it.

#![allow(dead_code, reason = "each test file uses its own part")]

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use whimbrel_otlp::Signal;

/// splitmix64: repeatable, and good enough.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Numbers of all sizes, extremes among them.
    pub(crate) fn number(&mut self) -> u64 {
        let shift = self.below(65) as u32;
        self.next().checked_shr(shift).unwrap_or(0)
    }

    pub(crate) fn double(&mut self) -> f64 {
        match self.below(6) {
            0 => 0.0,
            1 => f64::INFINITY,
            2 => -1.5,
            // Not NaN: it is unequal to itself.
            _ => (self.next() % 1_000_000) as f64 / 64.0,
        }
    }

    pub(crate) fn text(&mut self) -> String {
        const WORDS: [&str; 10] =
            ["", "a", "cpu.mode", "system.device", "größer", "鳥", "🐦 whimbrel", "GET", "x-y_z", "0"];
        let mut text = String::new();
        for _ in 0..self.below(3) {
            text.push_str(WORDS[self.below(WORDS.len())]);
        }
        if self.one_in(40) {
            text.push_str(&"long ".repeat(self.below(80)));
        }
        text
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn id(&mut self, len: usize) -> Vec<u8> {
        if self.one_in(2) { Vec::new() } else { self.bytes(len) }
    }

    pub(crate) fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(2) { Some(make(self)) } else { None }
    }

    pub(crate) fn many<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    pub(crate) fn any_value(&mut self, depth: usize) -> AnyValue {
        use any_value::Value;
        let value = match self.below(if depth == 0 { 7 } else { 9 }) {
            0..3 => Value::StringValue(self.text()),
            3 => Value::BoolValue(self.one_in(2)),
            4 => Value::IntValue(self.number() as i64),
            5 => Value::DoubleValue(self.double()),
            6 => {
                let len = self.below(20);
                Value::BytesValue(self.bytes(len))
            }
            7 => Value::ArrayValue(ArrayValue { values: self.many(3, |r| r.any_value(depth - 1)) }),
            _ => Value::KvlistValue(KeyValueList { values: self.many(3, |r| r.key_value(depth - 1)) }),
        };
        AnyValue { value: if self.one_in(30) { None } else { Some(value) } }
    }

    pub(crate) fn key_value(&mut self, depth: usize) -> KeyValue {
        KeyValue { key: self.text(), value: self.some(|r| r.any_value(depth)), ..KeyValue::default() }
    }

    pub(crate) fn attributes(&mut self) -> Vec<KeyValue> {
        self.many(4, |r| r.key_value(3))
    }

    fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            entity_refs: self.many(1, |r| EntityRef {
                schema_url: r.text(),
                r#type: r.text(),
                id_keys: r.many(2, Random::text),
                description_keys: r.many(2, Random::text),
            }),
        }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(),
            time_unix_nano: self.number(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value: self.some(|r| {
                if r.one_in(2) {
                    exemplar::Value::AsDouble(r.double())
                } else {
                    exemplar::Value::AsInt(r.number() as i64)
                }
            }),
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            exemplars: self.many(1, Random::exemplar),
            flags: self.below(2) as u32,
            value: self.some(|r| {
                if r.one_in(2) {
                    number_data_point::Value::AsDouble(r.double())
                } else {
                    number_data_point::Value::AsInt(r.number() as i64)
                }
            }),
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            count: self.number(),
            sum: self.some(Random::double),
            bucket_counts: self.many(5, Random::number),
            explicit_bounds: self.many(4, Random::double),
            exemplars: self.many(1, Random::exemplar),
            flags: self.below(2) as u32,
            min: self.some(Random::double),
            max: self.some(Random::double),
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets { offset: self.number() as i32, bucket_counts: self.many(5, Random::number) }
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            count: self.number(),
            sum: self.some(Random::double),
            scale: self.number() as i32,
            zero_count: self.number(),
            positive: self.some(Random::buckets),
            negative: self.some(Random::buckets),
            flags: self.below(2) as u32,
            exemplars: self.many(1, Random::exemplar),
            min: self.some(Random::double),
            max: self.some(Random::double),
            zero_threshold: self.double(),
        }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            count: self.number(),
            sum: self.double(),
            quantile_values: self.many(3, |r| ValueAtQuantile { quantile: r.double(), value: r.double() }),
            flags: self.below(2) as u32,
        }
    }

    fn metric(&mut self) -> Metric {
        let temporality = self.below(3) as i32;
        let data = match self.below(6) {
            0 => metric::Data::Gauge(Gauge { data_points: self.many(6, Random::number_point) }),
            1 | 2 => metric::Data::Sum(Sum {
                data_points: self.many(6, Random::number_point),
                aggregation_temporality: temporality,
                is_monotonic: self.one_in(2),
            }),
            3 => metric::Data::Histogram(Histogram {
                data_points: self.many(4, Random::histogram_point),
                aggregation_temporality: temporality,
            }),
            4 => metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.many(4, Random::exponential_point),
                aggregation_temporality: temporality,
            }),
            _ => metric::Data::Summary(Summary { data_points: self.many(4, Random::summary_point) }),
        };
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.text(),
            metadata: if self.one_in(4) { self.attributes() } else { Vec::new() },
            data: if self.one_in(20) { None } else { Some(data) },
        }
    }

    pub(crate) fn metrics(&mut self) -> ExportMetricsServiceRequest {
        ExportMetricsServiceRequest {
            resource_metrics: self.many(3, |r| ResourceMetrics {
                resource: r.some(Random::resource),
                scope_metrics: r.many(3, |r| ScopeMetrics {
                    scope: r.some(Random::scope),
                    metrics: r.many(4, Random::metric),
                    schema_url: r.text(),
                }),
                schema_url: r.text(),
            }),
        }
    }

    fn log_record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.number(),
            observed_time_unix_nano: self.number(),
            severity_number: self.below(25) as i32,
            severity_text: self.text(),
            body: self.some(|r| r.any_value(4)),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            flags: self.number() as u32,
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.text(),
        }
    }

    pub(crate) fn logs(&mut self) -> ExportLogsServiceRequest {
        ExportLogsServiceRequest {
            resource_logs: self.many(3, |r| ResourceLogs {
                resource: r.some(Random::resource),
                scope_logs: r.many(3, |r| ScopeLogs {
                    scope: r.some(Random::scope),
                    log_records: r.many(8, Random::log_record),
                    schema_url: r.text(),
                }),
                schema_url: r.text(),
            }),
        }
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.text(),
            parent_span_id: self.id(8),
            flags: self.number() as u32,
            name: self.text(),
            kind: self.below(6) as i32,
            start_time_unix_nano: self.number(),
            end_time_unix_nano: self.number(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            events: self.many(2, |r| Event {
                time_unix_nano: r.number(),
                name: r.text(),
                attributes: r.attributes(),
                dropped_attributes_count: r.number() as u32,
            }),
            dropped_events_count: self.number() as u32,
            links: self.many(2, |r| Link {
                trace_id: r.id(16),
                span_id: r.id(8),
                trace_state: r.text(),
                attributes: r.attributes(),
                dropped_attributes_count: r.number() as u32,
                flags: r.number() as u32,
            }),
            dropped_links_count: self.number() as u32,
            status: self.some(|r| Status { message: r.text(), code: r.below(3) as i32 }),
        }
    }

    pub(crate) fn traces(&mut self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: self.many(3, |r| ResourceSpans {
                resource: r.some(Random::resource),
                scope_spans: r.many(3, |r| ScopeSpans {
                    scope: r.some(Random::scope),
                    spans: r.many(6, Random::span),
                    schema_url: r.text(),
                }),
                schema_url: r.text(),
            }),
        }
    }

    /// An encoded request of a signal.
    pub(crate) fn request(&mut self, signal: Signal) -> Vec<u8> {
        match signal {
            Signal::Metrics => self.metrics().encode_to_vec(),
            Signal::Logs => self.logs().encode_to_vec(),
            Signal::Traces => self.traces().encode_to_vec(),
        }
    }
}

/// How many items and resources prost finds; an error if it decodes nothing.
pub(crate) fn count(signal: Signal, request: &[u8]) -> Result<(u32, u32), prost::DecodeError> {
    let (items, resources): (usize, usize) = match signal {
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(request)?;
            let metrics =
                request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
            (metrics.map(points_of).sum(), request.resource_metrics.len())
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(request)?;
            let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
            (scopes.map(|s| s.log_records.len()).sum(), request.resource_logs.len())
        }
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(request)?;
            let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
            (scopes.map(|s| s.spans.len()).sum(), request.resource_spans.len())
        }
    };
    Ok((items as u32, resources as u32))
}

pub(crate) fn points_of(metric: &Metric) -> usize {
    match &metric.data {
        None => 0,
        Some(metric::Data::Gauge(data)) => data.data_points.len(),
        Some(metric::Data::Sum(data)) => data.data_points.len(),
        Some(metric::Data::Histogram(data)) => data.data_points.len(),
        Some(metric::Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(metric::Data::Summary(data)) => data.data_points.len(),
    }
}
