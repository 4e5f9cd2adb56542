//! Hosts that are not Linux: what sysinfo gives, under the same names.
//!
//! sysinfo has no CPU time by mode, paging events, disk operations or connections: those parts are
//! unsupported or the poorer. Checked on Linux too, by the tests alone.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sysinfo::{CpuRefreshKind, Disks, Networks, ProcessStatus, ProcessesToUpdate};

use super::{Entity, Figure, Options, SnapshotError, pace::Paced};

#[derive(Debug)]
pub(super) struct Host {
    system: Mutex<Option<sysinfo::System>>,
    disks: Mutex<Option<Disks>>,
    networks: Mutex<Option<Networks>>,
    processes: Mutex<Paced<[u64; 4]>>,
}

impl Host {
    /// There is nothing to mount elsewhere.
    pub(super) fn new(_options: Options) -> Self {
        Self {
            system: Mutex::default(),
            disks: Mutex::default(),
            networks: Mutex::default(),
            processes: Mutex::new(Paced::new(Duration::ZERO)),
        }
    }

    pub(super) fn snapshot(&self, part: &str) -> Result<Vec<Entity>, SnapshotError> {
        let figures = match part {
            "cpu" => self.cpu()?,
            "memory" => self.memory()?,
            "paging" => self.paging()?,
            "filesystem" => self.file_systems()?,
            "network" => self.network()?,
            "process" => self.processes()?,
            "host" => host()?,
            "cpu.logical" => return Err(SnapshotError::Unsupported { part: "cpu.logical" }),
            "disk" => return Err(SnapshotError::Unsupported { part: "disk" }),
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

    fn file_systems(&self) -> Result<Vec<Figure>, SnapshotError> {
        let mut disks = lock(&self.disks);
        let disks = opened(&mut disks, Disks::new)?;
        disks.refresh(true);
        let mut seen = std::collections::HashSet::new();
        let mut figures = Vec::new();
        let mut limits = Vec::new();
        for disk in disks.iter() {
            let point = disk.mount_point().to_string_lossy().into_owned();
            if disk.total_space() == 0 || !seen.insert(point.clone()) {
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

    fn network(&self) -> Result<Vec<Figure>, SnapshotError> {
        let start_ns = boot_ns()?;
        let mut networks = lock(&self.networks);
        let networks = opened(&mut networks, Networks::new)?;
        networks.refresh(true);
        let mut interfaces: Vec<_> = networks.iter().collect();
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
                sysinfo::ProcessRefreshKind::nothing().without_tasks(),
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
        let memory = host.snapshot("memory").unwrap();
        let states =
            ["used", "free", "cached"].map(|state| value(&memory, "system.memory.usage", Some(state)));
        assert_eq!(states.iter().sum::<f64>(), value(&memory, "system.memory.limit", None));
        assert!(value(&host.snapshot("host").unwrap(), "system.uptime", None) > 0.0);
        assert!(value(&host.snapshot("cpu").unwrap(), "system.cpu.logical.count", None) >= 1.0);
        // A process is in the state of its first thread: this one waits for the tests.
        assert!(value(&host.snapshot("process").unwrap(), "system.process.count", Some("sleeping")) >= 1.0);
        assert!(value(&host.snapshot("filesystem").unwrap(), "system.filesystem.limit", None) > 0.0);
        assert!(value(&host.snapshot("network").unwrap(), "system.network.io", None) >= 0.0);
        host.snapshot("paging").unwrap();
        assert!(matches!(host.snapshot("disk"), Err(SnapshotError::Unsupported { part: "disk" })));
        assert!(host.snapshot("disks").unwrap_err().is_unknown());
    }
}
