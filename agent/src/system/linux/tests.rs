//! The whole against an independent reading of this machine's `/proc`, and against a host that is made up.

mod each;
mod hostile;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::system::{Figure, Options, PARTS, SnapshotError, System, Value};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Parts that every Linux has. (Sensors and services are not in every machine, pressure not in every kernel;
/// processes one by one are told of by themselves.)
fn everywhere() -> impl Iterator<Item = &'static str> {
    const ELSEWHERE: [&str; 4] = ["pressure", "process.each", "sensors", "service"];
    PARTS.into_iter().filter(|part| !ELSEWHERE.contains(part))
}

/// And those that this one has.
fn everywhere_here(system: &System) -> impl Iterator<Item = &'static str> {
    let here = ["pressure", "sensors"].into_iter().filter(|part| system.snapshot(part, &[]).is_ok());
    everywhere().chain(here)
}

fn snapshot(system: &System, part: &str) -> Vec<Figure> {
    let mut entities = system.snapshot(part, &[]).unwrap();
    assert_eq!(entities.len(), 1, "{part}");
    let entity = entities.remove(0);
    assert!(entity.resource.is_empty(), "figures of the host itself");
    entity.figures
}

/// The value of the figure with these attribute values, in order.
fn value(figures: &[Figure], name: &str, attributes: &[&str]) -> f64 {
    let wanted: Vec<String> = attributes.iter().map(|value| (*value).to_owned()).collect();
    let figure = figures.iter().find(|figure| figure.name == name && texts(figure) == wanted);
    figure.unwrap_or_else(|| panic!("no {name} {attributes:?} in {figures:#?}")).value
}

fn texts(figure: &Figure) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Text(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
    };
    figure.attributes.iter().map(|(_, value)| text(value)).collect()
}

/// `before <= told <= after`, for what only grows: the independent readings stand around the snapshot.
fn between(told: f64, before: f64, after: f64, what: &str) {
    assert!(before <= told && told <= after, "{what}: {told} is not between {before} and {after}");
}

fn proc_stat() -> HashMap<String, Vec<u64>> {
    let text = fs::read_to_string("/proc/stat").unwrap();
    text.lines()
        .map(|line| {
            let mut fields = line.split_whitespace();
            let key = fields.next().unwrap().to_owned();
            (key, fields.map(|field| field.parse().unwrap()).collect())
        })
        .collect()
}

fn meminfo(key: &str) -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{key}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

#[test]
fn no_figure_comes_twice_and_names_stand_together() {
    let system = System::default();
    let mut everywhere: HashMap<&str, &str> = HashMap::new();
    for part in everywhere_here(&system) {
        let figures = snapshot(&system, part);
        assert!(!figures.is_empty(), "{part}");
        let mut seen = HashSet::new();
        let mut closed = HashSet::new();
        for (index, figure) in figures.iter().enumerate() {
            assert!(seen.insert((figure.name, texts(figure))), "{figure:?} comes twice in {part}");
            assert!(figure.value.is_finite() && figure.value >= 0.0, "{figure:?}");
            if index > 0 && figures[index - 1].name != figure.name {
                assert!(closed.insert(figures[index - 1].name), "{} is torn apart", figures[index - 1].name);
                assert!(!closed.contains(figure.name), "{} is torn apart", figure.name);
            }
            let keys = |figure: &Figure| figure.attributes.iter().map(|(key, _)| *key).collect::<Vec<_>>();
            let first = keys(figures.iter().find(|other| other.name == figure.name).unwrap());
            // UDP's sockets have no state.
            let expected: Vec<_> = first.into_iter().filter(|key| keys(figure).contains(key)).collect();
            assert_eq!(expected, keys(figure), "one name, one order of attributes");
        }
        for name in seen.iter().map(|(name, _)| *name) {
            // The times of each CPU stand under the name of the times of all.
            if part != "cpu.logical" {
                assert_eq!(*everywhere.entry(name).or_insert(part), part, "{name} is in two parts");
            }
        }
    }
}

/// What was agreed with the host collector, and whether it is a counter.
const AGREED: [(&str, bool); 32] = [
    ("hw.temperature", false),
    ("process.context_switches", true),
    ("process.cpu.time", true),
    ("process.disk.io", true),
    ("process.disk.operations", true),
    ("process.memory.usage", false),
    ("process.memory.virtual", false),
    ("process.paging.faults", true),
    ("process.thread.count", false),
    ("process.unix.file_descriptor.count", false),
    ("process.uptime", false),
    ("system.disk.pending_operations", false),
    ("system.disk.weighted_io_time", true),
    ("system.filesystem.hung", false),
    ("system.filesystem.inode.limit", false),
    ("system.filesystem.inode.usage", false),
    ("system.linux.file_descriptor.limit", false),
    ("system.linux.file_descriptor.usage", false),
    ("system.linux.pressure.average", false),
    ("system.linux.pressure.stall_time", true),
    ("system.memory.linux.commit_limit", false),
    ("system.memory.linux.committed", false),
    ("system.memory.linux.dirty", false),
    ("system.memory.linux.oom_kills", true),
    ("system.memory.linux.writeback", false),
    ("system.network.conntrack.count", false),
    ("system.network.conntrack.limit", false),
    ("system.network.interface.speed", false),
    ("system.network.interface.up", false),
    ("system.network.tcp.listen_drops", true),
    ("system.network.tcp.retransmits", true),
    ("systemd.unit.state", false),
];

#[test]
fn every_figure_has_a_kind_that_the_collector_shares_and_counters_alone_have_a_start() {
    use whimbrel_collector_host::table::{TABLE, find};
    let system = System::default();
    let mut figures: Vec<Figure> =
        everywhere_here(&system).flat_map(|part| snapshot(&system, part)).collect();
    for entity in system.snapshot("process.each", &pairs(&[("top", "20")])).unwrap() {
        figures.extend(entity.figures);
    }
    for figure in figures {
        let agreed = AGREED.iter().find(|(name, _)| *name == figure.name).map(|(_, counter)| *counter);
        let known = find(figure.name).map(|place| TABLE[place].is_counter());
        let counter = agreed.or(known);
        let counter = counter.unwrap_or_else(|| panic!("{} is known to nobody", figure.name));
        assert!(known.is_none_or(|known| known == counter), "{} is of two kinds", figure.name);
        assert_eq!(figure.start_ns > 0, counter, "{figure:?}");
    }
}

#[test]
fn cpu_times_are_those_of_proc_stat() {
    let before = proc_stat();
    let system = System::default();
    let figures = snapshot(&system, "cpu");
    let logical = snapshot(&system, "cpu.logical");
    let after = proc_stat();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    for (mode, fields) in
        [("user", &[0][..]), ("nice", &[1]), ("system", &[2]), ("interrupt", &[5, 6]), ("steal", &[7])]
    {
        let sum = |stat: &HashMap<String, Vec<u64>>, key: &str| {
            fields.iter().map(|field| stat[key][*field]).sum::<u64>() as f64 / ticks
        };
        let told = value(&figures, "system.cpu.time", &[mode]);
        between(told, sum(&before, "cpu"), sum(&after, "cpu"), mode);
        let told = value(&logical, "system.cpu.time", &[mode, "0"]);
        between(told, sum(&before, "cpu0"), sum(&after, "cpu0"), mode);
    }
    let cpus = before.keys().filter(|key| key.starts_with("cpu")).count() - 1;
    assert_eq!(value(&figures, "system.cpu.logical.count", &[]), cpus as f64);
    let physical = value(&figures, "system.cpu.physical.count", &[]);
    assert!(physical >= 1.0 && physical <= cpus as f64);
    let boot_ns = before["btime"][0] * 1_000_000_000;
    assert!(
        figures
            .iter()
            .filter(|figure| figure.name == "system.cpu.time")
            .all(|figure| { figure.start_ns == boot_ns })
    );
}

#[test]
fn memory_states_add_up_to_the_limit_and_free_is_free() {
    let system = System::default();
    for _ in 0..20 {
        let figures = snapshot(&system, "memory");
        let limit = value(&figures, "system.memory.limit", &[]);
        assert_eq!(limit, meminfo("MemTotal"));
        let states = ["used", "free", "buffers", "cached"];
        let sum: f64 = states.iter().map(|state| value(&figures, "system.memory.usage", &[state])).sum();
        assert_eq!(sum, limit);
        // Others allocate meanwhile: a quarter of the memory apart would be another figure.
        let near = |told: f64, key: &str| {
            let now = meminfo(key);
            assert!((told - now).abs() <= limit / 4.0, "{key}: {told} and {now}");
        };
        near(value(&figures, "system.memory.usage", &["free"]), "MemFree");
        near(value(&figures, "system.memory.linux.available", &[]), "MemAvailable");
        near(value(&figures, "system.memory.linux.slab.usage", &["unreclaimable"]), "SUnreclaim");
        assert_eq!(
            value(&figures, "system.memory.linux.hugepages.page_size", &[]),
            meminfo("Hugepagesize"),
            "bytes"
        );
    }
}

#[test]
fn page_faults_disks_and_interfaces_agree_with_proc() {
    let vmstat = |key: &str| {
        let text = fs::read_to_string("/proc/vmstat").unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let interfaces = || -> BTreeMap<String, Vec<f64>> {
        let text = fs::read_to_string("/proc/net/dev").unwrap();
        let lines = text.lines().skip(2).map(|line| line.split_once(':').unwrap());
        lines
            .map(|(name, counts)| {
                let counts = counts.split_whitespace().map(|count| count.parse().unwrap());
                (name.trim().to_owned(), counts.collect())
            })
            .collect()
    };
    let disks = || -> BTreeMap<String, Vec<f64>> {
        let text = fs::read_to_string("/proc/diskstats").unwrap();
        let fields = text.lines().map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>());
        fields
            .map(|fields| (fields[0].to_owned(), fields[1..].iter().map(|n| n.parse().unwrap()).collect()))
            .collect()
    };
    let (faults, nets, blocks) = (vmstat("pgmajfault"), interfaces(), disks());
    let system = System::default();
    let (paging, network, disk) =
        (snapshot(&system, "paging"), snapshot(&system, "network"), snapshot(&system, "disk"));
    let (faults_after, nets_after, blocks_after) = (vmstat("pgmajfault"), interfaces(), disks());

    between(value(&paging, "system.paging.faults", &["major"]), faults, faults_after, "faults");
    for (name, field, direction) in [
        ("system.network.io", 0, "receive"),
        ("system.network.packet.count", 1, "receive"),
        ("system.network.errors", 2, "receive"),
        ("system.network.packet.dropped", 3, "receive"),
        ("system.network.io", 8, "transmit"),
        ("system.network.packet.count", 9, "transmit"),
    ] {
        between(value(&network, name, &["lo", direction]), nets["lo"][field], nets_after["lo"][field], name);
    }
    let device =
        disk.iter().find(|figure| figure.name == "system.disk.io").map(|figure| texts(figure)[0].clone());
    // A container may see no disk at all.
    if let Some(device) = device {
        let device = device.as_str();
        for (name, field, direction, unit) in [
            ("system.disk.operations", 0, "read", 1.0),
            ("system.disk.merged", 1, "read", 1.0),
            ("system.disk.io", 2, "read", 512.0),
            ("system.disk.operation_time", 3, "read", 1e-3),
            ("system.disk.operations", 4, "write", 1.0),
            ("system.disk.io", 6, "write", 512.0),
        ] {
            let of = |all: &BTreeMap<String, Vec<f64>>| all[device][field] * unit;
            let told = value(&disk, name, &[device, direction]);
            between(told, of(&blocks) - 1e-9, of(&blocks_after) + 1e-9, name);
        }
    }
}

#[test]
fn what_waits_and_is_promised_agrees_with_proc() {
    let vmstat = |key: &str| {
        let text = fs::read_to_string("/proc/vmstat").unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{key} ")));
        line.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
    };
    let system = System::default();
    let limit = meminfo("MemTotal");
    let figures = snapshot(&system, "memory");
    for (name, key) in [
        ("system.memory.linux.dirty", "Dirty"),
        ("system.memory.linux.writeback", "Writeback"),
        ("system.memory.linux.committed", "Committed_AS"),
        ("system.memory.linux.commit_limit", "CommitLimit"),
    ] {
        let (told, now) = (value(&figures, name, &[]), meminfo(key));
        assert!((told - now).abs() <= limit / 4.0, "{key}: {told} and {now}");
    }
    assert_eq!(value(&figures, "system.memory.linux.commit_limit", &[]), meminfo("CommitLimit"));
    if let Some(after) = vmstat("oom_kill") {
        assert!(value(&figures, "system.memory.linux.oom_kills", &[]) <= after);
    }
    let files = || fs::read_to_string("/proc/sys/fs/file-nr").unwrap();
    let figures = snapshot(&system, "host");
    let told = value(&figures, "system.linux.file_descriptor.usage", &[]);
    let now: f64 = files().split_whitespace().next().unwrap().parse().unwrap();
    assert!((told - now).abs() <= 10_000.0, "{told} and {now}");
}

/// By procfs, which reads the same in its own way.
#[test]
fn stalls_are_those_that_the_kernel_accounts_for() {
    use procfs::{CpuPressure, Current, IoPressure};
    let system = System::default();
    let (Ok(cpu), Ok(io)) = (CpuPressure::current(), IoPressure::current()) else {
        assert!(system.snapshot("pressure", &[]).unwrap_err().is_unavailable());
        return;
    };
    let figures = snapshot(&system, "pressure");
    let (cpu_after, io_after) = (CpuPressure::current().unwrap(), IoPressure::current().unwrap());
    for (resource, kind, before, after) in [
        ("cpu", "some", &cpu.some, &cpu_after.some),
        ("io", "some", &io.some, &io_after.some),
        ("io", "full", &io.full, &io_after.full),
    ] {
        let told = value(&figures, "system.linux.pressure.stall_time", &[resource, kind]);
        between(told, before.total as f64 / 1e6, after.total as f64 / 1e6, resource);
        let told = value(&figures, "system.linux.pressure.average", &[resource, kind, "300s"]);
        let (one, other) = (f64::from(before.avg300) / 100.0, f64::from(after.avg300) / 100.0);
        between(told, one.min(other) - 1e-6, one.max(other) + 1e-6, resource);
    }
    assert!(figures.iter().all(|figure| texts(figure)[..2] != ["cpu", "full"]));
}

#[test]
fn protocols_and_links_agree_with_proc_and_sysfs() {
    let segments = || procfs::net::snmp().unwrap().tcp_retrans_segs as f64;
    let before = segments();
    let system = System::default();
    let figures = snapshot(&system, "network");
    between(value(&figures, "system.network.tcp.retransmits", &[]), before, segments(), "retransmits");
    let sockets: Vec<_> = (0..200).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let figures = snapshot(&System::default(), "network");
    // Other tests open and close theirs meanwhile, but not two hundred.
    let told = value(&figures, "system.network.connection.count", &["udp"]);
    assert!(told >= sockets.len() as f64, "{told}");
    let rows = || fs::read_to_string("/proc/net/udp").unwrap().lines().count() as f64 - 1.0;
    assert!((told - rows()).abs() <= 100.0, "{told} and {}", rows());
    for figure in figures.iter().filter(|figure| figure.name == "system.network.interface.up") {
        let name = texts(figure).remove(0);
        let state = fs::read_to_string(format!("/sys/class/net/{name}/operstate")).unwrap();
        assert!(figure.value == 1.0 || state.trim() != "up", "{name}: {} and {state}", figure.value);
    }
    let conntrack = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
    let told = figures.iter().find(|figure| figure.name == "system.network.conntrack.limit");
    assert_eq!(told.map(|figure| figure.value), conntrack.ok().and_then(|text| text.trim().parse().ok()));
}

#[test]
fn uptime_load_and_processes_are_this_machines() {
    let system = System::default();
    let uptime = || {
        let text = fs::read_to_string("/proc/uptime").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let before = uptime();
    let host = snapshot(&system, "host");
    between(value(&host, "system.uptime", &[]), before, uptime() + 0.01, "uptime");
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load: f64 = load.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((value(&host, "system.cpu.load_average.15m", &[]) - load).abs() < 0.5);

    let counted = || fs::read_dir("/proc").unwrap().flatten();
    let processes =
        counted().filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
    let created = proc_stat()["processes"][0] as f64;
    let figures = snapshot(&system, "process");
    between(
        value(&figures, "system.process.created", &[]),
        created,
        proc_stat()["processes"][0] as f64,
        "created",
    );
    let states = ["running", "sleeping", "stopped", "defunct"];
    let sum: f64 = states.iter().map(|state| value(&figures, "system.process.count", &[state])).sum();
    // Compilers come and go meanwhile.
    assert!((sum - processes as f64).abs() <= 50.0, "{sum} of {processes}");
}

#[test]
fn the_root_file_system_is_told_like_statvfs_tells_it() {
    let system = System::default();
    let mut told = false;
    for _ in 0..50 {
        // The first answer may come late on a busy machine.
        let figures = snapshot(&system, "filesystem");
        for limit in figures.iter().filter(|figure| figure.name == "system.filesystem.limit") {
            let attributes = texts(limit);
            let Ok(stat) = rustix::fs::statvfs(attributes[1].as_str()) else { continue };
            assert_eq!(limit.value, (stat.f_blocks * stat.f_frsize) as f64);
            let of: f64 = ["used", "free", "reserved"]
                .iter()
                .map(|state| {
                    let wanted: Vec<&str> =
                        attributes.iter().map(String::as_str).chain(std::iter::once(*state)).collect();
                    value(&figures, "system.filesystem.usage", &wanted)
                })
                .sum();
            assert_eq!(of, limit.value, "states add up");
            let inodes = |name: &str, state: &[&str]| {
                let wanted: Vec<&str> =
                    attributes.iter().map(String::as_str).chain(state.iter().copied()).collect();
                value(&figures, name, &wanted)
            };
            if stat.f_files > 0 {
                let states = ["used", "free"].map(|state| inodes("system.filesystem.inode.usage", &[state]));
                assert_eq!(inodes("system.filesystem.inode.limit", &[]), stat.f_files as f64);
                assert_eq!(states[0] + states[1], stat.f_files as f64, "inodes add up");
            }
            told = true;
        }
        if told {
            return;
        }
    }
    // Only where no local device is mounted at all (a container on overlay).
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(" - ext4 /dev/"), "nothing was told of {mounts}");
}

#[test]
fn a_part_that_cannot_be_read_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("loadavg"), "0.25 0.50 1.75 1/2 3\n").unwrap();
    let (proc, sys) = (folder.path().to_owned(), folder.path().to_owned());
    let system = System::new(Options { proc, sys, ..Options::default() });
    for part in PARTS {
        let select = match part {
            "process.each" => pairs(&[("top", "1")]),
            "service" => pairs(&[("unit", "x")]),
            _ => Vec::new(),
        };
        match (part, system.snapshot(part, &select)) {
            ("host", answer) => {
                assert_eq!(value(&answer.unwrap()[0].figures, "system.cpu.load_average.15m", &[]), 1.75);
            }
            ("sensors", Err(error)) => assert!(error.is_unavailable()),
            // Where there is systemd, its units are told wherever procfs is.
            ("service", answer) => assert!(answer.is_ok() || answer.is_err_and(|e| e.is_unavailable())),
            (_, Err(error)) => {
                assert!(error.is_unavailable() && !error.is_invalid());
                assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{part}: {error}");
            }
            (_, Ok(told)) => panic!("{part} told {told:?} of nothing"),
        }
    }
    let error = system.snapshot("gpu", &[]).unwrap_err();
    assert!(error.is_unknown() && error.is_invalid());
    assert!(matches!(error, SnapshotError::Unknown { ref part } if part == "gpu"));
    assert!(error.to_string().contains("cpu.logical, memory"), "{error}");
}

#[test]
fn counters_never_start_in_the_future() {
    let system = System::default();
    for part in everywhere_here(&system) {
        snapshot(&system, part);
        let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        for figure in snapshot(&system, part) {
            assert!(figure.start_ns < now_ns, "{figure:?}");
        }
    }
}
