//! What an operator is told of a collector.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::sync::watch;

use super::{
    lateness::{Late, Lateness},
    limits::LimitsUse,
    schedule::Due,
};
use crate::config;

/// So many faults are kept in words.
const PAST_FAULTS: usize = 8;

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
    /// Too many faults, or nothing that can be run: off until its configuration or its component changes, an operator
    /// resumes it, or the agent is restarted.
    SetAside,
    /// The agent is stopping, or the collector left the configuration.
    Stopped,
}

/// Counts since the collector was started, and the last things that went wrong.
#[derive(Debug, Clone, Serialize)]
pub struct CollectorStatus {
    /// The name in the configuration.
    pub name: String,
    /// The component: `builtin:host`, a path.
    pub plugin: String,
    /// Name and version from the component's metadata, once it is loaded.
    pub identity: Option<String>,
    /// It is a program, and no plugin: no grant holds it.
    pub outside_sandbox: bool,
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
    /// The same by cause: `deadline`, `memory`, `panic`, and the like. Only causes that have come.
    pub faults_by_cause: BTreeMap<&'static str, u64>,
    /// The last eight of them, oldest first.
    pub past_faults: VecDeque<PastFault>,
    /// What it asked for and was not granted; the same thing asked for again counts once an instance.
    pub denied: u64,
    /// New instances after a fault.
    pub restarts: u64,
    /// New instances because memory, which never shrinks, came near its limit.
    pub recycled: u64,
    /// How often another configuration or component took over while it ran.
    pub replaced: u64,
    /// How often one failed its start or its first collect, and the one before went on.
    pub put_back: u64,
    /// Why what the configuration says does not run, and what ran before does.
    pub refused_change: Option<String>,
    /// What it may use, has used, and how often it met each limit, by the limit's key. Of a program: those that the
    /// agent itself holds it to.
    pub limits: LimitsUse,
    /// How late its last collects began.
    pub late: Late,
    /// Log lines over the rate, dropped.
    pub log_lines_dropped: u64,
    /// Linear memory after the last collect, bytes; 0 of a program.
    pub memory_bytes: u64,
    /// Microseconds the last collect took, waiting for the WAL included.
    pub last_collect_us: u64,
    /// The last fault, error or refusal, in words.
    pub last_problem: Option<String>,
}

/// A fault that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastFault {
    /// When, milliseconds since the epoch.
    pub at_unix_ms: u64,
    /// One word: `deadline`, `memory`, `panic`.
    pub cause: &'static str,
    /// What happened, and where there is a remedy, what to change.
    pub message: String,
}

impl CollectorStatus {
    /// Whether it is off until somebody does something.
    pub fn is_set_aside(&self) -> bool {
        self.state == CollectorState::SetAside
    }

    /// Why what the configuration says does not run: what ran before does, or nothing. `None`: it does, or is on its way.
    pub fn not_as_configured(&self) -> Option<&str> {
        let aside = || self.last_problem.as_deref().unwrap_or("it was set aside");
        self.refused_change.as_deref().or_else(|| self.is_set_aside().then(aside))
    }

    /// Counts a fault, and keeps its words in place of the oldest.
    pub(super) fn fault(&mut self, fault: PastFault) {
        self.faults += 1;
        *self.faults_by_cause.entry(fault.cause).or_default() += 1;
        self.last_problem = Some(fault.message.clone());
        if self.past_faults.len() == PAST_FAULTS {
            self.past_faults.pop_front();
        }
        self.past_faults.push_back(fault);
    }
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
pub(super) struct Board {
    inner: Mutex<Inner>,
    /// Whether it is still coming up.
    starting: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    status: CollectorStatus,
    lateness: Lateness,
}

impl Board {
    pub(super) fn new(config: &config::Collector) -> Self {
        let status = CollectorStatus {
            name: config.name.clone(),
            plugin: config.plugin.to_string(),
            identity: None,
            outside_sandbox: false,
            state: CollectorState::Starting,
            collects: 0,
            missed: 0,
            pushes: 0,
            items: 0,
            refused: Refused::default(),
            errors: 0,
            faults: 0,
            faults_by_cause: BTreeMap::new(),
            past_faults: VecDeque::new(),
            denied: 0,
            restarts: 0,
            recycled: 0,
            replaced: 0,
            put_back: 0,
            refused_change: None,
            limits: LimitsUse::new(config),
            late: Late::default(),
            log_lines_dropped: 0,
            memory_bytes: 0,
            last_collect_us: 0,
            last_problem: None,
        };
        let inner = Mutex::new(Inner { status, lateness: Lateness::default() });
        Self { inner, starting: watch::Sender::new(true) }
    }

    pub(super) fn read(&self) -> CollectorStatus {
        let inner = self.lock();
        CollectorStatus { late: inner.lateness.read(), ..inner.status.clone() }
    }

    /// Where it stands, without a copy of everything.
    pub(super) fn state(&self) -> CollectorState {
        self.lock().status.state.clone()
    }

    pub(super) fn write(&self, change: impl FnOnce(&mut CollectorStatus)) {
        let mut inner = self.lock();
        change(&mut inner.status);
        let starting = inner.status.state == CollectorState::Starting;
        self.starting.send_if_modified(|before| std::mem::replace(before, starting) != starting);
    }

    /// Returns when it has come up, or has not. Cancel safe.
    pub(super) async fn settled(&self) {
        // The sender is here: it can't be gone.
        let _ = self.starting.subscribe().wait_for(|starting| !starting).await;
    }

    /// A collect begins.
    pub(super) fn begins(&self, due: &Due) {
        let mut inner = self.lock();
        inner.status.missed += due.missed;
        inner.lateness.add(due.late);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Plain counters: whatever a panicking writer left is still a status.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_by_cause_and_the_last_are_kept_in_words() {
        let board = Board::new(&config::Collector {
            name: "x".to_owned(),
            plugin: config::PluginRef::Builtin("x".to_owned()),
            interval: std::time::Duration::from_secs(1),
            config: serde_json::json!({}),
            grants: config::Grants::default(),
            limits: config::Limits::for_interval(std::time::Duration::from_secs(1)),
            trust: whimbrel_plugin_host::Trust::default(),
        });
        for number in 0..10 {
            let cause = if number % 2 == 0 { "deadline" } else { "memory" };
            let fault = PastFault { at_unix_ms: number, cause, message: format!("fault {number}") };
            board.write(|s| s.fault(fault));
        }
        let status = board.read();
        assert_eq!(status.faults, 10);
        assert_eq!(status.faults_by_cause, BTreeMap::from([("deadline", 5), ("memory", 5)]));
        let kept: Vec<u64> = status.past_faults.iter().map(|fault| fault.at_unix_ms).collect();
        assert_eq!(kept, (2..10).collect::<Vec<_>>(), "the oldest go first");
        assert_eq!(status.last_problem.as_deref(), Some("fault 9"));
    }
}
