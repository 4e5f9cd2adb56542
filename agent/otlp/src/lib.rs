//! OTLP on bytes: what the path of a batch needs, without decoding it.
//!
//! A batch is one OTLP export request, encoded once where it enters. From there on this crate can [`walk`] it
//! (is it well-formed, how many items), [`merge_resource`] the agent's own resource into it, [`join`] requests
//! into one and [`part`] one into several, each in one pass over the bytes. [`mod@write`] builds requests, [`read`]
//! shows them to people and tests, [`to_json`] writes them as OTLP/JSON and `from_json` (feature `json`) reads that, [`response`] reads what a receiver answers.
//!
//! Invariants: no input panics; nothing here needs a clock, a thread, a file or a socket, so that the crate
//! compiles for `wasm32-unknown-unknown`, where the plugin SDK uses [`mod@write`]. Deliberately absent: generated
//! protobuf types (`prost` is the tests' oracle only), compression.

mod flaw;
mod join;
mod json;
mod part;
mod plain;
pub mod read;
mod resource;
pub mod response;
mod schema;
mod signal;
mod walk;
mod wire;
pub mod write;

pub use flaw::{Flaw, WalkError};
pub use join::join;
pub use json::{Json, to_json, to_json_within};
#[cfg(feature = "json")]
pub use json::{JsonError, from_json};
pub use part::{PartError, part};
pub use resource::{Resource, merge_resource};
pub use signal::Signal;
pub use walk::{MAX_DEPTH, Walked, walk};
