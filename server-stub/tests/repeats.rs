//! Idempotency keys: what was stored is not stored again, whatever happened in between.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, and these call the rest")]

mod support;

use server_stub::{Data, Options, Stub};
use support::*;

fn start() -> Stub {
    Stub::start(Options::default()).unwrap()
}

#[tokio::test]
async fn a_repeat_is_answered_and_not_stored() {
    let stub = start();
    let key = [("idempotency-key", "backend/metrics/a-1..a-2/2")];
    for _ in 0..3 {
        assert_eq!(post_metrics(&stub, &key, &counter("n", [1, 2])).await.status, 200);
    }
    // The same data in another encoding is the same request.
    let body = gzip(&serde_json::to_vec(&counter("n", [1, 2])).unwrap());
    let headers = [key[0], ("content-encoding", "gzip")];
    assert_eq!(post(&stub, "/v1/metrics", JSON, &headers, body).await.unwrap().status, 200);
    assert_eq!(values(&stub, "n").await, [1, 2]);
    let stats = &get(&stub, "/api/stats").await["signals"]["metrics"];
    assert_eq!(stats["requests"], 1);
    assert_eq!(stats["items"], 2);
    assert_eq!(stats["repeated_requests"], 3);
    assert_eq!(stats["repeated_items"], 6);
    assert_eq!(stats["latency"]["since_start"]["items"], 2, "repeats say nothing about latency");
    let requests = get(&stub, "/api/requests?signal=metrics").await;
    assert_eq!(requests["requests"].as_array().unwrap().len(), 1);
    assert_eq!(requests["requests"][0]["key"], "backend/metrics/a-1..a-2/2");
}

#[tokio::test]
async fn requests_without_a_key_are_all_stored() {
    let stub = start();
    for _ in 0..2 {
        post_metrics(&stub, &[], &counter("n", [1])).await;
    }
    assert_eq!(values(&stub, "n").await, [1, 1], "what came twice is seen twice");
}

#[tokio::test]
async fn a_key_used_for_something_else_is_refused() {
    let stub = start();
    let key = [("idempotency-key", "b/metrics/1..2/2")];
    post_metrics(&stub, &key, &counter("n", [1, 2])).await;
    let reply = post_metrics(&stub, &key, &counter("n", [1, 2, 3])).await;
    assert_eq!(reply.status, 422);
    let other = [("idempotency-key", "b/logs/1..2/2")];
    assert_eq!(
        post_metrics(&stub, &other, &counter("n", [1, 2])).await.status,
        400,
        "a key for another signal"
    );
    let stats = &get(&stub, "/api/stats").await["signals"]["metrics"];
    assert_eq!(stats["key_conflicts"], 1);
    assert_eq!(values(&stub, "n").await, [1, 2]);
}

#[tokio::test]
async fn records_put_together_anew_are_noticed() {
    let stub = start();
    for (key, regrouped) in [
        ("b/metrics/a-1..a-5/5", 0),
        ("b/metrics/a-6..a-9/4", 0),
        ("c/metrics/a-1..a-3/3", 0),
        ("b/metrics/a-1..a-3/3", 1),
        ("b/metrics/a-4..a-9/6", 2),
    ] {
        post_metrics(&stub, &[("idempotency-key", key)], &counter("n", [1])).await;
        let stats = get(&stub, "/api/stats").await;
        assert_eq!(stats["signals"]["metrics"]["regrouped_requests"], regrouped, "{key}");
    }
}

#[tokio::test]
async fn a_restart_forgets_neither_data_nor_keys() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { data: Data::Directory(folder.path().join("new")), ..Options::default() };
    let key = [("idempotency-key", "b/metrics/1..2/2")];
    let stub = Stub::start(options()).unwrap();
    post_metrics(&stub, &key, &counter("n", [1, 2])).await;
    stub.stop();
    let stub = Stub::start(options()).unwrap();
    assert_eq!(post_metrics(&stub, &key, &counter("n", [1, 2])).await.status, 200);
    post_metrics(&stub, &[], &counter("n", [3])).await;
    assert_eq!(values(&stub, "n").await, [1, 2, 3], "and the series goes on");
    let stats = get(&stub, "/api/stats").await;
    assert_eq!(stats["signals"]["metrics"]["repeated_requests"], 1);
    assert_eq!(stats["signals"]["metrics"]["items"], 3);
    assert_eq!(stats["held"]["series"], 1);
}

#[tokio::test]
async fn clients_at_the_same_time_are_each_stored_once() {
    const CLIENTS: i64 = 8;
    const REQUESTS: i64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data: Data::Directory(folder.path().to_owned()), ..Options::default() };
    let stub = std::sync::Arc::new(Stub::start(options).unwrap());
    let clients = (0..CLIENTS).map(|client| {
        let stub = std::sync::Arc::clone(&stub);
        tokio::spawn(async move {
            for n in 0..REQUESTS {
                // Half of the clients send what the other half sends as well.
                let value = client % (CLIENTS / 2) * REQUESTS + n;
                let key = format!("b/metrics/{value}..{value}/1");
                let reply = post_metrics(&stub, &[("idempotency-key", &key)], &counter("n", [value])).await;
                assert_eq!(reply.status, 200);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let mut values = values(&stub, "n").await;
    values.sort_unstable();
    assert_eq!(values, (0..CLIENTS / 2 * REQUESTS).collect::<Vec<_>>());
    let stats = get(&stub, "/api/stats").await;
    assert_eq!(stats["signals"]["metrics"]["repeated_requests"], CLIENTS / 2 * REQUESTS);
}
