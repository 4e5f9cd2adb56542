//! How benches measure: processor time, and medians, because the machine does other things too.

use std::time::Duration;

/// Of this thread so far.
pub(crate) fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

pub(crate) fn median(of: &mut [Duration]) -> Duration {
    of.sort();
    of[of.len() / 2]
}
