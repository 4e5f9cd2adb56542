//! Typed batches: what a guest lays out in its memory arrives as OTLP, and what OTLP has not is refused by name.

#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach the helpers of tests.

mod support;

use std::sync::Arc;

use support::{Bench, DEADLINE, Recorder, collects, setup};
use whimbrel_otlp::{
    Signal,
    write::{
        Attributes, Data, Histogram, HistogramPoint, LogRecord, Logs, Metric, Metrics, Scope, Severity,
        Temporality, Value,
    },
};
use whimbrel_plugin_host::{CollectError, FaultKind, GuestError, Limits, Setup};

const REACH: &[u8] = include_bytes!("../../../plugins/components/reach.wasm");
/// What `Recorder` says that the time is.
const NOW: u64 = support::NOW;

/// What `reach` pushes, or the line of log that says why it was refused.
async fn pushed(what: &str) -> Result<(Signal, Vec<u8>), String> {
    let bench = Bench::new();
    let plugin = bench.load(REACH).await;
    let services = Arc::new(Recorder::default());
    let config_json = format!(r#"{{"steps": [{{"say": "{what}"}}]}}"#);
    let mut instance = plugin.instantiate(Setup { config_json, ..setup(&services) }).await.unwrap();
    instance.collect(DEADLINE).await.unwrap();
    let mut seen = services.seen();
    let Some((batch, checkpoint)) = seen.batches.pop() else { return Err(seen.lines.remove(0).message) };
    assert_eq!(checkpoint.as_deref(), Some(&b"here"[..]));
    Ok((batch.signal, batch.request))
}

fn scope(attributes: &Attributes) -> Scope<'_> {
    Scope { name: "reach", version: "1", attributes: Some(attributes) }
}

fn metric(name: &str, data: Data) -> Metric<'_> {
    Metric { name, unit: "By", description: "what it is", data }
}

#[tokio::test]
async fn every_kind_of_metric_and_of_value_arrives_as_the_otlp_that_it_means() {
    let (signal, bytes) = pushed("metrics").await.unwrap();
    assert_eq!(signal, Signal::Metrics);
    let of_scope = Attributes::new().with("of", "scope");
    let json = Value::Map(vec![
        ("a", Value::Array(vec![Value::Int(1), Value::Double(2.5), Value::Text("x"), Value::Empty])),
        ("b", Value::Map(vec![("c", Value::Bool(false))])),
    ]);
    let series = Attributes::new()
        .with("text", "grüße")
        .with("none", "")
        .with("boolean", true)
        .with("int", -5i64)
        .with("double", 0.5)
        .with("bytes", &[0u8, 255][..])
        .with("json", json);
    let none = Attributes::new();
    let sum = |temporality, monotonic| Data::Sum { temporality, monotonic };
    let mut expected = Metrics::new();
    expected.resource(&Attributes::new().with("device", "one"));
    expected.scope(&scope(&of_scope));
    expected.metric(&metric("gauge", Data::Gauge)).point(&series, 3, 4, 1.5);
    expected.metric(&metric("sum", sum(Temporality::Cumulative, true))).point(&none, 3, 4, 7i64);
    expected.metric(&metric("delta", sum(Temporality::Delta, false))).point(&none, 3, 4, -7i64);
    let histogram = Histogram {
        name: "histogram",
        unit: "By",
        description: "what it is",
        temporality: Temporality::Delta,
    };
    let point = HistogramPoint {
        start_ns: 3,
        time_ns: 4,
        count: 6,
        sum: Some(9.5),
        min: None,
        max: Some(4.0),
        bounds: &[1.0, 2.0],
        buckets: &[1, 2, 3],
    };
    expected.histogram(&histogram).point(&Attributes::new().with("of", "histogram"), &point);
    expected.resource(&Attributes::new().with("device", "two"));
    expected.metric(&metric("now", Data::Gauge)).point(&none, 0, NOW, 0i64);
    assert_eq!(bytes, expected.finish());
}

#[tokio::test]
async fn every_field_of_a_log_record_arrives() {
    let (signal, bytes) = pushed("logs").await.unwrap();
    assert_eq!(signal, Signal::Logs);
    let of_scope = Attributes::new().with("of", "scope");
    let mut expected = Logs::new();
    expected.resource(&Attributes::new());
    expected.scope(&scope(&of_scope));
    expected.record(&LogRecord {
        time_ns: 1,
        observed_ns: 2,
        severity: Severity::new(9).unwrap(),
        severity_text: "notice",
        event_name: "device.app",
        body: Value::Array(vec![Value::Text("a"), Value::Map(vec![("b", Value::Int(1))])]),
        attributes: Some(&Attributes::new().with("key", "value")),
        flags: 1,
        trace_id: Some(std::array::from_fn(|n| n as u8)),
        span_id: Some(std::array::from_fn(|n| n as u8)),
    });
    expected.record(&LogRecord { observed_ns: NOW, body: "plain".into(), ..LogRecord::default() });
    assert_eq!(bytes, expected.finish());
}

#[tokio::test]
async fn what_otlp_has_not_is_refused_with_the_item_that_it_is_in() {
    for (what, expected) in [
        ("key", r#"metric \"m\": an attribute has an empty key"#),
        ("buckets", r#"metric \"h\": 2 buckets for 2 bounds"#),
        ("bounds", r#"metric \"h\": the bounds of a histogram must ascend"#),
        ("severity", "log record 0: severity 25: OTLP has 0 to 24"),
        ("id", "log record 0: trace-id of 15 bytes: give 16, or none"),
        ("json", r#"metric \"m\": attribute \"it\": not JSON"#),
        ("deep", r#"metric \"m\": attribute \"it\": JSON nested deeper than 16"#),
    ] {
        let said = pushed(what).await.unwrap_err();
        assert!(said.contains("Invalid") && said.contains(expected), "{what}: {said}");
    }
}

/// Pushes the typed list of metrics that lies at `list`, of so many resources.
fn pushes(list: u32, resources: u32) -> String {
    format!(
        "(call $push (i32.const 0) (i32.const {list}) (i32.const {resources}) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 2048)) (i32.const 2048)"
    )
}

#[tokio::test]
async fn a_batch_laid_out_by_hand_arrives() {
    let bench = Bench::new();
    let (items, list) = support::typed::gauge(12, 2);
    let guest = collects(&items, &pushes(list, 1));
    let (mut instance, services) = bench.start(&guest, Limits::default()).await;
    instance.collect(DEADLINE).await.unwrap();
    let mut expected = Metrics::new();
    let load = Metric::gauge("m", "By", "d");
    for n in 0..12u64 {
        let value = format!("value-{}", n % 10);
        let series = Attributes::new().with("key.0", &*value).with("key.1", &*value);
        // Time 0 is now.
        expected.resume(&load).point(&series, 0, if n == 0 { NOW } else { n }, n as f64);
    }
    assert_eq!(services.pushed(), [expected.finish()]);
}

#[tokio::test]
async fn lists_that_overlap_cost_no_more_than_what_may_be_handed_over() {
    let bench = Bench::new();
    // Each of the resources has the same metric of the same points: a megabyte of them says a terabyte.
    let (items, one) = support::typed::gauge(1000, 4);
    let copies = 20_000u32;
    let copy = format!(
        "{items} (func $copy (local $n i32) (loop $again
            (memory.copy (i32.add (i32.const 1048576) (i32.mul (local.get $n) (i32.const 44))) (i32.const {one}) (i32.const 44))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const {copies})))))"
    );
    let wat = support::Wat {
        items: &copy,
        collect: &format!("(call $copy) {}", pushes(1 << 20, copies)),
        pages: 32,
        ..support::Wat::default()
    };
    let (mut instance, services) = bench.start(&support::guest(&wat), Limits::default()).await;
    // What it says whole would take hours to read.
    let limit = Limits::default().output;
    let refused = instance.collect(DEADLINE).await.unwrap_err();
    assert_eq!(refused, CollectError::Guest(GuestError::TooLarge(limit)));
    assert!(services.seen().batches.is_empty() && instance.is_alive());
}

#[tokio::test]
async fn a_text_that_is_none_and_a_list_beyond_the_memory_end_the_instance() {
    let bench = Bench::new();
    let (items, list) = support::typed::gauge(1, 1);
    // `key.0` begins with a byte that no text begins with.
    let broken = items.replacen(r"\6b\65\79\2e\30", r"\ff\65\79\2e\30", 1);
    assert_ne!(items, broken);
    let far = pushes(0x7fff_fff0, 1);
    for (items, collect) in [(&broken, pushes(list, 1)), (&items, far)] {
        let (fault, services) = bench.fault(&collects(items, &collect), Limits::default()).await;
        assert_eq!(fault.kind, FaultKind::Contract, "{fault:?}");
        assert!(services.seen().batches.is_empty());
    }
}
