//! Hosts that are not Linux: what sysinfo gives, under the same names.
//!
//! sysinfo has no CPU time by mode, paging events, disk operations, connections or services: those parts are
//! unsupported or the poorer. Selections mean the same as on Linux. Checked on Linux too, by the tests alone.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sysinfo::{
    Components, CpuRefreshKind, Disks, Networks, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate,
};

use super::{
    Entity, Figure, Options, SnapshotError, Value,
    pace::Paced,
    select::{self, By, MOST_PROCESSES, MountNames, Names, ProcessNames},
};

/// How often sensors are read at most: what they measure has a mass.
const SENSORS: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Host {
    system: Mutex<Option<sysinfo::System>>,
    disks: Mutex<Option<Disks>>,
    networks: Mutex<Option<Networks>>,
    processes: Mutex<Paced<[u64; 4]>>,
    /// What each process had used, ms, when they were last ranked.
    used: Mutex<HashMap<sysinfo::Pid, u64>>,
    sensors: Mutex<Paced<Vec<Figure>>>,
}

impl Host {
    /// There is nothing to mount elsewhere.
    pub(super) fn new(_options: Options) -> Self {
        Self {
            system: Mutex::default(),
            disks: Mutex::default(),
            networks: Mutex::default(),
            processes: Mutex::new(Paced::new(Duration::ZERO)),
            used: Mutex::default(),
            sensors: Mutex::new(Paced::new(SENSORS)),
        }
    }

    pub(super) fn snapshot(
        &self,
        part: &str,
        select: &[(String, String)],
    ) -> Result<Vec<Entity>, SnapshotError> {
        let whole = |part| select::nothing(part, select);
        let figures = match part {
            "cpu" => whole("cpu").and_then(|()| self.cpu())?,
            "memory" => whole("memory").and_then(|()| self.memory())?,
            "paging" => whole("paging").and_then(|()| self.paging())?,
            "filesystem" => self.file_systems(&select::mounts("filesystem", select)?)?,
            "network" => self.network(&select::names("network", select)?)?,
            "process" => whole("process").and_then(|()| self.processes())?,
            "process.each" => return self.each(&select::processes("process.each", select)?),
            "host" => whole("host").and_then(|()| host())?,
            "sensors" => whole("sensors").and_then(|()| self.sensors())?,
            "cpu.logical" => whole("cpu.logical").and_then(|()| unsupported("cpu.logical"))?,
            "disk" => select::names("disk", select).and_then(|_| unsupported("disk"))?,
            "pressure" => whole("pressure").and_then(|()| unsupported("pressure"))?,
            "service" => select::units("service", select).and_then(|_| unsupported("service"))?,
            _ => return Err(SnapshotError::Unknown { part: part.to_owned() }),
        };
        Ok(vec![Entity::host(figures)])
    }

    fn cpu(&self) -> Result<Vec<Figure>, SnapshotError> {
        let mut system = lock(&self.system);
        let system = opened(&mut system, sysinfo::System::new)?;
        system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_frequency());
        let mut figures = vec![Figure::now("system.cpu.logical.count", system.cpus().len() as f64)];
        if let Ok(count) = sysinfo::System::physical_core_count() {
            figures.push(Figure::now("system.cpu.physical.count", count as f64));
        }
        for (number, cpu) in (0i64..).zip(system.cpus()) {
            if cpu.frequency() > 0 {
                let hertz = cpu.frequency() as f64 * 1e6;
                figures.push(Figure::now("system.cpu.frequency", hertz).with("cpu.logical_number", number));
            }
        }
        Ok(figures)
    }

    fn memory(&self) -> Result<Vec<Figure>, SnapshotError> {
        let mut system = lock(&self.system);
        let system = opened(&mut system, sysinfo::System::new)?;
        system.refresh_memory();
        let total = system.total_memory();
        let free = system.free_memory().min(total);
        // What is neither free nor used is cache; buffers are Linux's.
        let used = system.used_memory().min(total - free);
        let state = |state, bytes: u64| {
            Figure::now("system.memory.usage", bytes as f64).with("system.memory.state", state)
        };
        Ok(vec![
            state("used", used),
            state("free", free),
            state("cached", total - free - used),
            Figure::now("system.memory.limit", total as f64),
        ])
    }

    fn paging(&self) -> Result<Vec<Figure>, SnapshotError> {
        let mut system = lock(&self.system);
        let system = opened(&mut system, sysinfo::System::new)?;
        system.refresh_memory();
        let state = |state, bytes: u64| {
            Figure::now("system.paging.usage", bytes as f64).with("system.paging.state", state)
        };
        Ok(vec![state("used", system.used_swap()), state("free", system.free_swap())])
    }

    fn file_systems(&self, names: &MountNames) -> Result<Vec<Figure>, SnapshotError> {
        let mut disks = lock(&self.disks);
        let disks = opened(&mut disks, Disks::new)?;
        disks.refresh(true);
        let mut seen = std::collections::HashSet::new();
        let mut figures = Vec::new();
        let mut limits = Vec::new();
        for disk in disks.iter() {
            let point = disk.mount_point().to_string_lossy().into_owned();
            let wanted = names.device.keep(&disk.name().to_string_lossy(), false)
                && names.kind.keep(&disk.file_system().to_string_lossy(), false)
                && names.point.keep(&point, false);
            if !wanted || disk.total_space() == 0 || !seen.insert(point.clone()) {
                continue;
            }
            let named = |name, bytes: u64| {
                Figure::now(name, bytes as f64)
                    .with("system.device", disk.name().to_string_lossy().into_owned())
                    .with("system.filesystem.mountpoint", point.clone())
                    .with("system.filesystem.type", disk.file_system().to_string_lossy().into_owned())
                    .with("system.filesystem.mode", if disk.is_read_only() { "ro" } else { "rw" })
            };
            let free = disk.available_space().min(disk.total_space());
            for (state, bytes) in [("used", disk.total_space() - free), ("free", free)] {
                figures.push(named("system.filesystem.usage", bytes).with("system.filesystem.state", state));
            }
            limits.push(named("system.filesystem.limit", disk.total_space()));
        }
        figures.extend(limits);
        Ok(figures)
    }

    fn network(&self, names: &Names) -> Result<Vec<Figure>, SnapshotError> {
        let start_ns = boot_ns()?;
        let mut networks = lock(&self.networks);
        let networks = opened(&mut networks, Networks::new)?;
        networks.refresh(true);
        let mut interfaces: Vec<_> =
            networks.iter().filter(|(name, _)| names.keep(&name.to_string_lossy(), false)).collect();
        interfaces.sort_unstable_by_key(|(name, _)| *name);
        let mut figures = Vec::new();
        let mut both = |name, key, pick: fn(&sysinfo::NetworkData) -> (u64, u64)| {
            for (interface, data) in &interfaces {
                let (received, transmitted) = pick(data);
                for (direction, count) in [("receive", received), ("transmit", transmitted)] {
                    figures.push(
                        Figure::since(name, start_ns, count as f64)
                            .with(key, interface.to_string_lossy().into_owned())
                            .with("network.io.direction", direction),
                    );
                }
            }
        };
        const NAME: &str = "network.interface.name";
        both("system.network.io", NAME, |data| (data.total_received(), data.total_transmitted()));
        both("system.network.packet.count", "system.device", |data| {
            (data.total_packets_received(), data.total_packets_transmitted())
        });
        both("system.network.errors", NAME, |data| {
            (data.total_errors_on_received(), data.total_errors_on_transmitted())
        });
        Ok(figures)
    }

    fn processes(&self) -> Result<Vec<Figure>, SnapshotError> {
        let mut processes = lock(&self.processes);
        let system = &self.system;
        let counts = processes.get(|| {
            let mut system = lock(system);
            let system = opened(&mut system, sysinfo::System::new)?;
            system.refresh_processes_specifics(
                ProcessesToUpdate::All,
                true,
                ProcessRefreshKind::nothing().without_tasks(),
            );
            let mut counts = [0; 4];
            for process in system.processes().values() {
                counts[match process.status() {
                    ProcessStatus::Run => 0,
                    ProcessStatus::Stop | ProcessStatus::Tracing => 2,
                    ProcessStatus::Zombie | ProcessStatus::Dead => 3,
                    _ => 1,
                }] += 1;
            }
            Ok::<_, SnapshotError>(counts)
        })?;
        let states = ["running", "sleeping", "stopped", "defunct"].into_iter().zip(counts);
        Ok(states
            .map(|(state, count)| {
                Figure::now("system.process.count", *count as f64).with("process.state", state)
            })
            .collect())
    }

    fn each(&self, wanted: &ProcessNames) -> Result<Vec<Entity>, SnapshotError> {
        let mut system = lock(&self.system);
        let system = opened(&mut system, sysinfo::System::new)?;
        let what = ProcessRefreshKind::nothing()
            .without_tasks()
            .with_cpu()
            .with_memory()
            .with_disk_usage()
            .with_exe(sysinfo::UpdateKind::OnlyIfNotSet);
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let mut used = lock(&self.used);
        let total = |process: &sysinfo::Process| process.accumulated_cpu_time();
        let mut ranked: Vec<_> = system
            .processes()
            .values()
            .map(|process| {
                let measure = match wanted.by {
                    By::Cpu => total(process).saturating_sub(used.get(&process.pid()).copied().unwrap_or(0)),
                    By::Memory => process.memory(),
                };
                (std::cmp::Reverse((measure, total(process))), process.pid(), process)
            })
            .collect();
        *used = system.processes().values().map(|process| (process.pid(), total(process))).collect();
        ranked.sort_unstable_by_key(|(measure, pid, _)| (*measure, *pid));
        let mut place = 0;
        ranked.retain(|(_, _, process)| {
            place += 1;
            let named = || wanted.names.iter().any(|pattern| pattern.matches(&executable(process)));
            place <= wanted.top || named()
        });
        if ranked.len() > MOST_PROCESSES {
            tracing::debug!(processes = ranked.len(), told = MOST_PROCESSES, "more processes than are told");
            ranked.truncate(MOST_PROCESSES);
        }
        ranked.sort_unstable_by_key(|(_, pid, _)| *pid);
        Ok(ranked.into_iter().map(|(_, _, one)| process(one)).collect())
    }

    fn sensors(&self) -> Result<Vec<Figure>, SnapshotError> {
        let mut sensors = lock(&self.sensors);
        let read = || {
            let components =
                Components::new_with_refreshed_list().map_err(|error| call("the sensors", error))?;
            let figures = components.iter().filter_map(|component| {
                let celsius = component.temperature().filter(|celsius| celsius.is_finite())?;
                let id = component.id().unwrap_or(component.label()).to_owned();
                let figure = Figure::now("hw.temperature", f64::from(celsius));
                Some(figure.with("hw.id", id).with("hw.name", component.label().to_owned()))
            });
            Ok::<Vec<_>, SnapshotError>(figures.collect())
        };
        let figures = sensors.get(read)?;
        match figures.is_empty() {
            true => Err(SnapshotError::Unsupported { part: "sensors" }),
            false => Ok(figures.clone()),
        }
    }
}

fn unsupported(part: &'static str) -> Result<Vec<Figure>, SnapshotError> {
    Err(SnapshotError::Unsupported { part })
}

fn process(process: &sysinfo::Process) -> Entity {
    let start_s = process.start_time();
    let created = i64::try_from(start_s).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let mut resource = vec![
        ("process.pid", Value::Int(process.pid().as_u32().into())),
        ("process.creation.time", Value::from(format!("{:.3}", created.unwrap_or(jiff::Timestamp::MAX)))),
        ("process.executable.name", Value::from(executable(process))),
    ];
    resource
        .extend(process.parent().map(|parent| ("process.parent_pid", Value::Int(parent.as_u32().into()))));
    let io = process.disk_usage();
    let bytes = |direction, count: u64| {
        Figure::since("process.disk.io", start_s.saturating_mul(1_000_000_000), count as f64)
            .with("disk.io.direction", direction)
    };
    let figures = vec![
        Figure::now("process.memory.usage", process.memory() as f64),
        Figure::now("process.memory.virtual", process.virtual_memory() as f64),
        bytes("read", io.total_read_bytes),
        bytes("write", io.total_written_bytes),
        Figure::now("process.uptime", process.run_time() as f64),
    ];
    Entity { resource, figures }
}

/// What is told as the executable's name, and matched.
fn executable(process: &sysinfo::Process) -> String {
    let path = process.exe().and_then(std::path::Path::file_name);
    path.unwrap_or(process.name()).to_string_lossy().into_owned()
}

fn host() -> Result<Vec<Figure>, SnapshotError> {
    let uptime = sysinfo::System::uptime().map_err(|error| call("the uptime", error))?;
    let mut figures = vec![Figure::now("system.uptime", Duration::from_secs(uptime).as_secs_f64())];
    // Windows has none.
    if let Ok(load) = sysinfo::System::load_average() {
        figures.push(Figure::now("system.cpu.load_average.1m", load.one));
        figures.push(Figure::now("system.cpu.load_average.5m", load.five));
        figures.push(Figure::now("system.cpu.load_average.15m", load.fifteen));
    }
    Ok(figures)
}

fn boot_ns() -> Result<u64, SnapshotError> {
    let seconds = sysinfo::System::boot_time().map_err(|error| call("the time of boot", error))?;
    Ok(seconds.saturating_mul(1_000_000_000))
}

fn call(what: &str, error: sysinfo::Error) -> SnapshotError {
    SnapshotError::Read { path: what.into(), source: std::io::Error::other(error.to_string()) }
}

/// Made when it is first wanted, since that may fail.
fn opened<T>(
    slot: &mut Option<T>,
    make: impl FnOnce() -> Result<T, sysinfo::Error>,
) -> Result<&mut T, SnapshotError> {
    match slot {
        Some(made) => Ok(made),
        empty => Ok(empty.insert(make().map_err(|error| call("this host", error))?)),
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(figures: &[Entity], name: &str, state: Option<&'static str>) -> f64 {
        let wanted = |figure: &&Figure| {
            figure.name == name && state.is_none_or(|state| figure.attributes[0].1 == state.into())
        };
        figures[0].figures.iter().find(wanted).unwrap().value
    }

    #[test]
    fn what_sysinfo_gives_is_told_and_what_it_lacks_is_said() {
        let host = Host::new(Options::default());
        let memory = host.snapshot("memory", &[]).unwrap();
        let states =
            ["used", "free", "cached"].map(|state| value(&memory, "system.memory.usage", Some(state)));
        assert_eq!(states.iter().sum::<f64>(), value(&memory, "system.memory.limit", None));
        assert!(value(&host.snapshot("host", &[]).unwrap(), "system.uptime", None) > 0.0);
        assert!(value(&host.snapshot("cpu", &[]).unwrap(), "system.cpu.logical.count", None) >= 1.0);
        // A process is in the state of its first thread: this one waits for the tests.
        assert!(
            value(&host.snapshot("process", &[]).unwrap(), "system.process.count", Some("sleeping")) >= 1.0
        );
        assert!(value(&host.snapshot("filesystem", &[]).unwrap(), "system.filesystem.limit", None) > 0.0);
        assert!(value(&host.snapshot("network", &[]).unwrap(), "system.network.io", None) >= 0.0);
        host.snapshot("paging", &[]).unwrap();
        assert!(matches!(host.snapshot("disk", &[]), Err(SnapshotError::Unsupported { part: "disk" })));
        assert!(host.snapshot("disks", &[]).unwrap_err().is_unknown());
    }

    #[test]
    fn selections_are_the_same_as_on_linux() {
        let host = Host::new(Options::default());
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert!(host.snapshot("memory", &pairs(&[("top", "1")])).unwrap_err().is_invalid());
        assert!(host.snapshot("process.each", &[]).unwrap_err().is_invalid());
        assert!(host.snapshot("service", &[]).unwrap_err().is_invalid());
        assert!(host.snapshot("disk", &pairs(&[("include", "x")])).unwrap_err().is_unavailable());
        let top = host.snapshot("process.each", &pairs(&[("top", "3")])).unwrap();
        assert!((1..=3).contains(&top.len()));
        let own = std::env::current_exe().unwrap();
        let own = own.file_name().unwrap().to_str().unwrap();
        let named = host.snapshot("process.each", &pairs(&[("name", own)])).unwrap();
        let pid = Value::Int(std::process::id().into());
        let this = named.iter().find(|entity| entity.resource[0].1 == pid).unwrap();
        assert_eq!(this.resource[2].1, own.to_owned().into());
        assert!(this.figures[0].value > 0.0, "memory");
        let none = host.snapshot("network", &pairs(&[("include", "no-such*")])).unwrap();
        assert_eq!(none[0].figures, []);
        match host.snapshot("sensors", &[]) {
            Ok(told) => assert!(!told[0].figures.is_empty()),
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
    }
}
