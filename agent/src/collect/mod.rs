//! Collectors: plugins that are asked on an interval.
//!
//! The `roster` holds those that run, and lets a reload change it. One task a collector (`run`) owns the instance,
//! keeps the schedule (`schedule`) and, after a fault, does what the policy says (`supervise`). Orders from outside
//! reach it through `reins`; what is to take over from a running plugin is made ready in `successor`, and what is taken
//! while none runs has its probation in `adopt`. What a guest may ask of the agent is answered by `services`, the host's
//! figures among it by `figures`. A guest that loops, traps or floods costs its own data only.
//!
//! A program that is run instead of a plugin (`exec`) has the same task, schedule and status, and no sandbox.
//!
//! Deliberately absent: limits and the sandbox (crate `whimbrel-plugin-host`), durability (`store`).

mod adopt;
mod exec;
mod figures;
mod lateness;
mod limits;
mod reins;
mod roster;
mod run;
mod schedule;
pub mod schema;
mod services;
mod status;
mod successor;
mod supervise;
pub mod trial;
mod turns;

pub use exec::{Unfit, is_lasting, programs_are_confined_by, unfit};
pub use lateness::Late;
pub use limits::{LimitUse, LimitsUse};
pub use reins::Resumed;
pub use roster::{Changes, Failed, Roster};
pub use run::{Collector, Ground, start};
pub use status::{CollectorState, CollectorStatus, PastFault, Refused};
