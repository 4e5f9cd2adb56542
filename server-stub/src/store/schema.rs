//! The database's tables, and how it is opened.
//!
//! Times are nanoseconds since 1970; ids grow and are never used again, so that they serve as cursors.
//! `signal` is 0 for metrics, 1 for logs, 2 for traces. Attributes are JSON objects with sorted keys.

use std::fs;

use rusqlite::{Connection, ErrorCode};

use super::OpenError;
use crate::options::Data;

/// The database's file in the data folder.
pub(crate) const FILE: &str = "stub.sqlite";

/// Of the tables below, in `user_version`. There are no migrations: what a stub holds can be sent again.
pub(crate) const VERSION: i32 = 2;

const TABLES: &str = "
CREATE TABLE requests (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT UNIQUE,            -- Idempotency-Key, if there was one; the rest of its parts:
    exporter   TEXT,
    first_id   TEXT,
    last_id    TEXT,
    signal     INTEGER NOT NULL,
    items      INTEGER NOT NULL,       -- in the request
    rejected   INTEGER NOT NULL,       -- of these, not stored
    message    TEXT,                   -- why
    wire_bytes INTEGER NOT NULL,
    protocol   TEXT NOT NULL,
    encoding   TEXT NOT NULL,
    zstd_frames INTEGER,               -- where the encoding is zstd
    arrived_ns INTEGER NOT NULL
);
CREATE INDEX requests_by_first ON requests (exporter, signal, first_id) WHERE exporter IS NOT NULL;
CREATE INDEX requests_by_last ON requests (exporter, signal, last_id) WHERE exporter IS NOT NULL;

CREATE TABLE resources (
    id         INTEGER PRIMARY KEY,
    attributes TEXT NOT NULL UNIQUE,
    host       TEXT,
    service    TEXT,
    first_ns   INTEGER NOT NULL,       -- arrival of the first and of the last request that named it
    last_ns    INTEGER NOT NULL
);
CREATE TABLE scopes (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    attributes TEXT NOT NULL,
    UNIQUE (name, version, attributes)
);
CREATE TABLE series (
    id          INTEGER PRIMARY KEY,
    resource    INTEGER NOT NULL,
    scope       INTEGER NOT NULL,
    name        TEXT NOT NULL,
    unit        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    temporality TEXT NOT NULL,
    attributes  TEXT NOT NULL,
    UNIQUE (name, resource, scope, unit, kind, temporality, attributes)
);
CREATE INDEX series_by_resource ON series (resource);
CREATE INDEX series_by_scope ON series (scope);

CREATE TABLE points (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    series     INTEGER NOT NULL,
    arrived_ns INTEGER NOT NULL,
    time_ns    INTEGER NOT NULL,
    start_ns   INTEGER NOT NULL,
    flags      INTEGER NOT NULL,
    value      ANY,                    -- INTEGER, REAL (SQLite has no NaN: then NULL) or NULL
    detail     TEXT                    -- JSON: a histogram, a summary, or \"NaN\"
);
CREATE INDEX points_by_series ON points (series, id);

CREATE TABLE logs (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    resource      INTEGER NOT NULL,
    scope         INTEGER NOT NULL,
    arrived_ns    INTEGER NOT NULL,
    time_ns       INTEGER NOT NULL,
    observed_ns   INTEGER NOT NULL,
    severity      INTEGER NOT NULL,
    severity_text TEXT NOT NULL,
    event_name    TEXT NOT NULL,
    body          TEXT NOT NULL,       -- JSON
    attributes    TEXT NOT NULL,
    trace_id      TEXT NOT NULL,       -- hexadecimal, or empty
    span_id       TEXT NOT NULL
);
CREATE INDEX logs_by_resource ON logs (resource);
CREATE INDEX logs_by_scope ON logs (scope);

CREATE TABLE spans (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    resource       INTEGER NOT NULL,
    scope          INTEGER NOT NULL,
    arrived_ns     INTEGER NOT NULL,
    trace_id       TEXT NOT NULL,
    span_id        TEXT NOT NULL,
    parent_span_id TEXT NOT NULL,
    name           TEXT NOT NULL,
    kind           INTEGER NOT NULL,
    start_ns       INTEGER NOT NULL,
    end_ns         INTEGER NOT NULL,
    status         INTEGER NOT NULL,
    status_message TEXT NOT NULL,
    attributes     TEXT NOT NULL,
    detail         TEXT NOT NULL       -- JSON: events and links
);
CREATE INDEX spans_by_resource ON spans (resource);
CREATE INDEX spans_by_scope ON spans (scope);
CREATE INDEX spans_by_trace ON spans (trace_id);

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
";

/// The tables that hold items, in the order of [`crate::Signal::ALL`].
pub(super) const ITEM_TABLES: [&str; 3] = ["points", "logs", "spans"];

/// Every table, for emptying them.
pub(super) const ALL_TABLES: [&str; 8] =
    ["points", "logs", "spans", "series", "scopes", "resources", "requests", "counters"];

/// Opens the database, or makes it. With a folder, a commit is on the disk when it returns.
pub(super) fn open(data: &Data) -> Result<Connection, OpenError> {
    let connection = match data {
        Data::Memory => Connection::open_in_memory().map_err(opened)?,
        Data::Directory(folder) => {
            fs::create_dir_all(folder).map_err(OpenError::Folder)?;
            let connection = Connection::open(folder.join(FILE)).map_err(opened)?;
            // One process at a time, and then neither shared memory nor waiting for locks.
            connection.busy_timeout(std::time::Duration::ZERO).map_err(opened)?;
            for (name, value) in [
                ("locking_mode", "EXCLUSIVE"),
                ("journal_mode", "WAL"),
                ("synchronous", "FULL"),
                ("journal_size_limit", "67108864"),
            ] {
                connection.pragma_update(None, name, value).map_err(opened)?;
            }
            connection
        }
    };
    connection.pragma_update(None, "cache_size", -16_384).map_err(opened)?;
    connection.set_prepared_statement_cache_capacity(64);
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> Result<(), OpenError> {
    // An exclusive transaction also finds out now, and not at the first request, that another one has it.
    connection.execute_batch("BEGIN EXCLUSIVE").map_err(opened)?;
    let found: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(opened)?;
    match found {
        0 => {
            connection.execute_batch(TABLES).map_err(opened)?;
            connection.pragma_update(None, "user_version", VERSION).map_err(opened)?;
        }
        VERSION => {}
        found => return Err(OpenError::Version { found }),
    }
    connection.execute_batch("COMMIT").map_err(opened)
}

fn opened(error: rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked,
        _ => OpenError::Sqlite(error),
    }
}
