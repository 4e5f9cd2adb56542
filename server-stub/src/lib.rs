//! An OTLP backend for trying things and for tests: it stores, shows, and fails on command.
//!
//! ```text
//! OTLP/HTTP   +-- receive --------------------------------+
//! OTLP/gRPC ->| headers -> faults -> body -> decode -> ... |-> store (one thread, SQLite) -> answer
//!             +-------------------------------------------+          |
//! --ui      ->  ui: /api (reads the store) . /control (sets faults) <-+
//! ```
//!
//! - A 200 (over gRPC, OK) means stored; with [`Data::Directory`] it means committed and synced.
//! - A repeat of an idempotency key is answered like the first request and not stored again. Keys are
//!   committed in the transaction of their data, so that neither a crash nor a restart parts them.
//! - Whatever comes in is bounded: connections, headers, bodies, what bodies decompress to, rows, series,
//!   age and bytes kept. What a bound costs is counted in `/api/stats`.
//!
//! It shares no code with the agent, so that a mistake in one is not made by the other as well. It is no
//! place for data that matters: there is no authentication but what `/control/token` asks for in tests.

mod faults;
mod figures;
mod listen;
mod options;
mod outage;
mod parameters;
mod receive;
mod signal;
mod store;
mod stub;
mod ui;

pub use options::{Data, Limits, Options, Retention};
pub use signal::{Signal, UnknownSignal};
pub use stub::{StartError, Stub};
