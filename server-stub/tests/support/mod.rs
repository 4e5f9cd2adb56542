//! A small HTTP client over real connections, and OTLP requests with known values.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in test functions; these are called by them only"
)]

use std::{io::Write, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
        exponential_histogram_data_point::Buckets, metric, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message;
use serde_json::Value;
use server_stub::Stub;
use tokio::net::TcpStream;

pub(crate) const PROTOBUF: &str = "application/x-protobuf";
pub(crate) const JSON: &str = "application/json";

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The code and message of a `google.rpc.Status`, in either format.
    pub(crate) fn rpc_status(&self) -> (i64, String) {
        #[derive(Clone, PartialEq, Message)]
        struct RpcStatus {
            #[prost(int32, tag = "1")]
            code: i32,
            #[prost(string, tag = "2")]
            message: String,
        }
        if self.header("content-type") == PROTOBUF {
            let status = RpcStatus::decode(self.body.clone()).unwrap();
            (status.code.into(), status.message)
        } else {
            let status = self.json();
            (status["code"].as_i64().unwrap(), status["message"].as_str().unwrap().to_owned())
        }
    }
}

/// Sends one request over a connection of its own.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Reply { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() })
}

pub(crate) fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// POSTs OTLP; `headers` come besides the content type.
pub(crate) async fn post(
    stub: &Stub,
    path: &str,
    content_type: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Reply, hyper::Error> {
    let mut all = vec![("content-type", content_type)];
    all.extend_from_slice(headers);
    send(stub.http_addr, request(stub.http_addr, Method::POST, path, &all, body)).await
}

/// POSTs metrics as plain protobuf.
pub(crate) async fn post_metrics(
    stub: &Stub,
    headers: &[(&str, &str)],
    request: &ExportMetricsServiceRequest,
) -> Reply {
    post(stub, "/v1/metrics", PROTOBUF, headers, request.encode_to_vec()).await.unwrap()
}

/// GETs JSON from the user interface; the answer must be a success.
pub(crate) async fn get(stub: &Stub, path: &str) -> Value {
    let reply = send(stub.ui_addr, request(stub.ui_addr, Method::GET, path, &[], "")).await.unwrap();
    assert_eq!(reply.status, 200, "{path}: {:?}", reply.body);
    reply.json()
}

/// POSTs to `/control`; the answer must be a success.
pub(crate) async fn control(stub: &Stub, what: &str) -> Value {
    let path = format!("/control/{what}");
    let reply = send(stub.ui_addr, request(stub.ui_addr, Method::POST, &path, &[], "")).await.unwrap();
    assert_eq!(reply.status, 200, "{path}: {:?}", reply.body);
    reply.json()
}

/// All whole numbers that the stub holds of a metric, in the order of their arrival.
pub(crate) async fn values(stub: &Stub, name: &str) -> Vec<i64> {
    let answer = get(stub, &format!("/api/values?name={name}")).await;
    let series = answer["series"].as_array().unwrap();
    series
        .iter()
        .flat_map(|series| series["values"].as_array().unwrap())
        .map(|n| n.as_i64().unwrap())
        .collect()
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 1).unwrap()
}

pub(crate) fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: vec![text("service.name", "test"), text("host.name", "box")],
        ..Resource::default()
    })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "scope".to_owned(), version: "1".to_owned(), ..Default::default() })
}

/// One request with one point for each of `values` of the counter `name`.
pub(crate) fn counter(name: &str, values: impl IntoIterator<Item = i64>) -> ExportMetricsServiceRequest {
    let points = values.into_iter().map(|value| NumberDataPoint {
        time_unix_nano: 1_000,
        value: Some(number_data_point::Value::AsInt(value)),
        ..Default::default()
    });
    metrics_of(vec![Metric {
        name: name.to_owned(),
        unit: "1".to_owned(),
        data: Some(metric::Data::Sum(Sum {
            data_points: points.collect(),
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        ..Default::default()
    }])
}

pub(crate) fn metrics_of(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(),
            scope_metrics: vec![ScopeMetrics { scope: scope(), metrics, schema_url: String::new() }],
            schema_url: String::new(),
        }],
    }
}

/// Every kind of metric and of value.
pub(crate) fn all_metrics() -> ExportMetricsServiceRequest {
    let int = |value, attributes| NumberDataPoint {
        attributes,
        start_time_unix_nano: 1,
        time_unix_nano: 1_700_000_000_000_000_001,
        value: Some(number_data_point::Value::AsInt(value)),
        ..Default::default()
    };
    let double = |value| NumberDataPoint {
        time_unix_nano: 2,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    };
    let of = |name: &str, unit: &str, data| Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Default::default()
    };
    let sum = |points, monotonic, temporality| {
        metric::Data::Sum(Sum {
            data_points: points,
            is_monotonic: monotonic,
            aggregation_temporality: temporality,
        })
    };
    let none = NumberDataPoint { flags: 1, time_unix_nano: 3, ..Default::default() };
    metrics_of(vec![
        of("a.counter", "By", sum(vec![int(i64::MAX, vec![text("k", "é\"<script>")])], true, 2)),
        of("a.delta", "By", sum(vec![int(-5, vec![])], true, 1)),
        of("an.updown", "{thing}", sum(vec![int(i64::MIN, vec![])], false, 2)),
        of("a.gauge", "1", metric::Data::Gauge(Gauge { data_points: vec![double(0.25), none] })),
        of("an.infinity", "1", metric::Data::Gauge(Gauge { data_points: vec![double(f64::NEG_INFINITY)] })),
        of("a.nan", "1", metric::Data::Gauge(Gauge { data_points: vec![double(f64::NAN)] })),
        of(
            "a.histogram",
            "s",
            metric::Data::Histogram(Histogram {
                data_points: vec![HistogramDataPoint {
                    count: 3,
                    sum: Some(1.5),
                    min: Some(0.1),
                    bucket_counts: vec![1, 2],
                    explicit_bounds: vec![0.5],
                    ..Default::default()
                }],
                aggregation_temporality: 2,
            }),
        ),
        of(
            "an.exponential",
            "s",
            metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![ExponentialHistogramDataPoint {
                    count: 4,
                    scale: -2,
                    zero_count: 1,
                    positive: Some(Buckets { offset: -1, bucket_counts: vec![3] }),
                    ..Default::default()
                }],
                aggregation_temporality: 1,
            }),
        ),
        of(
            "a.summary",
            "s",
            metric::Data::Summary(Summary {
                data_points: vec![SummaryDataPoint {
                    count: 2,
                    sum: 3.5,
                    quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.25 }],
                    ..Default::default()
                }],
            }),
        ),
    ])
}

/// Every kind of attribute value.
pub(crate) fn all_logs() -> ExportLogsServiceRequest {
    use any_value::Value as Any;
    let array = ArrayValue {
        values: vec![
            AnyValue { value: Some(Any::IntValue(1)) },
            AnyValue { value: Some(Any::StringValue("x".into())) },
        ],
    };
    let list = KeyValueList { values: vec![text("inner", "y"), attribute("n", Any::IntValue(-9))] };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: resource(),
            scope_logs: vec![ScopeLogs {
                scope: scope(),
                log_records: vec![
                    LogRecord {
                        time_unix_nano: 5,
                        observed_time_unix_nano: 6,
                        severity_number: 17,
                        severity_text: "ERROR".to_owned(),
                        event_name: "it.broke".to_owned(),
                        body: Some(AnyValue { value: Some(Any::StringValue("it broke".to_owned())) }),
                        attributes: vec![
                            attribute("bool", Any::BoolValue(true)),
                            attribute("int", Any::IntValue(i64::MIN)),
                            attribute("double", Any::DoubleValue(0.5)),
                            attribute("bytes", Any::BytesValue(vec![0, 255, 7])),
                            attribute("array", Any::ArrayValue(array)),
                            attribute("list", Any::KvlistValue(list)),
                        ],
                        trace_id: (0..16).collect(),
                        span_id: (240..248).collect(),
                        ..Default::default()
                    },
                    LogRecord { body: None, ..Default::default() },
                ],
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

pub(crate) fn all_spans() -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(),
            scope_spans: vec![ScopeSpans {
                scope: scope(),
                spans: vec![Span {
                    trace_id: vec![0xab; 16],
                    span_id: vec![1; 8],
                    parent_span_id: vec![2; 8],
                    name: "GET /".to_owned(),
                    kind: 2,
                    start_time_unix_nano: 10,
                    end_time_unix_nano: 20,
                    attributes: vec![text("a", "b")],
                    events: vec![span::Event {
                        time_unix_nano: 15,
                        name: "e".to_owned(),
                        ..Default::default()
                    }],
                    links: vec![span::Link {
                        trace_id: vec![3; 16],
                        span_id: vec![4; 8],
                        ..Default::default()
                    }],
                    status: Some(Status { message: "no".to_owned(), code: 2 }),
                    ..Default::default()
                }],
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}
