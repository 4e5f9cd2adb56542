//! Lines of the agent's own log. Needs no grant; limited in rate and length by the host.
//!
//! The macros [`trace!`](crate::trace), [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn)
//! and [`error!`](crate::error) take what `format!` takes, and fields after a semicolon:
//!
//! ```
//! let device = "sda";
//! whimbrel_sdk::warn!("{device} is slow"; "device" => device, "ms" => 812);
//! ```

use crate::host;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Fine-grained debugging.
    Trace,
    /// Debugging.
    Debug,
    /// Something happened.
    Info,
    /// Not an error, but worth attention.
    Warn,
    /// Something went wrong.
    Error,
}

/// Writes a line.
pub fn write(level: Level, message: &str, fields: &[(&str, String)]) {
    host::log(level, message, fields);
}
