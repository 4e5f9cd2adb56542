//! One collector's task: load, instantiate, collect on the raster; after a fault, what the policy says.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use whimbrel_plugin_host::{
    CollectError, Fault, Grants, Host, Instance, Limits, Plugin, Services, Setup, SystemGrant,
};

use super::{
    builtin,
    schedule::Schedule,
    services::CollectorServices,
    status::{Board, CollectorState, CollectorStatus, PastFault},
    supervise::{Supervisor, Verdict},
};
use crate::{
    clock::{self, Clock},
    config,
    store::Store,
    system::System,
};

/// How long `shutdown` of a guest may take when the agent stops.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);
/// Of linear memory's cap: above it the instance is recycled after a collect, because it never shrinks.
const RECYCLE_ABOVE: f64 = 0.75;
/// The cause of a component that could not be loaded for now; those of running ones are the plugin host's words.
const LOAD: &str = "load";

/// What every collector is started with.
#[derive(Clone)]
pub struct Ground {
    /// Compiles, caches, instantiates.
    pub host: Host,
    /// Where batches go.
    pub store: Store,
    /// The host's figures.
    pub system: Arc<System>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
}

/// A running collector: its status, and the way to stop it.
pub struct Collector {
    board: Arc<Board>,
    stop: watch::Sender<bool>,
    task: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Collector {
    /// Where it stands now.
    pub fn status(&self) -> CollectorStatus {
        self.board.read()
    }

    /// Lets the collect that runs end, asks the guest to shut down, and returns when the task is gone. A guest
    /// that does not return is bounded by its deadline.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "a collector's task ended badly");
        }
    }
}

/// Starts the task of one collector.
pub fn start(config: config::Collector, ground: Ground) -> Collector {
    let board = Arc::new(Board::new(&config.name, config.plugin.to_string()));
    let (stop, stopped) = watch::channel(false);
    let task = Task {
        source: format!("collectors/{}", config.name),
        supervisor: Supervisor::default(),
        config,
        ground,
        board: board.clone(),
        stopped,
    };
    Collector { board, stop, task: tokio::sync::Mutex::new(Some(tokio::spawn(task.run()))) }
}

struct Task {
    config: config::Collector,
    source: String,
    ground: Ground,
    board: Arc<Board>,
    supervisor: Supervisor,
    stopped: watch::Receiver<bool>,
}

impl Task {
    async fn run(mut self) {
        if let Some(plugin) = self.load().await {
            while self.attempt(&plugin).await == Next::Again {}
        }
        self.board.write(|s| {
            if s.state != CollectorState::SetAside {
                s.state = CollectorState::Stopped;
            }
        });
    }

    /// Reads and compiles (or takes from the cache). A component that cannot be used is set aside at once: trying
    /// again would find the same bytes. A compiler that is missing or was killed is tried again like a fault.
    async fn load(&mut self) -> Option<Plugin> {
        let origin = self.config.plugin.to_string();
        loop {
            let bytes = match builtin::read(&self.config.plugin) {
                Ok(bytes) => bytes,
                Err(error) => return self.set_aside(format!("{origin} cannot be read: {error}")),
            };
            // A stop does not wait for a compiler: dropping the future ends it.
            let loaded = tokio::select! {
                loaded = self.ground.host.load(&origin, &bytes) => loaded,
                () = stop_asked(&mut self.stopped) => return None,
            };
            match loaded {
                Ok(plugin) => {
                    self.board.write(|s| s.identity = Some(plugin.description().title()));
                    return Some(plugin);
                }
                Err(error) if error.is_retryable() => {
                    if self.after(LOAD, error.to_string()).await == Next::Stop {
                        return None;
                    }
                }
                Err(error) => return self.set_aside(error.to_string()),
            }
        }
    }

    fn set_aside(&self, problem: String) -> Option<Plugin> {
        tracing::error!(collector = self.config.name, problem, "collector set aside");
        self.board.write(|s| {
            s.state = CollectorState::SetAside;
            s.last_problem = Some(problem);
        });
        None
    }

    /// One instance's life.
    async fn attempt(&mut self, plugin: &Plugin) -> Next {
        self.board.write(|s| s.state = CollectorState::Starting);
        let checkpoint = self.ground.store.checkpoint(&self.source);
        let setup = setup(&self.config, checkpoint, self.services());
        let started = tokio::select! {
            started = plugin.instantiate(setup) => started,
            () = stop_asked(&mut self.stopped) => return Next::Stop,
        };
        let fault = match started {
            Ok(instance) => {
                self.supervisor.started(self.ground.clock.monotonic());
                self.board.write(|s| s.state = CollectorState::Running);
                match self.collect_on_schedule(instance).await {
                    Ok(next) => return next,
                    Err(fault) => fault,
                }
            }
            Err(fault) => fault,
        };
        self.board.write(|s| s.log_lines_dropped += fault.lines_dropped);
        if fault.is_permanent() {
            self.note(fault.kind.as_str(), fault.to_string());
            self.set_aside(fault.to_string());
            return Next::Stop;
        }
        self.after(fault.kind.as_str(), fault.to_string()).await
    }

    fn note(&self, cause: &'static str, message: String) {
        let at_unix_ms = clock::unix_ms(&*self.ground.clock);
        self.board.write(|s| s.fault(PastFault { at_unix_ms, cause, message }));
    }

    fn services(&self) -> Arc<CollectorServices> {
        Arc::new(CollectorServices {
            name: self.config.name.clone(),
            secrets: self.config.grants.secrets.clone(),
            source: self.source.clone(),
            store: self.ground.store.clone(),
            system: self.ground.system.clone(),
            clock: self.ground.clock.clone(),
            board: self.board.clone(),
        })
    }

    async fn collect_on_schedule(&mut self, mut instance: Instance) -> Result<Next, Fault> {
        let clock = self.ground.clock.clone();
        let mut schedule = Schedule::starting(clock.monotonic(), self.config.interval);
        loop {
            let pause = schedule.next().saturating_sub(clock.monotonic());
            tokio::select! {
                () = clock.sleep(pause) => {}
                () = stop_asked(&mut self.stopped) => {
                    self.shut_down(instance).await;
                    return Ok(Next::Stop);
                }
            }
            let due = schedule.due(clock.monotonic());
            if due.missed > 0 {
                self.board.write(|s| s.missed += due.missed);
            }
            while self.collect_once(&mut instance).await? && !*self.stopped.borrow() {}
            if instance.memory() as f64 > self.config.limits.memory as f64 * RECYCLE_ABOVE {
                tracing::info!(
                    collector = self.config.name,
                    memory = instance.memory(),
                    "linear memory above {:.0} % of its limit: a new instance takes over",
                    RECYCLE_ABOVE * 100.0
                );
                self.shut_down(instance).await;
                self.board.write(|s| s.restarts += 1);
                return Ok(Next::Again);
            }
        }
    }

    /// Whether there is more to collect at once.
    async fn collect_once(&mut self, instance: &mut Instance) -> Result<bool, Fault> {
        match instance.collect(self.config.limits.deadline).await {
            Ok(collected) => {
                self.board.write(|s| {
                    s.collects += 1;
                    s.memory_bytes = collected.memory;
                    s.log_lines_dropped += collected.lines_dropped;
                    s.last_collect_us = micros(collected.took + collected.waited);
                });
                Ok(collected.more)
            }
            Err(CollectError::Guest(error)) => {
                tracing::warn!(collector = self.config.name, %error, "collect returned an error");
                let lines_dropped = instance.lines_dropped();
                self.board.write(|s| {
                    s.collects += 1;
                    s.errors += 1;
                    s.log_lines_dropped += lines_dropped;
                    s.last_problem = Some(error.to_string());
                });
                Ok(false)
            }
            Err(CollectError::Fault(fault)) => Err(fault),
        }
    }

    async fn shut_down(&self, instance: Instance) {
        if let Err(fault) = instance.shutdown(SHUTDOWN_DEADLINE).await {
            tracing::warn!(collector = self.config.name, %fault, "the plugin's shutdown failed");
        }
    }

    /// After a fault: a pause, or set aside.
    async fn after(&mut self, cause: &'static str, fault: String) -> Next {
        let clock = self.ground.clock.clone();
        let verdict = self.supervisor.fault(clock.monotonic(), clock::chance(&*clock));
        self.note(cause, fault.clone());
        match verdict {
            Verdict::RestartAfter(pause) => {
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    collector = self.config.name,
                    cause,
                    fault,
                    pause_ms,
                    "collector failed, and starts again"
                );
                self.board.write(|s| s.state = CollectorState::BackingOff { pause_ms });
                tokio::select! {
                    () = clock.sleep(pause) => {}
                    () = stop_asked(&mut self.stopped) => return Next::Stop,
                }
                self.board.write(|s| s.restarts += 1);
                Next::Again
            }
            Verdict::SetAside { faults } => {
                self.set_aside(format!(
                    "set aside after {faults} faults in ten minutes, until its configuration or component changes or \
                     the agent is restarted; the last: {fault}"
                ));
                Next::Stop
            }
        }
    }
}

/// What an instance of a configured collector is made with.
pub(super) fn setup(
    config: &config::Collector,
    checkpoint: Option<Vec<u8>>,
    services: Arc<dyn Services>,
) -> Setup {
    Setup {
        instance: config.name.clone(),
        config_json: config.config.to_string(),
        checkpoint,
        interval: config.interval,
        limits: Limits {
            memory: config.limits.memory,
            init: config.limits.init,
            output: config.limits.output,
            log_lines_per_second: config.limits.log_lines,
            ..Limits::default()
        },
        grants: Grants {
            secrets: config.grants.secrets.iter().map(|(name, _)| name.clone()).collect(),
            http: config.grants.http.clone(),
            read: config.grants.read.clone(),
            write: config.grants.write.clone(),
            tcp: config.grants.tcp.clone(),
            udp: config.grants.udp.clone(),
            unix: config.grants.unix.clone(),
            env: config.grants.env.clone(),
            system: match &config.grants.system {
                config::SystemGrant::None => SystemGrant::None,
                config::SystemGrant::All => SystemGrant::All,
                config::SystemGrant::Parts(parts) => SystemGrant::Parts(parts.clone()),
            },
        },
        services,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What follows an instance's life.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again,
    Stop,
}

async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: the agent is stopping too.
    let _ = stopped.wait_for(|stop| *stop).await;
}
