//! What it ran on, and how: the lines above the table.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::RECORD;

/// Where everything is written.
pub fn base() -> PathBuf {
    std::env::var_os("WHIMBREL_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into)
}

/// Prints the machine and the method.
pub fn describe(rounds: usize) -> Result<()> {
    let system = rustix::system::uname();
    let cores = std::thread::available_parallelism()?;
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!(
        "{cores} cores ({model}), {} {}, {}; load {load} before it began.",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        file_system(&base())?,
    );
    println!(
        "\nMedians of {rounds} rounds, in each of which all take their turn. Records of {RECORD} incompressible bytes, each \
         answered when it is durable. \"× raw, growing\": how many times as fast as the first line in the same round \
         (1 is as fast, more is faster); the median, and the least and the most. CPU: the whole process, all threads."
    );
    Ok(())
}

/// Type of the file system that a path is on.
fn file_system(path: &Path) -> Result<String> {
    let path = path.canonicalize().with_context(|| format!("no directory {}", path.display()))?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut best: (usize, &str) = (0, "unknown file system");
    for line in mounts.lines() {
        // Fields: id, parent, device, root, mount point, ..., "-", type, source, options.
        let point = line.split(' ').nth(4).unwrap_or_default();
        let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        if path.starts_with(point) && point.len() >= best.0 {
            best = (point.len(), kind);
        }
    }
    Ok(best.1.to_owned())
}
