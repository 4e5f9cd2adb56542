//! Time and jitter, so that nothing on the path asks the machine itself and no test needs to sleep.
//!
//! A stage that waits, stamps or spreads its retries takes an `Arc<dyn Clock>`; the agent gives it the
//! [`SystemClock`], tests the manual one, whose time moves only when the test says so.

use std::{
    fmt,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;

#[cfg(test)]
pub(crate) mod manual;
mod stepped;

pub use stepped::SteppedClock;

/// What a stage may know of time and chance.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall clock: for stamps and dates, never for measuring; it may jump.
    fn now(&self) -> SystemTime;

    /// Time since an origin of the clock's own: never runs backwards.
    fn monotonic(&self) -> Duration;

    /// Ends after `duration` of [`monotonic`](Clock::monotonic) time. Dropping it gives up waiting.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// 64 random bits for jitter; not fit for keys.
    fn random(&self) -> u64;
}

/// The wall clock in milliseconds since 1970; 0 before that.
pub fn unix_ms(clock: &dyn Clock) -> u64 {
    clock.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The wall clock in nanoseconds since 1970; 0 before that.
pub fn unix_ns(clock: &dyn Clock) -> u64 {
    clock.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Uniform in 0..1, for jitter.
pub fn chance(clock: &dyn Clock) -> f64 {
    (clock.random() >> 11) as f64 / (1u64 << 53) as f64
}

/// The machine's clocks and tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u64 {
        // Each `RandomState` has keys of its own, from the system's randomness: infallible, and enough here.
        RandomState::new().build_hasher().finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_runs_backwards_and_its_bits_differ() {
        let clock = SystemClock;
        let (first, second) = (clock.monotonic(), clock.monotonic());
        assert!(first <= second);
        let bits: std::collections::HashSet<u64> = (0..100).map(|_| clock.random()).collect();
        assert_eq!(bits.len(), 100);
        assert!(unix_ms(&clock) > 1_600_000_000_000);
    }
}
