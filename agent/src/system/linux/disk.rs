//! `/proc/diskstats`: I/O of whole block devices.
//!
//! Partitions are left out, because their I/O is their disk's too; so are loop, RAM and zram devices, whose I/O
//! is memory's or another device's: unless they are asked for by name. Devices that never did any (an empty card
//! reader) have nothing to tell. A device mapper's or RAID's device is one of its own and stands beside those it
//! is made of. What is not told is followed all the same, so that it has its start when it is.

use std::{collections::HashMap, fs, path::Path, path::PathBuf};

use procfs::DiskStat;

use super::{proc_file::ProcFile, starts::Starts};
use crate::system::{Figure, SnapshotError, select::Names};

/// `/proc/diskstats` counts in these, whatever the device's own sectors are (iostats.rst).
const SECTOR: u64 = 512;

/// How often a device's size is read again, snapshots.
const SIZE_EVERY: u64 = 60;

const LEFT_OUT: [&str; 4] = ["loop", "ram", "zram", "fd"];

#[derive(Debug)]
pub(super) struct Disks {
    file: ProcFile,
    sys: PathBuf,
    devices: HashMap<String, Device>,
    starts: Starts,
    snapshots: u64,
}

/// What is remembered of a device from one snapshot to the next.
#[derive(Debug, Default)]
struct Device {
    seen: u64,
    size: Size,
    completed: u64,
    reading: Wrapping,
    writing: Wrapping,
    busy: Wrapping,
    weighted: Wrapping,
}

/// What sysfs says of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    /// And no partition.
    whole: bool,
    bytes: Option<u64>,
}

/// A count of milliseconds that the kernel prints in 32 bits: 50 days of one request at a time, much less of
/// many. Carried on beyond that.
#[derive(Debug, Default)]
struct Wrapping {
    last: u64,
    carried: u64,
}

impl Wrapping {
    fn count(&mut self, now: u64) -> u64 {
        if now < self.last {
            self.carried = self.carried.saturating_add(1 << 32);
        }
        self.last = now;
        self.carried.saturating_add(now)
    }
}

/// One device's counters, in the order of the figures.
struct Counters {
    name: String,
    start_ns: u64,
    read: Direction,
    write: Direction,
    busy_ms: u64,
    weighted_ms: u64,
    /// Requests that the device works on, or that wait for it.
    pending: u64,
    limit: Option<u64>,
}

struct Direction {
    bytes: u64,
    operations: u64,
    merged: u64,
    ms: u64,
}

impl Disks {
    pub(super) fn new(proc: &Path, sys: &Path) -> Self {
        Self {
            file: ProcFile::new(proc.join("diskstats")),
            sys: sys.to_owned(),
            devices: HashMap::new(),
            starts: Starts::default(),
            snapshots: 0,
        }
    }

    pub(super) fn figures(
        &mut self,
        names: &Names,
        boot_ns: u64,
        now_ns: u64,
    ) -> Result<Vec<Figure>, SnapshotError> {
        let parsed: Result<Vec<_>, _> = self.file.text()?.lines().map(DiskStat::from_line).collect();
        let stats = parsed.map_err(|error| self.file.malformed(error.to_string()))?;
        self.snapshots += 1;
        self.starts.begin(now_ns);
        let counters: Vec<_> =
            stats.into_iter().filter_map(|stat| self.counters(stat, names, boot_ns)).collect();
        self.starts.end();
        let snapshot = self.snapshots;
        self.devices.retain(|_, device| device.seen == snapshot);
        Ok(figures(&counters))
    }

    fn counters(&mut self, stat: DiskStat, names: &Names, boot_ns: u64) -> Option<Counters> {
        let completed = stat.reads.saturating_add(stat.writes);
        if completed == 0 {
            return None;
        }
        let snapshot = self.snapshots;
        let device = match self.devices.get_mut(&stat.name) {
            Some(device) => device,
            None => self.devices.entry(stat.name.clone()).or_default(),
        };
        if device.seen == 0 || snapshot.is_multiple_of(SIZE_EVERY) {
            device.size = size(&self.sys, &stat.name);
        }
        if completed < device.completed {
            // Another device under an old name: its time has not wrapped.
            *device = Device { size: size(&self.sys, &stat.name), ..Device::default() };
        }
        device.seen = snapshot;
        device.completed = completed;
        let start_ns = self.starts.of(&stat.name, &[stat.reads, stat.writes], boot_ns);
        let counters = Counters {
            start_ns,
            read: Direction {
                bytes: stat.sectors_read.saturating_mul(SECTOR),
                operations: stat.reads,
                merged: stat.merged,
                ms: device.reading.count(stat.time_reading),
            },
            write: Direction {
                bytes: stat.sectors_written.saturating_mul(SECTOR),
                operations: stat.writes,
                merged: stat.writes_merged,
                ms: device.writing.count(stat.time_writing),
            },
            busy_ms: device.busy.count(stat.time_in_progress),
            weighted_ms: device.weighted.count(stat.weighted_time_in_progress),
            pending: stat.in_progress,
            limit: device.size.bytes,
            name: stat.name,
        };
        let left_out =
            !device.size.whole || LEFT_OUT.iter().any(|prefix| is_numbered(&counters.name, prefix));
        names.keep(&counters.name, left_out).then_some(counters)
    }
}

fn figures(disks: &[Counters]) -> Vec<Figure> {
    let mut figures = Vec::with_capacity(disks.len() * 12);
    let mut both = |name, pick: fn(&Direction) -> f64| {
        for disk in disks {
            for (direction, counters) in [("read", &disk.read), ("write", &disk.write)] {
                figures.push(
                    Figure::since(name, disk.start_ns, pick(counters))
                        .with("system.device", disk.name.clone())
                        .with("disk.io.direction", direction),
                );
            }
        }
    };
    both("system.disk.io", |counters| counters.bytes as f64);
    both("system.disk.operations", |counters| counters.operations as f64);
    both("system.disk.operation_time", |counters| counters.ms as f64 / 1e3);
    both("system.disk.merged", |counters| counters.merged as f64);
    let mut each = |told: fn(&Counters) -> Option<Figure>| {
        for disk in disks {
            figures.extend(told(disk).map(|figure| figure.with("system.device", disk.name.clone())));
        }
    };
    each(|disk| Some(Figure::since("system.disk.io_time", disk.start_ns, disk.busy_ms as f64 / 1e3)));
    each(|disk| {
        let seconds = disk.weighted_ms as f64 / 1e3;
        Some(Figure::since("system.disk.weighted_io_time", disk.start_ns, seconds))
    });
    each(|disk| Some(Figure::now("system.disk.pending_operations", disk.pending as f64)));
    each(|disk| Some(Figure::now("system.disk.limit", disk.limit? as f64)));
    figures
}

/// Its size, and whether it is a whole device.
fn size(sys: &Path, name: &str) -> Size {
    // sysfs has an exclamation mark where a device's name has a slash (`cciss/c0d0`).
    let name = name.replace('/', "!");
    let read = |folder: &str| fs::read_to_string(sys.join(folder).join(&name).join("size")).ok();
    let bytes = |text: String| text.trim().parse::<u64>().ok()?.checked_mul(SECTOR);
    match read("block") {
        Some(text) => Size { whole: true, bytes: bytes(text) },
        None => Size { whole: false, bytes: read("class/block").and_then(bytes) },
    }
}

/// `prefix` and then digits alone: `ram0`, not `rampart`.
fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        disks: Disks,
        names: Names,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (device, sectors) in [("sda", "2048"), ("cciss!c0d0", "10"), ("sr0", "0")] {
                let path = folder.path().join("block").join(device);
                fs::create_dir_all(&path).unwrap();
                fs::write(path.join("size"), format!("{sectors}\n")).unwrap();
            }
            let disks = Disks::new(folder.path(), folder.path());
            Self { folder, disks, names: Names::default() }
        }

        fn read(&mut self, lines: &str, now_ns: u64) -> Vec<Figure> {
            fs::write(self.folder.path().join("diskstats"), lines).unwrap();
            self.disks.figures(&self.names, 7, now_ns).unwrap()
        }
    }

    fn of<'a>(figures: &'a [Figure], name: &str, device: &'static str) -> Vec<&'a Figure> {
        let device = device.to_owned().into();
        figures.iter().filter(|figure| figure.name == name && figure.attributes[0].1 == device).collect()
    }

    #[test]
    fn whole_devices_that_do_something_are_told_in_bytes_and_seconds() {
        let mut fixture = Fixture::new();
        let figures = fixture.read(
            "   8       0 sda 10 1 100 2500 20 2 200 500 4 3000 3250 0 0 0 0 0 0\n\
               8       1 sda1 10 1 100 2500 20 2 200 500 0 3000 3000 0 0 0 0 0 0\n\
             104       0 cciss/c0d0 1 0 1 1 1 0 1 1 0 1 1\n\
               7       0 loop0 10 1 100 2500 20 2 200 500 0 3000 3000\n\
              11       0 sr0 0 0 0 0 0 0 0 0 0 0 0\n",
            100,
        );
        let value = |name, index: usize| of(&figures, name, "sda")[index].value;
        assert_eq!((value("system.disk.io", 0), value("system.disk.io", 1)), (51_200.0, 102_400.0));
        assert_eq!(value("system.disk.operations", 1), 20.0);
        assert_eq!(value("system.disk.operation_time", 0), 2.5);
        assert_eq!(value("system.disk.merged", 1), 2.0);
        assert_eq!(value("system.disk.io_time", 0), 3.0);
        assert_eq!(value("system.disk.limit", 0), 1_048_576.0);
        assert_eq!(of(&figures, "system.disk.io", "cciss/c0d0").len(), 2, "a slash in the name");
        assert_eq!(value("system.disk.weighted_io_time", 0), 3.25);
        assert_eq!(value("system.disk.pending_operations", 0), 4.0);
        assert_eq!(figures.len(), 2 * 12, "neither the partition, nor loop0, nor the idle drive");
        let gauges = ["system.disk.limit", "system.disk.pending_operations"];
        assert!(figures.iter().all(|figure| (figure.start_ns == 7) != gauges.contains(&figure.name)));
    }

    #[test]
    fn what_is_included_is_told_whatever_it_is_and_starts_when_it_came() {
        let mut fixture = Fixture::new();
        let partition = fixture.folder.path().join("class/block/sda1");
        fs::create_dir_all(&partition).unwrap();
        fs::write(partition.join("size"), "1024\n").unwrap();
        let line = |name: &str, reads: u64| format!("8 0 {name} {reads} 0 8 1 1 0 8 0 0 5 9\n");
        let devices = |reads| line("sda", reads) + &line("sda1", reads) + &line("loop0", reads);
        let names = |figures: Vec<Figure>| {
            let busy = figures.into_iter().filter(|figure| figure.name == "system.disk.weighted_io_time");
            busy.map(|figure| (figure.attributes[0].1.clone(), figure.start_ns)).collect::<Vec<_>>()
        };
        let text = |name: &str| crate::system::Value::from(name.to_owned());
        let select = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            crate::system::select::names("disk", &pairs).unwrap()
        };
        assert_eq!(names(fixture.read(&line("sda", 9), 100)), [(text("sda"), 7)]);
        fixture.names = select(&[("exclude", "sd*")]);
        assert_eq!(names(fixture.read(&devices(10), 200)), []);
        fixture.names = select(&[("include", "*1"), ("include", "loop*")]);
        let told = fixture.read(&devices(11), 300);
        assert_eq!(of(&told, "system.disk.limit", "sda1")[0].value, 524_288.0);
        assert_eq!(of(&told, "system.disk.limit", "loop0").len(), 0, "its size is not known");
        assert_eq!(names(told), [(text("sda1"), 100), (text("loop0"), 100)], "came between 100 and 200");
        fixture.names = Names::default();
        assert_eq!(names(fixture.read(&devices(12), 400)), [(text("sda"), 7)], "was there all the time");

        assert_eq!(names(fixture.read("", 500)), []);
        assert_eq!(names(fixture.read(&line("sda", 13), 600)), [(text("sda"), 500)], "went and came back");
    }

    #[test]
    fn milliseconds_go_on_beyond_32_bits_and_a_replaced_disk_starts_anew() {
        let mut fixture = Fixture::new();
        let line = |reads: u64, ms: u64| format!("8 0 sda {reads} 0 8 {ms} 1 0 8 0 0 0 0\n");
        fixture.read(&line(10, u64::from(u32::MAX)), 100);
        let figures = fixture.read(&line(11, 4), 200);
        let time = of(&figures, "system.disk.operation_time", "sda")[0];
        assert_eq!((time.value, time.start_ns), (((1u64 << 32) + 4) as f64 / 1e3, 7));
        let figures = fixture.read(&line(2, 1), 300);
        let time = of(&figures, "system.disk.operation_time", "sda")[0];
        assert_eq!((time.value, time.start_ns), (0.001, 200));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error_that_names_the_file() {
        let fixture = Fixture::new();
        fs::write(fixture.folder.path().join("diskstats"), "8 0 sda ten\n").unwrap();
        let mut disks = fixture.disks;
        let error = disks.figures(&Names::default(), 7, 8).unwrap_err();
        assert!(error.to_string().contains("diskstats"), "{error}");
    }
}
