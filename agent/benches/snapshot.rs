//! What a snapshot of each part costs, CPU time of this thread: `cargo bench -p whimbrel --bench snapshot`.
//!
//! Once as a collector at 1 s sees it (dear readings paced, so mostly kept ones), and once with all of them
//! made. The limit is the share that figures may have of the agent's 2 ms of CPU time a second.
#![allow(clippy::print_stdout, clippy::unwrap_used)]
#![cfg_attr(not(target_os = "linux"), allow(unused))]

use std::time::Duration;

use whimbrel::system::{PARTS, System};

/// Microseconds a second, over all parts but the processes one by one: half of 0.1 % of a core.
const LIMIT_US: f64 = 500.0;

/// The same of the hundred busiest processes: half of 1 % of a core.
const EACH_LIMIT_US: f64 = 5000.0;

#[cfg(target_os = "linux")]
fn main() {
    let cpu_time = |clock| {
        let now = rustix::time::clock_gettime(clock);
        Duration::try_from(now).unwrap()
    };
    let everywhere = || cpu_time(rustix::time::ClockId::ProcessCPUTime);
    let hundred = [("top".to_owned(), "100".to_owned())];
    let cost = |part: &str, system: &System| {
        // Units need a service manager, and are asked for aside.
        let select = if part == "process.each" { &hundred[..] } else { &[] };
        let before = everywhere();
        let figures = system.snapshot(part, select);
        let cost = (everywhere() - before).as_secs_f64() * 1e6;
        (cost, figures.map(|entities| entities.iter().map(|e| e.figures.len()).sum::<usize>()).unwrap_or(0))
    };

    println!("{:<12} {:>8} {:>12} {:>12}", "part", "figures", "first, us", "kept, us");
    for part in PARTS {
        let first = (0..10).map(|_| cost(part, &System::default()).0).fold(f64::MAX, f64::min);
        let system = System::default();
        cost(part, &system);
        let mut kept: Vec<_> = (0..200).map(|_| cost(part, &system)).collect();
        kept.sort_by(|one, other| one.0.total_cmp(&other.0));
        println!("{part:<12} {:>8} {first:>12.1} {:>12.1}", kept[0].1, kept[kept.len() / 2].0);
    }

    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let processes = processes.filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
    let system = System::default();
    let parts: Vec<_> = PARTS.into_iter().filter(|part| *part != "cpu.logical").collect();
    let mut costs = vec![0.0; parts.len()];
    for part in &parts {
        cost(part, &system);
    }
    let seconds = 60;
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        for (part, sum) in parts.iter().zip(&mut costs) {
            *sum += cost(part, &system).0 / f64::from(seconds);
        }
    }
    for (part, cost) in parts.iter().zip(&costs) {
        println!("{part:<12} {cost:>8.1} us a second, asked every second");
    }
    let of = |each: bool| -> f64 {
        parts
            .iter()
            .zip(&costs)
            .filter(|(part, _)| (**part == "process.each") == each)
            .map(|(_, cost)| cost)
            .sum()
    };
    println!("all others   {:>8.1} us a second (limit {LIMIT_US:.0})", of(false));
    println!("100 of {processes} processes {:>8.1} us a second (limit {EACH_LIMIT_US:.0})", of(true));
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("measured on Linux only");
}
