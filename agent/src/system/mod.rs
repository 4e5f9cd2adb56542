//! Figures of this host, by part: what the plugin host's `system` interface answers from.
//!
//! A snapshot is synchronous and may wait for the kernel (up to some tens of milliseconds when a mount is
//! slow), so it belongs on a thread that may block. It is cheap on purpose: files under `/proc` are kept open
//! and read into one buffer, and what the kernel makes dear (connections, process states, frequencies) is
//! read so seldom that it stays within a fixed share of one core (`pace`).
//!
//! Invariants: no figure is invented (what cannot be read is left out, or the part is an error); a name comes
//! once per set of attributes; counters say when they began, and a device that came later does not claim to
//! have counted since boot.
//!
//! Deliberately absent: units, kinds, descriptions, rates and shares. Those are the collector plugin's, which
//! may be replaced without touching the agent. Where sysinfo and `/proc` both know a figure on Linux, `/proc`
//! is read, once a snapshot, because figures of one moment add up and figures of two don't.

mod figure;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod pace;
mod select;
mod snapshot;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
mod portable;

pub use figure::{Entity, Figure, Value};
pub use snapshot::{Options, PARTS, SnapshotError, System};
