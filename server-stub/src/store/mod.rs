//! What was received, in SQLite: one thread owns the database, writes it and answers questions about it.
//!
//! A request is one entry in a transaction that also holds its idempotency key; requests that arrive while
//! a transaction is being committed share the next one. Questions are asked on the same thread, so that an
//! answer given is an answer seen; each is bounded in its rows.

mod intern;
mod items;
mod keep;
pub(crate) mod query;
mod schema;
mod thread;
pub(crate) mod trail;
mod write;

use std::io;

pub(crate) use query::{Cursor, LogFilter, PointFilter, SpanFilter};
pub(crate) use thread::{Store, Worker};

use crate::receive::{Batch, Key};

/// A decoded request that is to be stored.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) batch: Batch,
    pub(crate) key: Option<Key>,
    /// How it came: `http` or `grpc`.
    pub(crate) protocol: &'static str,
    /// How the body was packed.
    pub(crate) encoding: &'static str,
    /// In how many frames, if that was zstd.
    pub(crate) zstd_frames: Option<u64>,
    /// Bytes of the body as it was sent; of a gRPC call those of the message.
    pub(crate) wire_bytes: u64,
    /// When the body was here.
    pub(crate) arrived_ns: u64,
    /// So many items, from the end, are refused on command,
    pub(crate) reject: u64,
    /// for this reason.
    pub(crate) message: String,
}

/// What became of an arrival. It is committed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Stored, but for as many items as said, for the reason said.
    New { rejected: Option<(u64, String)> },
    /// Its key was known: nothing was stored. What was rejected then is said again.
    Repeat { rejected: Option<(u64, String)> },
    /// Its key was known, for another number of items: it is not the same request.
    Conflict { stored: u64, given: u64 },
}

/// Nothing was stored, or nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// Of a transaction that held this request.
    #[error("the database failed: {0}")]
    Shared(String),
    #[error("the store has stopped")]
    Stopped,
}

/// The database could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot make the folder")]
    Folder(#[source] io::Error),
    #[error("another process uses it")]
    Locked,
    #[error("it was written by another version (format {found}, this one writes {})", schema::VERSION)]
    Version { found: i32 },
    #[error("cannot open {}", schema::FILE)]
    Sqlite(#[source] rusqlite::Error),
    #[error("cannot start the store's thread")]
    Thread(#[source] io::Error),
}
