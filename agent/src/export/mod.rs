//! The way out: one task an exporter and signal, cursor -> read -> put together -> send -> acknowledge.
//!
//! An exporter is what the configuration calls one way out. Its three lanes, one a signal, don't wait for each
//! other, and no two exporters share a queue, a connection or a retry timer: a failure is its own. In the order
//! of the path:
//!
//! - `exporter`: starts, wakes, drains and stops the lanes; `rewind`: sets the cursor back under them; `orders`: what
//!   they are told;
//! - `source`: where records come from, and where they are acknowledged; `wal_source`: the real one;
//! - `lane`: keeps requests in flight, and what they share; `reader`: puts their records together; `age`: gives up
//!   those that are too old;
//! - `deliver`: one request to its end: plan, send, decide, acknowledge; `gate`: one prober at a time;
//! - `dialect`: what is known of the receiver: its encoding, and whether it reads on after the first frame;
//! - `encode`: records to a request's body, untouched where that is possible;
//! - `transport`: what a request and its outcome are; `http`, `answer`: OTLP/HTTP; `grpc`: OTLP/gRPC; `client`,
//!   `tls`, `response`: what both stand on;
//! - `retry`: outcome -> decision, pure;
//! - `status`: what an operator sees of all that.
//!
//! Invariants: a record is acknowledged only when the receiver has taken it, when it is durable among the dead
//! letters, or when the configuration says to give it up, and each of the three is counted. A request is planned
//! before it is sent, so that after a crash it goes out again as it was, under the same `Idempotency-Key`. Once the
//! cursor has been set back, requests bear other keys, or receivers would drop them as repeats.
//! Deliberately absent: decoding OTLP, and any buffer but the requests in flight.

mod exporter;
mod orders;
mod rewind;

mod source;
mod wal_source;

mod age;
mod lane;
mod reader;

mod deliver;
mod gate;

mod dialect;
mod encode;

mod transport;

mod answer;
mod http;

mod grpc;

mod client;
mod response;
mod tls;

mod retry;
mod status;

pub use exporter::{Drained, ExportError, ExporterHandle, start};
pub use rewind::{RewindError, Rewound};
pub use source::{
    DeadLetters, Plan, ReadLimit, Record, RecordId, RewindTo, Settled, Source, SourceError, Stored,
};
pub use status::{Amount, ExporterStatus, LaneStatus, Requests, State};

#[cfg(test)]
mod tests;
