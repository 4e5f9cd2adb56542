//! The agent: collectors -> WAL -> exporters. See `ARCHITECTURE.md`.
//!
//! Modules in the order of the path.

pub mod cli;
pub mod config;

pub mod embed;
pub mod pipeline;

pub mod plugins;

pub mod collect;
pub mod receive;
pub mod system;

mod resource;

pub mod store;

pub mod dead_letters;
pub mod export;
pub mod keys;

pub mod admin;
pub mod reload;
pub mod rotate;
pub mod status;

pub mod clock;
pub mod telemetry;

pub use embed::Agent;
pub use whimbrel_otlp::Signal;
