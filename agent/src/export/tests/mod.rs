//! Exporters over real loopback sockets, records in memory, and time by hand.

mod age;
mod answers;
mod durable;
mod encodings;
mod grpc;
mod halving;
mod isolation;
mod lifecycle;
mod memory;
mod operate;
mod receiver;
mod secure;
mod store;
mod together;

use std::{future::Future, sync::Arc, time::Duration};

use whimbrel_otlp::Signal;

use self::{
    memory::{Letters, Memory},
    receiver::Receiver,
};
use super::{ExporterHandle, State, start};
use crate::{
    clock::manual::ManualClock,
    config::{Beginning, Compression, Exporter, Protocol, Retry, Secret, Signals, Tls},
};

/// The configured timeout; no backoff of these tests is as long, so that sleeps can be told apart.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What full jitter makes of the first backoff when every draw is the highest.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// A hold with the highest draw.
const HOLD: Duration = Duration::from_secs(75);

/// One exporter and all that is around it.
struct Bench {
    clock: Arc<ManualClock>,
    memory: Arc<Memory>,
    letters: Arc<Letters>,
    exporter: ExporterHandle,
}

impl Bench {
    fn new(config: &Exporter) -> Self {
        Self::over(config, Memory::new())
    }

    fn over(config: &Exporter, memory: Arc<Memory>) -> Self {
        let (clock, letters) = (ManualClock::new(), Letters::new());
        let exporter = start(config, memory.clone(), letters.clone(), clock.clone()).expect("starts");
        Self { clock, memory, letters, exporter }
    }

    /// Makes a record of metrics visible.
    fn push(&self, payload: &str) {
        self.push_as(Signal::Metrics, payload);
    }

    fn push_as(&self, signal: Signal, payload: &str) {
        self.memory.push(signal, payload);
        self.exporter.wake();
    }

    /// Makes records of metrics visible all at once.
    fn push_all<'a>(&self, payloads: impl IntoIterator<Item = &'a str>) {
        self.memory.push_all(Signal::Metrics, payloads);
        self.exporter.wake();
    }

    fn lane(&self, signal: Signal) -> super::LaneStatus {
        self.exporter
            .status()
            .lanes
            .into_iter()
            .find(|lane| lane.signal == signal.name())
            .expect("all are there")
    }

    fn metrics(&self) -> super::LaneStatus {
        self.lane(Signal::Metrics)
    }

    /// Waits until so many records are acknowledged, and counted as that.
    async fn settles(&self, records: usize) {
        self.memory.settles(records).await;
        in_time(async {
            let counted = || -> u64 {
                let of = |lane: super::LaneStatus| {
                    lane.delivered.records + lane.dead_lettered.records + lane.dropped.records
                };
                self.exporter.status().lanes.into_iter().map(of).sum()
            };
            while counted() < records as u64 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until a lane's state fits.
    async fn reaches(&self, signal: Signal, fits: impl Fn(&State) -> bool) {
        in_time(async {
            while !fits(&self.lane(signal).state) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn config(receiver: &Receiver) -> Exporter {
    config_to(&receiver.url())
}

pub(super) fn config_to(endpoint: &str) -> Exporter {
    Exporter {
        name: "backend".to_owned(),
        endpoint: endpoint.to_owned(),
        protocol: Protocol::HttpProtobuf,
        headers: vec![("x-token".to_owned(), Secret::new("s3cr3t-token".to_owned()))],
        tls: Tls::default(),
        compression: Compression::None,
        timeout: TIMEOUT,
        concurrency: None,
        max_request: 1 << 20,
        max_delay: Duration::ZERO,
        max_lag: None,
        max_age: None,
        from: Beginning::Oldest,
        retry: Retry { initial: FIRST_BACKOFF, maximum: Duration::from_secs(8), give_up_after: None },
        signals: Signals::default(),
    }
}

/// Fails a test that would otherwise hang.
async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("within a minute")
}
