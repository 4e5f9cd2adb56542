//! What is told of one process, by the semantic conventions' names, v1.44.

use super::folder::{Io, Stat};
use crate::system::{Entity, Figure, Value};

/// What a process's ticks and pages mean, and what time it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    pub(super) boot_ns: u64,
    pub(super) now_ns: u64,
    /// Seconds, suspended time included.
    pub(super) since_boot: f64,
    pub(super) ticks_per_second: u64,
    pub(super) page_bytes: u64,
    /// Whether the kernel accounts for delays; none: it does not say.
    pub(super) delays: Option<bool>,
}

/// What is not in `stat`; none where it may not be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Details {
    pub(super) io: Option<Io>,
    pub(super) switches: Option<[u64; 2]>,
    pub(super) descriptors: Option<u64>,
}

/// A process is its number and when it began; the name and parent come with it.
pub(super) fn entity(stat: &Stat, name: &str, details: &Details, units: &Units) -> Entity {
    let start_ns = start_ns(stat, units);
    let resource = vec![
        ("process.pid", Value::Int(stat.pid.into())),
        ("process.creation.time", Value::from(iso_8601(start_ns))),
        ("process.executable.name", Value::from(name.to_owned())),
        ("process.parent_pid", Value::Int(stat.parent.into())),
    ];
    Entity { resource, figures: figures(stat, details, units, start_ns.min(units.now_ns)) }
}

fn start_ns(stat: &Stat, units: &Units) -> u64 {
    let ns = u128::from(stat.start) * 1_000_000_000 / u128::from(units.ticks_per_second.max(1));
    units.boot_ns.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// To the millisecond, in UTC; what lies beyond the year 9999 is its end.
fn iso_8601(ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

fn figures(stat: &Stat, details: &Details, units: &Units, start_ns: u64) -> Vec<Figure> {
    let since = |name, value: f64| Figure::since(name, start_ns, value);
    let seconds = |ticks: u64| ticks as f64 / units.ticks_per_second.max(1) as f64;
    let mut figures = Vec::with_capacity(18);
    let waits = units.delays.unwrap_or(stat.wait > 0);
    for (mode, ticks, told) in
        [("user", stat.user, true), ("system", stat.system, true), ("wait", stat.wait, waits)]
    {
        figures.extend(told.then(|| since("process.cpu.time", seconds(ticks)).with("cpu.mode", mode)));
    }
    if !stat.kernel {
        let resident = stat.resident_pages.saturating_mul(units.page_bytes);
        figures.push(Figure::now("process.memory.usage", resident as f64));
        figures.push(Figure::now("process.memory.virtual", stat.virtual_bytes as f64));
    }
    if let Some(io) = details.io {
        let mut both = |name, read: u64, write: u64| {
            for (direction, count) in [("read", read), ("write", write)] {
                figures.push(since(name, count as f64).with("disk.io.direction", direction));
            }
        };
        both("process.disk.io", io.read_bytes, io.write_bytes);
        both("process.disk.operations", io.reads, io.writes);
    }
    figures.push(Figure::now("process.thread.count", stat.threads as f64));
    figures.extend(
        details.descriptors.map(|count| Figure::now("process.unix.file_descriptor.count", count as f64)),
    );
    if let Some([voluntary, involuntary]) = details.switches {
        for (kind, count) in [("voluntary", voluntary), ("involuntary", involuntary)] {
            let figure = since("process.context_switches", count as f64);
            figures.push(figure.with("process.context_switch.type", kind));
        }
    }
    for (kind, count) in [("major", stat.major_faults), ("minor", stat.minor_faults)] {
        figures.push(since("process.paging.faults", count as f64).with("system.paging.fault.type", kind));
    }
    let uptime = (units.since_boot - seconds(stat.start)).max(0.0);
    figures.push(Figure::now("process.uptime", uptime));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units {
        boot_ns: 1_700_000_000_000_000_000,
        now_ns: 1_700_000_100_000_000_000,
        since_boot: 100.0,
        ticks_per_second: 100,
        page_bytes: 4096,
        delays: Some(true),
    };

    const STAT: Stat = Stat {
        pid: 42,
        parent: 7,
        kernel: false,
        minor_faults: 100,
        major_faults: 3,
        user: 250,
        system: 50,
        wait: 10,
        start: 1234,
        threads: 9,
        virtual_bytes: 1 << 20,
        resident_pages: 2,
    };

    const NONE: Details = Details { io: None, switches: None, descriptors: None };

    #[test]
    fn a_process_is_named_by_number_and_creation_and_counts_since_then() {
        let io = Io { read_bytes: 1, write_bytes: 2, reads: 3, writes: 4 };
        let details = Details { io: Some(io), switches: Some([5, 6]), descriptors: Some(8) };
        let entity = entity(&STAT, "nginx", &details, &UNITS);
        assert_eq!(
            entity.resource,
            [
                ("process.pid", Value::Int(42)),
                ("process.creation.time", "2023-11-14T22:13:32.340Z".into()),
                ("process.executable.name", "nginx".into()),
                ("process.parent_pid", Value::Int(7)),
            ]
        );
        let told: Vec<_> = entity.figures.iter().map(|figure| (figure.name, figure.value)).collect();
        assert_eq!(
            told,
            [
                ("process.cpu.time", 2.5),
                ("process.cpu.time", 0.5),
                ("process.cpu.time", 0.1),
                ("process.memory.usage", 8192.0),
                ("process.memory.virtual", 1_048_576.0),
                ("process.disk.io", 1.0),
                ("process.disk.io", 2.0),
                ("process.disk.operations", 3.0),
                ("process.disk.operations", 4.0),
                ("process.thread.count", 9.0),
                ("process.unix.file_descriptor.count", 8.0),
                ("process.context_switches", 5.0),
                ("process.context_switches", 6.0),
                ("process.paging.faults", 3.0),
                ("process.paging.faults", 100.0),
                ("process.uptime", 87.66),
            ]
        );
        let counters = entity.figures.iter().filter(|figure| figure.start_ns > 0);
        assert!(counters.clone().all(|figure| figure.start_ns == 1_700_000_012_340_000_000));
        assert_eq!(counters.count(), 11);
    }

    #[test]
    fn what_may_not_be_read_or_is_not_accounted_for_is_left_out() {
        let told = |stat: &Stat, units: &Units| -> Vec<&str> {
            let mut names: Vec<_> =
                entity(stat, "x", &NONE, units).figures.iter().map(|figure| figure.name).collect();
            names.dedup();
            names
        };
        let plain = told(&STAT, &UNITS);
        assert!(!plain.contains(&"process.disk.io") && plain.contains(&"process.memory.usage"));
        assert!(!told(&Stat { kernel: true, ..STAT }, &UNITS).contains(&"process.memory.usage"));
        let modes = |delays, wait| {
            let entity = entity(&Stat { wait, ..STAT }, "x", &NONE, &Units { delays, ..UNITS });
            entity.figures.iter().filter(|figure| figure.name == "process.cpu.time").count()
        };
        assert_eq!((modes(Some(true), 0), modes(Some(false), 9)), (3, 2));
        assert_eq!((modes(None, 0), modes(None, 9)), (2, 3));
    }

    #[test]
    fn odd_numbers_stay_within_time() {
        let stat = Stat { start: u64::MAX, resident_pages: u64::MAX, ..STAT };
        let entity = entity(&stat, "x", &NONE, &UNITS);
        assert!(entity.figures.iter().all(|figure| figure.start_ns <= UNITS.now_ns));
        assert!(entity.figures.iter().all(|figure| figure.value.is_finite() && figure.value >= 0.0));
    }
}
