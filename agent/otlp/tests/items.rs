//! Items that are written one by one are what the builders write, and what prost reads.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use whimbrel_otlp::{
    Signal, walk,
    write::{
        Attributes, Envelope, Histogram, HistogramPoint, LogRecord, Logs, Metric, Metrics, Scope, Severity,
        Span, SpanKind, SpanStatus, Temporality, append_enclosed, append_histogram, append_log_record,
        append_number, append_span,
    },
};

fn resource() -> Attributes {
    Attributes::new().with("service.name", "shop")
}

const SCOPE: Scope<'static> = Scope { name: "a.scope", version: "1", attributes: None };

fn enclosed(items: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    append_enclosed(&mut request, &Envelope::new(&resource(), &SCOPE), items);
    request
}

/// Decoded and encoded again: the builders pad some lengths.
fn canonical<M: Message + Default>(request: &[u8]) -> Vec<u8> {
    M::decode(request).expect("it decodes").encode_to_vec()
}

#[test]
fn log_records_are_those_of_the_builder() {
    let attributes = Attributes::new().with("a", 1i64);
    let record = LogRecord {
        time_ns: 5,
        severity: Severity::WARN,
        severity_text: "warn",
        event_name: "sale",
        body: "sold".into(),
        attributes: Some(&attributes),
        trace_id: Some([1; 16]),
        span_id: Some([2; 8]),
        ..LogRecord::default()
    };
    let mut builder = Logs::new();
    builder.resource(&resource());
    builder.scope(&SCOPE);
    builder.record(&record);
    let mut items = Vec::new();
    append_log_record(&mut items, &record);
    let request = enclosed(&items);
    type Request = opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    assert_eq!(canonical::<Request>(&request), canonical::<Request>(builder.finish()));
    assert_eq!(walk(Signal::Logs, &request).unwrap().items, 1);
}

#[test]
fn metrics_are_those_of_the_builder() {
    let series = Attributes::new().with("a", "b");
    let point = HistogramPoint {
        start_ns: 1,
        time_ns: 2,
        count: 3,
        sum: Some(4.5),
        min: Some(1.0),
        max: Some(2.0),
        bounds: &[1.0, 2.0],
        buckets: &[1, 1, 1],
    };
    let histogram = Histogram { name: "h", unit: "s", description: "d", temporality: Temporality::Delta };
    let numbers = [
        Metric::gauge("g", "1", ""),
        Metric::sum("s", "{sale}", "sold", Temporality::Delta, true),
        Metric::up_down_counter("u", "By", ""),
    ];
    let mut builder = Metrics::new();
    builder.resource(&resource());
    builder.scope(&SCOPE);
    let mut items = Vec::new();
    for metric in &numbers {
        builder.metric(metric).point(&series, 7, 8, 9i64);
        append_number(&mut items, metric, &series, 7, 8, 9i64);
    }
    builder.histogram(&histogram).point(&series, &point);
    append_histogram(&mut items, &histogram, &series, &point);
    let request = enclosed(&items);
    type Request = opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    assert_eq!(canonical::<Request>(&request), canonical::<Request>(builder.finish()));
    assert_eq!(walk(Signal::Metrics, &request).unwrap().items, 4);
}

#[test]
fn spans_are_read_by_prost_as_they_were_said() {
    let attributes = Attributes::new().with("http.route", "/buy");
    let mut items = Vec::new();
    let span = Span {
        trace_id: [3; 16],
        span_id: [4; 8],
        parent_span_id: Some([5; 8]),
        name: "buy",
        kind: SpanKind::Client,
        start_ns: 10,
        end_ns: 20,
        attributes: Some(&attributes),
        status: SpanStatus::Error,
        status_message: "sold out",
    };
    append_span(&mut items, &span);
    append_span(&mut items, &Span { trace_id: [3; 16], span_id: [6; 8], ..Span::default() });
    let request = enclosed(&items);
    assert_eq!(walk(Signal::Traces, &request).unwrap().items, 2);
    let decoded = ExportTraceServiceRequest::decode(&request[..]).unwrap();
    let spans = &decoded.resource_spans[0].scope_spans[0].spans;
    let one = &spans[0];
    assert_eq!(
        (&one.trace_id[..], &one.span_id[..], &one.parent_span_id[..]),
        (&[3; 16][..], &[4; 8][..], &[5; 8][..])
    );
    assert_eq!(
        (one.name.as_str(), one.kind, one.start_time_unix_nano, one.end_time_unix_nano),
        ("buy", 3, 10, 20)
    );
    let status = one.status.as_ref().unwrap();
    assert_eq!((status.message.as_str(), status.code), ("sold out", 2));
    assert_eq!(one.attributes[0].key, "http.route");
    assert_eq!((spans[1].kind, &spans[1].status), (1, &None));
}
