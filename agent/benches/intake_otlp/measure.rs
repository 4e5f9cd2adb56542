//! What a process costs: CPU time, memory; and where it runs.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process, all threads.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// This thread and those that it will start run on the nth core, if there is one.
pub(crate) fn stay_on(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    // Where there is none, or that is not allowed, figures are noisier.
    let _ = rustix::thread::sched_setaffinity(None, &cores);
}

/// From here on the highest resident size is counted anew (proc(5), clear_refs).
pub(crate) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The highest resident size since then, MiB.
pub(crate) fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}
