//! A clock for trying plugins: it stands still, and a sleep moves it at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;

use super::Clock;

/// Where [`SteppedClock`] starts: 2026-01-01T00:00:30Z.
const START: Duration = Duration::from_secs(1_767_225_630);

/// The same time in every run.
#[derive(Debug, Clone, Default)]
pub struct SteppedClock {
    /// Since [`START`], ns.
    elapsed: Arc<AtomicU64>,
}

impl Clock for SteppedClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + START + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.elapsed.load(Relaxed))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let by = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.elapsed.fetch_add(by, Relaxed);
        Box::pin(std::future::ready(()))
    }

    fn random(&self) -> u64 {
        u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::unix_ms;

    #[test]
    fn it_starts_at_the_same_time_and_a_sleep_moves_it() {
        let clock = SteppedClock::default();
        assert_eq!(unix_ms(&clock), 1_767_225_630_000);
        drop(clock.sleep(Duration::from_secs(10)));
        assert_eq!(unix_ms(&clock.clone()), 1_767_225_640_000);
    }
}
