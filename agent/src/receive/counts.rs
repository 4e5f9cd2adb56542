//! What a receiver counts, and how it is shown.
//!
//! Hot counters are atomics; refusals and losses are rare and keep a name for their cause.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::Serialize;
use whimbrel_otlp::Signal;

/// What a receiver did, and what it did not take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReceiverStatus {
    /// The key in the configuration.
    pub name: String,
    /// What it speaks.
    pub kind: &'static str,
    /// Where it listens, such as `grpc 127.0.0.1:4317`.
    pub listening: Vec<String>,
    /// Its connections.
    pub connections: ConnectionCounts,
    /// What became durable.
    pub metrics: SignalCounts,
    /// What became durable.
    pub logs: SignalCounts,
    /// What became durable.
    pub traces: SignalCounts,
    /// Requests, lines, datagrams and connections that were refused, by cause; their senders were told where the
    /// protocol can.
    pub refused: BTreeMap<&'static str, u64>,
    /// Events that are lost and nobody was told, by cause.
    pub lost: BTreeMap<&'static str, u64>,
    /// Events that senders say they had to drop themselves.
    pub dropped_by_senders: u64,
    /// Bytes that wait to become durable.
    pub waiting_bytes: u64,
    /// Sources that promised a heartbeat and are silent, ordered.
    pub silent: Vec<String>,
}

/// Connections of a receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionCounts {
    /// Now.
    pub open: u64,
    /// Ever.
    pub accepted: u64,
}

/// What became durable of one signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SignalCounts {
    /// Data points, log records or spans.
    pub items: u64,
    /// Bytes of them as OTLP, uncompressed.
    pub bytes: u64,
}

/// The counters of one receiver.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    open: AtomicU64,
    accepted: AtomicU64,
    items: [AtomicU64; 3],
    bytes: [AtomicU64; 3],
    dropped_by_senders: AtomicU64,
    waiting: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    lost: Mutex<BTreeMap<&'static str, u64>>,
    silent: Mutex<Vec<String>>,
}

impl Counts {
    /// A request, line, datagram or connection was refused.
    pub(crate) fn refused(&self, cause: &'static str) {
        self.refused_many(cause, 1);
    }

    /// So many were refused at once.
    pub(crate) fn refused_many(&self, cause: &'static str, count: u64) {
        *lock(&self.refused).entry(cause).or_default() += count;
    }

    /// Events are lost, and their sender does not know.
    pub(crate) fn lost(&self, cause: &'static str, items: u64) {
        *lock(&self.lost).entry(cause).or_default() += items;
    }

    /// A sender says that it dropped so many.
    pub(crate) fn dropped_by_sender(&self, items: u64) {
        self.dropped_by_senders.fetch_add(items, Relaxed);
    }

    /// Items became durable; `bytes` of them as OTLP.
    pub(crate) fn stored(&self, signal: Signal, items: u64, bytes: u64) {
        self.items[index(signal)].fetch_add(items, Relaxed);
        self.bytes[index(signal)].fetch_add(bytes, Relaxed);
    }

    /// How many bytes wait now.
    pub(crate) fn waiting(&self, bytes: usize) {
        self.waiting.store(bytes as u64, Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.open.fetch_add(1, Relaxed);
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(crate) fn disconnected(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// Which sources are silent now.
    pub(crate) fn silent(&self, sources: Vec<String>) {
        *lock(&self.silent) = sources;
    }

    /// All of it.
    pub(crate) fn read(&self, name: &str, kind: &'static str, listening: &[String]) -> ReceiverStatus {
        let signal = |signal| SignalCounts {
            items: self.items[index(signal)].load(Relaxed),
            bytes: self.bytes[index(signal)].load(Relaxed),
        };
        ReceiverStatus {
            name: name.to_owned(),
            kind,
            listening: listening.to_vec(),
            connections: ConnectionCounts {
                open: self.open.load(Relaxed),
                accepted: self.accepted.load(Relaxed),
            },
            metrics: signal(Signal::Metrics),
            logs: signal(Signal::Logs),
            traces: signal(Signal::Traces),
            refused: lock(&self.refused).clone(),
            lost: lock(&self.lost).clone(),
            dropped_by_senders: self.dropped_by_senders.load(Relaxed),
            waiting_bytes: self.waiting.load(Relaxed),
            silent: lock(&self.silent).clone(),
        }
    }
}

fn index(signal: Signal) -> usize {
    match signal {
        Signal::Metrics => 0,
        Signal::Logs => 1,
        Signal::Traces => 2,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each lock guards one short, whole change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
