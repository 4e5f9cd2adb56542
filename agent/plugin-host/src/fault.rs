//! How an instance ends: typed, readable, and never a panic of the host.

use std::fmt;

use crate::services::GuestError;

/// An instance has come to its end, or did not come to be. What it pushed before stays pushed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What it was.
    pub kind: FaultKind,
    /// A sentence that says what happened and, where there is a remedy, what to change.
    pub message: String,
    /// The guest's functions that were running, innermost first, where the component names them.
    pub backtrace: Vec<String>,
    /// Batches that were taken during this call.
    pub pushes: u32,
    /// Bytes that were taken during this call.
    pub bytes: u64,
    /// Lines of log left out during this call, because there were too many a second.
    pub lines_dropped: u64,
}

/// The kinds of fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// It ran longer than its deadline.
    Deadline,
    /// It wanted more memory than its limit, and could not go on without.
    Memory,
    /// It wanted more table elements than its limit.
    Tables,
    /// It wanted more handles of resources, tables, memories or core instances than its limit.
    Resources,
    /// It handed over more data than its limit, and went on doing so.
    Output,
    /// Its stack was used up.
    Stack,
    /// It panicked or aborted: it said so itself by ending.
    Panic,
    /// It ended itself through `wasi:cli/exit`.
    Exit,
    /// It did what WebAssembly forbids: read out of bounds, divided by zero, called through a null pointer.
    Trap,
    /// It broke the contract: what it handed over cannot be read, or it asked for what the contract forbids.
    Contract,
    /// `init` answered with an error.
    Init(GuestError),
    /// The instance has ended before: by a fault, or because a call was abandoned.
    Ended,
    /// Not the guest's doing: the machine could not run it (no address space, no file descriptors).
    Host,
}

impl FaultKind {
    /// One word, for metrics and status.
    pub fn as_str(&self) -> &'static str {
        match self {
            FaultKind::Deadline => "deadline",
            FaultKind::Memory => "memory",
            FaultKind::Tables => "tables",
            FaultKind::Resources => "resources",
            FaultKind::Output => "output",
            FaultKind::Stack => "stack",
            FaultKind::Panic => "panic",
            FaultKind::Exit => "exit",
            FaultKind::Trap => "trap",
            FaultKind::Contract => "contract",
            FaultKind::Init(_) => "init",
            FaultKind::Ended => "ended",
            FaultKind::Host => "host",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Fault {
    /// Whether a new instance with the same configuration would only fail in the same way.
    pub fn is_permanent(&self) -> bool {
        match &self.kind {
            FaultKind::Init(error) => !error.is_retryable(),
            FaultKind::Contract => true,
            _ => false,
        }
    }
}

/// Why a collect did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// The guest reports an error. The instance lives, and is asked again at the next interval.
    #[error("{0}")]
    Guest(GuestError),
    /// The instance has ended.
    #[error(transparent)]
    Fault(#[from] Fault),
}
