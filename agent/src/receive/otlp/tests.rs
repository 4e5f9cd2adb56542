//! The receiver over real sockets: what it takes, what it says, what it stores.

mod hostile;
mod secure;
mod services;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use whimbrel_otlp::{
    Signal,
    write::{Attributes, LogRecord, Logs},
};

use crate::{
    config::{Address, Endpoint, OtlpReceiver, ReceiverKind, ReceiverLimits, Secret},
    receive::testing::Rig,
};

fn here() -> Option<Endpoint> {
    Some(Endpoint::at(Address::Tcp(([127, 0, 0, 1], 0).into())))
}

fn config() -> OtlpReceiver {
    OtlpReceiver { grpc: here(), http: here(), add_resource: false }
}

async fn rig() -> Rig {
    Rig::start(ReceiverKind::Otlp(config())).await
}

fn limits() -> ReceiverLimits {
    ReceiverLimits::of("otlp")
}

fn logs(count: usize) -> Vec<u8> {
    let mut request = Logs::new();
    request.resource(&Attributes::new().with("service.name", "shop"));
    for number in 0..count {
        let body = format!("order {number} was paid for");
        request.record(&LogRecord { time_ns: 1, body: body.as_str().into(), ..LogRecord::default() });
    }
    request.take()
}

/// What came back.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Answered {
    fn grpc_status(&self) -> &str {
        let status = self.trailers.get("grpc-status").or_else(|| self.headers.get("grpc-status"));
        status.and_then(|status| status.to_str().ok()).unwrap_or("none")
    }

    fn text(&self) -> String {
        let message = self.headers.get("grpc-message").map(|value| value.to_str().unwrap().to_owned());
        message.unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned())
    }
}

/// One HTTP/1.1 request over a connection of its own.
async fn post(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answered {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request("POST", path, headers, body)).await.unwrap();
    answered(answer).await
}

fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request =
        Request::builder().method(method).uri(format!("http://here{path}")).header("host", "here");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

async fn answered(answer: http::Response<hyper::body::Incoming>) -> Answered {
    let (head, body) = answer.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Answered { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers }
}

/// One gRPC call.
async fn call(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answered {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat();
    answered(sender.send_request(request("POST", path, &headers, body)).await.unwrap()).await
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_stored_as_it_was_sent_whatever_the_protocol_and_encoding() {
    let rig = rig().await;
    let plain = logs(10);
    let zstd = zstd::bulk::compress(&plain, 7).unwrap();
    let gzip = gzip(&plain);
    let grpc = Signal::Logs.grpc_path();
    // Either protocol on either port.
    for address in [rig.address("http"), rig.address("grpc")] {
        for (encoding, body) in [("identity", &plain), ("gzip", &gzip), ("zstd", &zstd)] {
            let answer =
                post(address, "/v1/logs", &[PROTOBUF, ("content-encoding", encoding)], body.clone()).await;
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b""[..]), "{encoding}");
            assert_eq!(answer.headers["content-type"], "application/x-protobuf");
            let flag = u8::from(encoding != "identity");
            let answer = call(address, grpc, &[("grpc-encoding", encoding)], framed(flag, body)).await;
            assert_eq!((answer.grpc_status(), &answer.body[..]), ("0", &[0; 5][..]), "{encoding}");
        }
        let json = whimbrel_otlp::to_json(Signal::Logs, &plain).unwrap();
        let answer =
            post(address, "/v1/logs", &[("content-type", "application/json; charset=utf-8")], json).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"{}"[..]));
    }
    let stored = rig.stored(Signal::Logs);
    assert_eq!(stored.len(), 14);
    for record in &stored {
        let shown = |request: &[u8]| whimbrel_otlp::to_json(Signal::Logs, request).unwrap();
        assert_eq!(shown(&record.request), shown(&plain));
        assert_eq!((record.source.as_str(), record.items), ("receivers/otlp", 10));
    }
    let untouched = stored.iter().filter(|record| record.frame.as_ref() == Some(&zstd)).count();
    assert_eq!(untouched, 4, "zstd bodies are stored as they came");
    assert_eq!(rig.status().logs.items, 140);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_signals_have_their_paths() {
    let rig = rig().await;
    for signal in Signal::ALL {
        assert_eq!(post(rig.address("http"), signal.path(), &[PROTOBUF], "").await.status, StatusCode::OK);
        let answer = call(rig.address("grpc"), signal.grpc_path(), &[], framed(0, b"")).await;
        assert_eq!(answer.grpc_status(), "0");
        assert!(rig.stored(signal).is_empty(), "an empty request is none to store");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_resource_is_put_to_requests_where_it_is_asked_for() {
    let rig = Rig::start(ReceiverKind::Otlp(OtlpReceiver { add_resource: true, ..config() })).await;
    let frame = zstd::bulk::compress(&logs(1), 1).unwrap();
    post(rig.address("http"), "/v1/logs", &[PROTOBUF, ("content-encoding", "zstd")], frame).await;
    let shown = whimbrel_otlp::to_json(Signal::Logs, &rig.stored(Signal::Logs)[0].request).unwrap();
    assert!(shown.contains("test-host") && shown.contains("shop"), "{shown}");
}

/// Requests that no decoder should take, each with what is said of it.
fn unsound() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    // ResourceLogs > ScopeLogs > LogRecord with these fields.
    let record = |fields: &[u8]| {
        let wrap =
            |content: Vec<u8>, tag: u8| [&[tag, u8::try_from(content.len()).unwrap()], &content[..]].concat();
        wrap(wrap(wrap(fields.to_vec(), 0x12), 0x12), 0x0a)
    };
    let wrap_any = |tag: u8, content: &[u8]| {
        let mut message = vec![tag];
        let mut rest = content.len();
        while rest >= 0x80 {
            message.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        message.push(rest as u8);
        message.extend_from_slice(content);
        message
    };
    // AnyValue > ArrayValue > AnyValue ..., and around it a body, a record, a scope, a resource.
    let nested =
        (0..1000).fold(Vec::new(), |inner, level| wrap_any(if level % 2 == 0 { 0x0a } else { 0x2a }, &inner));
    let deep = [0x2a, 0x12, 0x12, 0x0a].iter().fold(nested, |inner, tag| wrap_any(*tag, &inner));
    let whole = logs(1);
    vec![
        ("text", b"hello, world".to_vec(), "not OTLP logs"),
        ("a truncated length", vec![0x0a], "ends within a number"),
        ("a truncated message", whole[..whole.len() - 1].to_vec(), "are left"),
        ("a length past the end", vec![0x0a, 0x7f, 0x00], "a length of 127 bytes where 1 are left"),
        ("a varint of 11 bytes", [&[0x0a][..], &[0xff; 11]].concat(), "more than 64 bits"),
        ("field number 0", record(&[0x02, 0x00]), "field number 0"),
        ("a group", record(&[0x0b, 0x0c]), "a group"),
        ("wire type 6", record(&[0x0e]), "a wire type that does not exist"),
        ("wire type 7", record(&[0x0f]), "a wire type that does not exist"),
        ("a resource as a number", vec![0x08, 0x01], "is due"),
        ("a time as a varint", record(&[0x08, 0x01]), "is due"),
        ("a severity as text", record(&[0x12, 0x01, 0x61]), "is due"),
        ("a text that is not UTF-8", record(&[0x1a, 0x02, 0xff, 0xfe]), "not UTF-8"),
        ("an event name that is not UTF-8", record(&[0x62, 0x01, 0xff]), "not UTF-8"),
        (
            "a trace id of 15 bytes",
            record(&[&[0x4a, 15][..], &[1; 15]].concat()),
            "a trace id of 15 bytes, not 16",
        ),
        ("a span id of 9 bytes", record(&[&[0x52, 9][..], &[1; 9]].concat()), "a span id of 9 bytes, not 8"),
        ("a truncated fixed64", record(&[0x09, 1, 2, 3]), "ends within a number"),
        ("a truncated fixed32", record(&[0x45, 1, 2]), "ends within a number"),
        ("an attribute as a number", record(&[0x30, 0x01]), "is due"),
        ("a body as fixed32", record(&[0x2d, 0, 0, 0, 0]), "is due"),
        ("a field number beyond 2^29", record(&[0x80, 0x80, 0x80, 0x80, 0x10, 0x00]), "beyond 536870911"),
        ("messages nested a thousand deep", deep, "within each other"),
        ("zeros", vec![0; 64], "field number 0"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn unsound_requests_are_refused_whole_and_the_item_is_named() {
    let rig = rig().await;
    let cases = unsound();
    assert!(cases.len() > 20);
    for (what, body, expected) in &cases {
        // A sound record before it is not stored either.
        let mixed = [logs(1), body.clone()].concat();
        let answer = post(rig.address("http"), "/v1/logs", &[PROTOBUF], mixed.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        assert!(answer.text().contains(expected), "{what}: {}", answer.text());
        let answer = call(rig.address("grpc"), Signal::Logs.grpc_path(), &[], framed(0, &mixed)).await;
        assert_eq!(answer.grpc_status(), "3", "{what}");
        assert!(answer.text().contains(expected), "{what}: {}", answer.text());
    }
    assert!(rig.stored(Signal::Logs).is_empty());
    assert_eq!(rig.status().refused["invalid"], 2 * cases.len() as u64);
    let answer = post(rig.address("http"), "/v1/logs", &[PROTOBUF], logs(1)).await;
    assert_eq!(answer.status, StatusCode::OK, "and it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said_in_its_own_form() {
    let rig = rig().await;
    let http = rig.address("http");
    let plain = logs(1);
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let bomb_gz = gzip(&vec![0; 64 << 20]);
    type Headers = Vec<(&'static str, &'static str)>;
    let cases: Vec<(&str, Headers, Vec<u8>, u16, &str)> = vec![
        ("/v1/logs", vec![("content-type", "text/plain")], plain.clone(), 415, "application/x-protobuf or application/json"),
        ("/v1/logs", vec![], plain.clone(), 415, "content-type"),
        (Signal::Logs.grpc_path(), vec![("content-type", "application/grpc")], plain.clone(), 415, "needs HTTP/2"),
        (Signal::Logs.grpc_path(), vec![("content-type", "application/grpc-web+proto")], plain.clone(), 404, "/v1/logs"),
        ("/v1/log", vec![PROTOBUF], plain.clone(), 404, "/v1/logs"),
        ("/v1/logs", vec![PROTOBUF, ("content-encoding", "br")], plain.clone(), 415, "identity, gzip, zstd"),
        ("/v1/logs", vec![PROTOBUF, ("content-encoding", "gzip")], plain.clone(), 400, "the body is not gzip"),
        ("/v1/logs", vec![PROTOBUF, ("content-encoding", "zstd")], plain.clone(), 400, "the body is not zstd"),
        ("/v1/logs", vec![PROTOBUF, ("content-encoding", "zstd")], bomb, 413, "unpacked"),
        ("/v1/logs", vec![PROTOBUF, ("content-encoding", "gzip")], bomb_gz, 413, "unpacked"),
        ("/v1/logs", vec![PROTOBUF], vec![0; 17 << 20], 413, "longer than 16777216 bytes"),
        ("/v1/logs", vec![JSON], b"{".to_vec(), 400, "EOF"),
        ("/v1/logs", vec![JSON], br#"{"resourceLogs":[],"resourceLogs":[]}"#.to_vec(), 400, "stands twice"),
        ("/v1/metrics", vec![JSON], br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asDouble":NaN}]}}]}]}]}"#.to_vec(), 400, "dataPoints[0].asDouble"),
        ("/v1/logs", vec![JSON], b"{\"a\":\"\xff\"}".to_vec(), 400, "not UTF-8 at byte 6"),
    ];
    for (path, headers, body, status, expected) in cases {
        let answer = post(http, path, &headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {headers:?} {expected}: {}", answer.text());
        assert!(answer.text().contains(expected), "{path} {headers:?}: {}", answer.text());
        // What has no known form is answered in the one that people read.
        let json = !headers.contains(&PROTOBUF);
        assert_eq!(answer.headers["content-type"], if json { JSON.1 } else { PROTOBUF.1 });
        if json {
            serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()["message"].as_str().unwrap();
        }
    }
    let refused = rig.status().refused;
    assert_eq!((refused["too_large"], refused["content_type"], refused["path"]), (3, 3, 2), "{refused:?}");
    let grpc = rig.address("grpc");
    let path = Signal::Logs.grpc_path();
    for (path, headers, body, status, expected) in [
        (path, vec![], b"".to_vec(), "3", "begins with 5 bytes"),
        (path, vec![], framed(0, &plain)[..20].to_vec(), "3", "and there are 15"),
        (path, vec![], [framed(0, &plain), framed(0, &plain)].concat(), "3", "and there are"),
        (path, vec![], framed(1, &plain), "3", "no grpc-encoding says how"),
        (path, vec![], framed(2, &plain), "3", "flag for compression is 2"),
        (path, vec![("grpc-encoding", "snappy")], framed(1, &plain), "12", "identity, gzip, zstd"),
        (
            "/opentelemetry.proto.collector.logs.v1.LogsService/Import",
            vec![],
            framed(0, b""),
            "12",
            "/v1/logs",
        ),
        (path, vec![], framed(0, &vec![0; 17 << 20]), "8", "longer than 16777216 bytes"),
    ] {
        let answer = call(grpc, path, &headers, body).await;
        assert_eq!((answer.status, answer.grpc_status()), (StatusCode::OK, status), "{}", answer.text());
        assert!(answer.text().contains(expected), "{}", answer.text());
    }
    let stream = TcpStream::connect(http).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let get = answered(sender.send_request(request("GET", "/v1/logs", &[], "")).await.unwrap()).await;
    assert_eq!(
        (get.status, &get.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    // The same connection goes on after a refusal.
    let bad = request("POST", "/v1/logs", &[PROTOBUF], "bad");
    sender.ready().await.unwrap();
    let bad = answered(sender.send_request(bad).await.unwrap()).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    sender.ready().await.unwrap();
    let good =
        answered(sender.send_request(request("POST", "/v1/logs", &[PROTOBUF], plain)).await.unwrap()).await;
    assert_eq!(good.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_and_a_slow_one_are_cut_off() {
    let limits = ReceiverLimits { request: 64 << 10, request_time: Duration::from_millis(300), ..limits() };
    let rig = Rig::with(ReceiverKind::Otlp(config()), limits).await;
    let head = "POST /v1/logs HTTP/1.1\r\nhost: here\r\ncontent-type: application/x-protobuf\r\n";
    let mut endless = TcpStream::connect(rig.address("http")).await.unwrap();
    endless.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let (mut read, mut write) = endless.split();
    let sending = async {
        let chunk = [b"1000\r\n".to_vec(), vec![0; 4096], b"\r\n".to_vec()].concat();
        while write.write_all(&chunk).await.is_ok() {}
    };
    let mut answer = vec![0; 1024];
    let ((), length) = tokio::join!(sending, read.read(&mut answer));
    let length = length.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer[..length]));

    let mut slow = TcpStream::connect(rig.address("http")).await.unwrap();
    slow.write_all(format!("{head}content-length: 1000\r\n\r\nabc").as_bytes()).await.unwrap();
    let length = slow.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer[..length]));
    assert_eq!(rig.status().refused["slow"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_wanted_where_one_is_configured() {
    let mut endpoint = here().unwrap();
    endpoint.token = Some(Secret::new("0123456789abcdef".to_owned()));
    let rig = Rig::start(ReceiverKind::Otlp(OtlpReceiver {
        grpc: Some(endpoint.clone()),
        http: Some(endpoint),
        ..config()
    }))
    .await;
    let answer = post(rig.address("http"), "/v1/logs", &[PROTOBUF], logs(1)).await;
    assert_eq!(
        (answer.status, &answer.headers["www-authenticate"]),
        (StatusCode::UNAUTHORIZED, &"Bearer".parse().unwrap())
    );
    let answer = call(rig.address("grpc"), Signal::Logs.grpc_path(), &[], framed(0, &logs(1))).await;
    assert_eq!(answer.grpc_status(), "16");
    let token = ("authorization", "Bearer 0123456789abcdef");
    assert_eq!(
        post(rig.address("http"), "/v1/logs", &[PROTOBUF, token], logs(1)).await.status,
        StatusCode::OK
    );
    let answer = call(rig.address("grpc"), Signal::Logs.grpc_path(), &[token], framed(0, &logs(1))).await;
    assert_eq!(answer.grpc_status(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_over_its_rate_is_told_to_come_again() {
    let rig = Rig::with(ReceiverKind::Otlp(config()), ReceiverLimits { rate: Some(2), ..limits() }).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(post(rig.address("http"), "/v1/logs", &[PROTOBUF], logs(1)).await);
    }
    let last = seen.last().unwrap();
    assert_eq!((seen[0].status, last.status), (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(last.headers["retry-after"], "1");
    let answer = call(rig.address("grpc"), Signal::Logs.grpc_path(), &[], framed(0, &logs(1))).await;
    assert_eq!(answer.grpc_status(), "8");
    assert!(answer.headers.contains_key("grpc-status-details-bin"), "RetryInfo");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_wal_is_told_as_to_be_tried_again_and_intake_recovers() {
    let clock = std::sync::Arc::new(crate::clock::SystemClock);
    let rig = Rig::over(ReceiverKind::Otlp(config()), limits(), 8 << 20, clock).await;
    let noise: Vec<u8> = (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut request = Logs::new();
    request.record(&LogRecord { body: noise.as_slice().into(), ..LogRecord::default() });
    let large = request.take();
    let mut taken = 0;
    let refused = loop {
        let answer = post(rig.address("http"), "/v1/logs", &[PROTOBUF], large.clone()).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        taken += 1;
        assert!(taken < 100);
    };
    assert_eq!(
        (refused.status, &refused.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert!(refused.text().contains("the WAL is full"), "{}", refused.text());
    let answer = call(rig.address("grpc"), Signal::Logs.grpc_path(), &[], framed(0, &large)).await;
    assert_eq!(answer.grpc_status(), "14");
    assert!(answer.headers.contains_key("grpc-status-details-bin"), "RetryInfo");
    assert_eq!(rig.stored(Signal::Logs).len(), taken, "what was answered, and nothing else");
    rig.acknowledge_all(Signal::Logs);
    let answer = post(rig.address("http"), "/v1/logs", &[PROTOBUF], large).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_1970_and_2200_are_taken_as_they_are() {
    let rig = rig().await;
    for time in [0, 1, 7_258_118_400_000_000_000, u64::MAX] {
        let mut request = Logs::new();
        request.record(&LogRecord { time_ns: time, body: "then".into(), ..LogRecord::default() });
        let answer = post(rig.address("http"), "/v1/logs", &[PROTOBUF], request.take()).await;
        assert_eq!(answer.status, StatusCode::OK, "{time}");
    }
    assert_eq!(rig.stored(Signal::Logs).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_do_not_keep_a_working_one_out() {
    let rig = Rig::with(ReceiverKind::Otlp(config()), ReceiverLimits { connections: 50, ..limits() }).await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(rig.address("http")).await.unwrap());
    }
    let answer = post(rig.address("http"), "/v1/logs", &[PROTOBUF], logs(1)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let status =
        rig.wait_for_status(|status| status.refused.get("displaced").is_some_and(|n| *n >= 350)).await;
    assert!(status.connections.open <= 51, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_after_its_time() {
    let limits = ReceiverLimits { idle: Duration::from_millis(200), ..limits() };
    let rig = Rig::with(ReceiverKind::Otlp(config()), limits).await;
    let mut idle = TcpStream::connect(rig.address("http")).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(10), idle.read(&mut [0; 16])).await;
    assert_eq!(read.expect("it is closed").unwrap(), 0);
    assert_eq!(rig.status().refused["idle"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_under_way_and_refuses_what_comes() {
    let rig = rig().await;
    let stream = TcpStream::connect(rig.address("http")).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let first =
        answered(sender.send_request(request("POST", "/v1/logs", &[PROTOBUF], logs(1))).await.unwrap()).await;
    assert_eq!(first.status, StatusCode::OK);
    let address = rig.address("http");
    rig.stop().await;
    match sender.send_request(request("POST", "/v1/logs", &[PROTOBUF], logs(1))).await {
        Ok(answer) => assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE),
        // The end may be seen before the request, or instead of its answer.
        Err(error) => {
            let ended = error.is_closed() || error.is_canceled() || error.is_incomplete_message();
            assert!(ended, "{error:?}");
        }
    }
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert_eq!(rig.stored(Signal::Logs).len(), 1);
}
