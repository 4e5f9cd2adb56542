//! One prober at a time: while a lane's receiver is away or refuses the exporter, a single request tries again,
//! and the others wait until it has passed.
//!
//! An outage so costs the receiver one request a backoff (or a minute) and lane, whatever the concurrency.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;

/// What the requests of one lane share.
#[derive(Debug)]
pub(super) struct Gate {
    open: watch::Sender<bool>,
    failures: AtomicU32,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { open: watch::Sender::new(true), failures: AtomicU32::new(0) }
    }

    /// For one request, or another step that may fail the same way.
    pub(super) fn passage(&self) -> Passage<'_> {
        Passage { gate: self, owner: false }
    }
}

/// One request's right to try. Whoever closed the gate opens it again, at the latest when dropped.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    gate: &'a Gate,
    owner: bool,
}

impl Passage<'_> {
    /// Waits until this request may try. Cancel safe.
    pub(super) async fn enter(&self) {
        if !self.owner {
            // The gate is borrowed, so its sender is there.
            let _ = self.gate.open.subscribe().wait_for(|open| *open).await;
        }
    }

    /// Failures in a row so far.
    pub(super) fn failures(&self) -> u32 {
        self.gate.failures.load(Ordering::Relaxed)
    }

    /// Counts a failure and closes the gate. Whether this request is now the one that tries again after a pause;
    /// if not, [`enter`](Passage::enter) is all it has to do.
    pub(super) fn failed(&mut self) -> bool {
        if !self.owner {
            self.owner = self.gate.open.send_if_modified(std::mem::take);
        }
        if self.owner {
            self.gate.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.owner
    }

    /// It works again: lets the others in. Whether this request had closed the gate. A request that was on its way
    /// when another one closed it changes nothing.
    pub(super) fn passed(&mut self) -> bool {
        if self.owner || self.is_open() {
            self.gate.failures.store(0, Ordering::Relaxed);
        }
        self.open()
    }

    /// Whether nobody probes.
    pub(super) fn is_open(&self) -> bool {
        *self.gate.open.borrow()
    }

    fn open(&mut self) -> bool {
        let owner = std::mem::take(&mut self.owner);
        if owner {
            self.gate.open.send_replace(true);
        }
        owner
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.open();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_request_probes_and_the_others_wait_for_it() {
        let gate = Gate::new();
        let (mut first, mut second) = (gate.passage(), gate.passage());
        assert!(first.failed());
        assert!(!second.failed(), "another one probes already");
        assert_eq!(second.failures(), 1, "one outage, one count");
        assert!(first.enter().now_or_never().is_some());
        assert!(second.enter().now_or_never().is_none());
        assert!(first.passed());
        assert!(second.enter().now_or_never().is_some());
        assert_eq!(second.failures(), 0);
    }

    #[test]
    fn a_prober_that_is_dropped_lets_the_others_try() {
        let gate = Gate::new();
        let mut first = gate.passage();
        assert!(first.failed());
        drop(first);
        let mut second = gate.passage();
        assert!(second.enter().now_or_never().is_some());
        assert_eq!(second.failures(), 1, "nothing has passed yet");
        assert!(second.failed());
    }
}
