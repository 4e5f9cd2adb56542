//! What is to take over from a running plugin: compiled and started beside it, while it goes on.
//!
//! A successor begins where the last durable checkpoint is. Where the running one has moved that since, the successor
//! is started again from the new place, so that nothing is collected twice or left out.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use whimbrel_plugin_host::{Fault, Instance, Plugin};

use super::{
    reins::{Candidate, Told},
    run::{self, Ground, Place, setup},
    schema,
    services::CollectorServices,
};
use crate::{clock::Clock, config};

/// Something being made ready to take over.
pub(super) struct Successor {
    pub(super) config: config::Collector,
    pub(super) told: Told,
    /// How often it was started.
    pub(super) starts: u32,
    /// Where its last start began.
    pub(super) checkpoint: Option<Vec<u8>>,
    stage: Stage,
}

enum Stage {
    /// Each a set of one task, which ends with the set.
    Loading(JoinSet<Result<Plugin, String>>),
    Starting(JoinSet<Result<Ready, Fault>>),
    Ready(Ready),
    Gone,
}

/// A started instance, and what it is made of.
pub(super) struct Ready {
    pub(super) plugin: Plugin,
    pub(super) instance: Instance,
    pub(super) services: Arc<CollectorServices>,
    /// How long its start took.
    pub(super) init: Duration,
}

impl Successor {
    /// Begins to read and compile it.
    pub(super) fn begin(candidate: Candidate, ground: &Ground) -> Self {
        let Candidate { config, told } = candidate;
        let config = *config;
        let mut loading = JoinSet::new();
        let (wanted, ground) = (config.clone(), ground.clone());
        loading.spawn(async move { run::load(&wanted, &ground).await.map_err(|failed| failed.to_string()) });
        Self { config, told, starts: 0, checkpoint: None, stage: Stage::Loading(loading) }
    }

    /// Returns when it has started. Cancel safe: what was done by then stays done.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) async fn ready(&mut self, place: &Place) -> Result<(), String> {
        loop {
            match &mut self.stage {
                Stage::Loading(loading) => match loading.join_next().await {
                    Some(Ok(Ok(plugin))) => {
                        schema::check(&self.config, &plugin)?;
                        self.start(plugin, place.start(&self.config), place.ground.clock.clone());
                    }
                    Some(Ok(Err(problem))) => return Err(problem),
                    Some(Err(error)) => return Err(format!("loading it ended badly: {error}")),
                    None => return Err("it is gone".to_owned()),
                },
                Stage::Starting(starting) => match starting.join_next().await {
                    Some(Ok(Ok(ready))) => self.stage = Stage::Ready(ready),
                    Some(Ok(Err(fault))) => return Err(fault.to_string()),
                    Some(Err(error)) => return Err(format!("starting it ended badly: {error}")),
                    None => return Err("it is gone".to_owned()),
                },
                Stage::Ready(_) => return Ok(()),
                Stage::Gone => return Err("it is gone".to_owned()),
            }
        }
    }

    /// Starts what stands ready once more, from another checkpoint. What it was before is dropped.
    pub(super) fn again(&mut self, start: Start, clock: Arc<dyn Clock>) {
        if let Some(ready) = self.take() {
            self.start(ready.plugin, start, clock);
        }
    }

    /// What stands ready.
    pub(super) fn take(&mut self) -> Option<Ready> {
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Ready(ready) => Some(ready),
            other => {
                self.stage = other;
                None
            }
        }
    }

    fn start(&mut self, plugin: Plugin, start: Start, clock: Arc<dyn Clock>) {
        self.starts += 1;
        self.checkpoint.clone_from(&start.checkpoint);
        let setup = setup(&self.config, start.checkpoint, start.services.clone());
        let mut starting = JoinSet::new();
        starting.spawn(async move {
            let began = clock.monotonic();
            let instance = plugin.instantiate(setup).await?;
            let init = clock.monotonic().saturating_sub(began);
            Ok(Ready { plugin, instance, services: start.services, init })
        });
        self.stage = Stage::Starting(starting);
    }
}

/// What an instance is started with.
pub(super) struct Start {
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) services: Arc<CollectorServices>,
}
