//! `/api`: what is shown is what was sent.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, and these call the rest")]

mod support;

use http::Method;
use prost::Message;
use serde_json::{Value, json};
use server_stub::{Options, Stub};
use support::*;

fn start() -> Stub {
    Stub::start(Options::default()).unwrap()
}

#[tokio::test]
async fn what_is_shown_is_what_was_sent() {
    let stub = start();
    post_metrics(&stub, &[], &all_metrics()).await;
    post(&stub, "/v1/logs", PROTOBUF, &[], all_logs().encode_to_vec()).await.unwrap();
    post(&stub, "/v1/traces", PROTOBUF, &[], all_spans().encode_to_vec()).await.unwrap();

    let metrics = get(&stub, "/api/metrics").await;
    let listed: Vec<[&str; 4]> = metrics["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| ["name", "unit", "kind", "temporality"].map(|field| metric[field].as_str().unwrap()))
        .collect();
    assert_eq!(
        listed,
        [
            ["a.counter", "By", "counter", "cumulative"],
            ["a.delta", "By", "counter", "delta"],
            ["a.gauge", "1", "gauge", ""],
            ["a.histogram", "s", "histogram", "cumulative"],
            ["a.nan", "1", "gauge", ""],
            ["a.summary", "s", "summary", ""],
            ["an.exponential", "s", "exponential_histogram", "delta"],
            ["an.infinity", "1", "gauge", ""],
            ["an.updown", "{thing}", "updowncounter", "cumulative"],
        ]
    );
    let last = |name: &str| {
        let metrics = metrics["metrics"].as_array().unwrap();
        metrics.iter().find(|metric| metric["name"] == name).unwrap()["last"]["value"].clone()
    };
    assert_eq!(last("a.counter"), i64::MAX);
    assert_eq!(last("an.updown"), i64::MIN);
    assert_eq!(last("a.gauge"), Value::Null, "no recorded value");
    assert_eq!(last("a.nan"), "NaN");
    assert_eq!(last("an.infinity"), "-Infinity");
    assert_eq!(last("a.histogram")["counts"], json!([1, 2]));
    assert_eq!(last("an.exponential")["positive"], json!({ "offset": -1, "counts": [3] }));
    assert_eq!(last("a.summary")["quantiles"], json!([[0.5, 1.25]]));

    let series = &get(&stub, "/api/series?name=a.counter").await["series"][0];
    assert_eq!(series["attributes"], json!({ "k": "é\"<script>" }));
    assert_eq!(series["resource"], json!({ "host.name": "box", "service.name": "test" }));
    assert_eq!(series["points"][0]["time_ns"], 1_700_000_000_000_000_001_u64);

    let logs = get(&stub, "/api/logs?event=it.broke&min_severity=17&contains=broke&host=box").await;
    let log = &logs["logs"][0];
    assert_eq!(log["body"], "it broke");
    assert_eq!(log["trace_id"], "000102030405060708090a0b0c0d0e0f");
    assert_eq!(
        log["attributes"],
        json!({
            "array": [1, "x"], "bool": true, "bytes": { "bytesValue": "AP8H" }, "double": 0.5,
            "int": i64::MIN, "list": { "inner": "y", "n": -9 },
        })
    );
    assert_eq!(get(&stub, "/api/logs?min_severity=18").await["logs"], json!([]));

    let span = &get(&stub, &format!("/api/spans?trace_id={}", "AB".repeat(16))).await["spans"][0];
    assert_eq!(span["name"], "GET /");
    assert_eq!(span["links"][0]["span_id"], "0404040404040404");
    assert_eq!(span["events"][0]["name"], "e");

    let hosts = get(&stub, "/api/hosts").await;
    assert_eq!(hosts["hosts"][0]["host"], "box");
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 1, "the three signals share their resource");
}

#[tokio::test]
async fn latency_is_from_collection_to_arrival() {
    let stub = start();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut logs = all_logs();
    let records = &mut logs.resource_logs[0].scope_logs[0].log_records;
    records.truncate(1);
    records[0].time_unix_nano = 1;
    records[0].observed_time_unix_nano = now - 60_000_000_000;
    post(&stub, "/v1/logs", PROTOBUF, &[], logs.encode_to_vec()).await.unwrap();
    let latency = &get(&stub, "/api/stats").await["signals"]["logs"]["latency"];
    for of in ["since_start", "last_minute"] {
        for quantile in ["p50_ms", "p90_ms", "p99_ms"] {
            let ms = latency[of][quantile].as_f64().unwrap();
            assert!((59_000.0..70_000.0).contains(&ms), "{of} {quantile}: {ms}");
        }
    }
}

#[tokio::test]
async fn a_live_view_waits_for_what_is_new() {
    let stub = start();
    post_metrics(&stub, &[], &counter("n", [1, 2, 3])).await;
    let first = get(&stub, "/api/latest?limit=2").await;
    let seen: Vec<_> = first["points"].as_array().unwrap().iter().map(|point| &point["value"]).collect();
    assert_eq!(seen, [2, 3], "the newest");
    let cursor = first["cursor"].as_str().unwrap().to_owned();
    let path = format!("/api/latest?since={cursor}&wait=50ms");
    let none = get(&stub, &path).await;
    assert_eq!((&none["points"], &none["cursor"]), (&json!([]), &first["cursor"]));

    let path = format!("/api/latest?since={cursor}&wait=60s");
    let (new, reply) = tokio::join!(get(&stub, &path), async {
        tokio::task::yield_now().await;
        post_metrics(&stub, &[], &counter("n", [4])).await
    });
    assert_eq!(reply.status, 200);
    assert_eq!(new["points"][0]["value"], 4);
}

#[tokio::test]
async fn questions_with_mistakes_are_answered_with_the_remedy() {
    let stub = start();
    for (path, status, says) in [
        ("/api/values", 400, "name is missing"),
        ("/api/logs?limit=0", 400, "a number from 1 to 10000"),
        ("/api/logs?sevrity=3", 400, "there is no parameter sevrity; known here: host, event"),
        ("/api/latest?since=1.2", 400, "no cursor"),
        ("/api/nothing", 404, "nothing at /api/nothing"),
        ("/nothing", 404, "nothing at /nothing"),
        ("/control/fail", 405, "takes POST"),
    ] {
        let reply = send(stub.ui_addr, request(stub.ui_addr, Method::GET, path, &[], "")).await.unwrap();
        assert_eq!(reply.status, status, "{path}");
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(says), "{path}: {error}");
    }
}
