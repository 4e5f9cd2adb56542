//! Collectors: plugins that are asked on an interval.
//!
//! The `roster` holds those that run, and lets a reload change it. One task a collector (`run`) owns the instance,
//! keeps the schedule (`schedule`) and, after a fault, does what the policy says (`supervise`). What a guest may ask of the agent is answered by `services`; typed
//! batches become OTLP in `encode`. A guest that loops, traps or floods costs its own data only.
//!
//! Deliberately absent: limits and the sandbox (crate `whimbrel-plugin-host`), durability (`store`).

mod encode;
mod roster;
mod run;
mod schedule;
mod services;
mod status;
mod supervise;
pub mod trial;

pub use roster::{Changes, Roster};
pub use run::{Collector, Ground, start};
pub use status::{CollectorState, CollectorStatus, PastFault, Refused};
