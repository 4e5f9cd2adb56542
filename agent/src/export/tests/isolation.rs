//! A failure is its own: other exporters, and other signals of the same one, don't notice.

use std::sync::Arc;

use tokio::sync::Barrier;
use whimbrel_otlp::Signal;

use super::{
    Bench, FIRST_BACKOFF, HOLD, config, config_to, in_time,
    memory::Memory,
    receiver::{Receiver, Reply},
};
use crate::{
    config::{Compression, Secret, SignalSettings},
    export::State,
};

#[tokio::test]
async fn an_exporter_without_a_receiver_does_not_delay_another() {
    let receiver = Receiver::willing().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    // Each has a cursor of its own over the same records.
    let (dead, alive) = (Bench::new(&config_to(&nobody)), Bench::new(&config(&receiver)));
    for number in 1..=20 {
        dead.push("x");
        alive.push("x");
        // Without any time passing on the clock that the dead one waits for.
        alive.settles(number).await;
    }
    in_time(dead.clock.someone_sleeps(FIRST_BACKOFF)).await;
    assert_eq!(dead.memory.settled(), []);
    assert_eq!(alive.metrics().delivered.records, 20);
    assert_eq!(alive.metrics().requests.unavailable, 0);
}

#[tokio::test]
async fn signals_of_one_exporter_don_t_wait_for_each_other() {
    let receiver = Receiver::new(|request, _| match request.path.as_str() {
        "/v1/metrics" => Reply::Hang,
        "/v1/logs" => Reply::status(404),
        _ => Reply::ok(),
    })
    .await;
    let bench = Bench::new(&config(&receiver));
    bench.push_as(Signal::Metrics, "hangs");
    bench.push_as(Signal::Logs, "is refused");
    bench.push_as(Signal::Traces, "goes");
    bench.settles(1).await;
    receiver.gets(3).await;
    assert_eq!(bench.lane(Signal::Traces).delivered.records, 1);
    in_time(bench.clock.someone_sleeps(HOLD)).await;
    assert!(matches!(bench.lane(Signal::Logs).state, State::Held { .. }));
    assert_eq!(bench.metrics().in_flight, 1);
    assert!(matches!(bench.exporter.status().state, State::Held { .. }), "the worst one shows");
}

#[tokio::test]
async fn metrics_go_one_at_a_time_and_logs_two() {
    let receiver = Receiver::new(|_, _| Reply::Hang).await;
    let mut config = config(&receiver);
    config.max_request = 1;
    let bench = Bench::new(&config);
    for signal in [Signal::Metrics, Signal::Logs] {
        for _ in 0..5 {
            bench.push_as(signal, "x");
        }
    }
    let received = receiver.gets(3).await;
    let logs = received.iter().filter(|request| request.path == "/v1/logs").count();
    assert_eq!((received.len(), logs), (3, 2));
    // A full lane reads nothing ahead.
    assert_eq!((bench.metrics().in_flight, bench.lane(Signal::Logs).in_flight), (1, 2));
    assert_eq!(bench.memory.plans().len(), 3);
}

#[tokio::test]
async fn an_outage_is_probed_by_one_request_whatever_the_concurrency() {
    let memory = Memory::new();
    for _ in 0..8 {
        memory.push(Signal::Logs, "x");
    }
    // The first round of four is refused, then the first probe, then all is well.
    let all = Arc::new(Barrier::new(4));
    let receiver = Receiver::new(move |_, number| match number {
        0..4 => Reply::Together(Arc::clone(&all), 503),
        4 => Reply::status(503),
        _ => Reply::ok(),
    })
    .await;
    let mut config = config(&receiver);
    config.max_request = 1;
    config.concurrency = Some(4);
    let bench = Bench::over(&config, memory);
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    bench.clock.advance(FIRST_BACKOFF);
    in_time(bench.clock.someone_sleeps(2 * FIRST_BACKOFF)).await;
    assert_eq!(receiver.received().len(), 5, "one probe");
    bench.clock.advance(2 * FIRST_BACKOFF);
    bench.settles(8).await;
    assert_eq!(receiver.received().len(), 13);
}

#[tokio::test]
async fn a_signal_may_have_an_address_headers_and_an_encoding_of_its_own() {
    let (general, special) = (Receiver::willing().await, Receiver::willing().await);
    let mut config = config(&general);
    config.signals.logs = SignalSettings {
        url: Some(format!("{}/ingest?tenant=7", special.url())),
        headers: Some(vec![("x-other".to_owned(), Secret::new("another s3cr3t".to_owned()))]),
        compression: Some(Compression::Gzip),
        ..SignalSettings::default()
    };
    let bench = Bench::new(&config);
    bench.push_as(Signal::Metrics, "a metric");
    bench.push_as(Signal::Logs, "a log");
    bench.settles(2).await;
    let (metric, log) = (general.received().remove(0), special.received().remove(0));
    assert_eq!((metric.path.as_str(), log.path.as_str()), ("/v1/metrics", "/ingest"));
    assert_eq!((metric.header("x-token"), metric.header("x-other")), (Some("s3cr3t-token"), None));
    assert_eq!((log.header("x-token"), log.header("x-other")), (None, Some("another s3cr3t")));
    assert_eq!((metric.header("content-encoding"), log.header("content-encoding")), (None, Some("gzip")));
    assert_eq!((metric.text(), log.text()), ("a metric".into(), "a log".into()));
}
