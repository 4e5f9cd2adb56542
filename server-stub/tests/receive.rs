//! OTLP/HTTP over real connections: what is taken, and what is refused and how.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, and these call the rest")]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Frame, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::{Value, json};
use server_stub::{Limits, Options, Stub};
use support::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn start() -> Stub {
    Stub::start(Options::default()).unwrap()
}

/// Everything the stub shows, without what differs from one time to the next.
async fn shown(stub: &Stub) -> Value {
    let mut shown = get(stub, "/api/latest?limit=1000").await;
    for items in ["points", "logs", "spans"] {
        for item in shown[items].as_array_mut().unwrap() {
            item.as_object_mut().unwrap().remove("arrived_ns");
        }
    }
    shown
}

/// `opentelemetry-proto` writes `null` for numbers that JSON lacks; the specification wants them as text.
fn all_metrics_json() -> Vec<u8> {
    let mut request = serde_json::to_value(all_metrics()).unwrap();
    let metrics = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array_mut().unwrap();
    for (name, text) in [("a.nan", "NaN"), ("an.infinity", "-Infinity")] {
        let metric = metrics.iter_mut().find(|metric| metric["name"] == name).unwrap();
        metric["gauge"]["dataPoints"][0]["asDouble"] = text.into();
    }
    request.to_string().into_bytes()
}

#[tokio::test]
async fn every_format_and_encoding_shows_the_same() {
    let bodies = [
        ("/v1/metrics", all_metrics().encode_to_vec(), all_metrics_json(), 10),
        ("/v1/logs", all_logs().encode_to_vec(), serde_json::to_vec(&all_logs()).unwrap(), 2),
        ("/v1/traces", all_spans().encode_to_vec(), serde_json::to_vec(&all_spans()).unwrap(), 1),
    ];
    let mut first: Option<Value> = None;
    for format in [PROTOBUF, JSON] {
        for encoding in ["", "identity", "gzip", "x-gzip", "zstd"] {
            let stub = start();
            for (path, protobuf, json, _) in &bodies {
                let plain = if format == PROTOBUF { protobuf } else { json };
                let body = match encoding {
                    "gzip" | "x-gzip" => gzip(plain),
                    "zstd" => zstd(plain),
                    _ => plain.clone(),
                };
                let header = [("content-encoding", encoding)];
                let headers = if encoding.is_empty() { &[][..] } else { &header[..] };
                let reply = post(&stub, path, format, headers, body).await.unwrap();
                assert_eq!(reply.status, 200, "{path} {format} {encoding}: {:?}", reply.body);
                assert_eq!(reply.header("content-type"), format);
                let nothing: &[u8] = if format == PROTOBUF { b"" } else { b"{}" };
                assert_eq!(reply.body, nothing, "no partial success");
            }
            let stats = get(&stub, "/api/stats").await;
            for (path, _, _, items) in &bodies {
                let signal = path.trim_start_matches("/v1/");
                assert_eq!(stats["signals"][signal]["items"], *items, "{signal}");
            }
            let shown = shown(&stub).await;
            match &first {
                None => first = Some(shown),
                Some(first) => assert_eq!(&shown, first, "{format} {encoding}"),
            }
        }
    }
}

#[tokio::test]
async fn joined_requests_in_several_frames_are_all_taken() {
    let stub = start();
    let frame = |value| zstd(&counter("n", [value]).encode_to_vec());
    let body = [frame(1), zstd(b""), frame(2), frame(3)].concat();
    let reply = post(&stub, "/v1/metrics", PROTOBUF, &[("content-encoding", "zstd")], body).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(values(&stub, "n").await, [1, 2, 3]);
}

/// The probe by which a sender finds out whether a receiver reads all frames.
#[tokio::test]
async fn a_probe_for_several_frames_finds_that_all_are_read() {
    let stub = start();
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    let empty = encoder.finish().unwrap();
    let broken = [empty.clone(), zstd(&[0x0a])].concat();
    let headers = [("content-encoding", "zstd")];
    assert_eq!(post(&stub, "/v1/metrics", PROTOBUF, &headers, empty).await.unwrap().status, 200);
    assert_eq!(post(&stub, "/v1/metrics", PROTOBUF, &headers, broken.clone()).await.unwrap().status, 400);
    control(&stub, "encoding?first_frame=1").await;
    assert_eq!(post(&stub, "/v1/metrics", PROTOBUF, &headers, broken).await.unwrap().status, 200);
}

#[tokio::test]
async fn malformed_bodies_are_refused_with_a_reason() {
    let stub = start();
    let good = counter("n", [1]).encode_to_vec();
    let json_of =
        |metric: Value| json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] });
    let point = |point: Value| json_of(json!({ "name": "n", "gauge": { "dataPoints": [point] } }));
    let cases: Vec<(&str, &str, &str, Vec<u8>, &str)> = vec![
        ("/v1/metrics", PROTOBUF, "", good[..good.len() - 1].to_vec(), "no valid protobuf"),
        ("/v1/metrics", PROTOBUF, "", vec![0x0a], "no valid protobuf"),
        ("/v1/metrics", PROTOBUF, "", vec![0xff; 40], "no valid protobuf"),
        ("/v1/metrics", PROTOBUF, "", b"\x0a\x06\x1a\x04ab\xff\xfe".to_vec(), "no valid protobuf"),
        ("/v1/metrics", PROTOBUF, "", b"{}".to_vec(), "no valid protobuf"),
        ("/v1/metrics", PROTOBUF, "gzip", b"plain".to_vec(), "no valid gzip"),
        ("/v1/metrics", PROTOBUF, "gzip", gzip(&good)[..20].to_vec(), "no valid gzip"),
        ("/v1/metrics", PROTOBUF, "zstd", b"plain".to_vec(), "no valid zstd"),
        ("/v1/metrics", PROTOBUF, "zstd", zstd(&good)[..10].to_vec(), "no valid zstd"),
        ("/v1/metrics", PROTOBUF, "zstd", [zstd(&good), b"junk".to_vec()].concat(), "no valid zstd"),
        ("/v1/logs", PROTOBUF, "", b"\x0a\x09\x12\x07\x12\x05\x4a\x03abc".to_vec(), "trace_id is 3 bytes long"),
        ("/v1/metrics", JSON, "", b"{".to_vec(), "not OTLP metrics in JSON"),
        ("/v1/metrics", JSON, "", b"".to_vec(), "not OTLP metrics in JSON"),
        ("/v1/metrics", JSON, "", b"[]".to_vec(), "expected an object"),
        ("/v1/metrics", JSON, "", "[".repeat(100_000).into(), "not OTLP metrics in JSON"),
        (
            "/v1/metrics",
            JSON,
            "",
            json!({ "resourceMetrics": {} }).to_string().into(),
            "resourceMetrics",
        ),
        (
            "/v1/metrics",
            JSON,
            "",
            json_of(json!({ "name": 7 })).to_string().into(),
            "resourceMetrics[0].scopeMetrics[0].metrics[0].name",
        ),
        ("/v1/metrics", JSON, "", json_of(json!({ "gauge": 1 })).to_string().into(), "metrics[0].gauge"),
        (
            "/v1/metrics",
            JSON,
            "",
            json_of(json!({ "gauge": {}, "sum": {} })).to_string().into(),
            "only one can be given, and gauge is given too",
        ),
        ("/v1/metrics", JSON, "", point(json!({ "asInt": "1.5" })).to_string().into(), "asInt"),
        ("/v1/metrics", JSON, "", point(json!({ "asInt": 1.5 })).to_string().into(), "asInt"),
        (
            "/v1/metrics",
            JSON,
            "",
            point(json!({ "asInt": "9223372036854775808" })).to_string().into(),
            "asInt",
        ),
        ("/v1/metrics", JSON, "", point(json!({ "asDouble": "inf" })).to_string().into(), "asDouble"),
        ("/v1/metrics", JSON, "", point(json!({ "timeUnixNano": -1 })).to_string().into(), "timeUnixNano"),
        (
            "/v1/metrics",
            JSON,
            "",
            json_of(json!({ "sum": { "aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA" } })).to_string().into(),
            "aggregationTemporality",
        ),
        (
            "/v1/traces",
            JSON,
            "",
            json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{ "traceId": "xyz" }] }] }] }).to_string().into(),
            "spans[0].traceId",
        ),
        (
            "/v1/logs",
            JSON,
            "",
            json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{ "body": { "bytesValue": "%" } }] }] }] })
                .to_string()
                .into(),
            "logRecords[0].body.bytesValue",
        ),
    ];
    let count = cases.len();
    for (path, format, encoding, body, says) in cases {
        let header = [("content-encoding", encoding)];
        let headers = if encoding.is_empty() { &[][..] } else { &header[..] };
        let reply = post(&stub, path, format, headers, body).await.unwrap();
        assert_eq!(reply.status, 400, "{says}");
        assert_eq!(reply.header("content-type"), format);
        let (code, message) = reply.rpc_status();
        assert_eq!(code, 3, "INVALID_ARGUMENT");
        assert!(message.contains(says), "{message:?} should say {says:?}");
    }
    let stats = get(&stub, "/api/stats").await;
    let signals = &stats["signals"];
    let refused: u64 = ["metrics", "logs", "traces"]
        .iter()
        .map(|s| signals[s]["refused_by_status"]["400"].as_u64().unwrap())
        .sum();
    assert_eq!(refused, count as u64);
    assert_eq!(stats["held"]["points"], 0);
}

#[tokio::test]
async fn json_takes_what_the_specification_allows() {
    let stub = start();
    // Unknown names, nulls, numbers for 64-bit integers, empty lists of values, text for numbers.
    let body = json!({ "resourceMetrics": [{ "resource": null, "fromTheFuture": 1, "scopeMetrics": [{ "metrics": [
        { "name": "n", "sum": { "isMonotonic": true, "aggregationTemporality": 2, "dataPoints": [
            { "timeUnixNano": 17, "asInt": 5 },
            { "timeUnixNano": "18", "asInt": "6", "attributes": [
                { "key": "empty", "value": { "arrayValue": {} } }, { "key": "none" },
            ] },
        ] } },
        { "name": "d", "gauge": { "dataPoints": [{ "asDouble": "NaN" }, { "asDouble": 3 }] } },
    ] }] }] });
    let reply =
        post(&stub, "/v1/metrics", "application/json; charset=utf-8", &[], body.to_string()).await.unwrap();
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(values(&stub, "n").await, [5, 6]);
    assert_eq!(get(&stub, "/api/stats").await["signals"]["metrics"]["items"], 4);
}

#[tokio::test]
async fn what_is_not_known_is_refused_by_its_own_status() {
    let stub = start();
    let body = counter("n", [1]).encode_to_vec();
    for (path, content_type, encoding, status) in [
        ("/v1/metrics", "text/plain", "identity", 415),
        ("/v1/metrics", "", "identity", 415),
        ("/v1/metrics", PROTOBUF, "br", 415),
        ("/v1/metrics", PROTOBUF, "gzip, zstd", 415),
        ("/v1/profiles", PROTOBUF, "identity", 404),
        ("/", JSON, "identity", 404),
    ] {
        let reply =
            post(&stub, path, content_type, &[("content-encoding", encoding)], body.clone()).await.unwrap();
        assert_eq!(reply.status, status, "{path} {content_type} {encoding}");
        assert!(!reply.rpc_status().1.is_empty());
    }
    let get = request(stub.http_addr, Method::GET, "/v1/metrics", &[("content-type", PROTOBUF)], "");
    let reply = send(stub.http_addr, get).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn bodies_are_bounded_as_sent_and_as_unpacked() {
    let limits = Limits { body: 1 << 20, ..Limits::default() };
    let stub = Stub::start(Options { limits, ..Options::default() }).unwrap();
    // 256 MiB of nothing in a few KiB.
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..256 {
        std::io::Write::write_all(&mut bomb, &zeros).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 100_000);
    let gzip_bomb = gzip(&vec![0; 64 << 20]);
    assert!(gzip_bomb.len() < 1 << 20);
    let before = Instant::now();
    for (encoding, body) in [("zstd", bomb), ("gzip", gzip_bomb), ("identity", vec![0; (1 << 20) + 1])] {
        let reply =
            post(&stub, "/v1/metrics", PROTOBUF, &[("content-encoding", encoding)], body).await.unwrap();
        assert_eq!(reply.status, 413, "{encoding}");
        assert_eq!(reply.rpc_status().0, 8, "RESOURCE_EXHAUSTED");
    }
    assert!(before.elapsed() < Duration::from_secs(10), "a bomb must not be unpacked to its end");
    // The same without an announced length.
    let frames = (0..20).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![0; 100_000]))));
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let stream = TcpStream::connect(stub.http_addr).await.unwrap();
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("/v1/metrics").header("content-type", PROTOBUF).body(body).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 413);
    assert_eq!(post_metrics(&stub, &[], &counter("n", [1])).await.status, 200, "and life goes on");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for_for_ever() {
    let limits = Limits { body_time: Duration::from_millis(200), ..Limits::default() };
    let stub = Stub::start(Options { limits, ..Options::default() }).unwrap();
    let mut stream = TcpStream::connect(stub.http_addr).await.unwrap();
    let head = "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_stored() {
    let stub = start();
    let body = serde_json::to_vec(&counter("n", [1])).unwrap();
    let mut stream = TcpStream::connect(stub.http_addr).await.unwrap();
    let head = format!(
        "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len() + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // Closed or reset, as the system likes.
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(get(&stub, "/api/stats").await["held"]["points"], 0);
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let stub = start();
    let body = Bytes::from(counter("n", [1]).encode_to_vec());
    let stream = TcpStream::connect(stub.http_addr).await.unwrap();
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    for encoding in ["identity", "br", "identity"] {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        let request = request(stub.http_addr, Method::POST, "/v1/metrics", &headers, body.clone());
        sender.ready().await.unwrap();
        sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    }
    assert!(!connection.is_finished(), "a refusal does not cost the connection");
    assert_eq!(values(&stub, "n").await, [1, 1]);
}

#[tokio::test]
async fn http2_is_taken_without_being_asked_for() {
    let stub = start();
    let stream = TcpStream::connect(stub.http_addr).await.unwrap();
    let (mut sender, connection) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/v1/metrics", stub.http_addr))
        .header("content-type", PROTOBUF)
        .body(Full::new(Bytes::from(counter("n", [1, 2]).encode_to_vec())))
        .unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    assert_eq!(values(&stub, "n").await, [1, 2]);
}
