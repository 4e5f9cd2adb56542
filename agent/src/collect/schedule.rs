//! When to collect next: a fixed raster, so that a late collect does not shift those after it, and a missed one
//! is missed, not made up for in a burst. Pure.

use std::time::Duration;

/// A raster of equal intervals. Times are durations since any fixed moment of a clock that never goes back.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    interval: Duration,
    next: Duration,
}

/// What [`Schedule::due`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// When the collect after this one is due.
    pub(super) next: Duration,
    /// Collects that were due before and did not happen.
    pub(super) missed: u64,
    /// How late this one begins.
    pub(super) late: Duration,
}

impl Schedule {
    /// The first collect is due at `start`, at once.
    pub(super) fn starting(start: Duration, interval: Duration) -> Self {
        Self { interval: interval.max(Duration::from_millis(1)), next: start }
    }

    /// When the next collect is due.
    pub(super) fn next(&self) -> Duration {
        self.next
    }

    /// The collect that was due last did not come about: it is due at once, on its old place of the raster.
    pub(super) fn again(&mut self) {
        self.next = self.next.saturating_sub(self.interval);
    }

    /// From now on with another interval, counted from the collect that was due last.
    pub(super) fn every(&mut self, interval: Duration, now: Duration) {
        let last = self.next.saturating_sub(self.interval);
        self.interval = interval.max(Duration::from_millis(1));
        self.next = last.saturating_add(self.interval).max(now);
    }

    /// Called when a collect begins, at or after `next`: moves on to the first moment of the raster after `now`.
    pub(super) fn due(&mut self, now: Duration) -> Due {
        let late = now.saturating_sub(self.next);
        let intervals = late.as_nanos() / self.interval.as_nanos();
        let missed = u64::try_from(intervals).unwrap_or(u64::MAX);
        let steps = u32::try_from(missed.saturating_add(1)).unwrap_or(u32::MAX);
        self.next = self.next.saturating_add(self.interval.saturating_mul(steps));
        Due { next: self.next, missed, late: late.saturating_sub(self.interval.saturating_mul(steps - 1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_late_collect_does_not_shift_the_raster() {
        let mut schedule = Schedule::starting(ms(500), ms(1000));
        assert_eq!(schedule.due(ms(500)), Due { next: ms(1500), missed: 0, late: ms(0) });
        assert_eq!(schedule.due(ms(1720)), Due { next: ms(2500), missed: 0, late: ms(220) });
        assert_eq!(schedule.next(), ms(2500));
    }

    #[test]
    fn missed_collects_are_counted_not_made_up_for() {
        let mut schedule = Schedule::starting(ms(0), ms(100));
        assert_eq!(schedule.due(ms(350)), Due { next: ms(400), missed: 3, late: ms(50) });
    }

    #[test]
    fn a_collect_that_failed_is_tried_again_and_the_raster_stays() {
        let mut schedule = Schedule::starting(ms(0), ms(1000));
        schedule.due(ms(0));
        schedule.again();
        assert_eq!(schedule.due(ms(200)), Due { next: ms(1000), missed: 0, late: ms(200) });
        schedule.again();
        assert_eq!(schedule.due(ms(3300)), Due { next: ms(4000), missed: 3, late: ms(300) });
    }

    #[test]
    fn another_interval_counts_from_the_last_collect() {
        let mut schedule = Schedule::starting(ms(0), ms(1000));
        schedule.due(ms(0));
        schedule.every(ms(400), ms(300));
        assert_eq!(schedule.next(), ms(400));
        schedule.every(ms(10_000), ms(400));
        assert_eq!(schedule.next(), ms(10_000));
        schedule.every(ms(100), ms(5000));
        assert_eq!(schedule.next(), ms(5000), "what is past is due now");
    }

    #[test]
    fn a_clock_that_stood_still_for_years_ends_in_one_collect() {
        let mut schedule = Schedule::starting(ms(0), ms(1));
        let due = schedule.due(Duration::from_secs(3600 * 24 * 365));
        assert!(due.missed > 1_000_000);
        assert!(due.next > Duration::from_secs(3600 * 24));
    }
}
