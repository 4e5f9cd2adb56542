//! Points, log records and spans as rows of the database, and as the JSON that is shown.

use rusqlite::{Row, types::ValueRef};
use serde_json::{Value, json};

use crate::receive::double;

pub(super) const POINT: &str =
    "SELECT p.id, p.arrived_ns, p.time_ns, r.host, r.service, s.name, s.unit, s.kind,
    s.attributes, p.value, p.detail
    FROM points p JOIN series s ON s.id = p.series JOIN resources r ON r.id = s.resource";

pub(super) fn point(row: &Row<'_>) -> rusqlite::Result<Value> {
    Ok(json!({
        "id": row.get::<_, i64>(0)?,
        "arrived_ns": row.get::<_, i64>(1)?,
        "time_ns": row.get::<_, i64>(2)?,
        "host": row.get::<_, Option<String>>(3)?,
        "service": row.get::<_, Option<String>>(4)?,
        "name": row.get::<_, String>(5)?,
        "unit": row.get::<_, String>(6)?,
        "kind": row.get::<_, String>(7)?,
        "attributes": json_column(row, 8)?,
        "value": point_value(row, 9, 10)?,
    }))
}

pub(super) const LOG: &str =
    "SELECT l.id, l.arrived_ns, l.time_ns, l.observed_ns, r.host, r.service, l.severity,
    l.severity_text, l.event_name, l.body, l.attributes, l.trace_id, l.span_id, r.attributes
    FROM logs l JOIN resources r ON r.id = l.resource";

pub(super) fn log(row: &Row<'_>) -> rusqlite::Result<Value> {
    Ok(json!({
        "id": row.get::<_, i64>(0)?,
        "arrived_ns": row.get::<_, i64>(1)?,
        "time_ns": row.get::<_, i64>(2)?,
        "observed_ns": row.get::<_, i64>(3)?,
        "host": row.get::<_, Option<String>>(4)?,
        "service": row.get::<_, Option<String>>(5)?,
        "severity": row.get::<_, i64>(6)?,
        "severity_text": row.get::<_, String>(7)?,
        "event_name": row.get::<_, String>(8)?,
        "body": json_column(row, 9)?,
        "attributes": json_column(row, 10)?,
        "trace_id": row.get::<_, String>(11)?,
        "span_id": row.get::<_, String>(12)?,
        "resource": json_column(row, 13)?,
    }))
}

pub(super) const SPAN: &str =
    "SELECT s.id, s.arrived_ns, s.start_ns, s.end_ns, r.host, r.service, s.trace_id, s.span_id,
    s.parent_span_id, s.name, s.kind, s.status, s.status_message, s.attributes, s.detail, r.attributes
    FROM spans s JOIN resources r ON r.id = s.resource";

pub(super) fn span(row: &Row<'_>) -> rusqlite::Result<Value> {
    let detail = json_column(row, 14)?;
    Ok(json!({
        "id": row.get::<_, i64>(0)?,
        "arrived_ns": row.get::<_, i64>(1)?,
        "start_ns": row.get::<_, i64>(2)?,
        "end_ns": row.get::<_, i64>(3)?,
        "host": row.get::<_, Option<String>>(4)?,
        "service": row.get::<_, Option<String>>(5)?,
        "trace_id": row.get::<_, String>(6)?,
        "span_id": row.get::<_, String>(7)?,
        "parent_span_id": row.get::<_, String>(8)?,
        "name": row.get::<_, String>(9)?,
        "kind": row.get::<_, i64>(10)?,
        "status": row.get::<_, i64>(11)?,
        "status_message": row.get::<_, String>(12)?,
        "attributes": json_column(row, 13)?,
        "events": detail["events"],
        "links": detail["links"],
        "resource": json_column(row, 15)?,
    }))
}

/// A column that this crate wrote as JSON.
pub(super) fn json_column(row: &Row<'_>, index: usize) -> rusqlite::Result<Value> {
    let text = row.get_ref(index)?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
    })
}

pub(super) fn point_value(row: &Row<'_>, value: usize, detail: usize) -> rusqlite::Result<Value> {
    match row.get_ref(value)? {
        ValueRef::Integer(value) => Ok(value.into()),
        ValueRef::Real(value) => Ok(double(value)),
        _ if matches!(row.get_ref(detail)?, ValueRef::Null) => Ok(Value::Null),
        _ => json_column(row, detail),
    }
}
