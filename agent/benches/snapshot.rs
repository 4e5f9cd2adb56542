//! What a snapshot of each part costs, CPU time of this thread: `cargo bench -p whimbrel --bench snapshot`.
//!
//! Once as a collector at 1 s sees it (dear readings paced, so mostly kept ones), and once with all of them
//! made. The limit is the share that figures may have of the agent's 2 ms of CPU time a second.
#![allow(clippy::print_stdout, clippy::unwrap_used)]
#![cfg_attr(not(target_os = "linux"), allow(unused))]

use std::time::Duration;

use whimbrel::system::{PARTS, System};

/// Microseconds a second, over all parts.
const LIMIT_US: f64 = 500.0;

#[cfg(target_os = "linux")]
fn main() {
    let cpu_time = |clock| {
        let now = rustix::time::clock_gettime(clock);
        Duration::try_from(now).unwrap()
    };
    let everywhere = || cpu_time(rustix::time::ClockId::ProcessCPUTime);
    let cost = |part: &str, system: &System, clock: &dyn Fn() -> Duration| {
        let before = clock();
        let figures =
            system.snapshot(part).map(|entities| entities.iter().map(|e| e.figures.len()).sum::<usize>());
        ((clock() - before).as_secs_f64() * 1e6, figures.unwrap_or(0))
    };

    println!("{:<12} {:>8} {:>12} {:>12}", "part", "figures", "first, us", "kept, us");
    for part in PARTS {
        let first = (0..10).map(|_| cost(part, &System::default(), &everywhere).0).fold(f64::MAX, f64::min);
        let system = System::default();
        cost(part, &system, &everywhere);
        let mut kept: Vec<_> = (0..200).map(|_| cost(part, &system, &everywhere)).collect();
        kept.sort_by(|one, other| one.0.total_cmp(&other.0));
        println!("{part:<12} {:>8} {first:>12.1} {:>12.1}", kept[0].1, kept[kept.len() / 2].0);
    }

    let system = System::default();
    let parts: Vec<_> = PARTS.into_iter().filter(|part| *part != "cpu.logical").collect();
    let mut costs = vec![0.0; parts.len()];
    for part in &parts {
        cost(part, &system, &everywhere);
    }
    let seconds = 60;
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        for (part, sum) in parts.iter().zip(&mut costs) {
            *sum += cost(part, &system, &everywhere).0 / f64::from(seconds);
        }
    }
    for (part, cost) in parts.iter().zip(&costs) {
        println!("{part:<12} {cost:>8.1} us a second, asked every second");
    }
    println!("all parts    {:>8.1} us a second (limit {LIMIT_US:.0})", costs.iter().sum::<f64>());
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("measured on Linux only");
}
