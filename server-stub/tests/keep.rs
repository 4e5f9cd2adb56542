//! What is kept: rows, bytes, series and keys are bounded, the oldest goes first, and what went is counted.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, and these call the rest")]

mod support;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, any_value},
    metrics::v1::{Gauge, Metric, NumberDataPoint, metric, number_data_point},
};
use prost::Message;
use server_stub::{Data, Options, Retention, Stub};
use support::*;

fn start(retention: Retention) -> Stub {
    Stub::start(Options { retention, ..Options::default() }).unwrap()
}

#[tokio::test]
async fn rows_are_bounded_and_the_newest_stay() {
    let stub = start(Retention { rows: 5, ..Retention::default() });
    for n in 0..4 {
        post_metrics(&stub, &[], &counter("n", [n * 2, n * 2 + 1])).await;
    }
    assert_eq!(values(&stub, "n").await, [3, 4, 5, 6, 7]);
    post(&stub, "/v1/logs", PROTOBUF, &[], all_logs().encode_to_vec()).await.unwrap();
    let stats = get(&stub, "/api/stats").await;
    assert_eq!(stats["held"]["points"], 5);
    assert_eq!(stats["held"]["logs"], 2, "each table has its own bound");
    assert_eq!(stats["expired"]["by_rows"]["points"], 3);
    assert_eq!(stats["signals"]["metrics"]["items"], 8, "what was received is counted all the same");
}

#[tokio::test]
async fn series_are_bounded_and_the_sender_is_told() {
    let stub = start(Retention { series: 2, ..Retention::default() });
    let gauge = |name: &str| Metric {
        name: name.to_owned(),
        data: Some(metric::Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint {
                value: Some(number_data_point::Value::AsInt(1)),
                ..Default::default()
            }],
        })),
        ..Default::default()
    };
    let request = metrics_of(["a", "b", "c", "a", "d"].map(gauge).to_vec());
    let reply = post(&stub, "/v1/metrics", JSON, &[], serde_json::to_vec(&request).unwrap()).await.unwrap();
    assert_eq!(reply.status, 200);
    let partial = &reply.json()["partialSuccess"];
    assert_eq!(partial["rejectedDataPoints"], "2");
    assert!(partial["errorMessage"].as_str().unwrap().contains("as many series"), "{partial}");
    assert_eq!(values(&stub, "a").await, [1, 1]);
    let stats = get(&stub, "/api/stats").await;
    assert_eq!(stats["held"]["series"], 2);
    assert_eq!(stats["signals"]["metrics"]["rejected_items"], 2);
}

#[tokio::test]
async fn keys_are_bounded() {
    let stub = start(Retention { keys: 2, ..Retention::default() });
    let post = async |n: i64| {
        let key = format!("b/metrics/{n}..{n}/1");
        post_metrics(&stub, &[("idempotency-key", &key)], &counter("n", [n])).await;
    };
    for n in [1, 2, 3, 3, 2] {
        post(n).await;
    }
    assert_eq!(values(&stub, "n").await, [1, 2, 3], "the newest two keys are known");
    post(1).await;
    assert_eq!(values(&stub, "n").await, [1, 2, 3, 1], "the oldest is not");
    assert_eq!(get(&stub, "/api/stats").await["expired"]["by_rows"]["requests"], 2);
}

#[tokio::test]
async fn bytes_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 4 << 20;
    let options = Options {
        data: Data::Directory(folder.path().to_owned()),
        retention: Retention { bytes: limit, ..Retention::default() },
        ..Options::default()
    };
    let stub = Stub::start(options).unwrap();
    let mut logs = all_logs();
    let record = &mut logs.resource_logs[0].scope_logs[0].log_records[0];
    record.body = Some(AnyValue { value: Some(any_value::Value::StringValue("x".repeat(500_000))) });
    let body = logs.encode_to_vec();
    for _ in 0..40 {
        assert_eq!(post(&stub, "/v1/logs", PROTOBUF, &[], body.clone()).await.unwrap().status, 200);
    }
    let stats = get(&stub, "/api/stats").await;
    assert!(stats["held"]["bytes"].as_u64().unwrap() <= limit, "{stats}");
    assert!(stats["held"]["logs"].as_u64().unwrap() >= 2, "not more than needed is dropped: {stats}");
    let expired = stats["expired"]["by_bytes"]["logs"].as_u64().unwrap();
    assert_eq!(expired + stats["held"]["logs"].as_u64().unwrap(), 80);
}
