//! An outside judge of delivery: a counter whose every number must arrive once.
//!
//! `whimbrel.heartbeat.count` goes up by one with each durable point and goes on after a crash, so a number that
//! is missing was lost on its way and one that comes twice was repeated. Only what is in the store is judged; the
//! agent's own counts are not asked.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use crate::store::trail;

/// The counter.
const NAME: &str = "whimbrel.heartbeat.count";
/// Series that are judged.
const MAX_SERIES: usize = 64;
/// Points read at a time.
const STEP: i64 = 50_000;
/// Missing numbers remembered of one series; beyond it they are only counted.
const MAX_MISSING: usize = 10_000;

/// What was heard so far, of all hosts.
#[derive(Debug, Default)]
pub(super) struct Witness {
    series: BTreeMap<i64, Numbers>,
    cursor: i64,
}

#[derive(Debug, Default)]
struct Numbers {
    first: i64,
    last: i64,
    heard: u64,
    repeated: u64,
    missing: BTreeSet<i64>,
}

/// The verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Numbers that were heard.
    pub(super) heard: u64,
    /// Numbers between the first and the last that were not; they may still come.
    pub(super) missing: u64,
    /// Numbers that came again.
    pub(super) repeated: u64,
    /// The highest number.
    pub(super) last: i64,
}

impl Witness {
    /// Hears what is new; at most [`STEP`] points a call.
    ///
    /// # Errors
    /// The database's; nothing was heard then.
    pub(super) fn read(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let newest = trail::newest_point(connection)?;
        if newest < self.cursor {
            *self = Self::default();
        }
        let mut statement = connection.prepare_cached(
            "SELECT p.id, p.series, p.value FROM points p JOIN series s ON s.id = p.series
             WHERE s.name = ?1 AND p.id > ?2 AND typeof(p.value) = 'integer' ORDER BY p.id LIMIT ?3",
        )?;
        let new = statement
            .query_map(params![NAME, self.cursor, STEP], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let whole = (new.len() as i64) < STEP;
        self.cursor = if whole { newest } else { new.last().map_or(newest, |(id, ..)| *id) };
        for (_, series, number) in new {
            if self.series.contains_key(&series) || self.series.len() < MAX_SERIES {
                self.series.entry(series).or_default().hear(number);
            }
        }
        Ok(())
    }

    /// Over all series.
    pub(super) fn verdict(&self) -> Verdict {
        self.series.values().fold(Verdict::default(), |sum, numbers| Verdict {
            heard: sum.heard + numbers.heard,
            missing: sum.missing + numbers.missing(),
            repeated: sum.repeated + numbers.repeated,
            last: sum.last.max(numbers.last),
        })
    }
}

impl Numbers {
    fn hear(&mut self, number: i64) {
        if self.heard == 0 {
            (self.first, self.last, self.heard) = (number, number, 1);
        } else if number > self.last {
            let room = MAX_MISSING.saturating_sub(self.missing.len());
            self.missing.extend((self.last + 1..number).take(room));
            self.last = number;
            self.heard += 1;
        } else if self.missing.remove(&number) {
            self.heard += 1;
        } else if number < self.first {
            // Older than the first that was kept.
            self.missing.extend((number + 1..self.first).take(MAX_MISSING));
            self.first = number;
            self.heard += 1;
        } else {
            self.repeated += 1;
        }
    }

    fn missing(&self) -> u64 {
        self.last.abs_diff(self.first).saturating_add(1).saturating_sub(self.heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(numbers: impl IntoIterator<Item = i64>) -> (u64, u64, u64) {
        let mut all = Numbers::default();
        numbers.into_iter().for_each(|number| all.hear(number));
        (all.heard, all.missing(), all.repeated)
    }

    #[test]
    fn what_is_missing_and_what_came_twice_is_told() {
        assert_eq!(heard([1, 2, 3]), (3, 0, 0));
        assert_eq!(heard([5, 6, 9]), (3, 2, 0));
        assert_eq!(heard([1, 4, 2, 3]), (4, 0, 0), "late is not lost");
        assert_eq!(heard([1, 2, 2, 1]), (2, 0, 2));
        assert_eq!(heard([3, 1]), (2, 1, 0));
        assert_eq!(heard([1, 1_000_000]), (2, 999_998, 0), "counted beyond what is remembered");
        assert_eq!(heard([0, i64::MAX]).0, 2);
    }
}
