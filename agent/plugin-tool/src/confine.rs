//! Limits this process before it reads what a stranger wrote.
//!
//! A component can be made so that parsing or compiling it takes any amount of memory and time. What happens
//! then shall happen here and end here. Limits can't be raised again (but by root), and hold for all threads.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// What this process may use from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Confinement {
    /// Address space, in bytes.
    pub(crate) memory: u64,
    /// Processor time of all threads together, in seconds. Then comes SIGXCPU.
    pub(crate) cpu_seconds: u64,
    /// Bytes that may be written to one file. Pipes are not limited by this.
    pub(crate) file_size: u64,
    /// Whether files may be opened from now on.
    pub(crate) open_files: bool,
}

impl Confinement {
    /// Puts the limits in force.
    ///
    /// # Errors
    /// The system refused one: then nothing of a stranger's may be read.
    pub(crate) fn enter(self) -> io::Result<()> {
        limit(Resource::As, self.memory)?;
        limit(Resource::Cpu, self.cpu_seconds)?;
        limit(Resource::Fsize, self.file_size)?;
        // A core dump would hold the agent's environment or worse, and take long to write.
        limit(Resource::Core, 0)?;
        if !self.open_files {
            // Standard input, output and error are open; no fourth file can be: not the cache's key either.
            limit(Resource::Nofile, 3)?;
        }
        #[cfg(target_os = "linux")]
        rustix::thread::set_no_new_privs(true)?;
        Ok(())
    }
}

/// Takes the place of the agent when the system is short of memory or of processors.
pub(crate) fn stand_back() {
    // Both are courtesy: a system that has no such thing, or forbids it, is none the worse.
    let _ = rustix::process::nice(5);
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Lowers a limit. One that is lower already stays.
fn limit(resource: Resource, to: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let lower = |old: Option<u64>| Some(old.map_or(to, |old| old.min(to)));
    setrlimit(resource, Rlimit { current: lower(now.current), maximum: lower(now.maximum) })?;
    Ok(())
}
