//! `collectors.NAME.exec`: a program that is run on an interval, for what can't be a component.
//!
//! It runs outside the sandbox, with the rights of its user. So it is refused unless `allow_exec: true` stands in the
//! configuration itself, which an included file can't say.

use std::{path::PathBuf, time::Duration};

use super::Secret;

/// A program, and what it may use. Its time, memory, output and log rate are the collector's `Limits`.
#[derive(Clone, PartialEq, Eq)]
pub struct Exec {
    /// Absolute.
    pub program: PathBuf,
    /// What follows it. No shell reads them. They may hold what came from `${env:...}` or `${file:...}`.
    pub arguments: Vec<String>,
    /// How its output is read.
    pub output: ExecOutput,
    /// Where it runs. Absolute; default `/`.
    pub directory: PathBuf,
    /// All of its environment.
    pub environment: Vec<(String, Secret)>,
    /// Whom it runs as; default: the agent's own user.
    pub user: Option<u32>,
    /// Default: that of `user`, or the agent's own.
    pub group: Option<u32>,
    /// Whether it may run as root. Default no.
    pub as_root: bool,
    /// Processor time, of each of its processes. Default: the timeout, in whole seconds.
    pub cpu_time: Duration,
    /// Files that each of its processes may have open. Default 256.
    pub open_files: u64,
    /// Processes and threads that its user may have, counted over all that run as that user. Default 1024.
    pub processes: u64,
}

#[cfg(test)]
impl Exec {
    /// A program of a test, without arguments.
    pub(crate) fn of(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            output: ExecOutput::Nagios,
            directory: "/".into(),
            environment: Vec::new(),
            user: None,
            group: None,
            as_root: false,
            cpu_time: Duration::from_secs(1),
            open_files: 16,
            processes: 16,
        }
    }
}

/// How a program's output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecOutput {
    /// Prometheus' text format, or OpenMetrics where it ends with `# EOF`.
    Prometheus,
    /// A line of text with performance data, and the state as exit code.
    Nagios,
}

impl ExecOutput {
    /// As the configuration has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Nagios => "nagios",
        }
    }
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec")
            .field("program", &self.program)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}
