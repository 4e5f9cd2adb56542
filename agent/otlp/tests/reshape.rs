//! Merging, parting and joining against prost: what comes out holds what went in, nothing more, nothing less.

#![allow(clippy::unwrap_used, reason = "what a test relies on is true, or the test fails")]

mod oracle;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric};
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use oracle::{Random, count};
use prost::Message;
use whimbrel_otlp::write::{self, Attributes, Metrics, Scope};
use whimbrel_otlp::{PartError, Resource, Signal, join, merge_resource, part, walk};

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// The agent's resource. `cpu.mode` and `GET` are keys that random resources have, too.
fn agent() -> (Resource, Vec<KeyValue>) {
    let pairs =
        [("host.name", "sandpiper"), ("cpu.mode", "agent's"), ("GET", "agent's"), ("service.name", "größer")];
    let attributes: Attributes = pairs.into_iter().collect();
    (Resource::new(&attributes), pairs.iter().map(|(key, value)| text(key, value)).collect())
}

/// What merging should do, said with prost's structures.
fn expect_merged(resource: &mut Option<ResourceMessage>, agent: &[KeyValue]) {
    let own = resource.get_or_insert_with(ResourceMessage::default);
    let missing = agent.iter().filter(|pair| own.attributes.iter().all(|other| other.key != pair.key));
    let missing: Vec<KeyValue> = missing.cloned().collect();
    own.attributes.extend(missing);
}

#[test]
fn the_agents_resource_is_merged_as_prost_would() {
    let (resource, agent) = agent();
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let before = vec![1, 2, 3];

        let mut metrics = random.metrics();
        let mut out = before.clone();
        let walked = merge_resource(Signal::Metrics, &metrics.encode_to_vec(), &resource, &mut out).unwrap();
        metrics.resource_metrics.iter_mut().for_each(|r| expect_merged(&mut r.resource, &agent));
        assert_eq!(ExportMetricsServiceRequest::decode(&out[3..]).unwrap(), metrics, "seed {seed}");
        // Not a byte is left over.
        assert_eq!(out.len() - 3, metrics.encoded_len(), "seed {seed}");
        assert_eq!((walked.items, walked.resources), count(Signal::Metrics, &out[3..]).unwrap());
        assert_eq!(out[..3], before);

        let mut logs = random.logs();
        out.clear();
        merge_resource(Signal::Logs, &logs.encode_to_vec(), &resource, &mut out).unwrap();
        logs.resource_logs.iter_mut().for_each(|r| expect_merged(&mut r.resource, &agent));
        assert_eq!(ExportLogsServiceRequest::decode(out.as_slice()).unwrap(), logs, "seed {seed}");

        let mut traces = random.traces();
        out.clear();
        merge_resource(Signal::Traces, &traces.encode_to_vec(), &resource, &mut out).unwrap();
        traces.resource_spans.iter_mut().for_each(|r| expect_merged(&mut r.resource, &agent));
        assert_eq!(ExportTraceServiceRequest::decode(out.as_slice()).unwrap(), traces, "seed {seed}");
    }
}

#[test]
fn resources_in_pieces_and_unknown_fields_survive_merging() {
    let own = |key: &str, value: &str| {
        ResourceMessage { attributes: vec![text(key, value)], ..ResourceMessage::default() }.encode_to_vec()
    };
    let mut inner = Vec::new();
    // A newer sender's field, a resource, a schema URL, the rest of the resource, a scope.
    for (number, content) in [
        (9, b"newer".to_vec()),
        (1, own("host.name", "own")),
        (3, b"https://schema".to_vec()),
        (1, own("b", "2")),
        (2, Vec::new()),
    ] {
        inner.push(number << 3 | 2);
        inner.push(content.len() as u8);
        inner.extend_from_slice(&content);
    }
    let mut request = vec![0x22, 1, b'?', 0x0a, inner.len() as u8];
    request.extend_from_slice(&inner);
    let mut out = Vec::new();
    let agent = Resource::new(&Attributes::new().with("host.name", "agent's").with("os.type", "linux"));
    let walked = merge_resource(Signal::Logs, &request, &agent, &mut out).unwrap();
    assert_eq!(walked.resources, 1);
    let decoded = ExportLogsServiceRequest::decode(out.as_slice()).unwrap();
    let merged = decoded.resource_logs[0].resource.clone().unwrap();
    assert_eq!(merged.attributes, [text("host.name", "own"), text("b", "2"), text("os.type", "linux")]);
    assert_eq!(decoded.resource_logs[0].schema_url, "https://schema");
    assert_eq!(out[..3], [0x22, 1, b'?'], "the unknown field of the request");
    assert!(out.windows(7).any(|bytes| bytes == b"\x4a\x05newer"), "the unknown field of the resource");
}

#[test]
fn without_agent_attributes_merging_copies() {
    for seed in 0..50 {
        let request = Random::new(seed).request(Signal::Metrics);
        let mut out = Vec::new();
        merge_resource(Signal::Metrics, &request, &Resource::default(), &mut out).unwrap();
        assert!(out == request, "seed {seed}");
    }
}

#[test]
fn the_last_of_equal_keys_is_the_agents() {
    let twice = Attributes::new().with("a", "1").with("b", "2").with("a", "3");
    let mut out = Vec::new();
    merge_resource(Signal::Logs, &[0x0a, 0], &Resource::new(&twice), &mut out).unwrap();
    let decoded = ExportLogsServiceRequest::decode(out.as_slice()).unwrap();
    let merged = decoded.resource_logs[0].resource.clone().unwrap();
    assert_eq!(merged.attributes, [text("b", "2"), text("a", "3")]);
}

#[test]
fn a_refused_request_leaves_the_buffer_as_it_was() {
    let (resource, _) = agent();
    let mut request = Random::new(3).metrics().encode_to_vec();
    request.extend_from_slice(&[0x0a, 2, 0x12]);
    let mut out = vec![1, 2, 3];
    let error = merge_resource(Signal::Metrics, &request, &resource, &mut out).unwrap_err();
    assert_eq!(error, walk(Signal::Metrics, &request).unwrap_err());
    assert_eq!(out, [1, 2, 3]);
}

/// Every item of a request with what encloses it, each as a request of its own.
fn single_items(signal: Signal, request: &[u8]) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    match signal {
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(request).unwrap();
            for resource in &request.resource_metrics {
                for scope in &resource.scope_metrics {
                    for metric in &scope.metrics {
                        for single in single_points(metric) {
                            let mut scope = scope.clone();
                            scope.metrics = vec![single];
                            let mut resource = resource.clone();
                            resource.scope_metrics = vec![scope];
                            items.push(
                                ExportMetricsServiceRequest { resource_metrics: vec![resource] }
                                    .encode_to_vec(),
                            );
                        }
                    }
                }
            }
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(request).unwrap();
            for resource in &request.resource_logs {
                for scope in &resource.scope_logs {
                    for record in &scope.log_records {
                        let mut scope = scope.clone();
                        scope.log_records = vec![record.clone()];
                        let mut resource = resource.clone();
                        resource.scope_logs = vec![scope];
                        items
                            .push(ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec());
                    }
                }
            }
        }
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(request).unwrap();
            for resource in &request.resource_spans {
                for scope in &resource.scope_spans {
                    for span in &scope.spans {
                        let mut scope = scope.clone();
                        scope.spans = vec![span.clone()];
                        let mut resource = resource.clone();
                        resource.scope_spans = vec![scope];
                        items.push(
                            ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec(),
                        );
                    }
                }
            }
        }
    }
    items
}

fn single_points(metric: &Metric) -> Vec<Metric> {
    macro_rules! singles {
        ($kind:ident, $data:expr) => {
            $data
                .data_points
                .iter()
                .map(|point| {
                    let mut data = $data.clone();
                    data.data_points = vec![point.clone()];
                    Metric { data: Some(metric::Data::$kind(data)), ..metric.clone() }
                })
                .collect()
        };
    }
    match &metric.data {
        None => Vec::new(),
        Some(metric::Data::Gauge(data)) => singles!(Gauge, data),
        Some(metric::Data::Sum(data)) => singles!(Sum, data),
        Some(metric::Data::Histogram(data)) => singles!(Histogram, data),
        Some(metric::Data::ExponentialHistogram(data)) => singles!(ExponentialHistogram, data),
        Some(metric::Data::Summary(data)) => singles!(Summary, data),
    }
}

#[test]
fn parts_keep_the_limit_and_hold_every_item_once_in_order_with_its_envelopes() {
    let mut random = Random::new(99);
    let mut parted = 0;
    for round in 0..250 {
        let signal = Signal::ALL[round % 3];
        let request = random.request(signal);
        let items = single_items(signal, &request);
        let largest = items.iter().map(Vec::len).max().unwrap_or(0);
        // From as tight as can be to hardly parted.
        let limit = largest + random.below(request.len() + 1) / (1 + random.below(8));
        let parts = part(signal, &request, limit).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let mut seen = Vec::new();
        for part in &parts {
            assert!(part.len() <= limit, "round {round}: {} > {limit}", part.len());
            walk(signal, part).unwrap_or_else(|error| panic!("round {round}: {error}"));
            seen.extend(single_items(signal, part));
        }
        assert!(seen == items, "round {round}: {} items became {}", items.len(), seen.len());
        parted += u32::from(parts.len() > 1);
    }
    assert!(parted > 80, "{parted}");
}

#[test]
fn parts_are_as_few_as_the_limit_allows() {
    let mut request = Metrics::new();
    let mut points = request.metric(&write::Metric::gauge("g", "1", ""));
    for i in 0..1000u64 {
        points.point(&Attributes::new(), 0, i + 1, i);
    }
    let request = request.take();
    let parts = part(Signal::Metrics, &request, request.len() / 4).unwrap();
    assert!(parts.len() <= 5, "{}", parts.len());
    // All but the last are nearly full.
    for part in &parts[..parts.len() - 1] {
        assert!(part.len() > request.len() / 4 - 32, "{} of {}", part.len(), request.len() / 4);
    }
}

#[test]
fn a_request_that_fits_is_not_touched() {
    for signal in Signal::ALL {
        let request = Random::new(5).request(signal);
        assert_eq!(part(signal, &request, request.len()).unwrap(), [request]);
        assert_eq!(part(signal, &[], 0).unwrap(), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn an_item_too_large_is_named() {
    let long = "x".repeat(500);
    let mut request = Metrics::new();
    request.resource(&Attributes::new().with("host.name", "a"));
    request.metric(&write::Metric::gauge("small", "1", "")).point(&Attributes::new(), 0, 1, 1i64);
    request.resource(&Attributes::new().with("host.name", "b"));
    request.scope(&Scope { name: "one", ..Scope::default() });
    request.metric(&write::Metric::gauge("small", "1", "")).point(&Attributes::new(), 0, 1, 1i64);
    request.scope(&Scope { name: "two", ..Scope::default() });
    let mut points = request.metric(&write::Metric::gauge("system.large", "1", ""));
    points.point(&Attributes::new(), 0, 1, 1i64);
    points.point(&Attributes::new().with("message", &long), 0, 1, 1i64);
    let request = request.take();
    let error = part(Signal::Metrics, &request, 300).unwrap_err();
    let PartError::TooLarge { what, size, limit } = &error else { panic!("{error}") };
    assert_eq!(what, "data point 1 of the metric \"system.large\" (resource 1, scope 1)");
    assert!((500..700).contains(size) && *limit == 300, "{error}");
    // At the size that it names, it fits.
    assert!(part(Signal::Metrics, &request, *size).is_ok());
    assert!(part(Signal::Metrics, &request, *size - 1).is_err());
}

#[test]
fn an_invalid_request_is_not_parted() {
    assert!(matches!(part(Signal::Logs, &[0x0a, 9], 100), Err(PartError::Walk(_))));
}

#[test]
fn joined_requests_are_one_of_all_their_resources() {
    let mut random = Random::new(21);
    let requests: Vec<_> = (0..20).map(|_| random.metrics()).collect();
    let encoded: Vec<Vec<u8>> = requests.iter().map(Message::encode_to_vec).collect();
    let mut joined = Vec::new();
    join(encoded.iter().map(Vec::as_slice), &mut joined);
    let all = requests.into_iter().flat_map(|request| request.resource_metrics).collect();
    let expected = ExportMetricsServiceRequest { resource_metrics: all };
    assert_eq!(ExportMetricsServiceRequest::decode(joined.as_slice()).unwrap(), expected);
    let alone = encoded.iter().map(|request| walk(Signal::Metrics, request).unwrap());
    let items: u32 = alone.map(|walked| walked.items).sum();
    assert_eq!(walk(Signal::Metrics, &joined).unwrap().items, items);
}
