//! A few collects of one plugin, in the agent's own sandbox, with nothing stored and nothing sent: `whimbrel plugin
//! run`.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use whimbrel_otlp::Signal;
use whimbrel_plugin_host::{
    CollectError, Fault, Host, Instance, Plugin,
    services::{Batch, Denied, Entity, GuestError, LogLine, Services},
};

use super::{figures, run::setup};
use crate::{
    clock::{self, Clock},
    config,
    plugins::{Plugins, SourceError},
    system::System,
};

/// A plugin that says there is more is asked so often, and no more.
const MOST_CALLS: u32 = 1000;

/// How often to collect.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// At least 1.
    pub collects: u32,
    /// Between two of them.
    pub pause: Duration,
}

/// What the collects came to.
#[derive(Debug)]
pub struct Trial {
    /// Name and version from the component's metadata.
    pub title: String,
    /// One a collect that was begun.
    pub collects: Vec<Collect>,
    /// Bytes of the last checkpoint pushed.
    pub checkpoint: Option<usize>,
    /// What it wrote into the agent's log.
    pub lines: Vec<LogLine>,
    /// What it asked for and was not granted.
    pub denied: Vec<Denied>,
    /// How the last `collect` ended, where not well: then there was no other.
    pub failed: Option<CollectError>,
}

/// One collect.
#[derive(Debug, Default)]
pub struct Collect {
    /// Export requests as they would have gone into the WAL, before the agent's resource is merged in.
    pub batches: Vec<(Signal, Vec<u8>)>,
    /// Time the guest was charged with.
    pub took: Duration,
    /// Linear memory afterwards, bytes.
    pub memory: u64,
    /// It said a thousand times that there was more, and was not asked again.
    pub unending: bool,
}

/// Why there was no collect.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The component.
    #[error(transparent)]
    Load(#[from] SourceError),
    /// `init` refused, trapped or took too long.
    #[error(transparent)]
    Start(#[from] Fault),
}

/// Loads, starts, collects as planned, each time until there is no more, shuts down.
///
/// # Errors
/// [`TrialError`]; what goes wrong in `collect` itself stands in [`Trial::failed`].
pub async fn run(
    config: &config::Collector,
    host: &Host,
    plugins: &Plugins,
    system: Arc<System>,
    clock: Arc<dyn Clock>,
    plan: Plan,
) -> Result<Trial, TrialError> {
    let loaded = plugins.load(host, config).await?;
    let services = Arc::new(Recorder::new(config, system, clock.clone()));
    let mut session = Session::start(&loaded, config, None, &services).await?;
    let mut collects = Vec::new();
    let mut failed = None;
    while failed.is_none() && collects.len() < plan.collects.max(1) as usize {
        if !collects.is_empty() {
            clock.sleep(plan.pause).await;
        }
        let (collect, ended) = session.collect().await;
        failed = ended.err();
        collects.push(collect);
    }
    session.end().await;
    let seen = services.take();
    Ok(Trial {
        title: loaded.description().title(),
        collects,
        checkpoint: seen.checkpoint.map(|bytes| bytes.len()),
        lines: seen.lines,
        denied: seen.denied,
        failed,
    })
}

/// One instance that is tried: collected from as often as one likes.
#[derive(Debug)]
pub struct Session {
    instance: Instance,
    services: Arc<Recorder>,
    deadline: Duration,
}

impl Session {
    /// Makes an instance of the plugin, with this configuration and checkpoint; what it says goes to `services`.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start(
        plugin: &Plugin,
        config: &config::Collector,
        checkpoint: Option<Vec<u8>>,
        services: &Arc<Recorder>,
    ) -> Result<Session, Fault> {
        let instance = plugin.instantiate(setup(config, checkpoint, services.clone())).await?;
        Ok(Session { instance, services: services.clone(), deadline: config.limits.deadline })
    }

    /// Asks until there is no more; what was pushed before an error is in the first half of the answer.
    pub async fn collect(&mut self) -> (Collect, Result<(), CollectError>) {
        let mut collect = Collect::default();
        let ended = collect_once(&mut self.instance, self.deadline, &mut collect).await;
        collect.batches = std::mem::take(&mut self.services.lock().batches);
        (collect, ended)
    }

    /// Whether it can be asked again.
    pub fn is_alive(&self) -> bool {
        self.instance.is_alive()
    }

    /// Shuts it down, in good order if it is alive.
    pub async fn end(self) {
        if self.instance.is_alive()
            && let Err(fault) = self.instance.shutdown(self.deadline).await
        {
            tracing::warn!(%fault, "the plugin's shutdown failed");
        }
    }
}

async fn collect_once(
    instance: &mut Instance,
    deadline: Duration,
    into: &mut Collect,
) -> Result<(), CollectError> {
    for _ in 0..MOST_CALLS {
        let collected = instance.collect(deadline).await?;
        into.took += collected.took;
        into.memory = collected.memory;
        if !collected.more {
            return Ok(());
        }
    }
    into.unending = true;
    Ok(())
}

/// Keeps what a guest says, and answers as the agent would.
#[derive(Debug)]
pub struct Recorder {
    secrets: Vec<(String, config::Secret)>,
    system: Arc<System>,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
    skipped: Mutex<Duration>,
}

/// What a guest said since it was last asked for.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of a collect that is still going on.
    batches: Vec<(Signal, Vec<u8>)>,
    /// The last one pushed.
    pub checkpoint: Option<Vec<u8>>,
    /// What it wrote into the agent's log.
    pub lines: Vec<LogLine>,
    /// What it asked for and was not granted.
    pub denied: Vec<Denied>,
}

impl Recorder {
    /// An agent that has this host's figures, this clock, and the secrets that the collector is granted.
    pub fn new(config: &config::Collector, system: Arc<System>, clock: Arc<dyn Clock>) -> Recorder {
        let secrets = config.grants.secrets.clone();
        Recorder { secrets, system, clock, seen: Mutex::default(), skipped: Mutex::default() }
    }

    /// Has the guest's monotonic clock jump: for a clock that is stepped by hand.
    pub fn skip(&self, time: Duration) {
        *self.skipped.lock().unwrap_or_else(PoisonError::into_inner) += time;
    }

    /// What was said, and forgotten here.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, batch: Batch, checkpoint: Option<Vec<u8>>) -> Result<(), GuestError> {
        let Batch { signal, request } = batch;
        whimbrel_otlp::walk(signal, &request).map_err(|e| GuestError::Invalid(e.to_string()))?;
        let mut seen = self.lock();
        seen.batches.push((signal, request));
        if checkpoint.is_some() {
            seen.checkpoint = checkpoint;
        }
        Ok(())
    }
}

impl Services for Recorder {
    fn push(
        &self,
        batch: Batch,
        checkpoint: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send + '_>> {
        Box::pin(std::future::ready(self.record(batch, checkpoint)))
    }

    fn snapshot(&self, part: &str, select: &[(String, String)]) -> Result<Vec<Entity>, GuestError> {
        figures::snapshot(&self.system, part, select)
    }

    fn log(&self, line: LogLine) {
        self.lock().lines.push(line);
    }

    fn reveal(&self, name: &str) -> Result<String, GuestError> {
        let found = self.secrets.iter().find(|(granted, _)| granted == name);
        found
            .map(|(_, secret)| secret.reveal().to_owned())
            .ok_or_else(|| GuestError::Denied(format!("there is no secret {name:?}")))
    }

    fn denied(&self, what: &Denied) {
        self.lock().denied.push(what.clone());
    }

    fn now_ns(&self) -> u64 {
        clock::unix_ns(&*self.clock)
    }

    fn skipped(&self) -> Duration {
        *self.skipped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
