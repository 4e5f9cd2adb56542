//! What an exporter tells its lanes: one value that all of them watch, and what they tell back of it.
//!
//! `phase` goes one way only, from running to stopping. Pausing and settling stand beside it and come and go.

use std::time::Duration;

use tokio::sync::watch;

use super::lane::Stopped;

/// What an exporter tells its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) phase: Phase,
    /// Nothing is sent, since this time, ms since 1970; what is under way ends.
    pub(super) paused: Option<u64>,
    /// The cursor is about to be set back: end what is under way, forget where you were, wait until this is over. Each
    /// settling has a number of its own.
    pub(super) settling: Option<u64>,
}

/// How an exporter runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Send what comes.
    Running,
    /// Send what there is, without waiting for more.
    Draining,
    /// End; requests in flight stay planned.
    Stopping,
}

/// How far a draining lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be something to send.
    Busy,
    /// Nothing will be tried before this monotonic time.
    Stuck(Duration),
    /// Everything visible is settled.
    Drained,
}

impl Orders {
    /// Those of the start.
    pub(super) const FIRST: Self = Self { phase: Phase::Running, paused: None, settling: None };

    /// Whether what runs is to end, for good or for a while.
    pub(super) fn ends(&self) -> bool {
        self.phase == Phase::Stopping || self.settling.is_some()
    }
}

/// Follows the orders, and says how far it is with a settling.
#[derive(Debug)]
pub(super) struct Listener {
    orders: watch::Receiver<Orders>,
    settled: watch::Sender<u64>,
}

impl Listener {
    pub(super) fn new(orders: watch::Receiver<Orders>) -> Self {
        Self { orders, settled: watch::Sender::new(0) }
    }

    /// A receiver of its own for a caller that waits for changes.
    pub(super) fn watch(&self) -> watch::Receiver<Orders> {
        self.orders.clone()
    }

    pub(super) fn now(&self) -> Orders {
        *self.orders.borrow()
    }

    /// Ends when what runs is to end. Cancel safe.
    pub(super) async fn ended(&self) {
        // A sender that is gone is an exporter that was dropped without being stopped.
        let _ = self.orders.clone().wait_for(Orders::ends).await;
    }

    /// Ends when the exporter is told to stop for good. Cancel safe.
    pub(super) async fn stopped(&self) {
        let _ = self.orders.clone().wait_for(|orders| orders.phase == Phase::Stopping).await;
    }

    /// Ends when nothing pauses. Cancel safe.
    pub(super) async fn unpaused(&self) {
        let _ = self.orders.clone().wait_for(|orders| orders.paused.is_none()).await;
    }

    /// Nothing of the lane is under way: says so, and waits until it may begin anew.
    pub(super) async fn settle(&self) -> Result<(), Stopped> {
        let mut orders = self.orders.clone();
        loop {
            let seen = *orders.borrow_and_update();
            match seen.settling {
                _ if seen.phase == Phase::Stopping => return Err(Stopped),
                None if orders.has_changed().is_err() => return Err(Stopped),
                None => return Ok(()),
                Some(number) => self.settled.send_replace(number),
            };
            orders.changed().await.map_err(|_| Stopped)?;
        }
    }

    /// Ends when the lane has settled under this number.
    pub(super) async fn has_settled(&self, number: u64) {
        let mut settled = self.settled.subscribe();
        // The sender is borrowed, so it is there.
        let _ = settled.wait_for(|settled| *settled == number).await;
    }
}
