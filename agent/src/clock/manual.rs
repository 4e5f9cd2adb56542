//! A clock for tests: time stands still until the test moves it, and chance is what the test says.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{oneshot, watch};

use super::Clock;

/// Where [`ManualClock::now`] starts: 2027-01-15T08:00:00Z.
pub(crate) const START: Duration = Duration::from_secs(1_800_000_000);

/// Time by hand.
#[derive(Debug)]
pub(crate) struct ManualClock {
    state: Arc<Mutex<State>>,
    sleepers: Arc<watch::Sender<u64>>,
}

#[derive(Debug)]
struct State {
    elapsed: Duration,
    next_id: u64,
    sleeping: Vec<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    id: u64,
    until: Duration,
    wake: oneshot::Sender<()>,
}

impl ManualClock {
    /// At [`START`]; every random draw is the highest, so that full jitter is the whole backoff.
    pub(crate) fn new() -> Arc<Self> {
        let state = State { elapsed: Duration::ZERO, next_id: 0, sleeping: Vec::new() };
        Arc::new(Self { state: Arc::new(Mutex::new(state)), sleepers: Arc::new(watch::Sender::new(0)) })
    }

    /// Moves time, and wakes who has slept enough.
    pub(crate) fn advance(&self, by: Duration) {
        let mut state = lock(&self.state);
        state.elapsed += by;
        let now = state.elapsed;
        for sleeper in std::mem::take(&mut state.sleeping) {
            if sleeper.until <= now {
                let _ = sleeper.wake.send(());
            } else {
                state.sleeping.push(sleeper);
            }
        }
    }

    /// Waits until somebody has a sleep of exactly this long ahead of it.
    pub(crate) async fn someone_sleeps(&self, duration: Duration) {
        self.asleep(|left| left.contains(&duration)).await;
    }

    /// Waits until the sleeps ahead, each the time it has left, satisfy `enough`.
    pub(crate) async fn asleep(&self, enough: impl Fn(&[Duration]) -> bool) {
        let mut changes = self.sleepers.subscribe();
        loop {
            changes.mark_unchanged();
            {
                let state = lock(&self.state);
                let left: Vec<Duration> =
                    state.sleeping.iter().map(|sleeper| sleeper.until - state.elapsed).collect();
                if enough(&left) {
                    return;
                }
            }
            changes.changed().await.expect("the clock holds the sender");
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + START + lock(&self.state).elapsed
    }

    fn monotonic(&self) -> Duration {
        lock(&self.state).elapsed
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (wake, woken) = oneshot::channel();
        let mut state = lock(&self.state);
        if duration.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let id = state.next_id;
        state.next_id += 1;
        let until = state.elapsed + duration;
        state.sleeping.push(Sleeper { id, until, wake });
        drop(state);
        self.sleepers.send_modify(|changes| *changes += 1);
        let asleep = Asleep { state: Arc::clone(&self.state), sleepers: Arc::clone(&self.sleepers), id };
        Box::pin(async move {
            let _asleep = asleep;
            let _ = woken.await;
        })
    }

    fn random(&self) -> u64 {
        u64::MAX
    }
}

/// A sleep that is given up is forgotten.
struct Asleep {
    state: Arc<Mutex<State>>,
    sleepers: Arc<watch::Sender<u64>>,
    id: u64,
}

impl Drop for Asleep {
    fn drop(&mut self) {
        lock(&self.state).sleeping.retain(|sleeper| sleeper.id != self.id);
        self.sleepers.send_modify(|changes| *changes += 1);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test]
async fn sleepers_wake_when_time_is_moved_and_not_before() {
    let clock = ManualClock::new();
    let mut sleep = clock.sleep(Duration::from_secs(5));
    clock.someone_sleeps(Duration::from_secs(5)).await;
    clock.advance(Duration::from_secs(4));
    assert!((&mut sleep).now_or_never().is_none());
    clock.advance(Duration::from_secs(1));
    sleep.await;
    assert_eq!(clock.monotonic(), Duration::from_secs(5));
    assert_eq!(clock.now(), UNIX_EPOCH + START + Duration::from_secs(5));
}
