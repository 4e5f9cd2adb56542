//! What a lane asks of the protocol beneath it: one request out, one outcome back.
//!
//! A transport classifies answers in its protocol's own terms (status codes, trailers), so that everything above
//! it speaks of [`Outcome`]s only. It keeps no state but its connections, retries nothing and decides nothing.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// A protocol and a receiver, for one signal.
pub(super) trait Transport: Send + Sync + 'static {
    /// Sends one request and waits for its answer, at most for the configured timeout.
    ///
    /// Cancel safe: dropping the future drops the request; the receiver may have taken it.
    fn send(&self, request: Request) -> BoxFuture<'_, Answer>;
}

/// One OTLP export request. Clones share the bytes.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) encoding: Encoding,
    /// The encoded body, in order.
    pub(super) body: Vec<Bytes>,
    /// The `Idempotency-Key`, in gRPC metadata of that name; probes have none.
    pub(super) key: Option<Arc<str>>,
}

impl Request {
    /// Bytes of the body as they travel.
    pub(super) fn len(&self) -> u64 {
        self.body.iter().map(|chunk| chunk.len() as u64).sum()
    }
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Zstd,
    Gzip,
    Identity,
}

impl Encoding {
    /// As `Content-Encoding` and `grpc-encoding` name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Gzip => "gzip",
            Encoding::Identity => "identity",
        }
    }
}

/// What came back, and who says so.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// The receiver's product and version, if it names them: another one means that it must be learned anew.
    pub(super) server: Option<String>,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, server: None }
    }
}

/// What an answer means for the data. Reasons are for people: bounded, one line, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has the request. Never sent again, whatever it rejected.
    Accepted {
        /// Items that it says it did not keep.
        rejected: u64,
        /// What it says about that, or as a warning.
        message: Option<String>,
        /// Whether the answer was what OTLP says it should be.
        readable: bool,
    },
    /// It does not take this encoding.
    EncodingRefused { reason: String },
    /// It does not take this data.
    DataRefused {
        reason: String,
        /// Whether the encoding may be what it could not read.
        suspect_encoding: bool,
    },
    /// It can't now: try again.
    Unavailable {
        reason: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
        /// The connection was lost or never made: the next one may end at another receiver.
        disconnected: bool,
    },
    /// It refuses the exporter rather than the data: wait for somebody to mend that.
    Held {
        reason: String,
        /// Whether a message that it can't parse may be answered like that too, as gRPC's INTERNAL is. Only the
        /// probe, whose message is meant to be that, makes something of it.
        suspect_data: bool,
    },
}

impl Outcome {
    /// Held, and certainly not over the data.
    pub(super) fn held(reason: String) -> Self {
        Outcome::Held { reason, suspect_data: false }
    }
}
