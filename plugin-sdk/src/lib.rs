//! What a Whimbrel plugin in Rust is written with.
//!
//! A collector is a type that implements [`Collector`], and one [`collector!`] that makes a component of it. It is
//! given its configuration as its own type, is asked once an interval, and writes what it finds into [`Emit`],
//! which encodes OTLP straight into one buffer. What it can reach stands in [`clock`], [`log`], [`secrets`],
//! [`system`] and [`certificates`], and with the features of those names in `files` and `http`; nothing else exists
//! for it.
//!
//! ```
//! use whimbrel_sdk::{Attributes, Collector, Context, Emit, Error, Metric, More, NoConfig};
//!
//! const ANSWER: Metric = Metric::gauge("example.answer", "1", "The answer.");
//!
//! struct Example {
//!     series: Attributes,
//! }
//!
//! impl Collector for Example {
//!     type Config = NoConfig;
//!
//!     fn new(_context: Context<NoConfig>) -> Result<Self, Error> {
//!         Ok(Self { series: Attributes::new().with("question", "unknown") })
//!     }
//!
//!     fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
//!         out.metric(&ANSWER).point(&self.series, 42i64)?;
//!         Ok(More::No)
//!     }
//! }
//!
//! whimbrel_sdk::collector!(Example { name: "example", description: "Answers." });
//! ```
//!
//! The same type runs natively in tests, in `testing`. Invariants: no call here panics; what is emitted is
//! well-formed OTLP; at most about 1000 items are held before they are pushed.

#[allow(unsafe_code, missing_docs, clippy::all, unreachable_pub)]
#[doc(hidden)]
pub mod bindings;
pub mod certificates;
pub mod clock;
mod collector;
mod emit;
mod error;
#[doc(hidden)]
pub mod export;
#[cfg(feature = "files")]
pub mod files;
mod host;
#[cfg(feature = "http")]
pub mod http;
pub mod log;
mod macros;
pub mod secrets;
pub mod system;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod units;

pub use collector::{Collector, Context, Described, More, NoConfig, Plugin};
pub use emit::{Emit, HistogramPoints, Points};
pub use error::Error;
pub use whimbrel_otlp::Signal;
pub use whimbrel_otlp::write::{
    Attributes, Data, Histogram, HistogramPoint, LogRecord, Metric, Number, Severity, Temporality, Value,
};
