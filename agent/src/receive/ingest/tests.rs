//! The receiver over real sockets: the examples of its document, its answers, its bounds.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use whimbrel_otlp::Signal;

use crate::{
    clock::SystemClock,
    config::{
        Address, Answer, Endpoint, IngestMetric, IngestMetricKind, IngestOnFull, IngestReceiver,
        ReceiverKind, ReceiverLimits, Secret,
    },
    receive::testing::{Rig, examples, holds},
};

const DOCUMENT: &str = include_str!("../../../docs/ingest.md");

fn config() -> IngestReceiver {
    let http = Endpoint::at(Address::Tcp(([127, 0, 0, 1], 0).into()));
    let metric = |event: &str, kind| IngestMetric { event: event.to_owned(), kind };
    let metrics = vec![metric("queue", IngestMetricKind::Gauge), metric("sale", IngestMetricKind::Counter)];
    IngestReceiver { metrics, cors: vec!["https://shop.example.com".to_owned()], ..IngestReceiver::at(http) }
}

async fn rig() -> Rig {
    Rig::start(ReceiverKind::Ingest(config())).await
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answered {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "here");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answered { status: head.status, headers: head.headers, body }
}

async fn post(rig: &Rig, body: impl Into<Bytes>) -> Answered {
    send(rig.address("http"), "POST", "/ingest", &[], body).await
}

fn records(rig: &Rig, signal: Signal) -> u64 {
    rig.stored(signal).iter().map(|record| u64::from(record.items)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_document_become_what_it_says() {
    let examples = examples(DOCUMENT);
    assert!(examples.len() >= 2);
    for (event, expected) in examples {
        let rig = rig().await;
        let answer = post(&rig, event.clone()).await;
        assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, json!({"accepted": 1})), "{event}");
        let all = rig.all();
        assert!(
            all.iter().any(|stored| holds(stored, &expected.clone().unwrap())),
            "{event} became {all:#?}"
        );
        assert!(all.iter().all(|stored| stored.to_string().contains("test-host")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_a_list_and_lines_are_taken_on_both_paths_packed_or_not() {
    let rig = rig().await;
    let event = r#"{"type":"a","value":9007199254740993}"#;
    let forms = [
        (event.to_owned(), 1),
        (format!("[{event},{event}]"), 2),
        (format!("{event}\n{event}\r\n\n{event}\n"), 3),
        (format!(" \n[ {event} ]\n"), 1),
        ("[]".to_owned(), 0),
    ];
    let mut total = 0;
    for path in ["/ingest", "/ingest/batch"] {
        for (body, count) in &forms {
            let packed = zstd::bulk::compress(body.as_bytes(), 1).unwrap();
            for (headers, body) in
                [(&[][..], body.clone().into_bytes()), (&[("content-encoding", "zstd")][..], packed)]
            {
                let answer = send(rig.address("http"), "POST", path, headers, body).await;
                assert_eq!(
                    (answer.status, &answer.body),
                    (StatusCode::ACCEPTED, &json!({"accepted": count}))
                );
                total += count;
            }
        }
    }
    assert_eq!(records(&rig, Signal::Logs), total, "what was answered is stored");
    assert!(rig.all()[0].to_string().contains("9007199254740993"), "no rounding");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_and_nothing_of_the_request_is_taken() {
    let rig = rig().await;
    let good = r#"{"type":"a"}"#;
    for (body, message) in [
        (b"".to_vec(), "no event"),
        (b"{".to_vec(), "event 0: EOF"),
        (format!("[{good},{good},7]").into_bytes(), "event 2: invalid type"),
        (format!("[{good},{{\"type\":\"\"}}]").into_bytes(), "event 1: `type` must not be empty"),
        (format!("{good}\n{{\"name\":\"x\"}}\n").into_bytes(), "event 1: missing field `type`"),
        (format!("[{good}] [{good}]").into_bytes(), "trailing characters"),
        (br#"{"type":"a","type":"b"}"#.to_vec(), "duplicate field `type`"),
        (br#"{"type":"a","tags":{"k":1,"k":2}}"#.to_vec(), "\"k\" stands twice"),
        (br#"{"type":"a","tags":7}"#.to_vec(), "tags must be an object"),
        (br#"{"type":"a","value":NaN}"#.to_vec(), "event 0"),
        (br#"{"type":"a","timestamp":1790000000000}"#.to_vec(), "seconds, not milliseconds"),
        (br#"{"type":"a","trace_id":"xyz"}"#.to_vec(), "trace_id must be 32"),
        (br#"{"type":"queue","value":"many"}"#.to_vec(), "`value` must be a number"),
        (br#"{"type":"sale","value":-1}"#.to_vec(), "must not be negative"),
        (b"{\"type\":\"\xff\"}".to_vec(), "not UTF-8 at byte 9"),
        ("[".repeat(100_000).into_bytes(), "event 0"),
    ] {
        let answer = post(&rig, body.clone()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{shown}");
        assert!(answer.body["message"].as_str().unwrap().contains(message), "{shown}: {}", answer.body);
    }
    assert!(rig.all().is_empty());
    let to = rig.address("http");
    let large = vec![b' '; 17 << 20];
    for (method, path, headers, body, status) in [
        ("GET", "/ingest", &[][..], vec![], 405),
        ("POST", "/", &[][..], vec![], 404),
        ("POST", "/ingest", &[("content-type", "image/png")][..], vec![], 415),
        ("POST", "/ingest", &[("content-encoding", "br")][..], vec![], 415),
        ("POST", "/ingest", &[("content-encoding", "gzip")][..], b"{}".to_vec(), 400),
        ("POST", "/ingest", &[][..], large, 413),
    ] {
        let answer = send(to, method, path, headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path} {headers:?}: {}", answer.body);
        assert!(answer.body["message"].is_string());
    }
    let refused = rig.status().refused;
    assert_eq!((refused["invalid"], refused["method"], refused["path"]), (16, 1, 1), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_may_send_only_where_their_origin_is_listed() {
    let rig = rig().await;
    let to = rig.address("http");
    let good = ("origin", "https://shop.example.com");
    let preflight =
        send(to, "OPTIONS", "/ingest", &[good, ("access-control-request-method", "POST")], "").await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.headers["access-control-allow-origin"], good.1);
    let answer = send(to, "POST", "/ingest", &[good], r#"{"type":"a"}"#).await;
    assert_eq!(
        (answer.status, &answer.headers["access-control-allow-origin"]),
        (StatusCode::ACCEPTED, &good.1.parse().unwrap())
    );
    for method in ["OPTIONS", "POST"] {
        let answer = send(
            to,
            method,
            "/ingest",
            &[("origin", "https://evil.example"), ("content-type", "text/plain")],
            r#"{"type":"a"}"#,
        )
        .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    assert_eq!(records(&rig, Signal::Logs), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_wanted_where_one_is_configured() {
    let mut config = config();
    config.http.token = Some(Secret::new("0123456789abcdef".to_owned()));
    let rig = Rig::start(ReceiverKind::Ingest(config)).await;
    assert_eq!(post(&rig, r#"{"type":"a"}"#).await.status, StatusCode::UNAUTHORIZED);
    let token = [("authorization", "Bearer 0123456789abcdef")];
    let answer = send(rig.address("http"), "POST", "/ingest", &token, r#"{"type":"a"}"#).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

/// Events that hardly compress, `count` of them, of 20 KB each.
fn noise(count: usize) -> String {
    let mut random = 1u64;
    let events = (0..count).map(|_| {
        let digits = (0..1250).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{random:016x}")
        });
        json!({"type": "noise", "name": digits.collect::<String>()}).to_string()
    });
    events.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_wal_is_told_as_to_be_tried_again_and_intake_recovers() {
    let limits = ReceiverLimits::of("ingest");
    let rig =
        Rig::over(ReceiverKind::Ingest(config()), limits, 8 << 20, std::sync::Arc::new(SystemClock)).await;
    let body = noise(50);
    let mut taken = 0;
    let refused = loop {
        let answer = post(&rig, body.clone()).await;
        if answer.status != StatusCode::ACCEPTED {
            break answer;
        }
        taken += 50;
        assert!(taken < 5000);
    };
    assert_eq!(
        (refused.status, &refused.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert_eq!(records(&rig, Signal::Logs), taken, "what was answered, and nothing else");
    rig.acknowledge_all(Signal::Logs);
    assert_eq!(post(&rig, body).await.status, StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_is_told_or_its_events_are_dropped_and_counted() {
    for (on_full, status) in [(IngestOnFull::Refuse, 429), (IngestOnFull::Drop, 202)] {
        let config = IngestReceiver { answer: Answer::Accepted, on_full, buffer: 2 << 20, ..config() };
        let limits = ReceiverLimits::of("ingest");
        let rig =
            Rig::over(ReceiverKind::Ingest(config), limits, 8 << 20, std::sync::Arc::new(SystemClock)).await;
        let body = noise(50);
        let mut sent = 0;
        loop {
            let answer = post(&rig, body.clone()).await;
            sent += 50;
            let refused = rig.status().refused.get("buffer_full").copied().unwrap_or(0);
            let lost = rig.status().lost.get("buffer_full").copied().unwrap_or(0);
            if refused + lost > 0 {
                assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
                assert_eq!((refused, lost), if status == 429 { (1, 0) } else { (0, 50) });
                break;
            }
            assert!(sent < 20_000, "{:?}", rig.status());
        }
        // What was taken waits for room and is stored then.
        let mut stored = 0;
        let end = tokio::time::Instant::now() + crate::receive::testing::PATIENCE;
        while stored < sent - 50 {
            stored += rig.acknowledge_all(Signal::Logs);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert!(tokio::time::Instant::now() < end, "{stored} of {sent}: {:?}", rig.status());
        }
        assert_eq!(stored, sent - 50);
    }
}
