//! CPU time by mode, over all CPUs and of each; counts; frequencies.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    proc_file::ProcFile,
    starts::Starts,
    stat::{Reading, Times},
};
use crate::system::{Figure, pace::Paced};

/// How often frequencies are read at most: a sample of what changes a thousand times a second is as good.
const FREQUENCIES: Duration = Duration::from_secs(10);

/// A mode's time may go back by this much without its CPU having been away; seconds.
const HICCUP: u64 = 3;

/// The times of all CPUs together, their number, their frequencies.
#[derive(Debug)]
pub(super) struct Cpu {
    last: Times,
    /// With the number of logical CPUs it was found at.
    physical: Option<(usize, Option<u32>)>,
    frequencies: Paced<Vec<(u32, f64)>>,
    sys: PathBuf,
    info: ProcFile,
}

impl Cpu {
    pub(super) fn new(proc: &Path, sys: &Path) -> Self {
        Self {
            last: Times::default(),
            physical: None,
            frequencies: Paced::new(FREQUENCIES),
            sys: sys.join("devices/system/cpu"),
            info: ProcFile::new(proc.join("cpuinfo")),
        }
    }

    pub(super) fn figures(&mut self, reading: &Reading, boot_ns: u64) -> Vec<Figure> {
        let mut figures = Vec::with_capacity(9 + reading.logical.len());
        self.last = steady(self.last, reading.total);
        figures.extend(by_mode(self.last, boot_ns));
        figures.push(Figure::now("system.cpu.logical.count", reading.logical.len() as f64));
        if let Some(physical) = self.physical_count(reading.logical.len()) {
            figures.push(Figure::now("system.cpu.physical.count", f64::from(physical)));
        }
        let (sys, info) = (&self.sys, &mut self.info);
        let frequencies =
            self.frequencies.get(|| Ok::<_, Infallible>(frequencies(sys, info, &reading.logical)));
        let Ok(frequencies) = frequencies;
        for (number, hertz) in frequencies {
            figures.push(
                Figure::now("system.cpu.frequency", *hertz).with("cpu.logical_number", i64::from(*number)),
            );
        }
        figures
    }

    /// Found again when CPUs come or go.
    fn physical_count(&mut self, logical: usize) -> Option<u32> {
        match self.physical {
            Some((at, count)) if at == logical => count,
            _ => {
                let count = self.info.text().ok().and_then(|text| physical_cores(&text));
                self.physical = Some((logical, count));
                count
            }
        }
    }
}

/// The times of each logical CPU.
#[derive(Debug)]
pub(super) struct LogicalCpus {
    last: Vec<(u32, Times)>,
    starts: Starts,
}

impl LogicalCpus {
    pub(super) fn new() -> Self {
        Self { last: Vec::new(), starts: Starts::default() }
    }

    pub(super) fn figures(&mut self, reading: &Reading, boot_ns: u64, now_ns: u64) -> Vec<Figure> {
        let mut figures = Vec::with_capacity(reading.logical.len() * Times::MODES.len());
        let mut last = Vec::with_capacity(reading.logical.len());
        self.starts.begin(now_ns);
        for &(number, times) in &reading.logical {
            let before = self.last.iter().find(|(other, _)| *other == number);
            let times = before.map_or(times, |(_, before)| steady(*before, times));
            let start_ns = self.starts.of(&number.to_string(), &times.by_mode(), boot_ns);
            let each = by_mode(times, start_ns);
            figures.extend(each.map(|figure| figure.with("cpu.logical_number", i64::from(number))));
            last.push((number, times));
        }
        self.starts.end();
        self.last = last;
        figures
    }
}

fn by_mode(times: Times, start_ns: u64) -> impl Iterator<Item = Figure> {
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Times::MODES.into_iter().zip(times.by_mode()).map(move |(mode, ticks)| {
        Figure::since("system.cpu.time", start_ns, ticks as f64 / per_second).with("cpu.mode", mode)
    })
}

/// The kernel's idle and iowait times may go back a little (proc_stat(5)), which nobody should take for a
/// restart; going back by more is one, of a CPU that was offline.
fn steady(before: Times, now: Times) -> Times {
    let hiccup = HICCUP * rustix::param::clock_ticks_per_second();
    let steady = |before: u64, now: u64| if now < before && before - now <= hiccup { before } else { now };
    Times {
        user: steady(before.user, now.user),
        nice: steady(before.nice, now.nice),
        system: steady(before.system, now.system),
        idle: steady(before.idle, now.idle),
        iowait: steady(before.iowait, now.iowait),
        interrupt: steady(before.interrupt, now.interrupt),
        steal: steady(before.steal, now.steal),
    }
}

/// Hertz, of those CPUs that tell: by cpufreq, or else what x86 says in `/proc/cpuinfo`. (sysinfo gives the
/// first CPU's for all there, and BogoMIPS where there is nothing better: not a frequency.)
fn frequencies(sys: &Path, info: &mut ProcFile, logical: &[(u32, Times)]) -> Vec<(u32, f64)> {
    let by_cpufreq: Vec<_> = logical
        .iter()
        .filter_map(|(number, _)| {
            let khz = fs::read_to_string(sys.join(format!("cpu{number}/cpufreq/scaling_cur_freq"))).ok()?;
            Some((*number, khz.trim().parse::<f64>().ok()? * 1e3))
        })
        .collect();
    if !by_cpufreq.is_empty() {
        return by_cpufreq;
    }
    info.text().map(|text| frequencies_in(&text)).unwrap_or_default()
}

fn frequencies_in(cpuinfo: &str) -> Vec<(u32, f64)> {
    let mut number = None;
    let mut found = Vec::new();
    for (key, value) in cpuinfo_fields(cpuinfo) {
        match key {
            "processor" => number = value.parse().ok(),
            "cpu MHz" => {
                let hertz = value.parse::<f64>().map(|mhz| (mhz * 1e6).round());
                found.extend(number.zip(hertz.ok()));
            }
            _ => {}
        }
    }
    found
}

/// Distinct cores over all packages; without a topology (most ARM boards) every CPU is a core.
fn physical_cores(cpuinfo: &str) -> Option<u32> {
    let (mut package, mut processors) = ("0", 0u32);
    let mut cores = std::collections::HashSet::new();
    for (key, value) in cpuinfo_fields(cpuinfo) {
        match key {
            "processor" => processors += 1,
            "physical id" => package = value,
            "core id" => {
                cores.insert((package, value));
            }
            _ => {}
        }
    }
    let count = if cores.is_empty() { processors } else { u32::try_from(cores.len()).ok()? };
    (count > 0).then_some(count)
}

fn cpuinfo_fields(cpuinfo: &str) -> impl Iterator<Item = (&str, &str)> {
    cpuinfo.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PACKAGES: &str = "processor\t: 0\nmodel name\t: X: Y\ncpu MHz\t\t: 2599.998\nphysical id\t: 0\n\
        core id\t\t: 0\n\nprocessor\t: 1\ncpu MHz\t\t: 800.000\nphysical id\t: 0\ncore id\t\t: 0\n\n\
        processor\t: 2\ncpu MHz\t\t: 800.000\nphysical id\t: 1\ncore id\t\t: 0\n";

    #[test]
    fn cores_are_counted_once_whatever_their_threads() {
        assert_eq!(physical_cores(TWO_PACKAGES), Some(2));
        assert_eq!(physical_cores("processor\t: 0\nBogoMIPS\t: 108.00\n\nprocessor\t: 1\n"), Some(2));
        assert_eq!(physical_cores("machine : s390\n"), None);
    }

    #[test]
    fn each_cpu_has_its_own_frequency_and_bogomips_is_none() {
        assert_eq!(frequencies_in(TWO_PACKAGES), [(0, 2_599_998_000.0), (1, 8e8), (2, 8e8)]);
        assert_eq!(frequencies_in("processor\t: 0\nBogoMIPS\t: 108.00\n"), []);
    }

    #[test]
    fn a_small_step_back_is_smoothed_and_a_large_one_is_a_new_start() {
        let tick = rustix::param::clock_ticks_per_second();
        let at = |idle| Times { idle, ..Times::default() };
        assert_eq!(steady(at(100 * tick), at(99 * tick)), at(100 * tick));
        assert_eq!(steady(at(100 * tick), at(tick)), at(tick));

        let mut logical = LogicalCpus::new();
        let reading = |idle| Reading { logical: vec![(1, at(idle))], ..Reading::default() };
        assert!(logical.figures(&reading(100 * tick), 5, 50).iter().all(|figure| figure.start_ns == 5));
        let after = logical.figures(&reading(tick), 5, 60);
        assert!(after.iter().all(|figure| figure.start_ns == 50), "{after:?}");
    }

    #[test]
    fn a_cpu_that_comes_later_or_comes_back_starts_at_its_own_time() {
        let at = |idle| Times { idle, ..Times::default() };
        let mut logical = LogicalCpus::new();
        let mut starts = |cpus: &[(u32, u64)], now_ns| -> Vec<u64> {
            let logical_now = cpus.iter().map(|(number, idle)| (*number, at(*idle))).collect();
            let figures = logical.figures(&Reading { logical: logical_now, ..Reading::default() }, 5, now_ns);
            figures.iter().step_by(Times::MODES.len()).map(|figure| figure.start_ns).collect()
        };
        assert_eq!(starts(&[(0, 9)], 50), [5]);
        assert_eq!(starts(&[(0, 10), (1, 1)], 60), [5, 50], "it came after 50");
        assert_eq!(starts(&[(0, 11)], 70), [5]);
        assert_eq!(starts(&[(0, 12), (1, 2)], 80), [5, 70], "it was away");
    }
}
