//! What happens after a fault: again after a backoff, or set aside. Pure: time and chance come in as arguments.
//!
//! A plugin that fails now and then is restarted quickly; one that fails on and on costs less and less, and is
//! set aside for an operator to look at. Health, not time alone, restores the budget.

use std::time::Duration;

/// First pause before a new instance.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// The pause never grows beyond this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// So many faults within [`FAULT_WINDOW`] set a plugin aside.
const FAULT_BUDGET: usize = 5;
/// The time over which faults are counted.
const FAULT_WINDOW: Duration = Duration::from_secs(600);
/// So long without a fault, and everything is forgiven.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// What to do after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A new instance after this pause.
    RestartAfter(Duration),
    /// No new instance until its configuration or its component changes, or an operator resumes it.
    SetAside {
        /// Faults counted within the window.
        faults: usize,
    },
}

/// The faults of one plugin. Times are durations since any fixed moment of a clock that never goes back.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    faults: Vec<Duration>,
    up_since: Option<Duration>,
}

impl Supervisor {
    /// Notes that an instance came up at `now`.
    pub(super) fn started(&mut self, now: Duration) {
        self.up_since = Some(now);
    }

    /// Forgets all faults: somebody has looked, or the plugin is another one.
    pub(super) fn forgive(&mut self) {
        *self = Self::default();
    }

    /// Notes a fault at `now` and decides. `chance` is uniform in 0..1 and spreads restarts over the upper half
    /// of the pause, so that a fleet does not restart in step.
    pub(super) fn fault(&mut self, now: Duration, chance: f64) -> Verdict {
        if self.up_since.take().is_some_and(|since| now.saturating_sub(since) >= HEALTHY_AFTER) {
            self.faults.clear();
        }
        self.faults.retain(|at| now.saturating_sub(*at) < FAULT_WINDOW);
        self.faults.push(now);
        if self.faults.len() >= FAULT_BUDGET {
            return Verdict::SetAside { faults: self.faults.len() };
        }
        let doubled = FIRST_BACKOFF.saturating_mul(1 << (self.faults.len() - 1).min(16));
        let pause = doubled.min(LONGEST_BACKOFF);
        Verdict::RestartAfter(pause.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn pauses_double_and_carry_jitter() {
        let mut supervisor = Supervisor::default();
        assert_eq!(supervisor.fault(seconds(0), 1.0), Verdict::RestartAfter(Duration::from_millis(200)));
        assert_eq!(supervisor.fault(seconds(1), 1.0), Verdict::RestartAfter(Duration::from_millis(400)));
        assert_eq!(supervisor.fault(seconds(2), 0.0), Verdict::RestartAfter(Duration::from_millis(400)));
    }

    #[test]
    fn the_fifth_fault_within_the_window_sets_aside() {
        let mut supervisor = Supervisor::default();
        for at in 0..4 {
            assert!(
                matches!(supervisor.fault(seconds(at * 100), 0.5), Verdict::RestartAfter(_)),
                "fault {at}"
            );
        }
        assert_eq!(supervisor.fault(seconds(310), 0.5), Verdict::SetAside { faults: 5 });
    }

    #[test]
    fn a_healthy_stretch_restores_the_budget() {
        let mut supervisor = Supervisor::default();
        for at in 0..4 {
            supervisor.fault(seconds(at), 0.5);
        }
        supervisor.started(seconds(4));
        assert!(matches!(supervisor.fault(seconds(64), 0.5), Verdict::RestartAfter(_)));
    }

    #[test]
    fn what_is_forgiven_has_a_whole_budget_and_the_shortest_pause() {
        let mut supervisor = Supervisor::default();
        for at in 0..5 {
            supervisor.fault(seconds(at), 1.0);
        }
        supervisor.forgive();
        assert_eq!(supervisor.fault(seconds(6), 1.0), Verdict::RestartAfter(Duration::from_millis(200)));
    }

    #[test]
    fn coming_up_for_less_than_a_minute_restores_nothing() {
        let mut supervisor = Supervisor::default();
        for at in 0..4 {
            supervisor.fault(seconds(at), 0.5);
        }
        supervisor.started(seconds(4));
        assert_eq!(supervisor.fault(seconds(63), 0.5), Verdict::SetAside { faults: 5 });
    }
}
