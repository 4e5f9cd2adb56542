//! Loads, instantiates, limits and calls Whimbrel plugins.
//!
//! A plugin is one file, a WebAssembly component. What it can do is what it imports; what it may do is what
//! the configuration grants; who it is stands in its metadata sections.
//!
//! ```text
//!  component bytes --> Host::load --+-- cache hit: MAC, deserialize --+--> Plugin --> Instance
//!                                   |                                 |     many       collect()
//!                                   +-- child process compiles -------+     of one     collect()
//!                                       (`whimbrel-plugin compile`)                    ...
//! ```
//!
//! Invariants
//! - The agent parses no WebAssembly and holds no compiler; the only code it runs is what its own compiler's
//!   process gave it, what it sealed itself, or what a key of the operator's has signed that may ship such code
//!   (`native.rs`, the one `unsafe`).
//! - Nothing that a guest does panics the host or keeps a thread for more than 10 ms at a time.
//! - Every limit and grant is checked in one place, whatever version of the contract a guest speaks.
//! - This crate knows neither OTLP nor the WAL: batches go to [`Services::push`] as they came.

pub mod bundle;
pub mod description;
pub mod engine;
mod error;
pub mod frame;
mod host;

pub mod trust;

mod cache;
mod compile;
mod native;
pub mod registry;
pub mod sniff;
pub mod world;

mod instance;
mod plugin;

mod address;
mod contract;
mod denials;
mod fault;
mod grant;
mod grants;
mod guest;
mod limits;
mod meter;
pub mod schema;
pub mod services;
pub mod text;
mod ticker;
mod wasi;
mod watchdog;

pub use address::{AddressError, Endpoint, Network, Origin, Peer};
pub use bundle::BundleError;
pub use compile::{CALLED_BY_AGENT, compiler_path};
pub use description::{Description, Identity, Interface};
pub use error::{CompileError, HostError, LoadError, LoadReason};
pub use fault::{CollectError, Fault, FaultKind};
pub use frame::Refusal;
pub use grant::{Grant, GrantError};
pub use grants::{Grants, SystemGrant};
pub use host::{Host, HostOptions};
pub use instance::{Collected, Instance, Setup};
pub use limits::{Counts, DeniedGrowth, Limits};
pub use plugin::{Compiled, Plugin};
pub use services::{Batch, Denied, GuestError, Level, LogLine, Services};
pub use trust::{Trust, TrustedKey, Untrusted};
pub use wasi::{Answers, Asked, Outside, Reserved, Resolve, Stage, asks};
