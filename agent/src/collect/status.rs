//! What an operator is told of a collector.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Where a collector stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CollectorState {
    /// Its component is read, compiled or loaded, or its instance is coming up.
    Starting,
    /// Collects on its schedule.
    Running,
    /// A fault; a new instance comes up after a pause.
    BackingOff {
        /// Milliseconds from the fault to the new instance.
        pause_ms: u64,
    },
    /// Too many faults: off until the agent is restarted.
    SetAside,
    /// The agent is stopping.
    Stopped,
}

/// Counts since the agent started, and the last things that went wrong.
#[derive(Debug, Clone, Serialize)]
pub struct CollectorStatus {
    /// The name in the configuration.
    pub name: String,
    /// The component: `builtin:host`, a path.
    pub plugin: String,
    /// Name and version from the component's metadata, once it is loaded.
    pub identity: Option<String>,
    /// Where it stands.
    #[serde(flatten)]
    pub state: CollectorState,
    /// Calls of `collect` that returned.
    pub collects: u64,
    /// Collects that were due and did not happen, because the one before took too long or the plugin was down.
    pub missed: u64,
    /// Pushes that became durable.
    pub pushes: u64,
    /// Data points, log records, spans that became durable.
    pub items: u64,
    /// Pushes that were refused, by reason.
    pub refused: Refused,
    /// Errors that `collect` returned.
    pub errors: u64,
    /// Faults: traps, deadlines, limits.
    pub faults: u64,
    /// New instances after a fault.
    pub restarts: u64,
    /// Log lines over the rate, dropped.
    pub log_lines_dropped: u64,
    /// Linear memory after the last collect, bytes.
    pub memory_bytes: u64,
    /// Microseconds the last collect took, waiting for the WAL included.
    pub last_collect_us: u64,
    /// The last fault, error or refusal, in words.
    pub last_problem: Option<String>,
}

/// Pushes that did not become durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Not an OTLP export request.
    pub invalid: u64,
    /// Larger than a record may be, and not to be parted.
    pub too_large: u64,
    /// The WAL was full, or failing.
    pub unavailable: u64,
}

/// The one place where a collector's task and its services write, and `status` reads.
#[derive(Debug)]
pub(super) struct Board(Mutex<CollectorStatus>);

impl Board {
    pub(super) fn new(name: &str, plugin: String) -> Self {
        Self(Mutex::new(CollectorStatus {
            name: name.to_owned(),
            plugin,
            identity: None,
            state: CollectorState::Starting,
            collects: 0,
            missed: 0,
            pushes: 0,
            items: 0,
            refused: Refused::default(),
            errors: 0,
            faults: 0,
            restarts: 0,
            log_lines_dropped: 0,
            memory_bytes: 0,
            last_collect_us: 0,
            last_problem: None,
        }))
    }

    pub(super) fn read(&self) -> CollectorStatus {
        self.lock().clone()
    }

    pub(super) fn write(&self, change: impl FnOnce(&mut CollectorStatus)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, CollectorStatus> {
        // Plain counters: whatever a panicking writer left is still a status.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
