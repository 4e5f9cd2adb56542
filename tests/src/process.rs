//! What a running process costs, from procfs.

use std::{fs, time::Duration};

/// Kernel ticks a second in procfs: 100 on every Linux (proc(5), `_SC_CLK_TCK`).
const TICKS: u64 = 100;

/// Memory in use now, bytes (`VmRSS`).
///
/// # Panics
/// When there is no such process.
pub fn resident(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmRSS:") * 1024
}

/// Processor time so far, of all its threads.
///
/// # Panics
/// When there is no such process.
pub fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name may hold blanks; after its bracket the fields are numbers, utime and stime the 12th and 13th.
    let (_, rest) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// How often threads whose name begins so went to sleep and were woken, by name and id.
///
/// # Panics
/// When there is no such process.
pub fn wake_ups(pid: u32, thread: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let folders = tasks.map(|task| task.expect("an entry").path());
    let named = folders
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(thread)));
    named.map(|task| field(&task.join("status").display().to_string(), "voluntary_ctxt_switches:")).sum()
}

fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field is there");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
