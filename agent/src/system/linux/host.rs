//! The parts, and what they share.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    cpu::{Cpu, LogicalCpus},
    disk::Disks,
    filesystem::FileSystems,
    memory::Memory,
    network::Network,
    paging::Paging,
    proc_file::ProcFile,
    process::Processes,
    stat::Stat,
};
use crate::system::{Entity, Figure, Options, SnapshotError};

/// Each part behind its own lock: a slow one holds up nobody who asks for another.
#[derive(Debug)]
pub(in crate::system) struct Host {
    stat: Mutex<Stat>,
    cpu: Mutex<Cpu>,
    logical: Mutex<LogicalCpus>,
    memory: Mutex<Memory>,
    paging: Mutex<Paging>,
    disks: Mutex<Disks>,
    file_systems: Mutex<FileSystems>,
    network: Mutex<Network>,
    processes: Mutex<Processes>,
    load: Mutex<ProcFile>,
}

impl Host {
    pub(in crate::system) fn new(options: Options) -> Self {
        let (proc, sys) = (options.proc.as_path(), options.sys.as_path());
        Self {
            stat: Mutex::new(Stat::new(proc)),
            cpu: Mutex::new(Cpu::new(proc, sys)),
            logical: Mutex::new(LogicalCpus::new()),
            memory: Mutex::new(Memory::new(proc)),
            paging: Mutex::new(Paging::new(proc)),
            disks: Mutex::new(Disks::new(proc, sys)),
            file_systems: Mutex::new(FileSystems::new(proc)),
            network: Mutex::new(Network::new(proc)),
            processes: Mutex::new(Processes::new(proc)),
            load: Mutex::new(ProcFile::new(proc.join("loadavg"))),
        }
    }

    pub(in crate::system) fn snapshot(&self, part: &str) -> Result<Vec<Entity>, SnapshotError> {
        let figures = match part {
            "cpu" => {
                let (boot_ns, reading) = self.stat()?;
                lock(&self.cpu).figures(&reading, boot_ns)
            }
            "cpu.logical" => {
                let (boot_ns, reading) = self.stat()?;
                lock(&self.logical).figures(&reading, boot_ns, now_ns())
            }
            "memory" => lock(&self.memory).figures()?,
            "paging" => {
                let boot_ns = lock(&self.stat).boot_ns()?;
                lock(&self.paging).figures(boot_ns)?
            }
            "disk" => {
                let boot_ns = lock(&self.stat).boot_ns()?;
                lock(&self.disks).figures(boot_ns, now_ns())?
            }
            "filesystem" => lock(&self.file_systems).figures()?,
            "network" => {
                let boot_ns = lock(&self.stat).boot_ns()?;
                lock(&self.network).figures(boot_ns, now_ns())?
            }
            "process" => {
                let (boot_ns, reading) = self.stat()?;
                lock(&self.processes).figures(reading.created, boot_ns)?
            }
            "host" => host(&mut lock(&self.load))?,
            _ => return Err(SnapshotError::Unknown { part: part.to_owned() }),
        };
        Ok(vec![Entity::host(figures)])
    }

    fn stat(&self) -> Result<(u64, super::stat::Reading), SnapshotError> {
        let mut stat = lock(&self.stat);
        let boot_ns = stat.boot_ns()?;
        Ok((boot_ns, stat.read()?.clone()))
    }
}

/// Uptime by the kernel's own clock, suspended time included, and the load averages.
fn host(load: &mut ProcFile) -> Result<Vec<Figure>, SnapshotError> {
    const LOADS: [&str; 3] =
        ["system.cpu.load_average.1m", "system.cpu.load_average.5m", "system.cpu.load_average.15m"];
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let mut figures = Vec::with_capacity(4);
    figures.push(Figure::now("system.uptime", since_boot.tv_sec as f64 + since_boot.tv_nsec as f64 / 1e9));
    let text = load.text()?.into_owned();
    let mut fields = text.split_ascii_whitespace();
    for name in LOADS {
        let value = fields.next().and_then(|field| field.parse().ok());
        let value = value.ok_or_else(|| load.malformed(format!("no three load averages in {text:?}")))?;
        figures.push(Figure::now(name, value));
    }
    Ok(figures)
}

/// A part whose reader panicked is read on: what it keeps is only ever replaced as a whole.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
