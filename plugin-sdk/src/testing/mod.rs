//! Runs a plugin natively: a fixed clock, fake figures, recorded pushes.
//!
//! ```
//! # use whimbrel_sdk::{Collector, Context, Emit, Error, Metric, Attributes, More, NoConfig};
//! # struct Example;
//! # impl Collector for Example {
//! #     type Config = NoConfig;
//! #     fn new(_: Context<NoConfig>) -> Result<Self, Error> { Ok(Self) }
//! #     fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
//! #         out.metric(&Metric::gauge("example.answer", "1", "")).point(&Attributes::new(), 42i64)?;
//! #         Ok(More::No)
//! #     }
//! # }
//! # whimbrel_sdk::collector!(Example { name: "example", description: "Answers." });
//! use whimbrel_sdk::testing::{Host, PointValue};
//!
//! let mut example = Host::new().config("{}").start::<Example>()?;
//! let pushes = example.collect()?;
//! assert_eq!(pushes.len(), 1);
//! assert_eq!(pushes[0].points()[0].value, PointValue::Int(42));
//! # Ok::<(), whimbrel_sdk::Error>(())
//! ```

#[cfg(feature = "files")]
mod files;
mod harness;
#[cfg(feature = "http")]
pub mod http;
pub(crate) mod imports;

#[cfg(feature = "files")]
pub use files::Files;
#[cfg(feature = "files")]
pub(crate) use files::Open;
pub use harness::{Line, Push, Running};
pub use imports::Host;
pub use whimbrel_otlp::read::{Attributes, Kind, Metric, Point, PointValue, Record, Source, Value};
