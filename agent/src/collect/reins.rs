//! What reaches a collector's task from outside: a stop, and orders that it takes between two collects.

use std::future::Future;

use tokio::sync::{mpsc, oneshot, watch};

use crate::config;

/// What the task is to do.
pub(super) enum Order {
    /// Begin anew, if it was set aside or waits after a fault.
    Resume(oneshot::Sender<Resumed>),
    /// Run with another configuration, or another component, from the next collect on.
    Replace(Candidate),
}

/// Where a collector stood when it was resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resumed {
    /// It was set aside, and starts with a whole budget of faults.
    SetAside,
    /// It waited after a fault, and starts at once.
    BackingOff,
    /// It runs, or starts already: nothing was done.
    Running,
}

/// What is to take over.
pub(super) struct Candidate {
    pub(super) config: Box<config::Collector>,
    pub(super) told: Told,
}

/// Whoever asked for a replacement, to be told once whether the new one starts.
#[derive(Default)]
pub(super) struct Told(Option<oneshot::Sender<Result<(), String>>>);

impl Told {
    pub(super) fn new(asked: oneshot::Sender<Result<(), String>>) -> Self {
        Self(Some(asked))
    }

    /// Nobody may wait any more; what happened stands in the log.
    pub(super) fn tell(&mut self, outcome: Result<(), String>) {
        if let Some(asked) = self.0.take() {
            let _ = asked.send(outcome);
        }
    }
}

/// The task's end of it.
pub(super) struct Reins {
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) orders: mpsc::Receiver<Order>,
}

/// Why something was not waited for to its end.
pub(super) enum Interrupt {
    Stop,
    Resume(oneshot::Sender<Resumed>),
    Replace(Candidate),
}

impl Reins {
    /// The next of them. Cancel safe.
    pub(super) async fn next(&mut self) -> Interrupt {
        tokio::select! {
            biased;
            () = stop_asked(&mut self.stopped) => Interrupt::Stop,
            order = self.orders.recv() => match order {
                Some(Order::Resume(tell)) => Interrupt::Resume(tell),
                Some(Order::Replace(candidate)) => Interrupt::Replace(candidate),
                None => Interrupt::Stop,
            },
        }
    }

    /// Does the work to its end, unless a stop or a replacement comes before: then the work is dropped.
    pub(super) async fn unless_pulled<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupt> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                interrupt = self.next() => match interrupt {
                    // It starts already. Whoever asked may have gone.
                    Interrupt::Resume(tell) => { let _ = tell.send(Resumed::Running); },
                    other => return Err(other),
                },
            }
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }
}

/// Returns when the collector is to stop.
pub(super) async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: the agent is stopping too.
    let _ = stopped.wait_for(|stop| *stop).await;
}
