//! Each misbehaviour of `/control`, as a sender sees it.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, and these call the rest")]

mod support;

use std::time::{Duration, Instant};

use http::Method;
use prost::Message;
use serde_json::Value;
use server_stub::{Options, Stub};
use support::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn start() -> Stub {
    Stub::start(Options::default()).unwrap()
}

async fn try_post(stub: &Stub, value: i64) -> Result<Reply, hyper::Error> {
    post(stub, "/v1/metrics", PROTOBUF, &[], counter("n", [value]).encode_to_vec()).await
}

async fn status(stub: &Stub, value: i64) -> u16 {
    try_post(stub, value).await.unwrap().status.as_u16()
}

#[tokio::test]
async fn fail_answers_as_told_until_reset() {
    let stub = start();
    control(&stub, "fail?code=503&retry_after=2&message=be+patient").await;
    let reply = try_post(&stub, 1).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "2"));
    assert_eq!(reply.rpc_status(), (14, "be patient".to_owned()));
    let date = "Fri%2C+20+Nov+2026+21%3A18%3A00+GMT";
    control(&stub, "reset").await;
    control(&stub, &format!("fail?code=429&retry_after={date}")).await;
    let reply = try_post(&stub, 1).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, "Fri, 20 Nov 2026 21:18:00 GMT"));
    let rules = control(&stub, "reset").await;
    assert_eq!(rules["rules"], Value::Array(vec![]));
    assert_eq!(rules["struck"], 2);
    assert_eq!(status(&stub, 3).await, 200);
    assert_eq!(values(&stub, "n").await, [3], "what was refused was not stored");
    let stats = &get(&stub, "/api/stats").await["signals"]["metrics"];
    assert_eq!(stats["refused_by_status"], serde_json::json!({ "429": 1, "503": 1 }));
}

#[tokio::test]
async fn fail_can_be_for_a_count_a_signal_or_after_storing() {
    let stub = start();
    control(&stub, "fail?code=500&count=2").await;
    let rule = &get(&stub, "/control/stats").await["rules"][0];
    assert_eq!((&rule["rule"], &rule["left"]), (&"fail?code=500&count=2".into(), &2.into()));
    assert_eq!([status(&stub, 1).await, status(&stub, 2).await, status(&stub, 3).await], [500, 500, 200]);
    control(&stub, "fail?signal=logs").await;
    assert_eq!(status(&stub, 4).await, 200);
    let logs = post(&stub, "/v1/logs", PROTOBUF, &[], all_logs().encode_to_vec()).await.unwrap();
    assert_eq!(logs.status, 503);
    control(&stub, "fail?when=after&count=1").await;
    assert_eq!(status(&stub, 5).await, 503);
    control(&stub, "fail?when=headers&count=1").await;
    assert_eq!(status(&stub, 6).await, 503);
    assert_eq!(values(&stub, "n").await, [3, 4, 5], "of `after`, only the answer is lost");
}

#[tokio::test]
async fn bodies_of_answers_can_be_wrong_in_every_way() {
    let stub = start();
    for (body, content_type, len) in [
        ("garbage", PROTOBUF, 13..14),
        ("empty", PROTOBUF, 0..1),
        ("html", "text/html; charset=utf-8", 20..200),
        ("huge", PROTOBUF, (8 << 20)..(8 << 20) + 1),
    ] {
        control(&stub, &format!("fail?code=200&body={body}&count=1")).await;
        let reply = try_post(&stub, 1).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, content_type), "{body}");
        assert!(len.contains(&reply.body.len()), "{body}: {} bytes", reply.body.len());
    }
    control(&stub, "fail?code=503&body=cut&count=1").await;
    let mut stream = TcpStream::connect(stub.http_addr).await.unwrap();
    let head = "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{answer:?}");
    assert!(answer.ends_with(b"2\r\n\x0a\x7f\r\n"), "the body has no end: {answer:?}");
    control(&stub, "fail?code=307&location=http%3A%2F%2F127.0.0.1%3A1%2F&count=1").await;
    let reply = try_post(&stub, 1).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("location")), (307, "http://127.0.0.1:1/"));
}

#[tokio::test]
async fn slow_waits() {
    let stub = start();
    control(&stub, "slow?delay=300ms&count=1").await;
    let before = Instant::now();
    assert_eq!(status(&stub, 1).await, 200);
    assert!(before.elapsed() >= Duration::from_millis(300));
    let before = Instant::now();
    assert_eq!(status(&stub, 2).await, 200);
    assert!(before.elapsed() < Duration::from_millis(300), "the next one is not slow");
}

#[tokio::test]
async fn partial_refuses_the_last_items_and_says_so() {
    let stub = start();
    control(&stub, "partial?rejected=2&message=too+old&count=2").await;
    let key = [("idempotency-key", "b/metrics/1..3/3")];
    let reply = post_metrics(&stub, &key, &counter("n", [1, 2, 3])).await;
    let answer = opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse::decode(
        reply.body.clone(),
    );
    let partial = answer.unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_data_points, partial.error_message.as_str()), (2, "too old"));
    assert_eq!(reply.status, 200);

    let body = serde_json::to_vec(&all_logs()).unwrap();
    let reply = post(&stub, "/v1/logs", JSON, &[], body).await.unwrap().json();
    assert_eq!(reply["partialSuccess"]["rejectedLogRecords"], "2");
    assert_eq!(reply["partialSuccess"]["errorMessage"], "too old");

    // A repeat is told what the first was told, without a rule.
    let again = post_metrics(&stub, &key, &counter("n", [1, 2, 3])).await;
    assert!(!again.body.is_empty(), "the partial success is repeated");
    assert_eq!(values(&stub, "n").await, [1]);
    let stats = &get(&stub, "/api/stats").await["signals"];
    assert_eq!((&stats["metrics"]["items"], &stats["metrics"]["rejected_items"]), (&1.into(), &2.into()));
    assert_eq!((&stats["logs"]["items"], &stats["logs"]["rejected_items"]), (&0.into(), &2.into()));
}

#[tokio::test]
async fn close_gives_no_answer_before_or_after_storing() {
    let stub = start();
    for when in ["headers", "before", "after"] {
        control(&stub, &format!("close?count=1&when={when}")).await;
        assert!(try_post(&stub, 1).await.is_err(), "{when}");
    }
    assert_eq!(values(&stub, "n").await, [1], "the last one was stored");
    assert_eq!(get(&stub, "/api/stats").await["signals"]["metrics"]["closed_on_command"], 3);
    assert_eq!(status(&stub, 2).await, 200);
}

#[tokio::test]
async fn hang_gives_no_answer_until_reset() {
    let stub = start();
    control(&stub, "hang?count=1").await;
    let hanging = try_post(&stub, 1);
    tokio::pin!(hanging);
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut hanging).await;
    assert!(waited.is_err(), "there was an answer: {waited:?}");
    assert_eq!(get(&stub, "/api/stats").await["signals"]["metrics"]["hung_on_command"], 1);
    control(&stub, "reset").await;
    assert!(hanging.await.is_err(), "closed without an answer");
    assert_eq!(values(&stub, "n").await, [0; 0]);
}

#[tokio::test]
async fn a_hanging_request_does_not_hold_up_the_end() {
    let stub = start();
    control(&stub, "hang").await;
    control(&stub, "slow?delay=1h&signal=logs").await;
    let address = stub.http_addr;
    for (path, body) in
        [("/v1/metrics", counter("n", [1]).encode_to_vec()), ("/v1/logs", all_logs().encode_to_vec())]
    {
        let request = request(address, Method::POST, path, &[("content-type", PROTOBUF)], body);
        tokio::spawn(async move { send(address, request).await });
    }
    while get(&stub, "/control/stats").await["struck"] != 2 {
        tokio::task::yield_now().await;
    }
    let before = Instant::now();
    tokio::task::spawn_blocking(|| stub.stop()).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
}

#[tokio::test]
async fn poison_refuses_what_contains_it_and_nothing_else() {
    let stub = start();
    control(&stub, "poison?name=bad").await;
    let post_named = async |name: &str| post_metrics(&stub, &[], &counter(name, [1])).await;
    let reply = post_named("bad").await;
    assert_eq!((reply.status.as_u16(), reply.rpc_status().0), (400, 3));
    assert_eq!(post_named("good").await.status, 200);
    assert_eq!(post_named("badly").await.status, 200, "the name is compared whole");
    let joined = [counter("good", [1]).encode_to_vec(), counter("bad", [1]).encode_to_vec()].concat();
    assert_eq!(post(&stub, "/v1/metrics", PROTOBUF, &[], joined).await.unwrap().status, 400);
    for (path, name, body) in [
        ("/v1/logs", "it.broke", all_logs().encode_to_vec()),
        ("/v1/logs", "it+broke", all_logs().encode_to_vec()),
        ("/v1/traces", "GET+/", all_spans().encode_to_vec()),
    ] {
        control(&stub, "reset").await;
        control(&stub, &format!("poison?name={name}&code=413")).await;
        assert_eq!(post(&stub, path, PROTOBUF, &[], body).await.unwrap().status, 413, "{name}");
    }
}

#[tokio::test]
async fn a_token_can_be_required() {
    let stub = start();
    control(&stub, "token?require=s3cret").await;
    let reply = try_post(&stub, 1).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.rpc_status().0), (401, 16));
    let header = |token| [("authorization", token)];
    assert_eq!(post_metrics(&stub, &header("Bearer wrong"), &counter("n", [2])).await.status, 401);
    assert_eq!(post_metrics(&stub, &header("Bearer s3cret"), &counter("n", [3])).await.status, 200);
    assert_eq!(values(&stub, "n").await, [3]);
}

#[tokio::test]
async fn encodings_can_be_refused_or_half_read() {
    let stub = start();
    control(&stub, "encoding?refuse=zstd").await;
    let plain = |value| counter("n", [value]).encode_to_vec();
    let post_packed = async |encoding, body| {
        post(&stub, "/v1/metrics", PROTOBUF, &[("content-encoding", encoding)], body)
            .await
            .unwrap()
            .status
            .as_u16()
    };
    assert_eq!(post_packed("zstd", zstd(&plain(1))).await, 415);
    assert_eq!(post_packed("gzip", gzip(&plain(2))).await, 200);
    control(&stub, "reset").await;
    control(&stub, "encoding?refuse=zstd&code=400").await;
    assert_eq!(post_packed("zstd", zstd(&plain(3))).await, 400);
    control(&stub, "reset").await;
    control(&stub, "encoding?first_frame=1").await;
    assert_eq!(post_packed("zstd", [zstd(&plain(4)), zstd(&plain(5))].concat()).await, 200);
    assert_eq!(values(&stub, "n").await, [2, 4], "the second frame is lost without a word");
}

#[tokio::test]
async fn reset_forgets_the_data_only_if_told() {
    let stub = start();
    let key = [("idempotency-key", "b/metrics/1..1/1")];
    post_metrics(&stub, &key, &counter("n", [1])).await;
    control(&stub, "reset").await;
    assert_eq!(values(&stub, "n").await, [1]);
    control(&stub, "reset?data=1").await;
    let stats = get(&stub, "/api/stats").await;
    assert_eq!((&stats["held"]["points"], &stats["held"]["series"]), (&0.into(), &0.into()));
    assert_eq!(stats["signals"]["metrics"]["requests"], 0);
    post_metrics(&stub, &key, &counter("n", [1])).await;
    assert_eq!(values(&stub, "n").await, [1], "the key was forgotten as well");
}

#[tokio::test]
async fn mistakes_are_named_and_set_nothing() {
    let stub = start();
    for (what, status, says) in [
        ("fail?code=42", 400, "an HTTP status from 200 to 599"),
        ("fail?cod=503", 400, "there is no parameter cod"),
        ("explode", 400, "there is no parameter /control/explode"),
        ("reset?all=1", 400, "known here: data"),
    ] {
        let path = format!("/control/{what}");
        let reply = send(stub.ui_addr, request(stub.ui_addr, Method::POST, &path, &[], "")).await.unwrap();
        assert_eq!(reply.status, status, "{what}");
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(says), "{what}: {error}");
    }
    let headers = [("origin", "http://evil.example")];
    let foreign = request(stub.ui_addr, Method::POST, "/control/fail", &headers, "");
    assert_eq!(send(stub.ui_addr, foreign).await.unwrap().status, 403);
    assert_eq!(get(&stub, "/control/stats").await["rules"], Value::Array(vec![]));
}
