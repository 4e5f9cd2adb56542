//! How late collects begin, over the last of them: what a neighbour's misdeeds would show in first.

use std::time::Duration;

use serde::Serialize;

/// So many of the last collects are looked at.
const KEPT: usize = 128;

/// How late the last collects began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Late {
    /// The last one, microseconds.
    pub last_us: u64,
    /// Of a hundred of the last 128, ninety-nine began no later; microseconds.
    pub p99_us: u64,
    /// The latest of the last 128, microseconds.
    pub most_us: u64,
}

/// The last of them, in a ring; microseconds, at most 71 minutes.
#[derive(Debug, Clone, Default)]
pub(super) struct Lateness {
    kept: Vec<u32>,
    next: usize,
}

impl Lateness {
    pub(super) fn add(&mut self, late: Duration) {
        let us = u32::try_from(late.as_micros()).unwrap_or(u32::MAX);
        if self.kept.len() < KEPT {
            self.kept.push(us);
        } else {
            self.kept[self.next] = us;
        }
        self.next = (self.next + 1) % KEPT;
    }

    pub(super) fn read(&self) -> Late {
        if self.kept.is_empty() {
            return Late::default();
        }
        let last = self.kept[(self.next + KEPT - 1) % KEPT];
        let mut sorted = self.kept.clone();
        sorted.sort_unstable();
        // Nearest rank: of 128 the 127th.
        let rank = (sorted.len() * 99).div_ceil(100);
        Late {
            last_us: u64::from(last),
            p99_us: u64::from(sorted[rank - 1]),
            most_us: u64::from(sorted[sorted.len() - 1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_the_ninety_ninth_of_a_hundred_is_told() {
        let mut late = Lateness::default();
        assert_eq!(late.read(), Late::default());
        late.add(Duration::from_secs(7));
        assert_eq!(late.read(), Late { last_us: 7_000_000, p99_us: 7_000_000, most_us: 7_000_000 });
        for us in 1..=128 {
            late.add(Duration::from_micros(us));
        }
        assert_eq!(
            late.read(),
            Late { last_us: 128, p99_us: 127, most_us: 128 },
            "the seven seconds are gone"
        );
        late.add(Duration::from_micros(500));
        assert_eq!(late.read(), Late { last_us: 500, p99_us: 128, most_us: 500 });
    }
}
