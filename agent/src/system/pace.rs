//! Keeps dear readings within a share of one core.
//!
//! Counting the states of TCP connections walks the kernel's whole hash table, two milliseconds on a machine
//! of 24 GB even when it is idle; counting the states of processes opens a file each. Asked for every second,
//! either would cost more than the rest of the agent. So such a reading is kept, and made again only after
//! [`SHARE`] times what it last cost has passed: its price can't exceed that share, on whatever machine. What
//! hardly changes has a floor besides, and what was asked for in detail a larger share.

use std::time::{Duration, Instant};

/// A reading may take one part in this many of a core's time: 0.005 %, of which there are some five.
const SHARE: u32 = 20_000;

/// However dear, a reading is not older than this.
const OLDEST: Duration = Duration::from_secs(60);

/// A reading, and when the next one may be made.
#[derive(Debug)]
pub(super) struct Paced<T> {
    floor: Duration,
    share: u32,
    kept: Option<(Instant, T)>,
}

impl<T> Paced<T> {
    /// Read no more often than every `floor`, however cheap.
    pub(super) fn new(floor: Duration) -> Self {
        Self { floor, share: SHARE, kept: None }
    }

    /// Read as often as it is asked for, as long as that takes no more than one part in `share` of a core.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(super) fn sharing(share: u32) -> Self {
        Self { floor: Duration::ZERO, share, kept: None }
    }

    /// What was last read, whether or not it is time for another.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(super) fn kept(&self) -> Option<&T> {
        self.kept.as_ref().map(|(_, value)| value)
    }

    /// Makes the next reading due: the kept one is known to be wrong.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    /// The kept reading, or a new one if it is time.
    ///
    /// # Errors
    /// The ones of `read`; what was kept before is dropped, so that nothing stale is told for ever.
    pub(super) fn get<E>(&mut self, read: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if self.due(Instant::now()) {
            self.kept = None;
            let before = cpu_time();
            let value = read()?;
            return Ok(self.keep(Instant::now(), cpu_time().saturating_sub(before), value));
        }
        // `due` is true when nothing is kept.
        Ok(&self.kept.as_ref().expect("what is not due was read before").1)
    }

    fn due(&self, now: Instant) -> bool {
        self.kept.as_ref().is_none_or(|(next, _)| now >= *next)
    }

    fn keep(&mut self, now: Instant, cost: Duration, value: T) -> &T {
        let wait = cost.saturating_mul(self.share).clamp(self.floor, OLDEST);
        &self.kept.insert((now + wait, value)).1
    }
}

/// What this thread has used of its core so far.
#[cfg(target_os = "linux")]
fn cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// Time that passed, where the time used is not to be had: never too small.
#[cfg(not(target_os = "linux"))]
fn cpu_time() -> Duration {
    use std::sync::OnceLock;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_stays_within_its_share_and_its_age() {
        let start = Instant::now();
        let mut paced = Paced::new(Duration::from_secs(2));
        assert!(paced.due(start), "nothing is kept yet");
        paced.keep(start, Duration::from_millis(1), 7);
        assert!(!paced.due(start + Duration::from_millis(19_999)));
        assert!(paced.due(start + Duration::from_millis(20_000)));
        paced.keep(start, Duration::ZERO, 7);
        assert!(!paced.due(start + Duration::from_millis(1999)), "however cheap, it has its floor");
        assert!(paced.due(start + Duration::from_millis(2000)));
        let mut larger = Paced::sharing(500);
        larger.keep(start, Duration::from_millis(1), 7);
        assert!(!larger.due(start + Duration::from_millis(499)));
        assert!(larger.due(start + Duration::from_millis(500)));
        paced.keep(start, Duration::from_secs(1), 8);
        assert!(!paced.due(start + OLDEST - Duration::from_millis(1)));
        assert!(paced.due(start + OLDEST), "however dear, it is read once a minute");
    }

    #[test]
    fn what_is_kept_is_told_until_it_is_due_and_forgotten_on_failure() {
        let mut paced = Paced::new(Duration::ZERO);
        paced.keep(Instant::now(), Duration::from_secs(1), 7);
        assert_eq!(paced.get(|| Err::<i32, _>("not read")), Ok(&7));
        paced.kept = Some((Instant::now(), 7));
        assert_eq!(paced.get(|| Err::<i32, _>("gone")), Err("gone"));
        assert!(paced.kept.is_none());
        assert_eq!(paced.get(|| Ok::<_, &str>(8)), Ok(&8));
        paced.forget();
        assert_eq!(paced.get(|| Ok::<_, &str>(9)), Ok(&9));
    }

    #[test]
    fn work_shows_in_the_clock_that_prices_it() {
        let before = cpu_time();
        let mut sum = 0u64;
        while cpu_time() - before < Duration::from_millis(2) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(sum > 0);
    }
}
