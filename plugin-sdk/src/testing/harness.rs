//! A plugin under test.

use std::time::Duration;

use whimbrel_otlp::Signal;
use whimbrel_otlp::read::{self, Point, Record};

use super::imports::{Host, enter};
use crate::export::Instance;
use crate::log::Level;
use crate::{Collector, Described, Error, More};

/// So often is a plugin that says there is more asked again before a test is ended.
const MAX_CALLS: usize = 10_000;

/// A batch that a plugin pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// What it holds.
    pub signal: Signal,
    /// The OTLP export request.
    pub bytes: Vec<u8>,
    /// The checkpoint that became durable with it.
    pub checkpoint: Option<Vec<u8>>,
}

impl Push {
    /// The data points of a push of metrics.
    ///
    /// # Panics
    /// If it is none, or not well-formed.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        assert_eq!(self.signal, Signal::Metrics, "a push of metrics");
        read::points(&self.bytes).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The log records of a push of logs.
    ///
    /// # Panics
    /// If it is none, or not well-formed.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        assert_eq!(self.signal, Signal::Logs, "a push of logs");
        read::records(&self.bytes).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A line that a plugin logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How bad it is.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

/// A plugin that runs on a test's host.
#[derive(Debug)]
pub struct Running<C> {
    host: Host,
    instance: Instance<C>,
}

impl<C: Collector + Described> Running<C> {
    pub(super) fn new(host: Host, instance: Instance<C>) -> Self {
        Self { host, instance }
    }

    /// One interval: the plugin is asked until it has no more. Returns what it pushed.
    ///
    /// # Errors
    /// What the agent would be told; what was pushed before stands in [`pushes`](Self::pushes).
    ///
    /// # Panics
    /// If it is asked 10,000 times and still has more.
    pub fn collect(&mut self) -> Result<Vec<Push>, Error> {
        let before = self.host.pushes.len();
        for _ in 0..MAX_CALLS {
            if self.collect_once()? == More::No {
                return Ok(self.host.pushes[before..].to_vec());
            }
        }
        panic!("the plugin said {MAX_CALLS} times that there is more to collect");
    }

    /// One call of the plugin.
    ///
    /// # Errors
    /// What the agent would be told.
    pub fn collect_once(&mut self) -> Result<More, Error> {
        let host = std::mem::take(&mut self.host);
        let deadline = host.deadline;
        let (host, result) = enter(host, || self.instance.collect(deadline));
        self.host = host;
        result
    }

    /// Moves the clock on.
    pub fn advance(&mut self, by: Duration) {
        let ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.host.now_ns = self.host.now_ns.saturating_add(ns);
        self.host.monotonic_ns = self.host.monotonic_ns.saturating_add(ns);
    }

    /// Changes what the host gives: `run.change(|host| host.snapshot("cpu", later))`.
    pub fn change(&mut self, change: impl FnOnce(Host) -> Host) {
        self.host = change(std::mem::take(&mut self.host));
    }

    /// Refuses the next push that has no answer yet; call it twice to refuse two.
    pub fn refuse_push(&mut self, error: Error) {
        self.host.answers.push_back(Err(error));
    }

    /// All that was pushed since the start, restarts included.
    #[must_use]
    pub fn pushes(&self) -> &[Push] {
        &self.host.pushes
    }

    /// All that was logged since the start, restarts included.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.host.lines
    }

    /// What was last selected of a part of the host's figures; none if the part was never asked for.
    #[must_use]
    pub fn selected(&self, part: &str) -> Option<&[(String, String)]> {
        self.host.selected.get(part).map(Vec::as_slice)
    }

    /// All requests since the start, restarts included.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn requests(&self) -> &[crate::http::Request] {
        self.host.requests()
    }

    /// The last durable checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&[u8]> {
        self.host.checkpoint.as_deref()
    }

    /// A new instance with the last durable checkpoint, as after a fault: the old one is not told.
    ///
    /// # Errors
    /// What the agent would be told.
    pub fn restart(self) -> Result<Self, Error> {
        self.host.start()
    }

    /// Ends the plugin in good order.
    #[must_use]
    pub fn shutdown(self) -> Host {
        let (host, ()) = enter(self.host, || self.instance.shutdown());
        host
    }
}
