//! What a stub is started with, and its limits.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How a [`crate::Stub`] is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where OTLP/HTTP is received. Port 0 takes a free one. Default 127.0.0.1:0.
    pub http: SocketAddr,
    /// Where OTLP/gRPC and `grpc.health.v1.Health` are received, in the clear. Port 0 takes a free one. Default
    /// 127.0.0.1:0.
    pub grpc: SocketAddr,
    /// Where `/api` and `/control` are served. Port 0 takes a free one. Default 127.0.0.1:0.
    ///
    /// Whoever reaches it can read everything and break the stub: keep it on loopback.
    pub ui: SocketAddr,
    /// The Unix socket on which the launcher of a demo answers: the page then has its counters and buttons. Default
    /// none.
    pub demo: Option<PathBuf>,
    /// Where the data lives. Default [`Data::Memory`].
    pub data: Data,
    /// What one request or connection may cost.
    pub limits: Limits,
    /// How much is kept.
    pub retention: Retention,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            http: loopback,
            grpc: loopback,
            ui: loopback,
            demo: None,
            data: Data::Memory,
            limits: Limits::default(),
            retention: Retention::default(),
        }
    }
}

/// Where a stub keeps what it receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Gone when the stub stops.
    Memory,
    /// In `stub.sqlite` in this folder, which is made if it is missing. One stub at a time; an answer of 200
    /// means that the data and its idempotency key are synced to the disk.
    Directory(PathBuf),
}

/// What one request or connection may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a body, as sent and again as decompressed; above it 413, over gRPC
    /// RESOURCE_EXHAUSTED. Default 64 MiB, which OTLP 1.11
    /// recommends servers to take.
    pub body: usize,
    /// Bytes of all bodies that are being received at one time; beyond it requests wait, then get 503.
    /// Default 512 MiB.
    pub bodies: usize,
    /// Open connections of one listener; beyond it they wait in the kernel's queue. Default 1024.
    pub connections: usize,
    /// How long a connection may be idle, or take over a request's headers. Default 120 s.
    pub idle: Duration,
    /// How long a body may take to arrive. Default 30 s; after it 408.
    pub body_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 << 20,
            bodies: 512 << 20,
            connections: 1024,
            idle: Duration::from_secs(120),
            body_time: Duration::from_secs(30),
        }
    }
}

/// How much is kept. The oldest goes first; what goes is counted by cause.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Rows of each of points, logs and spans. Default 1,000,000.
    pub rows: u64,
    /// How long after arrival a row is kept. Default 24 h.
    pub age: Duration,
    /// Bytes of the database, indexes included. Default 1 GiB.
    pub bytes: u64,
    /// Series of metrics; points of further ones are refused in a partial success. Default 100,000.
    pub series: u64,
    /// Idempotency keys (and the requests they came with). Default 1,000,000: keys must outlive the longest
    /// outage of a sender, so they are not bound by age.
    pub keys: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            rows: 1_000_000,
            age: Duration::from_secs(24 * 3600),
            bytes: 1 << 30,
            series: 100_000,
            keys: 1_000_000,
        }
    }
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Directory(folder) => folder.display().fmt(f),
        }
    }
}
