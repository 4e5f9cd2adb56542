//! What a receiver is given, and what it gives back.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::watch, task::JoinSet};

use super::{Counts, Gather, Intake, guard::Pace, listen::Places};
use crate::{clock::Clock, config::ReceiverLimits};

/// What a receiver is given. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ground {
    /// The way in for whole OTLP requests.
    pub(crate) intake: Intake,
    /// The way in for small events.
    pub(crate) gather: Gather,
    /// What it counts.
    pub(crate) counts: Arc<Counts>,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Its bounds.
    pub(crate) limits: Arc<ReceiverLimits>,
    /// How often each peer may send.
    pub(crate) pace: Arc<Pace>,
    /// Its connections, over all endpoints.
    pub(crate) places: Arc<Places>,
    /// When to stop.
    pub(crate) stop: Stop,
    /// What the agent says about this host, for what receivers make themselves.
    pub(crate) agent_resource: Arc<BTreeMap<String, String>>,
}

/// A receiver that runs.
#[derive(Default)]
pub(crate) struct Started {
    /// Where it listens, as `status` shows it: `grpc 127.0.0.1:4317`.
    pub(crate) listening: Vec<String>,
    /// Its tasks; they end by themselves once told to stop.
    pub(crate) tasks: JoinSet<()>,
}

/// Turns true when the receivers are to stop. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// What is told, and who hears it.
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (tell, told) = watch::channel(false);
        (tell, Self(told))
    }

    /// Whether it is time.
    pub(crate) fn is_told(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is time; also when whoever tells is gone. Cancel safe.
    pub(crate) async fn wait(&self) {
        let mut told = self.0.clone();
        // The guard that this returns must not be held across an await.
        drop(told.wait_for(|stop| *stop).await);
    }
}
