//! OTLP/gRPC over real connections, framed by hand: what is taken, what is refused and how, and the health service.
//!
//! On a thread of their own, because a stub that is dropped waits for its connections to say goodbye.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, and these call the rest")]

mod support;

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use server_stub::{Limits, Options, Signal, Stub};
use support::*;
use tokio::net::TcpStream;

fn start() -> Stub {
    Stub::start(Options::default()).unwrap()
}

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HEALTH: &str = "/grpc.health.v1.Health";

/// How a call ended.
#[derive(Debug)]
struct Ended {
    http: u16,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Ended {
    fn field(&self, name: &str) -> Option<&str> {
        let value = self.trailers.get(name).or_else(|| self.headers.get(name))?;
        Some(value.to_str().unwrap())
    }

    fn code(&self) -> &str {
        self.field("grpc-status").unwrap_or("none")
    }

    fn says(&self) -> &str {
        self.field("grpc-message").unwrap_or_default()
    }

    /// The one message of the answer.
    fn message(&self) -> &[u8] {
        assert_eq!(self.body[0], 0, "not compressed");
        assert_eq!(u32::from_be_bytes(self.body[1..5].try_into().unwrap()) as usize, self.body.len() - 5);
        &self.body[5..]
    }
}

/// One connection for many calls.
struct Client(http2::SendRequest<Full<Bytes>>, SocketAddr);

impl Client {
    async fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender, address)
    }

    async fn begin(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        let mut request = Request::post(format!("http://{}{path}", self.1)).header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0.ready().await?;
        self.0.send_request(request.body(Full::new(body.into())).unwrap()).await
    }

    async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Ended, hyper::Error> {
        let (head, body) = self.begin(path, headers, body).await?.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Ended { http: head.status.as_u16(), headers: head.headers, body: collected.to_bytes(), trailers })
    }
}

/// A call on a connection of its own.
async fn call(stub: &Stub, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Ended {
    Client::new(stub.grpc_addr).await.call(path, headers, body).await.unwrap()
}

fn framed(compressed: bool, message: &[u8]) -> Vec<u8> {
    [&[u8::from(compressed)][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

fn plain(value: i64) -> Vec<u8> {
    framed(false, &counter("n", [value]).encode_to_vec())
}

async fn code(stub: &Stub, value: i64) -> String {
    call(stub, METRICS, &[], plain(value)).await.code().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_signal_and_encoding_is_taken_as_over_http() {
    for encoding in ["", "identity", "gzip", "zstd"] {
        let stub = start();
        let mut client = Client::new(stub.grpc_addr).await;
        for (path, message) in [
            (METRICS, all_metrics().encode_to_vec()),
            (LOGS, all_logs().encode_to_vec()),
            (TRACES, all_spans().encode_to_vec()),
        ] {
            let body = match encoding {
                "gzip" => framed(true, &gzip(&message)),
                "zstd" => framed(true, &zstd(&message)),
                _ => framed(false, &message),
            };
            let header = [("grpc-encoding", encoding)];
            let headers = if encoding.is_empty() { &[][..] } else { &header[..] };
            let ended = client.call(path, headers, body).await.unwrap();
            assert_eq!((ended.http, ended.code()), (200, "0"), "{path} {encoding}: {ended:?}");
            assert_eq!(ended.headers["content-type"], "application/grpc");
            assert_eq!(ended.message(), b"", "no partial success");
        }
        let stats = get(&stub, "/api/stats").await;
        for (signal, items) in [("metrics", 10), ("logs", 2), ("traces", 1)] {
            assert_eq!(stats["signals"][signal]["items"], items, "{signal}");
        }
        let request = &get(&stub, "/api/requests?signal=metrics").await["requests"][0];
        let expected = if encoding.is_empty() { "identity" } else { encoding };
        assert_eq!((&request["protocol"], &request["encoding"]), (&"grpc".into(), &expected.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn several_frames_are_all_taken_and_counted() {
    let stub = start();
    let frames = [1, 2, 3].map(|value| zstd(&counter("n", [value]).encode_to_vec())).concat();
    let ended = call(&stub, METRICS, &[("grpc-encoding", "zstd")], framed(true, &frames)).await;
    assert_eq!(ended.code(), "0");
    assert_eq!(values(&stub, "n").await, [1, 2, 3]);
    let requests = get(&stub, "/api/requests").await;
    let request = &requests["requests"][0];
    assert_eq!((&request["zstd_frames"], &request["wire_bytes"]), (&3.into(), &frames.len().into()));

    // Nor is anything after them ignored, and a broken second frame shows.
    for broken in [&b"junk"[..], &zstd(b"\x0a")] {
        let body = framed(true, &[&zstd(b"")[..], broken].concat());
        let ended = call(&stub, METRICS, &[("grpc-encoding", "zstd")], body).await;
        assert_eq!(ended.code(), "3", "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_repeat_is_answered_alike_and_not_stored_whichever_protocol_it_comes_by() {
    let stub = start();
    control(&stub, "partial?rejected=1&message=too+old&count=1").await;
    let key = ("idempotency-key", "backend/metrics/a-1..a-1/1");
    let first = call(&stub, METRICS, &[key], plain(7)).await;
    let again = call(&stub, METRICS, &[key], plain(7)).await;
    assert_eq!((first.code(), first.message()), ("0", again.message()));
    assert_eq!(again.message(), [&[0x0A, 11, 0x08, 1, 0x12, 7][..], b"too old"].concat());
    let over_http = post_metrics(&stub, &[key], &counter("n", [7])).await;
    assert_eq!(over_http.body, again.message());
    let stats = &get(&stub, "/api/stats").await["signals"]["metrics"];
    assert_eq!((&stats["requests"], &stats["repeated_requests"]), (&1.into(), &2.into()));
    let wrong = call(&stub, LOGS, &[key], framed(false, b"")).await;
    assert_eq!(wrong.code(), "3");
    assert!(wrong.says().contains("idempotency-key is for metrics"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn malformed_calls_are_refused_with_what_and_where() {
    let stub = start();
    let whole = plain(1);
    let more = [&whole[..], &whole[..]].concat();
    let zstd_header = [("grpc-encoding", "zstd")];
    for (headers, body, says) in [
        (&[][..], Vec::new(), "the call ended at byte 0 of the five before a message"),
        (&[], whole[..3].to_vec(), "the call ended at byte 3"),
        (&[], whole[..9].to_vec(), "bytes, and 4 came"),
        (&[], more, "bytes follow the message"),
        (&[], [&[2][..], &whole[1..]].concat(), "the compressed flag, is 2"),
        (&[], [&[1][..], &whole[1..]].concat(), "no grpc-encoding says how"),
        (&zstd_header, framed(true, b"no frame"), "no valid zstd"),
        (&[], framed(false, b"\x0a"), "no valid protobuf"),
    ] {
        let ended = call(&stub, METRICS, headers, body).await;
        assert_eq!(ended.code(), "3", "{says}: {ended:?}");
        assert!(ended.says().contains(says), "{says}: {}", ended.says());
    }
    let ended = call(&stub, METRICS, &[("grpc-encoding", "br")], framed(true, b"x")).await;
    assert_eq!((ended.code(), ended.field("grpc-accept-encoding")), ("12", Some("identity,gzip,zstd")));
    let stats = get(&stub, "/api/stats").await;
    let by_status = &stats["signals"]["metrics"]["refused_by_status"];
    assert_eq!(*by_status, serde_json::json!({ "INVALID_ARGUMENT": 8, "UNIMPLEMENTED": 1 }));
    assert_eq!(stats["signals"]["metrics"]["requests"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_not_there_is_unimplemented_and_what_is_no_grpc_is_told_in_http() {
    let stub = start();
    for (path, says) in [
        ("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", "unknown service"),
        ("/opentelemetry.proto.collector.logs.v1.LogsService/Import", "unknown method Import"),
        ("/grpc.health.v1.Health/List", "unknown method List"),
        ("/x", "the path names no method"),
    ] {
        let ended = call(&stub, path, &[], framed(false, b"")).await;
        assert_eq!(ended.code(), "12", "{path}");
        assert!(ended.says().contains(says), "{path}: {}", ended.says());
    }
    let ended = call(&stub, METRICS, &[("content-type", PROTOBUF)], plain(1)).await;
    assert_eq!((ended.http, ended.code()), (415, "none"));
    let request =
        request(stub.grpc_addr, http::Method::POST, METRICS, &[("content-type", PROTOBUF)], plain(1));
    let reply = send(stub.grpc_addr, request).await.unwrap();
    assert_eq!(reply.status, 505);
    assert!(String::from_utf8_lossy(&reply.body).contains("over HTTP/2"), "{:?}", reply.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn messages_are_bounded_packed_and_unpacked() {
    let limits = Limits { body: 100_000, ..Limits::default() };
    let stub = Stub::start(Options { limits, ..Options::default() }).unwrap();
    let bomb = framed(true, &zstd(&vec![0; 100_001]));
    let large = framed(false, &vec![0; 100_001]);
    for (headers, body) in [(&[("grpc-encoding", "zstd")][..], bomb), (&[], large)] {
        let ended = call(&stub, METRICS, headers, body).await;
        assert_eq!(ended.code(), "8", "{ended:?}");
        assert_eq!(ended.field("grpc-status-details-bin"), None, "it will never fit");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_told_in_http_is_said_in_grpc() {
    let stub = start();
    for (rule, expected) in [
        ("fail?code=503", "14"),
        ("fail?code=429", "14"),
        ("fail?code=429&retry_after=2", "8"),
        ("fail?code=400", "3"),
        ("fail?code=401", "16"),
        ("fail?code=413", "8"),
        ("fail?code=500", "13"),
        ("fail?code=503&grpc_code=DATA_LOSS", "15"),
        ("fail?grpc_code=aborted", "10"),
        ("fail?code=200", "0"),
        ("poison?name=n", "3"),
        ("token?require=s3cret", "16"),
        ("encoding?refuse=identity", "12"),
    ] {
        control(&stub, &format!("{rule}&count=1")).await;
        assert_eq!(code(&stub, 1).await, expected, "{rule}");
    }
    assert_eq!(get(&stub, "/api/stats").await["signals"]["metrics"]["requests"], 0, "nothing was stored");

    control(&stub, "fail?code=503&retry_after=2&message=be+patient,+%C3%A4%25&count=1").await;
    let ended = call(&stub, METRICS, &[], plain(1)).await;
    assert_eq!((ended.code(), ended.says()), ("14", "be patient, %C3%A4%25"));
    let details = STANDARD_NO_PAD.decode(ended.field("grpc-status-details-bin").unwrap()).unwrap();
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    assert!(details.windows(url.len()).any(|window| window == url));
    assert!(details.ends_with(&[0x12, 4, 0x0A, 2, 0x08, 2]), "a delay of two seconds: {details:?}");

    control(&stub, "encoding?refuse=zstd").await;
    let body = framed(true, &zstd(&counter("n", [1]).encode_to_vec()));
    let ended = call(&stub, METRICS, &[("grpc-encoding", "zstd")], body).await;
    assert_eq!((ended.code(), ended.field("grpc-accept-encoding")), ("12", Some("identity,gzip")));
    assert_eq!(code(&stub, 2).await, "0");
    let bearer = [("authorization", "Bearer s3cret")];
    control(&stub, "token?require=s3cret").await;
    assert_eq!(call(&stub, METRICS, &bearer, plain(3)).await.code(), "0");
    assert_eq!(values(&stub, "n").await, [2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_can_be_wrong_in_every_way() {
    let stub = start();
    for (body, bytes) in [("garbage", 5 + 13), ("empty", 0), ("huge", 5 + (8 << 20))] {
        control(&stub, &format!("fail?code=200&body={body}&count=1")).await;
        let ended = call(&stub, METRICS, &[], plain(1)).await;
        assert_eq!((ended.code(), ended.body.len()), ("0", bytes), "{body}");
    }
    control(&stub, "fail?code=502&body=html&count=1").await;
    let ended = call(&stub, METRICS, &[], plain(1)).await;
    assert_eq!((ended.http, ended.code()), (502, "none"));
    control(&stub, "fail?code=200&body=cut&count=1").await;
    let mut client = Client::new(stub.grpc_addr).await;
    assert!(client.call(METRICS, &[], plain(1)).await.is_err(), "broken off within");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_can_be_closed_hung_and_slowed() {
    let stub = start();
    let mut client = Client::new(stub.grpc_addr).await;
    control(&stub, "close?count=1&when=after").await;
    assert!(client.call(METRICS, &[], plain(1)).await.is_err());
    let closed = async {
        while client.0.ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("the connection, not only the call");
    assert_eq!(values(&stub, "n").await, [1], "of `after`, only the answer is lost");

    control(&stub, "hang?count=1").await;
    let mut client = Client::new(stub.grpc_addr).await;
    let hung = tokio::time::timeout(Duration::from_millis(200), client.call(METRICS, &[], plain(2))).await;
    assert!(hung.is_err(), "{hung:?}");
    control(&stub, "reset").await;

    control(&stub, "slow?delay=300ms&count=1").await;
    let before = std::time::Instant::now();
    assert_eq!(code(&stub, 3).await, "0");
    assert!(before.elapsed() >= Duration::from_millis(300));
    let stats = &get(&stub, "/api/stats").await["signals"]["metrics"];
    assert_eq!((&stats["closed_on_command"], &stats["hung_on_command"]), (&1.into(), &1.into()));
}

/// `HealthCheckRequest` of a service.
fn health_of(service: &str) -> Vec<u8> {
    let field = if service.is_empty() {
        Vec::new()
    } else {
        [&[0x0A, service.len() as u8], service.as_bytes()].concat()
    };
    framed(false, &field)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn health_is_checked_by_service() {
    let stub = start();
    let mut services = vec![""];
    services.extend(Signal::ALL.map(Signal::service));
    for service in services {
        let ended = call(&stub, &format!("{HEALTH}/Check"), &[], health_of(service)).await;
        assert_eq!((ended.code(), ended.message()), ("0", &[0x08, 1][..]), "{service:?} is SERVING");
    }
    let ended = call(&stub, &format!("{HEALTH}/Check"), &[], health_of("another")).await;
    assert_eq!((ended.code(), ended.says()), ("5", "unknown service another"));
    let ended = call(&stub, &format!("{HEALTH}/Check"), &[], framed(false, b"\x0a")).await;
    assert_eq!(ended.code(), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_watch_says_how_it_stands_and_when_that_ends() {
    let stub = start();
    let mut client = Client::new(stub.grpc_addr).await;
    let mut watch = async |service: &str| {
        let path = format!("{HEALTH}/Watch");
        let mut body = client.begin(&path, &[], health_of(service)).await.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        (first, body)
    };
    let (first, known) = watch(Signal::Logs.service()).await;
    assert_eq!(first, framed(false, &[0x08, 1]), "SERVING");
    let (first, unknown) = watch("another").await;
    assert_eq!(first, framed(false, &[0x08, 3]), "SERVICE_UNKNOWN");
    let stopping = std::thread::spawn(move || stub.stop());
    for (body, last) in [(known, 2), (unknown, 3)] {
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "14");
        assert_eq!(collected.to_bytes(), framed(false, &[0x08, last]), "and that is the end");
    }
    stopping.join().unwrap();
}
