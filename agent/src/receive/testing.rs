//! For the receivers' tests: a receiver over a real WAL in a folder of its own, and what it stored.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;
use whimbrel_otlp::{Resource, Signal, write::Attributes};
use whimbrel_wal::{Consumer, Encryption, Options, Outcome, ReadLimit, Wal};

use super::{ReceiverStatus, Receivers};
use crate::{
    clock::{Clock, SystemClock},
    config::{OnFull, Receiver, ReceiverKind, ReceiverLimits},
    store::{Store, lane_of},
};

/// Longest wait of a test for something that is under way.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running receiver, its WAL, and a consumer that acknowledges nothing.
pub(crate) struct Rig {
    _folder: tempfile::TempDir,
    pub(crate) wal: Wal,
    receivers: Receivers,
    consumer: Consumer,
}

/// A record as it was stored.
pub(crate) struct StoredRecord {
    /// The export request.
    pub(crate) request: Vec<u8>,
    /// As compressed.
    pub(crate) frame: Option<Vec<u8>>,
    pub(crate) source: String,
    pub(crate) items: u32,
}

impl Rig {
    /// Starts a receiver of this kind, with the limits of its kind.
    pub(crate) async fn start(kind: ReceiverKind) -> Self {
        let limits = ReceiverLimits::of(kind.name());
        Self::with(kind, limits).await
    }

    /// Starts a receiver with these limits.
    pub(crate) async fn with(kind: ReceiverKind, limits: ReceiverLimits) -> Self {
        Self::over(kind, limits, whimbrel_wal::MIN_MAX_SIZE * 16, Arc::new(SystemClock)).await
    }

    /// Starts a receiver over a WAL of this size, with this clock.
    pub(crate) async fn over(
        kind: ReceiverKind,
        limits: ReceiverLimits,
        wal_size: u64,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::new(Encryption::None);
        options.max_size = wal_size;
        options.consumers = vec!["test".into()];
        let (wal, _) = Wal::open(&folder.path().join("wal"), options).expect("a WAL");
        let consumer = wal.consumer("test").expect("configured");
        let agent = BTreeMap::from([("host.name".to_owned(), "test-host".to_owned())]);
        let resource =
            Resource::new(&Attributes::from_iter(agent.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
        let store = Store::new(wal.clone(), resource, clock.clone(), OnFull::Block, OnFull::Block);
        let receiver = Receiver { name: kind.name().to_owned(), kind, limits };
        let receivers = Receivers::start(&[receiver], &store, agent, &clock).await.expect("it starts");
        Self { _folder: folder, wal, receivers, consumer }
    }

    /// Where the endpoint of this name listens: `grpc`, `http`, `tcp`, `udp`.
    pub(crate) fn address(&self, endpoint: &str) -> SocketAddr {
        let listening = self.status().listening;
        let found = listening.iter().find_map(|one| one.strip_prefix(endpoint)?.strip_prefix(' '));
        found
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("{endpoint} in {listening:?}"))
    }

    /// What the receiver counted.
    pub(crate) fn status(&self) -> ReceiverStatus {
        self.receivers.status().remove(0)
    }

    /// Every record of a signal that is visible, oldest first.
    pub(crate) fn stored(&self, signal: Signal) -> Vec<StoredRecord> {
        let limit = ReadLimit { records: 100_000, uncompressed_bytes: 1 << 30 };
        let records = self.consumer.read(lane_of(signal), None, limit).expect("the WAL can be read");
        let stored = records.iter().map(|record| StoredRecord {
            request: record.payload().expect("a sound frame").to_vec(),
            frame: record.frame().map(|frame| frame.to_vec()),
            source: record.source.to_string(),
            items: record.items,
        });
        stored.collect()
    }

    /// Every record of a signal as OTLP/JSON, oldest first.
    pub(crate) fn json(&self, signal: Signal) -> Vec<Value> {
        let text = |request: &[u8]| whimbrel_otlp::to_json(signal, request).expect("it is OTLP");
        let json = |text: String| serde_json::from_str(&text).expect("it is JSON");
        self.stored(signal).iter().map(|record| json(text(&record.request))).collect()
    }

    /// Every record of all signals.
    pub(crate) fn all(&self) -> Vec<Value> {
        Signal::ALL.into_iter().flat_map(|signal| self.json(signal)).collect()
    }

    /// Waits until `enough` holds for the number of stored items of a signal; what is stored then.
    pub(crate) async fn wait_for(&self, signal: Signal, enough: impl Fn(u64) -> bool) -> Vec<StoredRecord> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let stored = self.stored(signal);
            let items = stored.iter().map(|record| u64::from(record.items)).sum();
            if enough(items) {
                return stored;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "{items} items of {signal} are stored: {:?}",
                self.status()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn wait_for_status(&self, wanted: impl Fn(&ReceiverStatus) -> bool) -> ReceiverStatus {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(tokio::time::Instant::now() < end, "{status:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Acknowledges every record of a signal, so that their room is free again; how many items that were.
    pub(crate) fn acknowledge_all(&self, signal: Signal) -> u64 {
        let limit = ReadLimit { records: 100_000, uncompressed_bytes: 1 << 30 };
        let records = self.consumer.read(lane_of(signal), None, limit).expect("the WAL can be read");
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        self.consumer.acknowledge(lane_of(signal), &ids, Outcome::Delivered).expect("acknowledged");
        records.iter().map(|record| u64::from(record.items)).sum()
    }

    /// Waits until something holds.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !holds().await {
            assert!(tokio::time::Instant::now() < end, "{what}: {:?}", self.status());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops the receiver; the WAL stays open.
    pub(crate) async fn stop(&self) {
        self.receivers.stop().await;
    }
}

/// Whether all of `part` is in `whole`: objects may have more, arrays hold an element that fits each.
pub(crate) fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| holds(whole, part)))
        }
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        (whole, part) => whole == part,
    }
}

/// The JSON blocks of a document; each that begins with `type` is sent, and one after it is what it becomes.
pub(crate) fn examples(document: &str) -> Vec<(String, Option<Value>)> {
    let mut examples: Vec<(String, Option<Value>)> = Vec::new();
    for block in document.split("```json\n").skip(1) {
        let text = block.split("\n```").next().expect("a block");
        match text.starts_with("{\"type\"") {
            true => examples.push((text.to_owned(), None)),
            false => {
                let becomes = serde_json::from_str(text).expect("it is JSON");
                examples.last_mut().expect("something becomes it").1 = Some(becomes);
            }
        }
    }
    examples
}
