//! `max_age`: records that are too old are given up, counted, and told at most once a minute a lane.
//!
//! Looked at when records are read, and again before each try of a request: one that met an outage grows old in flight.
//! A request goes out as it was planned as long as any of its records is young enough.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use super::{
    lane::{Lane, Stopped},
    source::{Record, Settled},
};

/// 2020-01-01: no clock that was set says less.
const CLOCK_WAS_SET_NS: u64 = 1_577_836_800 * 1_000_000_000;

/// Between two lines of the log.
const TELL: Duration = Duration::from_secs(60);

/// What was given up and not told yet.
#[derive(Debug, Default)]
pub(super) struct Toll(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    records: usize,
    /// Monotonic.
    last_told: Option<Duration>,
}

impl Toll {
    /// Counts records; how many there are to tell of, if it is time to.
    fn add(&self, records: usize, now: Duration) -> Option<usize> {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.records += records;
        if untold.last_told.is_some_and(|told| now.saturating_sub(told) < TELL) {
            return None;
        }
        untold.last_told = Some(now);
        Some(std::mem::take(&mut untold.records))
    }
}

impl Lane {
    /// Whether a record is older than `max_age`. One from the future (the clock was set back) is as good as new, and so is one
    /// that came in before the machine had learnt the time, as edge machines without a battery have it.
    pub(super) fn is_too_old(&self, record: &Record) -> bool {
        let Some(max_age) = self.config.max_age else { return false };
        if record.ingest_ns < CLOCK_WAS_SET_NS {
            return false;
        }
        let now = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_nanos(record.ingest_ns)) > max_age
    }

    /// Whether all of them are.
    pub(super) fn are_too_old(&self, records: &[Record]) -> bool {
        records.iter().all(|record| self.is_too_old(record))
    }

    /// Acknowledges records as dropped for their age.
    pub(super) async fn give_up(self: &Arc<Self>, records: &[Record]) -> Result<(), Stopped> {
        self.settle(records, Settled::Dropped).await?;
        if let Some(records) = self.toll.add(records.len(), self.clock.monotonic()) {
            let max_age = self.config.max_age.map(crate::config::show_duration).unwrap_or_default();
            tracing::warn!(exporter = %self.exporter, signal = %self.signal, records, max_age,
                "records older than max_age are given up; told at most once a minute");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_told_once_a_minute_and_nothing_is_left_untold() {
        let toll = Toll::default();
        assert_eq!(toll.add(3, Duration::from_secs(5)), Some(3));
        assert_eq!(toll.add(4, Duration::from_secs(6)), None);
        assert_eq!(toll.add(5, Duration::from_secs(64)), None);
        assert_eq!(toll.add(1, Duration::from_secs(65)), Some(10));
    }
}
