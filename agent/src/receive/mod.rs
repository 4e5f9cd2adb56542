//! Receivers: what applications on this host send comes in here, and is answered when it is durable.
//!
//! ```text
//! listen: sockets, TLS, connections --> otlp, ldjson, ingest, statsd, syslog: one protocol each
//!   guard: token, rate                     |  whole OTLP requests --> intake --> store
//!   serve: HTTP/1.1 and HTTP/2             `- small events --> gather (5 ms or 256 KiB) --> store
//! counts: every receiver's, by cause --> status, /metrics
//! ```
//!
//! Invariants: nothing that a peer sends can panic the agent or hold more memory than `limits` say; what is refused is
//! told to its sender where the protocol can, and counted by cause; what was answered is durable.

mod receivers;

mod counts;
mod datagrams;
mod event;
mod ground;

mod gather;
mod intake;
mod pieces;

mod aside;
mod body;
mod guard;
mod listen;
mod serve;
mod tls;
mod unpack;

mod ingest;
mod ldjson;
mod otlp;
mod statsd;
mod syslog;

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
pub(crate) mod testing;

pub use counts::{ConnectionCounts, ReceiverStatus, SignalCounts};
pub use listen::ListenError;
pub use receivers::{ReceiverError, Receivers};

pub(crate) use counts::Counts;
pub(crate) use gather::{Full, Gather, Ticket};
pub(crate) use ground::{Ground, Started, Stop};
pub(crate) use guard::{Guard, Peer};
pub(crate) use intake::{Intake, IntakeError, Sent};
pub(crate) use listen::{Connection, Listener, Stream};
