//! The agent: collectors -> WAL -> exporters. See `ARCHITECTURE.md`.

pub mod config;
