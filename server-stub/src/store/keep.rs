//! How much is kept: by rows, by age and by bytes; and the counters that outlive what was dropped.

use std::{collections::BTreeMap, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{
    schema::{ALL_TABLES, ITEM_TABLES},
    write::to_i64,
};
use crate::{options::Retention, signal::Signal};

/// Rows that one statement drops, so that appends in between don't wait long.
const CHUNK: i64 = 8192;

/// Counts of one transaction, which become durable with it. Names are `<what>.<signal or table>`.
#[derive(Debug, Default)]
pub(super) struct Counters(BTreeMap<String, u64>);

impl Counters {
    pub(super) fn add(&mut self, what: &str, signal: Signal, n: u64) {
        self.add_to(what, signal.name(), n);
    }

    fn add_to(&mut self, what: &str, of: &str, n: u64) {
        if n > 0 {
            *self.0.entry(format!("{what}.{of}")).or_default() += n;
        }
    }

    pub(super) fn flush(self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO counters (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        )?;
        for (name, n) in self.0 {
            statement.execute(params![name, to_i64(n)])?;
        }
        Ok(())
    }
}

/// Drops the oldest rows beyond the number that is kept. Cheap: it runs in every transaction. True if any
/// went.
pub(super) fn expire_rows(
    transaction: &Transaction<'_>,
    retention: &Retention,
    counters: &mut Counters,
) -> rusqlite::Result<bool> {
    let mut dropped_any = false;
    for (table, keep) in limited_tables(retention) {
        // Rows leave at the front only, so that their ids have no gaps.
        let last: i64 = transaction
            .prepare_cached(&format!("SELECT coalesce(max(id), 0) FROM {table}"))?
            .query_row([], |row| row.get(0))?;
        let dropped = transaction
            .prepare_cached(&format!("DELETE FROM {table} WHERE id <= ?1"))?
            .execute([last.saturating_sub(to_i64(keep))])?;
        counters.add_to("expired_by_rows", table, dropped as u64);
        dropped_any |= dropped > 0;
    }
    Ok(dropped_any)
}

fn limited_tables(retention: &Retention) -> impl Iterator<Item = (&'static str, u64)> {
    let items = ITEM_TABLES.into_iter().map(|table| (table, retention.rows));
    items.chain([("requests", retention.keys)])
}

/// Drops what is too old at `now_ns`, what is beyond the bytes allowed, and series, scopes and resources
/// that nothing belongs to any more (`unused`: there may be some from before). True if any of these went,
/// with their ids.
pub(super) fn expire(
    connection: &mut Connection,
    retention: &Retention,
    now_ns: u64,
    unused: bool,
) -> rusqlite::Result<bool> {
    let mut counters = Counters::default();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    expire_rows(&transaction, retention, &mut counters)?;
    let oldest = to_i64(now_ns.saturating_sub(nanos(retention.age)));
    for table in ITEM_TABLES {
        // What arrived earlier has a lower id, give or take requests under way at the same time.
        let statement = format!(
            "DELETE FROM {table} WHERE id <= (SELECT max(id) FROM
             (SELECT id, arrived_ns FROM {table} ORDER BY id LIMIT {CHUNK}) WHERE arrived_ns < ?1)"
        );
        loop {
            let dropped = transaction.prepare_cached(&statement)?.execute([oldest])?;
            counters.add_to("expired_by_age", table, dropped as u64);
            if (dropped as i64) < CHUNK {
                break;
            }
        }
    }
    while used_bytes(&transaction)? > retention.bytes {
        let mut dropped = 0;
        for table in ITEM_TABLES {
            // A sixteenth of each table at a time, so that no signal pays for another.
            let statement = format!(
                "DELETE FROM {table} WHERE id <= (SELECT min(id) + (max(id) - min(id)) / 16 FROM {table})"
            );
            let of_table = transaction.prepare_cached(&statement)?.execute([])?;
            counters.add_to("expired_by_bytes", table, of_table as u64);
            dropped += of_table;
        }
        if dropped == 0 {
            break;
        }
    }
    // Where nothing was dropped, nothing is left without items.
    let forgotten = if unused || !counters.0.is_empty() { drop_unused(&transaction)? } else { 0 };
    counters.flush(&transaction)?;
    transaction.commit()?;
    Ok(forgotten > 0)
}

/// Drops series without points, then scopes and resources without anything.
fn drop_unused(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    let mut dropped = 0;
    for (table, users) in [
        ("series", &["points WHERE series ="][..]),
        ("scopes", &["series WHERE scope =", "logs WHERE scope =", "spans WHERE scope ="]),
        ("resources", &["series WHERE resource =", "logs WHERE resource =", "spans WHERE resource ="]),
    ] {
        let unused: Vec<String> =
            users.iter().map(|user| format!("NOT EXISTS (SELECT 1 FROM {user} {table}.id)")).collect();
        dropped += transaction.execute(&format!("DELETE FROM {table} WHERE {}", unused.join(" AND ")), [])?;
    }
    Ok(dropped)
}

/// Bytes of the pages in use; free ones are used again before the file grows.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?).unsigned_abs())
}

/// Empties all tables. Ids go on growing, so that cursors stay valid.
pub(super) fn clear(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for table in ALL_TABLES {
        transaction.execute(&format!("DELETE FROM {table}"), [])?;
    }
    transaction.commit()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
