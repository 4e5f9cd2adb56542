//! The parts, and what they share.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    cpu::{Cpu, LogicalCpus},
    disk::Disks,
    each::Each,
    filesystem::FileSystems,
    kernel::Kernel,
    memory::Memory,
    network::Network,
    paging::Paging,
    pressure::Pressure,
    process::Processes,
    sensors::Sensors,
    services::Services,
    stat::{Reading, Stat},
    vmstat::Vmstat,
};
use crate::system::{Entity, Options, SnapshotError, select};

/// Each part behind its own lock: a slow one holds up nobody who asks for another.
#[derive(Debug)]
pub(in crate::system) struct Host {
    stat: Mutex<Stat>,
    vmstat: Mutex<Vmstat>,
    cpu: Mutex<Cpu>,
    logical: Mutex<LogicalCpus>,
    memory: Mutex<Memory>,
    paging: Mutex<Paging>,
    pressure: Mutex<Pressure>,
    disks: Mutex<Disks>,
    file_systems: Mutex<FileSystems>,
    network: Mutex<Network>,
    processes: Mutex<Processes>,
    each: Mutex<Each>,
    kernel: Mutex<Kernel>,
    sensors: Mutex<Sensors>,
    services: Mutex<Services>,
}

impl Host {
    pub(in crate::system) fn new(options: Options) -> Self {
        let (proc, sys) = (options.proc.as_path(), options.sys.as_path());
        Self {
            stat: Mutex::new(Stat::new(proc)),
            vmstat: Mutex::new(Vmstat::new(proc)),
            cpu: Mutex::new(Cpu::new(proc, sys)),
            logical: Mutex::new(LogicalCpus::new()),
            memory: Mutex::new(Memory::new(proc)),
            paging: Mutex::new(Paging::new(proc)),
            pressure: Mutex::new(Pressure::new(proc)),
            disks: Mutex::new(Disks::new(proc, sys)),
            file_systems: Mutex::new(FileSystems::new(&options)),
            network: Mutex::new(Network::new(&options)),
            processes: Mutex::new(Processes::new(proc)),
            each: Mutex::new(Each::new(proc)),
            kernel: Mutex::new(Kernel::new(proc)),
            sensors: Mutex::new(Sensors::new(sys)),
            services: Mutex::new(Services::new(&options)),
        }
    }

    pub(in crate::system) fn snapshot(
        &self,
        part: &str,
        select: &[(String, String)],
    ) -> Result<Vec<Entity>, SnapshotError> {
        let whole = |part| select::nothing(part, select);
        let now_ns = now_ns();
        let figures = match part {
            "cpu" => {
                whole("cpu")?;
                let (boot_ns, reading) = self.stat(now_ns)?;
                lock(&self.cpu).figures(&reading, boot_ns)
            }
            "cpu.logical" => {
                whole("cpu.logical")?;
                let (boot_ns, reading) = self.stat(now_ns)?;
                lock(&self.logical).figures(&reading, boot_ns, now_ns)
            }
            "memory" => {
                whole("memory")?;
                // The two are not of one file: without the counter, or when boot was, the rest is told.
                let oom_kills = lock(&self.vmstat).read().ok().and_then(|counts| counts.oom_kills);
                let boot_ns = self.boot_ns(now_ns).ok();
                let mut memory = lock(&self.memory);
                memory.figures(oom_kills.filter(|_| boot_ns.is_some()), boot_ns.unwrap_or(0))?
            }
            "paging" => {
                whole("paging")?;
                let boot_ns = self.boot_ns(now_ns)?;
                let counts = lock(&self.vmstat).read()?;
                lock(&self.paging).figures(counts, boot_ns)
            }
            "pressure" => {
                whole("pressure")?;
                let boot_ns = self.boot_ns(now_ns)?;
                lock(&self.pressure).figures(boot_ns)?
            }
            "disk" => {
                let names = select::names("disk", select)?;
                let boot_ns = self.boot_ns(now_ns)?;
                lock(&self.disks).figures(&names, boot_ns, now_ns)?
            }
            "filesystem" => {
                let names = select::mounts("filesystem", select)?;
                lock(&self.file_systems).figures(&names)?
            }
            "network" => {
                let names = select::names("network", select)?;
                let boot_ns = self.boot_ns(now_ns)?;
                lock(&self.network).figures(&names, boot_ns, now_ns)?
            }
            "process" => {
                whole("process")?;
                let (boot_ns, reading) = self.stat(now_ns)?;
                lock(&self.processes).figures(reading.created, boot_ns)?
            }
            "process.each" => {
                let wanted = select::processes("process.each", select)?;
                let boot_ns = self.boot_ns(now_ns)?;
                return lock(&self.each).entities(&wanted, boot_ns, now_ns);
            }
            "host" => {
                whole("host")?;
                lock(&self.kernel).figures()?
            }
            "sensors" => {
                whole("sensors")?;
                lock(&self.sensors).figures()?
            }
            "service" => {
                let units = select::units("service", select)?;
                lock(&self.services).figures(&units)?
            }
            _ => return Err(SnapshotError::Unknown { part: part.to_owned() }),
        };
        Ok(vec![Entity::host(figures)])
    }

    fn boot_ns(&self, now_ns: u64) -> Result<u64, SnapshotError> {
        lock(&self.stat).boot_ns(now_ns)
    }

    fn stat(&self, now_ns: u64) -> Result<(u64, Reading), SnapshotError> {
        let mut stat = lock(&self.stat);
        let boot_ns = stat.boot_ns(now_ns)?;
        Ok((boot_ns, stat.read()?.clone()))
    }
}

/// A part whose reader panicked is read on: what it keeps is only ever replaced as a whole.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
