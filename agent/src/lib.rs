//! The agent: collectors -> WAL -> exporters. See `ARCHITECTURE.md`.

pub mod cli;
pub mod config;
pub mod telemetry;
