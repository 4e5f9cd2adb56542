//! What can be asked of the database, answered as JSON.
//!
//! Every question is bounded in rows. Where an answer was cut, it says so (`truncated`) or gives a cursor.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, named_params, params};
use serde_json::{Map, Value, json};

use super::{
    items::{LOG, POINT, SPAN, json_column, log, point, point_value, span},
    keep::used_bytes,
    schema::ITEM_TABLES,
};
use crate::signal::Signal;

/// Values that one answer holds at most.
const MAX_VALUES: i64 = 1_000_000;
/// Series that one answer holds at most.
const MAX_SERIES: i64 = 10_000;

/// Which points are wanted.
#[derive(Debug, Clone)]
pub(crate) struct PointFilter {
    pub(crate) name: String,
    pub(crate) host: Option<String>,
    /// Newest points of each series.
    pub(crate) limit: i64,
}

/// Which log records are wanted.
#[derive(Debug, Clone)]
pub(crate) struct LogFilter {
    pub(crate) host: Option<String>,
    pub(crate) event: Option<String>,
    /// Part of the body.
    pub(crate) contains: Option<String>,
    pub(crate) min_severity: i64,
    pub(crate) before: i64,
    pub(crate) limit: i64,
}

/// Which spans are wanted.
#[derive(Debug, Clone)]
pub(crate) struct SpanFilter {
    pub(crate) host: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) before: i64,
    pub(crate) limit: i64,
}

/// Durable counters by `<what>.<signal or table>`, and what is held now.
pub(crate) fn totals(connection: &Connection) -> rusqlite::Result<Value> {
    let mut counters: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut statement = connection.prepare_cached("SELECT name, value FROM counters")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let (what, of) = name.split_once('.').unwrap_or((&name, "all"));
        counters.entry(what.to_owned()).or_default().insert(of.to_owned(), row.get::<_, i64>(1)?.into());
    }
    let mut held = Map::new();
    for table in ITEM_TABLES.into_iter().chain(["requests"]) {
        let rows = format!("SELECT coalesce(max(id) - min(id) + 1, 0) FROM {table}");
        held.insert(table.to_owned(), connection.query_row(&rows, [], |row| row.get::<_, i64>(0))?.into());
    }
    for table in ["series", "scopes", "resources"] {
        let rows = format!("SELECT count(*) FROM {table}");
        held.insert(table.to_owned(), connection.query_row(&rows, [], |row| row.get::<_, i64>(0))?.into());
    }
    held.insert("bytes".to_owned(), used_bytes(connection)?.into());
    Ok(json!({ "counters": counters, "held": held }))
}

/// Each metric by name, unit, kind and temporality, with the number of its series and its last value.
pub(crate) fn metrics(connection: &Connection, host: Option<&str>) -> rusqlite::Result<Value> {
    struct Metric {
        series: u64,
        last_id: i64,
        last: Value,
    }
    let mut metrics: BTreeMap<[String; 4], Metric> = BTreeMap::new();
    let mut statement = connection.prepare_cached(
        "SELECT s.name, s.unit, s.kind, s.temporality, coalesce(p.id, 0), p.time_ns, p.arrived_ns, p.value, p.detail,
         s.attributes
         FROM series s JOIN resources r ON r.id = s.resource
         LEFT JOIN points p ON p.id = (SELECT max(id) FROM points WHERE series = s.id)
         WHERE ?1 IS NULL OR r.host = ?1",
    )?;
    let mut rows = statement.query([host])?;
    while let Some(row) = rows.next()? {
        let key = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        let metric = metrics.entry(key).or_insert(Metric { series: 0, last_id: -1, last: Value::Null });
        metric.series += 1;
        let id: i64 = row.get(4)?;
        if id > metric.last_id {
            metric.last_id = id;
            metric.last = json!({
                "time_ns": row.get::<_, Option<i64>>(5)?,
                "arrived_ns": row.get::<_, Option<i64>>(6)?,
                "value": point_value(row, 7, 8)?,
                "attributes": json_column(row, 9)?,
            });
        }
    }
    let metrics = metrics.into_iter().map(|([name, unit, kind, temporality], metric)| {
        json!({
            "name": name, "unit": unit, "kind": kind, "temporality": temporality,
            "series": metric.series, "last": metric.last,
        })
    });
    Ok(json!({ "metrics": metrics.collect::<Vec<_>>() }))
}

/// The series of one metric, each with its newest points, oldest first.
pub(crate) fn series(connection: &Connection, filter: &PointFilter) -> rusqlite::Result<Value> {
    let mut answer = Vec::new();
    let mut left = MAX_VALUES;
    let mut truncated = false;
    for (id, mut series) in series_called(connection, &filter.name, filter.host.as_deref(), &mut truncated)? {
        let mut statement = connection.prepare_cached(
            "SELECT time_ns, start_ns, arrived_ns, value, detail FROM
             (SELECT * FROM points WHERE series = ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
        )?;
        let points = statement
            .query_map(params![id, filter.limit.min(left)], |row| {
                Ok(json!({
                    "time_ns": row.get::<_, i64>(0)?,
                    "start_ns": row.get::<_, i64>(1)?,
                    "arrived_ns": row.get::<_, i64>(2)?,
                    "value": point_value(row, 3, 4)?,
                }))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        left -= points.len() as i64;
        truncated |= left == 0;
        series.insert("points".to_owned(), points.into());
        answer.push(series);
    }
    Ok(json!({ "name": filter.name, "truncated": truncated, "series": answer }))
}

/// All whole numbers received for a metric, by series, in the order in which they came: what is missing or
/// came twice can be seen.
pub(crate) fn values(connection: &Connection, filter: &PointFilter) -> rusqlite::Result<Value> {
    let mut answer = Vec::new();
    let mut left = MAX_VALUES;
    let mut truncated = false;
    for (id, mut series) in series_called(connection, &filter.name, filter.host.as_deref(), &mut truncated)? {
        let mut statement = connection.prepare_cached(
            "SELECT value FROM points WHERE series = ?1 AND typeof(value) = 'integer' ORDER BY id LIMIT ?2",
        )?;
        let values = statement
            .query_map(params![id, left], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        left -= values.len() as i64;
        truncated |= left == 0;
        let mut sorted = values.clone();
        sorted.sort_unstable();
        sorted.dedup();
        series.insert("min".to_owned(), sorted.first().copied().into());
        series.insert("max".to_owned(), sorted.last().copied().into());
        series.insert("count".to_owned(), values.len().into());
        series.insert("distinct".to_owned(), sorted.len().into());
        series.insert("values".to_owned(), values.into());
        answer.push(series);
    }
    Ok(json!({ "name": filter.name, "truncated": truncated, "series": answer }))
}

fn series_called(
    connection: &Connection,
    name: &str,
    host: Option<&str>,
    truncated: &mut bool,
) -> rusqlite::Result<Vec<(i64, Map<String, Value>)>> {
    let mut statement = connection.prepare_cached(
        "SELECT s.id, s.unit, s.kind, s.temporality, s.attributes, r.attributes, c.name
         FROM series s JOIN resources r ON r.id = s.resource JOIN scopes c ON c.id = s.scope
         WHERE s.name = ?1 AND (?2 IS NULL OR r.host = ?2) ORDER BY s.id LIMIT ?3",
    )?;
    let rows = statement.query_map(params![name, host, MAX_SERIES + 1], |row| {
        let mut series = Map::new();
        series.insert("unit".to_owned(), row.get::<_, String>(1)?.into());
        series.insert("kind".to_owned(), row.get::<_, String>(2)?.into());
        series.insert("temporality".to_owned(), row.get::<_, String>(3)?.into());
        series.insert("attributes".to_owned(), json_column(row, 4)?);
        series.insert("resource".to_owned(), json_column(row, 5)?);
        series.insert("scope".to_owned(), row.get::<_, String>(6)?.into());
        Ok((row.get(0)?, series))
    })?;
    let mut series = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    *truncated |= series.len() as i64 > MAX_SERIES;
    series.truncate(MAX_SERIES as usize);
    Ok(series)
}

/// Log records, newest first.
pub(crate) fn logs(connection: &Connection, filter: &LogFilter) -> rusqlite::Result<Value> {
    let mut statement = connection.prepare_cached(&format!(
        "{LOG} WHERE l.id < :before AND l.severity >= :severity AND (:host IS NULL OR r.host = :host)
         AND (:event IS NULL OR l.event_name = :event) AND (:contains IS NULL OR instr(l.body, :contains) > 0)
         ORDER BY l.id DESC LIMIT :limit"
    ))?;
    let wanted = named_params! {
        ":before": filter.before, ":severity": filter.min_severity, ":host": filter.host,
        ":event": filter.event, ":contains": filter.contains, ":limit": filter.limit,
    };
    Ok(json!({ "logs": list(statement.query_map(wanted, log)?)? }))
}

/// Spans, newest first.
pub(crate) fn spans(connection: &Connection, filter: &SpanFilter) -> rusqlite::Result<Value> {
    let mut statement = connection.prepare_cached(&format!(
        "{SPAN} WHERE s.id < :before AND (:host IS NULL OR r.host = :host)
         AND (:name IS NULL OR s.name = :name) AND (:trace IS NULL OR s.trace_id = :trace)
         ORDER BY s.id DESC LIMIT :limit"
    ))?;
    let wanted = named_params! {
        ":before": filter.before, ":host": filter.host, ":name": filter.name, ":trace": filter.trace_id,
        ":limit": filter.limit,
    };
    Ok(json!({ "spans": list(statement.query_map(wanted, span)?)? }))
}

/// Who sent anything, the one heard last first.
pub(crate) fn hosts(connection: &Connection, limit: i64) -> rusqlite::Result<Value> {
    let mut statement = connection.prepare_cached(
        "SELECT r.host, r.service, r.attributes, r.first_ns, r.last_ns,
         (SELECT count(*) FROM series WHERE resource = r.id)
         FROM resources r ORDER BY r.last_ns DESC, r.id LIMIT ?1",
    )?;
    let hosts = statement.query_map([limit], |row| {
        Ok(json!({
            "host": row.get::<_, Option<String>>(0)?,
            "service": row.get::<_, Option<String>>(1)?,
            "resource": json_column(row, 2)?,
            "first_arrived_ns": row.get::<_, i64>(3)?,
            "last_arrived_ns": row.get::<_, i64>(4)?,
            "series": row.get::<_, i64>(5)?,
        }))
    })?;
    Ok(json!({ "hosts": list(hosts)? }))
}

/// Requests that were stored, newest first.
pub(crate) fn requests(
    connection: &Connection,
    signal: Option<Signal>,
    before: i64,
    limit: i64,
) -> rusqlite::Result<Value> {
    let mut statement = connection.prepare_cached(
        "SELECT id, key, signal, items, rejected, wire_bytes, encoding, arrived_ns, protocol, zstd_frames
         FROM requests WHERE id < ?1 AND (?2 IS NULL OR signal = ?2) ORDER BY id DESC LIMIT ?3",
    )?;
    let requests = statement.query_map(params![before, signal.map(|signal| signal.index() as i64), limit], |row| {
        let signal: i64 = row.get(2)?;
        Ok(json!({
            "id": row.get::<_, i64>(0)?,
            "key": row.get::<_, Option<String>>(1)?,
            "signal": Signal::ALL.iter().find(|known| known.index() as i64 == signal).map(|known| known.name()),
            "items": row.get::<_, i64>(3)?,
            "rejected": row.get::<_, i64>(4)?,
            "wire_bytes": row.get::<_, i64>(5)?,
            "encoding": row.get::<_, String>(6)?,
            "arrived_ns": row.get::<_, i64>(7)?,
            "protocol": row.get::<_, String>(8)?,
            "zstd_frames": row.get::<_, Option<i64>>(9)?,
        }))
    })?;
    Ok(json!({ "requests": list(requests)? }))
}

/// Where a live view stands: the last id seen of points, logs and spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor(pub(crate) [i64; 3]);

impl std::str::FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ids: Option<Vec<i64>> = text.split('.').map(|id| id.parse().ok()).collect();
        ids.and_then(|ids| ids.try_into().ok()).map(Self).ok_or("no cursor that an answer gave")
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [points, logs, spans] = self.0;
        write!(f, "{points}.{logs}.{spans}")
    }
}

/// What came after `since`, oldest first, and the cursor to go on with; without `since`, the newest.
pub(crate) fn latest(
    connection: &Connection,
    since: Option<Cursor>,
    limit: i64,
) -> rusqlite::Result<(Cursor, Value)> {
    let mut cursor = since.unwrap_or(Cursor([0; 3]));
    if since.is_none() {
        for (table, at) in ITEM_TABLES.iter().zip(&mut cursor.0) {
            let last = format!("SELECT coalesce(max(id), 0) FROM {table}");
            let last: i64 = connection.query_row(&last, [], |row| row.get(0))?;
            *at = last.saturating_sub(limit).max(0);
        }
    }
    let mut new = Map::new();
    for ((name, select, read), at) in [
        ("points", POINT, point as fn(&Row<'_>) -> rusqlite::Result<Value>),
        ("logs", LOG, log),
        ("spans", SPAN, span),
    ]
    .into_iter()
    .zip(&mut cursor.0)
    {
        let alias = &name[..1];
        let mut statement = connection
            .prepare_cached(&format!("{select} WHERE {alias}.id > ?1 ORDER BY {alias}.id LIMIT ?2"))?;
        let items = list(statement.query_map(params![*at, limit], read)?)?;
        *at = items.last().and_then(|item| item["id"].as_i64()).unwrap_or(*at);
        new.insert(name.to_owned(), items.into());
    }
    new.insert("cursor".to_owned(), cursor.to_string().into());
    Ok((cursor, Value::Object(new)))
}

fn list(rows: impl Iterator<Item = rusqlite::Result<Value>>) -> rusqlite::Result<Vec<Value>> {
    rows.collect()
}
