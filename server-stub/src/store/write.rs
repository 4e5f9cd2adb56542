//! Writes requests: one transaction for those that came together.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params, types::Value};

use super::{
    Arrival, Stored,
    intern::{Interned, Statements},
    keep::{self, Counters},
};
use crate::{
    options::Retention,
    receive::{Group, LogRow, Parts, Point, PointValue, Resource, Rows, Scope, Series, SpanRow},
    signal::Signal,
};

const NO_ROOM: &str = "this stub holds as many series, resources or scopes as it is allowed to";

/// Writes, and remembers the ids of what it has written before.
#[derive(Debug)]
pub(super) struct Writer {
    retention: Retention,
    known: Known,
    /// Items were dropped, and what they belonged to may be unused now.
    unused: bool,
}

#[derive(Debug)]
struct Known {
    resources: Interned<Resource>,
    scopes: Interned<Scope>,
    series: Interned<(i64, i64, Series)>,
}

impl Known {
    fn forget(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.resources.forget(connection)?;
        self.scopes.forget(connection)?;
        self.series.forget(connection)
    }
}

impl Writer {
    pub(super) fn new(connection: &Connection, retention: Retention) -> rusqlite::Result<Self> {
        let mut known = Known {
            resources: Interned::new("resources"),
            scopes: Interned::new("scopes"),
            series: Interned::new("series"),
        };
        known.forget(connection)?;
        Ok(Self { retention, known, unused: true })
    }

    /// Stores all of `arrivals` or, on an error, none.
    pub(super) fn append(
        &mut self,
        connection: &mut Connection,
        arrivals: Vec<Arrival>,
    ) -> rusqlite::Result<Vec<Stored>> {
        match self.try_append(connection, arrivals) {
            Ok(stored) => Ok(stored),
            Err(error) => {
                // The ids belong to rows that were rolled back.
                self.known.forget(connection)?;
                Err(error)
            }
        }
    }

    fn try_append(
        &mut self,
        connection: &mut Connection,
        arrivals: Vec<Arrival>,
    ) -> rusqlite::Result<Vec<Stored>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut counters = Counters::default();
        let mut stored = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let write = Write {
                transaction: &transaction,
                known: &mut self.known,
                limit: self.retention.series,
                arrived: to_i64(arrival.arrived_ns),
            };
            stored.push(write.request(arrival, &mut counters)?);
        }
        self.unused |= keep::expire_rows(&transaction, &self.retention, &mut counters)?;
        counters.flush(&transaction)?;
        transaction.commit()?;
        Ok(stored)
    }

    /// Whether more bytes are in use than allowed, so that [`Self::expire`] must not wait for its time.
    pub(super) fn is_over(&self, connection: &Connection) -> rusqlite::Result<bool> {
        Ok(keep::used_bytes(connection)? > self.retention.bytes)
    }

    /// Drops what is too old or too much.
    pub(super) fn expire(&mut self, connection: &mut Connection, now_ns: u64) -> rusqlite::Result<()> {
        if keep::expire(connection, &self.retention, now_ns, self.unused)? {
            self.known.forget(connection)?;
        }
        self.unused = false;
        Ok(())
    }

    /// Empties the database.
    pub(super) fn clear(&mut self, connection: &mut Connection) -> rusqlite::Result<()> {
        keep::clear(connection)?;
        self.known.forget(connection)
    }
}

/// One request being written.
struct Write<'a> {
    transaction: &'a Transaction<'a>,
    known: &'a mut Known,
    limit: u64,
    arrived: i64,
}

impl Write<'_> {
    fn request(mut self, arrival: Arrival, counters: &mut Counters) -> rusqlite::Result<Stored> {
        let signal = arrival.batch.signal;
        let items = arrival.batch.items();
        if let Some(key) = &arrival.key
            && let Some(stored) = self.find_repeat(&key.text, items)?
        {
            match stored {
                Stored::Conflict { .. } => counters.add("key_conflicts", signal, 1),
                _ => {
                    counters.add("repeated_requests", signal, 1);
                    counters.add("repeated_items", signal, items);
                }
            }
            return Ok(stored);
        }
        let parts = arrival.key.as_ref().and_then(|key| key.parts.as_ref());
        if let Some(parts) = parts
            && self.is_regrouped(parts, signal)?
        {
            counters.add("regrouped_requests", signal, 1);
        }

        let accept = items.saturating_sub(arrival.reject);
        let accepted = self.groups(arrival.batch.groups, accept)?;
        let rejected = items - accepted;
        let message = match rejected {
            0 => None,
            _ if accepted < accept => Some(NO_ROOM.to_owned()),
            _ => Some(arrival.message),
        };
        self.transaction
            .prepare_cached(
                "INSERT INTO requests (key, exporter, first_id, last_id, signal, items, rejected, message,
                 wire_bytes, protocol, encoding, zstd_frames, arrived_ns)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                arrival.key.as_ref().map(|key| &key.text),
                parts.map(|parts| &parts.exporter),
                parts.map(|parts| &parts.first),
                parts.map(|parts| &parts.last),
                signal.index() as i64,
                to_i64(items),
                to_i64(rejected),
                message,
                to_i64(arrival.wire_bytes),
                arrival.protocol,
                arrival.encoding,
                arrival.zstd_frames.map(to_i64),
                self.arrived,
            ])?;
        counters.add("requests", signal, 1);
        counters.add("items", signal, accepted);
        counters.add("rejected_items", signal, rejected);
        Ok(Stored::New { rejected: message.map(|message| (rejected, message)) })
    }

    fn find_repeat(&self, key: &str, items: u64) -> rusqlite::Result<Option<Stored>> {
        let known = self
            .transaction
            .prepare_cached("SELECT items, rejected, message FROM requests WHERE key = ?1")?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        Ok(known.map(|(stored, rejected, message): (i64, i64, Option<String>)| match stored.unsigned_abs() {
            stored if stored == items => {
                Stored::Repeat { rejected: message.map(|message| (rejected.unsigned_abs(), message)) }
            }
            stored => Stored::Conflict { stored, given: items },
        }))
    }

    /// Whether another request of the same exporter began or ended with the same record: then a sender put
    /// records together anew that it had sent before, and their data is stored twice.
    fn is_regrouped(&self, parts: &Parts, signal: Signal) -> rusqlite::Result<bool> {
        self.transaction
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM requests WHERE exporter = ?1 AND signal = ?2 AND first_id = ?3)
                     OR EXISTS (SELECT 1 FROM requests WHERE exporter = ?1 AND signal = ?2 AND last_id = ?4)",
            )?
            .query_row(params![parts.exporter, signal.index() as i64, parts.first, parts.last], |row| {
                row.get(0)
            })
    }

    /// Writes at most `accept` items; how many it wrote.
    fn groups(&mut self, groups: Vec<Group>, accept: u64) -> rusqlite::Result<u64> {
        let mut accepted = 0;
        for group in groups {
            let Some(resource) = self.resource(group.resource)? else { continue };
            let Some(scope) = self.scope(group.scope)? else { continue };
            match group.rows {
                Rows::Metrics(rows) => {
                    for row in rows {
                        if accepted >= accept {
                            break;
                        }
                        let Some(series) = self.series(resource, scope, row.series)? else { continue };
                        for point in row.points {
                            if accepted < accept {
                                self.point(series, &point)?;
                                accepted += 1;
                            }
                        }
                    }
                }
                Rows::Logs(rows) => {
                    for row in rows.iter().take(usize::try_from(accept - accepted).unwrap_or(usize::MAX)) {
                        self.log(resource, scope, row)?;
                        accepted += 1;
                    }
                }
                Rows::Spans(rows) => {
                    for row in rows.iter().take(usize::try_from(accept - accepted).unwrap_or(usize::MAX)) {
                        self.span(resource, scope, row)?;
                        accepted += 1;
                    }
                }
            }
        }
        Ok(accepted)
    }

    /// The id of a resource; `None` if there is no room for another one.
    fn resource(&mut self, resource: Resource) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.known.resources.known(&resource) {
            let seen = "UPDATE resources SET last_ns = max(last_ns, ?2) WHERE id = ?1";
            self.transaction.prepare_cached(seen)?.execute(params![id, self.arrived])?;
            return Ok(Some(id));
        }
        let Resource { attributes, host, service } = resource.clone();
        let statements = Statements {
            // Finds and marks it as seen in one.
            select: "UPDATE resources SET last_ns = max(last_ns, ?2) WHERE attributes = ?1 RETURNING id",
            key: params![attributes, self.arrived],
            insert: "INSERT INTO resources (attributes, host, service, first_ns, last_ns)
                     VALUES (?1, ?2, ?3, ?4, ?4)",
            row: params![attributes, host, service, self.arrived],
        };
        self.known.resources.find_or_insert(self.transaction, self.limit, resource, &statements)
    }

    fn scope(&mut self, scope: Scope) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.known.scopes.known(&scope) {
            return Ok(Some(id));
        }
        let Scope { name, version, attributes } = scope.clone();
        let statements = Statements {
            select: "SELECT id FROM scopes WHERE name = ?1 AND version = ?2 AND attributes = ?3",
            key: params![name, version, attributes],
            insert: "INSERT INTO scopes (name, version, attributes) VALUES (?1, ?2, ?3)",
            row: params![name, version, attributes],
        };
        self.known.scopes.find_or_insert(self.transaction, self.limit, scope, &statements)
    }

    fn series(&mut self, resource: i64, scope: i64, series: Series) -> rusqlite::Result<Option<i64>> {
        let key = (resource, scope, series);
        if let Some(id) = self.known.series.known(&key) {
            return Ok(Some(id));
        }
        let Series { name, unit, kind, temporality, attributes } = key.2.clone();
        let row = params![name, resource, scope, unit, kind, temporality, attributes];
        let statements = Statements {
            select: "SELECT id FROM series WHERE name = ?1 AND resource = ?2 AND scope = ?3 AND unit = ?4
                     AND kind = ?5 AND temporality = ?6 AND attributes = ?7",
            key: row,
            insert: "INSERT INTO series (name, resource, scope, unit, kind, temporality, attributes)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            row,
        };
        self.known.series.find_or_insert(self.transaction, self.limit, key, &statements)
    }

    fn point(&self, series: i64, point: &Point) -> rusqlite::Result<()> {
        let (value, detail) = match &point.value {
            PointValue::None => (Value::Null, None),
            PointValue::Int(value) => (Value::Integer(*value), None),
            PointValue::Double(value) if value.is_nan() => (Value::Null, Some("\"NaN\"")),
            PointValue::Double(value) => (Value::Real(*value), None),
            PointValue::Detail(json) => (Value::Null, Some(json.as_str())),
        };
        self.transaction
            .prepare_cached(
                "INSERT INTO points (series, arrived_ns, time_ns, start_ns, flags, value, detail)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                series,
                self.arrived,
                to_i64(point.time_ns),
                to_i64(point.start_ns),
                point.flags,
                value,
                detail,
            ])?;
        Ok(())
    }

    fn log(&self, resource: i64, scope: i64, log: &LogRow) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "INSERT INTO logs (resource, scope, arrived_ns, time_ns, observed_ns, severity, severity_text,
                 event_name, body, attributes, trace_id, span_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                resource,
                scope,
                self.arrived,
                to_i64(log.time_ns),
                to_i64(log.observed_ns),
                log.severity,
                log.severity_text,
                log.event_name,
                log.body,
                log.attributes,
                log.trace_id,
                log.span_id,
            ])?;
        Ok(())
    }

    fn span(&self, resource: i64, scope: i64, span: &SpanRow) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "INSERT INTO spans (resource, scope, arrived_ns, trace_id, span_id, parent_span_id, name, kind,
                 start_ns, end_ns, status, status_message, attributes, detail)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            )?
            .execute(params![
                resource,
                scope,
                self.arrived,
                span.trace_id,
                span.span_id,
                span.parent_span_id,
                span.name,
                span.kind,
                to_i64(span.start_ns),
                to_i64(span.end_ns),
                span.status,
                span.status_message,
                span.attributes,
                span.detail,
            ])?;
        Ok(())
    }
}

/// SQLite's integers are signed. Times after 2262 and counts beyond it become the largest it can hold.
pub(super) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
