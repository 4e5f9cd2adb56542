//! Configuration: text -> a tree with positions -> checked types.
//!
//! ```text
//! -c, $WHIMBREL_CONFIG, files found, built in      gather: text -> tree (yaml), `include`, joined
//!        |
//!        v
//! WHIMBREL__SECTION__KEY                            overrides: put over the tree
//!        |
//!        v
//! ${env:...}, ${file:...}, units, limits            check: tree -> types, every problem at once
//!        |
//!        v
//! OTEL_EXPORTER_OTLP_*, OTEL_RESOURCE_ATTRIBUTES    implicit: what is not configured
//!        |
//!        v
//! Config
//! ```
//!
//! serde stops at the first error and knows no places, so no type here is deserialised: the tree keeps every key and
//! value with its line and column, and the checks note what is wrong and go on.

mod exec;
mod plugins;
mod receivers;
mod types;

mod encryption;

mod load;

mod environment;
mod gather;
mod overrides;
mod yaml;

mod check;
mod implicit;
mod interpolate;
mod units;

mod files;
mod show;

mod problem;
mod text;
mod tree;

#[cfg(test)]
mod tests;

pub(crate) use check::plugin_named;
pub use encryption::*;
pub use environment::{Environment, FixedEnvironment, ProcessEnvironment};
pub use exec::{Exec, ExecOutput};
pub use gather::{Given, Sources};
pub use load::{Loaded, load};
pub use plugins::*;
pub use problem::{Problem, Problems};
pub use receivers::*;
pub use show::Shown;
pub use text::Location;
pub use types::*;
pub use units::{read_duration, show_duration, show_size};
