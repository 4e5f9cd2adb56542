//! The clock by which guests are interrupted: one thread that moves the engine's epoch every 10 ms, and
//! sleeps while no guest runs (a thread that wakes 100 times a second costs 0.3 % of a core by itself).
//!
//! A guest that enters wakes the thread only if it sleeps; it goes back to sleep after a whole tick in which
//! no guest was running. So a quick call costs a few atomics, and nothing wakes while nothing runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::Engine;

/// How long one epoch lasts: the grain of deadlines, and the longest that a guest keeps a thread.
pub(crate) const TICK: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct Shared {
    /// Guests that are running now.
    running: AtomicUsize,
    /// The thread is ticking, or about to look at `running` again.
    awake: AtomicBool,
    stop: AtomicBool,
}

/// The thread. Ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Ticker {
    /// Starts the thread; it sleeps at once.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            awake: AtomicBool::new(true),
            stop: AtomicBool::new(false),
        });
        let (engine, here) = (engine.weak(), Arc::clone(&shared));
        let handle =
            thread::Builder::new().name("plugin-ticker".into()).stack_size(64 << 10).spawn(move || {
                while let Some(ticks) = here.next_tick() {
                    match engine.upgrade() {
                        Some(engine) if ticks => engine.increment_epoch(),
                        Some(_) => {}
                        None => return,
                    }
                }
            })?;
        Ok(Ticker { shared, thread: handle.thread().clone() })
    }

    /// A guest runs: epochs move until it leaves.
    pub(crate) fn enter(&self) {
        self.shared.running.fetch_add(1, SeqCst);
        if !self.shared.awake.swap(true, SeqCst) {
            self.thread.unpark();
        }
    }

    /// A guest that entered runs no more.
    pub(crate) fn leave(&self) {
        self.shared.running.fetch_sub(1, SeqCst);
    }

    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.shared.running.load(SeqCst)
    }
}

impl Shared {
    /// Waits for a tick, or for a guest to enter. `Some(true)`: a tick has passed; `None`: the end.
    fn next_tick(&self) -> Option<bool> {
        if self.stop.load(SeqCst) {
            return None;
        }
        // The order matters: whoever enters after `running` was read as zero finds `awake` false, and unparks.
        self.awake.store(false, SeqCst);
        if self.running.load(SeqCst) == 0 && !self.stop.load(SeqCst) {
            thread::park();
            return Some(false);
        }
        self.awake.store(true, SeqCst);
        thread::sleep(TICK);
        Some(true)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn until(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(10), "did not come about");
            thread::yield_now();
        }
    }

    #[test]
    fn the_thread_sleeps_unless_a_guest_runs_and_wakes_every_time_one_enters() {
        let engine = Engine::new(&crate::engine::config().unwrap()).unwrap();
        let ticker = Ticker::start(&engine).unwrap();
        let awake = || ticker.shared.awake.load(SeqCst);
        for _ in 0..3 {
            until(|| !awake());
            ticker.enter();
            ticker.enter();
            until(awake);
            ticker.leave();
            thread::sleep(TICK * 3);
            // One is still running: the thread must not have gone to sleep for good.
            until(awake);
            ticker.leave();
        }
        until(|| !awake());
    }
}
