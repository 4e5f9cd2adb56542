//! Counts the time that a guest's call is charged with, and keeps the ticker going meanwhile.
//!
//! Charged is what the guest itself can help: running, and host functions that work on its behalf. Not
//! charged is waiting until a batch is taken, and waiting for a turn on the executor after the guest was
//! made to yield: a busy neighbour must not cost a well-behaved guest its deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::ticker::Ticker;

/// One instance's stop watch. Written by one task at a time; atomics only because that task may move threads.
#[derive(Debug)]
pub(crate) struct Meter {
    ticker: Arc<Ticker>,
    /// This guest is counted among the running ones.
    ticking: AtomicBool,
    origin: Instant,
    /// Charged until `since`, in ns.
    spent: AtomicU64,
    /// When the running stretch began, in ns after `origin`, plus one; 0: stopped.
    since: AtomicU64,
    /// What the call may be charged with, in ns.
    deadline: AtomicU64,
}

/// A call is going on. Dropped with the call's future, also if that is abandoned half way.
#[derive(Debug)]
pub(crate) struct Call(Arc<Meter>);

impl Meter {
    pub(crate) fn new(ticker: Arc<Ticker>) -> Meter {
        Meter {
            ticker,
            ticking: AtomicBool::new(false),
            origin: Instant::now(),
            spent: AtomicU64::new(0),
            since: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
        }
    }

    /// A new call begins.
    pub(crate) fn start(self: &Arc<Meter>, deadline: Duration) -> Call {
        self.spent.store(0, Relaxed);
        self.deadline.store(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.resume();
        Call(Arc::clone(self))
    }

    /// The guest runs on, and is charged.
    pub(crate) fn resume(&self) {
        if !self.ticking.swap(true, Relaxed) {
            self.ticker.enter();
        }
        self.since.store(self.now() + 1, Relaxed);
    }

    /// The guest waits for its turn: not charged until `resume`.
    pub(crate) fn yielded(&self) {
        self.spent.store(self.spent_ns(), Relaxed);
        self.since.store(0, Relaxed);
    }

    /// The guest waits for something that may take long: not charged until `resume`, and no ticks for it.
    pub(crate) fn pause(&self) {
        self.yielded();
        if self.ticking.swap(false, Relaxed) {
            self.ticker.leave();
        }
    }

    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns())
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_nanos(self.deadline.load(Relaxed))
    }

    /// What is left of the deadline. While the guest is not charged it stays as it is.
    pub(crate) fn left(&self) -> Duration {
        Duration::from_nanos(self.deadline.load(Relaxed).saturating_sub(self.spent_ns()))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.spent_ns() >= self.deadline.load(Relaxed)
    }

    fn spent_ns(&self) -> u64 {
        let running = match self.since.load(Relaxed) {
            0 => 0,
            since => (self.now() + 1).saturating_sub(since),
        };
        self.spent.load(Relaxed).saturating_add(running)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Arc<Meter> {
        let engine = wasmtime::Engine::new(&crate::engine::config().unwrap()).unwrap();
        Arc::new(Meter::new(Arc::new(Ticker::start(&engine).unwrap())))
    }

    #[test]
    fn a_pause_is_not_charged_and_a_start_forgets() {
        let meter = meter();
        let call = meter.start(Duration::from_secs(3600));
        meter.pause();
        let spent = meter.spent();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(meter.spent(), spent);
        meter.resume();
        std::thread::sleep(Duration::from_millis(5));
        assert!(meter.spent() >= spent + Duration::from_millis(5));
        assert!(!meter.is_over());
        drop(call);
        let _call = meter.start(Duration::ZERO);
        assert!(meter.is_over() && meter.spent() < Duration::from_millis(5));
    }

    #[test]
    fn an_abandoned_call_stops_the_ticker_whatever_it_was_doing() {
        let meter = meter();
        for waiting in [Meter::pause, Meter::yielded, Meter::resume] {
            let call = meter.start(Duration::from_secs(1));
            waiting(&meter);
            drop(call);
            assert_eq!(meter.ticker.running(), 0);
        }
    }
}
