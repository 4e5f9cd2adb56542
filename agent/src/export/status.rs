//! What an operator sees of an exporter: a snapshot for `whimbrel status` and the metrics.
//!
//! Counters count since the start of the process; the WAL's own survive it.

use serde::Serialize;
use whimbrel_otlp::Signal;

use super::source::{Record, Settled};

/// One exporter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExporterStatus {
    /// Its key in the configuration.
    pub name: String,
    /// Where it sends, as configured.
    pub endpoint: String,
    /// How it sends: `http/protobuf` or `grpc`; a signal of its own protocol is named in the configuration only.
    pub protocol: &'static str,
    /// The worst of its lanes' states.
    pub state: State,
    /// One a signal: metrics, logs, traces.
    pub lanes: Vec<LaneStatus>,
}

impl ExporterStatus {
    /// Whether an operator has it paused.
    pub fn is_paused(&self) -> bool {
        matches!(self.state, State::Paused { .. })
    }
}

/// What an exporter, or one lane of it, is at. Times are ms since 1970.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// There is nothing to send.
    Idle,
    /// Requests go out and are answered.
    Sending,
    /// The receiver (or the WAL) can't now; the same request is tried again.
    Waiting {
        /// Since when.
        since_unix_ms: u64,
        /// The next try.
        until_unix_ms: u64,
        /// The last failure.
        reason: String,
    },
    /// The receiver refuses the exporter, not the data; nothing leaves the WAL until that is mended.
    Held {
        /// Since when.
        since_unix_ms: u64,
        /// The next try, unless `resume` asks for one at once.
        until_unix_ms: u64,
        /// What it says.
        reason: String,
    },
    /// An operator paused it: nothing is sent until `resume`, or the next start. What is under way ends.
    Paused {
        /// Since when.
        since_unix_ms: u64,
    },
}

/// One signal of one exporter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// `metrics`, `logs` or `traces`.
    pub signal: &'static str,
    /// What it is at.
    pub state: State,
    /// The encoding in use: `zstd`, `gzip`, `identity`.
    pub encoding: &'static str,
    /// Whether several zstd frames make one body: `many`, `single`, `unknown`.
    pub frames: &'static str,
    /// Requests put together and not yet settled.
    pub in_flight: u32,
    /// Answers by what they meant.
    pub requests: Requests,
    /// Acknowledged as delivered.
    pub delivered: Amount,
    /// Items of delivered records that the receiver said it did not keep.
    pub rejected_items: u64,
    /// Acknowledged as dead letters.
    pub dead_lettered: Amount,
    /// Acknowledged as dropped, after `retry.give_up_after` or beyond `max_age`.
    pub dropped: Amount,
    /// Bytes of request bodies that were accepted, as they travelled.
    pub sent_bytes: u64,
    /// What the receiver last said about items that it did not keep, or as a warning.
    pub last_partial: Option<String>,
    /// The last failure or refusal, whatever followed.
    pub last_error: Option<String>,
    /// When that was, ms since 1970.
    pub last_error_unix_ms: Option<u64>,
    /// When the receiver last took a request, ms since 1970.
    pub last_success_unix_ms: Option<u64>,
}

/// Answers by what they meant; their sum is the number of requests that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// Taken.
    pub accepted: u64,
    /// Refused for their data: 400, 413, 422, INVALID_ARGUMENT, RESOURCE_EXHAUSTED without a delay.
    pub data_refused: u64,
    /// Refused for their encoding.
    pub encoding_refused: u64,
    /// Not answered, or to be tried again.
    pub unavailable: u64,
    /// Refused for the exporter: credentials, address, configuration, or an error of the receiver's.
    pub held: u64,
    /// Of the accepted, those whose answer was not what OTLP says it should be.
    pub unreadable_answers: u64,
}

/// How much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Records.
    pub records: u64,
    /// Data points, log records or spans.
    pub items: u64,
    /// Uncompressed bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, records: &[Record]) {
        for record in records {
            self.records += 1;
            self.items += u64::from(record.items);
            self.bytes += u64::from(record.uncompressed_len);
        }
    }
}

impl LaneStatus {
    pub(super) fn new(signal: Signal) -> Self {
        Self {
            signal: signal.name(),
            state: State::Idle,
            encoding: "",
            frames: "",
            in_flight: 0,
            requests: Requests::default(),
            delivered: Amount::default(),
            rejected_items: 0,
            dead_lettered: Amount::default(),
            dropped: Amount::default(),
            sent_bytes: 0,
            last_partial: None,
            last_error: None,
            last_error_unix_ms: None,
            last_success_unix_ms: None,
        }
    }

    pub(super) fn settled(&mut self, records: &[Record], settled: Settled) {
        match settled {
            Settled::Delivered => self.delivered.add(records),
            Settled::DeadLettered => self.dead_lettered.add(records),
            Settled::Dropped => self.dropped.add(records),
        }
    }

    pub(super) fn failed(&mut self, reason: &str, now_unix_ms: u64) {
        self.last_error = Some(reason.to_owned());
        self.last_error_unix_ms = Some(now_unix_ms);
    }
}
