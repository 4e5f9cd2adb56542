//! `/proc/stat`, which two parts need, and the moment of boot, which all counters need.
//!
//! Parsed here and not by procfs: that drops the number of a CPU, and with one CPU offline its list is shifted.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::proc_file::ProcFile;
use crate::system::SnapshotError;

/// A reading this fresh serves the other part too: parts of one collect are asked right after each other.
const FRESH: Duration = Duration::from_millis(50);

/// Ticks of one CPU, or of all, by mode. Guest time is inside `user` and `nice` as the kernel counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) user: u64,
    pub(super) nice: u64,
    pub(super) system: u64,
    pub(super) idle: u64,
    pub(super) iowait: u64,
    /// Hard and soft interrupts.
    pub(super) interrupt: u64,
    pub(super) steal: u64,
}

impl Times {
    pub(super) const MODES: [&str; 7] = ["user", "nice", "system", "idle", "iowait", "interrupt", "steal"];

    /// In the order of [`Self::MODES`].
    pub(super) fn by_mode(&self) -> [u64; 7] {
        [self.user, self.nice, self.system, self.idle, self.iowait, self.interrupt, self.steal]
    }
}

/// What `/proc/stat` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) total: Times,
    /// By number of the logical CPU, ascending, without those offline.
    pub(super) logical: Vec<(u32, Times)>,
    /// Seconds since the Unix epoch.
    pub(super) boot_s: u64,
    /// Processes and threads created since boot.
    pub(super) created: u64,
}

#[derive(Debug)]
pub(super) struct Stat {
    file: ProcFile,
    reading: Reading,
    read_at: Option<Instant>,
    boot_ns: Option<u64>,
}

impl Stat {
    pub(super) fn new(proc: &Path) -> Self {
        Self {
            file: ProcFile::new(proc.join("stat")),
            reading: Reading::default(),
            read_at: None,
            boot_ns: None,
        }
    }

    /// As of now, or of at most 50 ms ago.
    pub(super) fn read(&mut self) -> Result<&Reading, SnapshotError> {
        if self.read_at.is_none_or(|at| at.elapsed() > FRESH) {
            self.read_at = None;
            let parsed = parse(&self.file.text()?, &mut self.reading);
            parsed.map_err(|what| self.file.malformed(what))?;
            self.read_at = Some(Instant::now());
        }
        Ok(&self.reading)
    }

    /// When this host booted, nanoseconds since the Unix epoch, as it was first found. The kernel's `btime`
    /// moves when the clock is set; this does not, so that no counter seems to begin anew, and no process to be
    /// another. Only a boot that would lie in the future of `now_ns` is read again: nothing can start later
    /// than it is told.
    pub(super) fn boot_ns(&mut self, now_ns: u64) -> Result<u64, SnapshotError> {
        if let Some(boot_ns) = self.boot_ns.filter(|boot_ns| *boot_ns <= now_ns) {
            return Ok(boot_ns);
        }
        self.read_at = None;
        let boot_ns = self.read()?.boot_s.saturating_mul(1_000_000_000).min(now_ns);
        self.boot_ns = Some(boot_ns);
        Ok(boot_ns)
    }
}

/// Reads into `reading`, whose room is used again.
fn parse(text: &str, reading: &mut Reading) -> Result<(), String> {
    reading.logical.clear();
    let (mut total, mut boot, mut created) = (false, None, None);
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(' ') else { continue };
        match key {
            "cpu" => {
                reading.total = times(rest).ok_or_else(|| format!("a short or odd line {line:?}"))?;
                total = true;
            }
            "btime" => boot = rest.trim().parse().ok(),
            "processes" => created = rest.trim().parse().ok(),
            _ => {
                if let Some(number) = key.strip_prefix("cpu").and_then(|number| number.parse().ok()) {
                    let times = times(rest).ok_or_else(|| format!("a short or odd line {line:?}"))?;
                    reading.logical.push((number, times));
                }
            }
        }
    }
    if !total {
        return Err("no line `cpu`".to_owned());
    }
    reading.boot_s = boot.ok_or("no line `btime`")?;
    reading.created = created.ok_or("no line `processes`")?;
    Ok(())
}

/// user nice system idle, then iowait irq softirq (2.6), steal (2.6.11); guest times follow and are not read.
fn times(fields: &str) -> Option<Times> {
    let mut fields = fields.split_ascii_whitespace();
    let mut needed = || fields.next()?.parse::<u64>().ok();
    let (user, nice, system, idle) = (needed()?, needed()?, needed()?, needed()?);
    let mut later = || match fields.next() {
        Some(field) => field.parse::<u64>().ok(),
        None => Some(0),
    };
    let (iowait, irq, softirq, steal) = (later()?, later()?, later()?, later()?);
    Some(Times { user, nice, system, idle, iowait, interrupt: irq.saturating_add(softirq), steal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_joined_guest_time_is_not_counted_twice_and_numbers_survive_an_offline_cpu() {
        let text = "cpu  10 1 5 100 7 2 3 4 9 1\ncpu0 5 0 2 50 3 1 1 2 4 0\ncpu2 5 1 3 50 4 1 2 2 5 1\n\
                    intr 5 0 0\nctxt 9\nbtime 1700000000\nprocesses 42\nprocs_running 1\n";
        let mut reading = Reading::default();
        parse(text, &mut reading).unwrap();
        assert_eq!(reading.total.by_mode(), [10, 1, 5, 100, 7, 5, 4]);
        assert_eq!(reading.logical.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 2]);
        assert_eq!((reading.boot_s, reading.created), (1_700_000_000, 42));
    }

    #[test]
    fn an_old_kernel_has_four_modes_and_a_broken_file_none() {
        assert_eq!(times(" 1 2 3 4").unwrap().by_mode(), [1, 2, 3, 4, 0, 0, 0]);
        assert_eq!(times("1 2 3"), None);
        assert_eq!(times("1 2 3 4 x"), None);
        let mut reading = Reading::default();
        assert_eq!(parse("btime 1\nprocesses 2\n", &mut reading), Err("no line `cpu`".to_owned()));
        assert_eq!(parse("cpu 1 2 3 4\nprocesses 2\n", &mut reading), Err("no line `btime`".to_owned()));
        assert!(parse("cpu 1 2\n", &mut reading).unwrap_err().contains("short or odd"));
    }

    #[test]
    fn boot_agrees_with_the_clock_and_stays_when_the_clock_is_set() {
        use rustix::time::{ClockId, clock_gettime};
        let mut stat = Stat::new(Path::new("/proc"));
        let boot = stat.boot_ns(u64::MAX).unwrap();
        let by_clock = clock_gettime(ClockId::Realtime).tv_sec - clock_gettime(ClockId::Boottime).tv_sec;
        let off = (boot / 1_000_000_000).cast_signed() - by_clock;
        assert!(off.abs() <= 1, "{off} s apart");

        let folder = tempfile::tempdir().unwrap();
        let write = |boot: u64| {
            let text = format!("cpu 1 2 3 4\nbtime {boot}\nprocesses 5\n");
            std::fs::write(folder.path().join("stat"), text).unwrap();
        };
        let mut stat = Stat::new(folder.path());
        let second = 1_000_000_000;
        write(100);
        assert_eq!(stat.boot_ns(500 * second).unwrap(), 100 * second);
        write(4000);
        assert_eq!(stat.boot_ns(4400 * second).unwrap(), 100 * second, "the clock was set forward");
        write(20);
        assert_eq!(stat.boot_ns(420 * second).unwrap(), 100 * second, "and back");
        assert_eq!(stat.boot_ns(90 * second).unwrap(), 20 * second, "to before what was taken for boot");
        assert_eq!(stat.boot_ns(91 * second).unwrap(), 20 * second);
    }
}
