//! Reload: the configuration is read again, and what differs of the collectors is applied.
//!
//! One task owns it, so that one reload runs at a time, whoever asks: SIGHUP leaves a note (one at most waits while a
//! reload runs), the control socket waits for the answer. A client that goes away does not stop a reload half way. A
//! configuration with a problem changes nothing.
//!
//! A third that asks is the watch on the files (`watch`), where it is configured; the task keeps it to what was read last.
//!
//! Deliberately absent: everything but collectors. What else differs is named, and needs a restart.

use std::sync::Arc;

use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use self::watch::Watch;
use crate::{
    collect::{Changes, Failed, Roster},
    config::{Config, Exporter, Loaded, Problem, Problems, Receiver},
    status::Configuration,
};

/// Reads the configuration as it was read at the start.
pub type Read = Box<dyn Fn() -> Result<Loaded, Problems> + Send + Sync>;

/// What a reload came to.
#[derive(Debug)]
pub enum Answer {
    /// The configuration is good and applied.
    Applied(Applied),
    /// It has problems; nothing was changed.
    Refused(Problems),
}

/// A reload that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Whether nothing is known not to be as configured. Pending ones are not known.
    pub ok: bool,
    /// Counts the configurations that were applied; the one of the start is 1.
    pub generation: u64,
    /// What was done to the collectors.
    #[serde(flatten)]
    pub changes: Changes,
    /// What differs from the running agent and was not applied, by its key: `wal`, `exporters.backend`.
    pub restart_needed: Vec<String>,
}

/// The agent is stopping, and reloads nothing more.
#[derive(Debug, thiserror::Error)]
#[error("the agent is stopping")]
pub struct Stopping;

/// Asks for reloads. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
}

/// `None`: nobody waits for the answer.
type Ask = Option<oneshot::Sender<Answer>>;

impl Handle {
    /// Reloads, after a reload that runs; the configuration is read after this was called.
    ///
    /// Cancel safety: once it has begun, a reload is done to its end.
    ///
    /// # Errors
    /// [`Stopping`].
    pub async fn reload(&self) -> Result<Answer, Stopping> {
        let (tell, told) = oneshot::channel();
        self.asks.send(Some(tell)).await.map_err(|_| Stopping)?;
        told.await.map_err(|_| Stopping)
    }

    /// Asks for a reload and does not wait. One that is asked for and has not begun does for this one too, because it
    /// reads the configuration later.
    pub fn request(&self) {
        if let Err(mpsc::error::TrySendError::Closed(_)) = self.asks.try_send(None) {
            tracing::info!("the agent is stopping: not reloading");
        }
    }
}

/// The task that reloads, until it is stopped.
pub struct Reloader {
    stop: oneshot::Sender<()>,
    roster: Arc<Roster>,
    task: JoinHandle<()>,
}

impl Reloader {
    /// Starts it. `started` is what the agent runs with, `roster` its collectors.
    pub fn start(
        read: Read,
        started: Config,
        roster: Arc<Roster>,
        configuration: Arc<Configuration>,
    ) -> (Handle, Self) {
        let (asks, asked) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let watch = Watch::new(Handle { asks: asks.clone() });
        let task = Task { read: Arc::new(read), started, roster: roster.clone(), configuration, watch };
        (Handle { asks }, Self { stop, roster, task: tokio::spawn(task.run(asked, stopped)) })
    }

    /// Returns when a reload that runs is done; no other begins. It does not wait for what is still being started.
    pub async fn stop(self) {
        self.roster.hurry();
        // An error means that the task has ended, which is what is wanted.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the reloading task ended badly");
        }
    }
}

struct Task {
    read: Arc<Read>,
    started: Config,
    roster: Arc<Roster>,
    configuration: Arc<Configuration>,
    watch: Watch,
}

impl Task {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>, mut stopped: oneshot::Receiver<()>) {
        if self.started.reload.watch {
            self.watch_from_the_start().await;
        }
        loop {
            let ask = tokio::select! {
                biased;
                _ = &mut stopped => return,
                ask = asked.recv() => ask,
            };
            let Some(tell) = ask else { return };
            let Some(answer) = self.reload().await else { continue };
            if let Some(tell) = tell {
                // Nobody waits any more when the client went away; what was done stands in the log.
                let _ = tell.send(answer);
            }
        }
    }

    /// Which files the configuration was read from is known to who reads it. What has changed since the agent read it
    /// is applied.
    async fn watch_from_the_start(&mut self) {
        if let Some(Ok(loaded)) = self.read().await {
            self.watch.follow(&loaded);
            if loaded.config != self.started || self.roster.differs(&loaded.config.collectors) {
                self.watch.ask();
            }
        } else {
            tracing::warn!(
                "reload.watch: the configuration can't be read any more; a reload begins the watch"
            );
        }
    }

    /// `None`: reading panicked, which the log says.
    async fn read(&self) -> Option<Result<Loaded, Problems>> {
        let read = self.read.clone();
        // Files may lie on a network.
        let read = tokio::task::spawn_blocking(move || read()).await;
        read.inspect_err(|error| tracing::error!(%error, "reload: reading the configuration failed")).ok()
    }

    /// `None`: reading panicked, which the log says; whoever waits is told that there is no answer.
    async fn reload(&mut self) -> Option<Answer> {
        // A change that comes while it is read is one more.
        self.watch.look().await;
        let loaded = match self.read().await? {
            Ok(loaded) => loaded,
            Err(problems) => {
                self.configuration.refused();
                let all: Vec<_> = problems.iter().map(Problem::in_one_line).collect();
                tracing::error!(
                    problems = problems.len(),
                    what = all.join("; "),
                    "reload refused: the configuration has problems; nothing was changed"
                );
                return Some(Answer::Refused(problems));
            }
        };
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{}", warning.in_one_line()));
        self.watch.follow(&loaded);
        let changes = self.roster.apply(&loaded.config.collectors).await;
        let restart_needed = restart_needed(&self.started, &loaded.config);
        let generation = self.configuration.applied(restart_needed.clone());
        tracing::info!(
            generation,
            added = changes.added.join(", "),
            removed = changes.removed.join(", "),
            changed = changes.changed.join(", "),
            unchanged = changes.unchanged,
            failed = names(&changes.failed),
            pending = changes.pending.join(", "),
            not_as_configured = names(&changes.not_as_configured),
            restart_needed = restart_needed.join(", "),
            "reloaded"
        );
        for Failed { name, problem } in &changes.not_as_configured {
            tracing::warn!(collector = name, problem, "not as configured");
        }
        let ok = changes.not_as_configured.is_empty();
        Some(Answer::Applied(Applied { ok, generation, changes, restart_needed }))
    }
}

fn names(all: &[Failed]) -> String {
    all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// How a refusal is told to programs: `problems` as `check --json` has them, and `shown`, what a person reads. Excerpts
/// in it mask every value.
pub fn refusal(problems: &Problems) -> serde_json::Value {
    serde_json::json!({ "problems": problems.to_json(), "shown": problems.to_string() })
}

/// What differs and is not applied, by its key.
fn restart_needed(started: &Config, wanted: &Config) -> Vec<String> {
    // Taken apart, so that a new section cannot be forgotten here.
    let Config {
        data_dir,
        log,
        resource,
        collectors: _,
        receivers,
        wal,
        exporters,
        // Applied with the collectors that are granted them.
        secrets: _,
        health,
        control_socket,
        system,
        plugins,
        // Holds from the reload on.
        reload: _,
    } = started;
    let sections = [
        ("data_dir", *data_dir != wanted.data_dir),
        ("log", *log != wanted.log),
        ("resource", *resource != wanted.resource),
        ("wal", *wal != wanted.wal),
        ("health", *health != wanted.health),
        ("control", *control_socket != wanted.control_socket),
        ("system", *system != wanted.system),
        // The rest of it goes with the collectors.
        ("plugins.store", plugins.store_max_size != wanted.plugins.store_max_size),
    ];
    let mut names: Vec<String> =
        sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect();
    let exporter = |one: &Exporter| format!("exporters.{}", one.name);
    let receiver = |one: &Receiver| format!("receivers.{}", one.name);
    names.extend(differing(exporters, &wanted.exporters, exporter));
    names.extend(differing(receivers, &wanted.receivers, receiver));
    names.sort();
    names
}

/// The names of those that are in one list and not, or not the same, in the other.
fn differing<T: PartialEq>(started: &[T], wanted: &[T], name: impl Fn(&T) -> String) -> Vec<String> {
    let gone = started.iter().filter(|one| !wanted.contains(one));
    let new = wanted.iter().filter(|one| !started.contains(one));
    let mut names: Vec<String> = gone.chain(new).map(name).collect();
    names.sort();
    names.dedup();
    names
}

mod watch;

#[cfg(test)]
mod tests;
