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
    CollectError, Fault, Host, Instance,
    services::{Batch, Denied, Entity, GuestError, LogLine, Services},
};

use super::{encode, run::setup};
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
    let services = Arc::new(Recorder {
        secrets: config.grants.secrets.clone(),
        system,
        clock: clock.clone(),
        seen: Mutex::default(),
    });
    let mut instance = loaded.instantiate(setup(config, None, services.clone())).await?;
    let mut collects = Vec::new();
    let mut failed = None;
    while failed.is_none() && collects.len() < plan.collects.max(1) as usize {
        if !collects.is_empty() {
            clock.sleep(plan.pause).await;
        }
        let mut collect = Collect::default();
        failed = collect_once(&mut instance, config.limits.deadline, &mut collect).await.err();
        collect.batches = std::mem::take(&mut services.lock().batches);
        collects.push(collect);
    }
    if instance.is_alive()
        && let Err(fault) = instance.shutdown(config.limits.deadline).await
    {
        tracing::warn!(%fault, "the plugin's shutdown failed");
    }
    let seen = std::mem::take(&mut *services.lock());
    Ok(Trial {
        title: loaded.description().title(),
        collects,
        checkpoint: seen.checkpoint,
        lines: seen.lines,
        denied: seen.denied,
        failed,
    })
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
struct Recorder {
    secrets: Vec<(String, config::Secret)>,
    system: Arc<System>,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    batches: Vec<(Signal, Vec<u8>)>,
    checkpoint: Option<usize>,
    lines: Vec<LogLine>,
    denied: Vec<Denied>,
}

impl Recorder {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, batch: Batch, checkpoint: Option<Vec<u8>>) -> Result<(), GuestError> {
        let (signal, request) = encode::request(batch, clock::unix_ns(&*self.clock))?;
        whimbrel_otlp::walk(signal, &request).map_err(|e| GuestError::Invalid(e.to_string()))?;
        let mut seen = self.lock();
        seen.batches.push((signal, request));
        if let Some(checkpoint) = checkpoint {
            seen.checkpoint = Some(checkpoint.len());
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
        encode::snapshot(&self.system, part, select)
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
}
