//! Since when the counters of a device count.
//!
//! What is there at the first snapshot is taken to count since boot. What appears later, or has counted
//! backwards (removed and added again, a driver reloaded), began at some moment after the snapshot before:
//! that snapshot's time is the latest that is certainly not too late.
//!
//! A start once told stays, however the clock is set: only one that would lie in the future is brought to now.

use std::collections::HashMap;

#[derive(Debug, Default)]
pub(super) struct Starts {
    devices: HashMap<String, Device>,
    /// Counts snapshots; 0: none yet.
    generation: u64,
    previous_ns: u64,
    now_ns: u64,
}

#[derive(Debug)]
struct Device {
    start_ns: u64,
    counters: Vec<u64>,
    generation: u64,
}

impl Starts {
    /// Opens a snapshot that is made at `now_ns`.
    pub(super) fn begin(&mut self, now_ns: u64) {
        self.generation += 1;
        self.now_ns = now_ns;
    }

    /// When the counters of `name` began, given what they stand at.
    pub(super) fn of(&mut self, name: &str, counters: &[u64], boot_ns: u64) -> u64 {
        let (first, now_ns) = (self.generation == 1, self.now_ns);
        let previous_ns = self.previous_ns.min(now_ns);
        if let Some(device) = self.devices.get_mut(name) {
            if device.counters.iter().zip(counters).any(|(before, now)| now < before) {
                device.start_ns = previous_ns;
            }
            device.start_ns = device.start_ns.min(now_ns);
            device.counters.clear();
            device.counters.extend_from_slice(counters);
            device.generation = self.generation;
            return device.start_ns;
        }
        let start_ns = if first { boot_ns } else { previous_ns.max(boot_ns) }.min(now_ns);
        let device = Device { start_ns, counters: counters.to_vec(), generation: self.generation };
        self.devices.insert(name.to_owned(), device);
        start_ns
    }

    /// Closes it, and forgets what did not appear in it.
    pub(super) fn end(&mut self) {
        let generation = self.generation;
        self.devices.retain(|_, device| device.generation == generation);
        self.previous_ns = self.now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_or_counts_backwards_starts_at_its_own_time() {
        let mut starts = Starts::default();
        starts.begin(100);
        assert_eq!(starts.of("eth0", &[10, 20], 5), 5, "there from the beginning: since boot");
        starts.end();

        starts.begin(200);
        assert_eq!(starts.of("eth0", &[11, 20], 5), 5);
        assert_eq!(starts.of("eth1", &[1, 1], 5), 100, "came after the snapshot at 100");
        starts.end();

        starts.begin(300);
        assert_eq!(starts.of("eth0", &[12, 19], 5), 200, "one counter went back");
        starts.end();

        starts.begin(400);
        assert_eq!(starts.of("eth0", &[12, 19], 5), 200);
        assert_eq!(starts.of("eth1", &[2, 2], 5), 300, "was away and came again");
        starts.end();
    }

    #[test]
    fn a_clock_that_is_set_moves_no_start_but_one_from_the_future() {
        let mut starts = Starts::default();
        starts.begin(100);
        starts.of("eth0", &[1], 50);
        starts.end();
        starts.begin(1_000_000);
        assert_eq!(starts.of("eth0", &[2], 50), 50, "set forward");
        starts.end();
        starts.begin(200);
        assert_eq!(starts.of("eth0", &[3], 50), 50, "set back");
        assert_eq!(starts.of("eth1", &[3], 50), 200, "the snapshot before was made at 1,000,000");
        starts.end();
        starts.begin(20);
        assert_eq!((starts.of("eth0", &[4], 50), starts.of("eth1", &[4], 50)), (20, 20));
        starts.end();
        starts.begin(30);
        assert_eq!((starts.of("eth0", &[5], 50), starts.of("eth1", &[5], 50)), (20, 20));
        starts.end();
    }
}
