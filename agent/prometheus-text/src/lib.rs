//! Prometheus' text format and OpenMetrics: read, and turned into OTLP.
//!
//! [`parse`] reads lines: each is metadata of a family or a [`Sample`], borrowed from the text. [`convert`] puts lines
//! together into metrics, by the OpenTelemetry specification "Prometheus and OpenMetrics Compatibility", and encodes
//! them; [`Starts`] keeps what has to be remembered from one exposition to the next: since when a series counts.
//! The collector `exec` and the plugin `prometheus-scrape` share it.
//!
//! Invariants: no input panics; an error names its line; what is held grows with the size of one family, not of the
//! text, and [`Limits`] bound both. Nothing here needs a clock, a thread, a file or a socket, so that the crate
//! compiles for `wasm32-unknown-unknown`. Deliberately absent: the protobuf exposition format and native histograms,
//! which have no text form; what a family may hold is checked as far as OTLP needs it, not as a linter would.
//!
//! ```
//! use whimbrel_prometheus_text::{Event, Format, Limits, parse};
//! let text = b"# TYPE jobs gauge\njobs{queue=\"mail\"} 3\n";
//! let events: Vec<_> = parse(text, Format::Text, &Limits::default()).collect::<Result<_, _>>()?;
//! let Event::Sample(sample) = &events[1] else { panic!() };
//! assert_eq!((&*sample.name, sample.value), ("jobs", 3.0));
//! # Ok::<_, whimbrel_prometheus_text::ParseError>(())
//! ```

mod format;
mod otlp;
mod parse;
mod problem;
mod scan;

pub use format::{Format, Limits, Type};
pub use otlp::{Conversion, Converted, Dropped, Request, Series, Starts, convert, convert_gone, unit};
pub use parse::{Event, Events, Exemplar, Labels, Sample, parse};
pub use problem::{ParseError, Problem};
