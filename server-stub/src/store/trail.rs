//! What a live picture follows: the series of some metrics, and their points after a cursor.
//!
//! A picture reads its past once, by series, and from then on only what is new, so that drawing it anew each
//! second costs no more than the second brought.

use rusqlite::{Connection, named_params, params};
use serde_json::Value;

use super::items::json_column;

/// Points of one answer at most. A picture that falls further behind reads its past again.
pub(crate) const MAX_NEW: usize = 20_000;

/// A series to follow.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    pub(crate) id: i64,
    /// Points are deltas of a sum, not its state.
    pub(crate) delta: bool,
    pub(crate) attributes: Value,
}

/// A point with a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) series: i64,
    pub(crate) start_ns: i64,
    pub(crate) time_ns: i64,
    pub(crate) value: f64,
}

/// The series called `name` that `host` sent (of senders without a host, if none), newer than `after`; at most
/// `limit`, the oldest first.
pub(crate) fn followed(
    connection: &Connection,
    name: &str,
    host: Option<&str>,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Followed>> {
    let mut statement = connection.prepare_cached(
        "SELECT s.id, s.temporality, s.attributes FROM series s JOIN resources r ON r.id = s.resource
         WHERE s.name = :name AND s.id > :after AND r.host IS :host ORDER BY s.id LIMIT :limit",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let wanted = named_params! { ":name": name, ":after": after, ":host": host, ":limit": limit };
    let rows = statement.query_map(wanted, |row| {
        Ok(Followed {
            id: row.get(0)?,
            delta: row.get::<_, String>(1)? == "delta",
            attributes: json_column(row, 2)?,
        })
    })?;
    rows.collect()
}

/// The newest `limit` points of one series, oldest first.
pub(crate) fn past(connection: &Connection, series: i64, limit: usize) -> rusqlite::Result<Vec<Sample>> {
    let mut statement = connection.prepare_cached(
        "SELECT series, start_ns, time_ns, value FROM points
         WHERE series = ?1 AND typeof(value) IN ('integer', 'real') ORDER BY id DESC LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut samples =
        statement.query_map(params![series, limit], sample)?.collect::<rusqlite::Result<Vec<_>>>()?;
    samples.reverse();
    Ok(samples)
}

/// The id of the newest point; 0 while there is none.
pub(crate) fn newest_point(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(id), 0) FROM points", [], |row| row.get(0))
}

/// All points after `after` up to `to`, oldest first; none where they are more than [`MAX_NEW`].
pub(crate) fn new_points(
    connection: &Connection,
    after: i64,
    to: i64,
) -> rusqlite::Result<Option<Vec<Sample>>> {
    if to.saturating_sub(after) > MAX_NEW as i64 {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(
        "SELECT series, start_ns, time_ns, value FROM points
         WHERE id > ?1 AND id <= ?2 AND typeof(value) IN ('integer', 'real') ORDER BY id",
    )?;
    let samples = statement.query_map(params![after, to], sample)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(Some(samples))
}

/// When the newest request arrived, nanoseconds since 1970; none before the first.
pub(crate) fn last_arrival_ns(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT max(last_ns) FROM resources", [], |row| row.get(0))
}

fn sample(row: &rusqlite::Row<'_>) -> rusqlite::Result<Sample> {
    Ok(Sample { series: row.get(0)?, start_ns: row.get(1)?, time_ns: row.get(2)?, value: row.get(3)? })
}

/// A host as it is shown: all resources that name it, taken together.
#[derive(Debug, Clone)]
pub(crate) struct HostRow {
    /// `host.name`; none for senders that do not say.
    pub(crate) host: Option<String>,
    /// Attributes of the first resource that named it.
    pub(crate) attributes: Value,
    pub(crate) resources: i64,
    pub(crate) first_ns: i64,
    pub(crate) last_ns: i64,
}

/// At most `limit` hosts, by name.
pub(crate) fn hosts(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<HostRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT g.host, r.attributes, g.resources, g.first_ns, g.last_ns FROM
         (SELECT host, min(id) AS id, count(*) AS resources, min(first_ns) AS first_ns, max(last_ns) AS last_ns
          FROM resources GROUP BY host ORDER BY host LIMIT ?1) g JOIN resources r ON r.id = g.id ORDER BY g.host",
    )?;
    let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok(HostRow {
            host: row.get(0)?,
            attributes: json_column(row, 1)?,
            resources: row.get(2)?,
            first_ns: row.get(3)?,
            last_ns: row.get(4)?,
        })
    })?;
    rows.collect()
}
