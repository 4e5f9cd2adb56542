//! The agent: collectors -> WAL -> exporters. See `ARCHITECTURE.md`.

pub mod config;

pub mod export;

pub mod clock;
