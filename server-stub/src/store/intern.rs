//! Rows that many items share (resources, scopes, series): written once, then known by their id.

use std::{collections::HashMap, hash::Hash};

use rusqlite::{Connection, OptionalExtension, ToSql, Transaction};

/// The ids of one table's rows.
#[derive(Debug)]
pub(super) struct Interned<K> {
    table: &'static str,
    /// Of rows that are in the database. Empty is always right, only slow.
    ids: HashMap<K, i64>,
    /// In the database.
    rows: u64,
}

/// How to find or write a row.
pub(super) struct Statements<'a> {
    pub(super) select: &'a str,
    pub(super) key: &'a [&'a dyn ToSql],
    pub(super) insert: &'a str,
    pub(super) row: &'a [&'a dyn ToSql],
}

impl<K: Hash + Eq> Interned<K> {
    pub(super) fn new(table: &'static str) -> Self {
        Self { table, ids: HashMap::new(), rows: 0 }
    }

    /// Forgets the ids, and counts the rows anew: after a rollback, and after rows were dropped.
    pub(super) fn forget(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.ids.clear();
        let count = format!("SELECT count(*) FROM {}", self.table);
        self.rows = connection.query_row(&count, [], |row| row.get::<_, i64>(0))?.unsigned_abs();
        Ok(())
    }

    /// The id that is remembered for `key`.
    pub(super) fn known(&self, key: &K) -> Option<i64> {
        self.ids.get(key).copied()
    }

    /// Finds or writes a row that is not remembered; `None` if it is new and `limit` rows exist already.
    pub(super) fn find_or_insert(
        &mut self,
        transaction: &Transaction<'_>,
        limit: u64,
        key: K,
        statements: &Statements<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let Statements { select, key: values, insert, row } = statements;
        let found = transaction.prepare_cached(select)?.query_row(*values, |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None if self.rows >= limit => return Ok(None),
            None => {
                transaction.prepare_cached(insert)?.execute(*row)?;
                self.rows += 1;
                transaction.last_insert_rowid()
            }
        };
        self.ids.insert(key, id);
        Ok(Some(id))
    }
}
