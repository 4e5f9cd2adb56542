//! One collector's task: load, instantiate, collect (`turns`); after a fault, what the policy says. Counts stay
//! through all that happens to it, and the raster of its collects does while anything of it runs.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use whimbrel_plugin_host::{Fault, Grants, Host, Instance, Limits, Plugin, Services, Setup, SystemGrant};

use super::{
    adopt::Adopted,
    reins::{Candidate, Interrupt, Order, Reins, Resumed, Told},
    schedule::Schedule,
    schema,
    services::CollectorServices,
    status::{Board, CollectorState, CollectorStatus, PastFault},
    successor::{Start, Successor},
    supervise::{Supervisor, Verdict},
    turns::Current,
};
use crate::{
    clock::{self, Clock},
    config,
    plugins::{Plugins, SourceError},
    store::Store,
    system::System,
};

/// How long `shutdown` of a guest may take.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);
/// The first pause before a registry is asked again, and the longest; half of it by chance.
const REGISTRY_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_REGISTRY_PAUSE: Duration = Duration::from_secs(60);
/// The cause of a component that could not be loaded for now; those of running ones are the plugin host's words.
const LOAD: &str = "load";
/// How far a change came that fails.
pub(super) const NO_START: &str = "it does not start";
pub(super) const NO_COLLECT: &str = "its first collect failed";
/// Orders that wait while a collect runs.
const ORDERS: usize = 8;

/// What every collector is started with.
#[derive(Clone)]
pub struct Ground {
    /// Compiles, caches, instantiates.
    pub host: Host,
    /// Where components come from.
    pub plugins: Plugins,
    /// Where batches go.
    pub store: Store,
    /// The host's figures.
    pub system: Arc<System>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
}

/// A running collector: its status, and the way to stop or change it.
pub struct Collector {
    board: Arc<Board>,
    stop: watch::Sender<bool>,
    orders: mpsc::Sender<Order>,
    task: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Collector {
    /// Where it stands now.
    pub fn status(&self) -> CollectorStatus {
        self.board.read()
    }

    /// Whether it is still coming up for the first time, or again.
    pub fn is_starting(&self) -> bool {
        self.board.state() == CollectorState::Starting
    }

    /// Returns when it has come up, or a try has failed. Cancel safe.
    pub async fn settled(&self) {
        self.board.settled().await;
    }

    /// Lets the collect that runs end, asks the guest to shut down, and returns when the task is gone. A guest
    /// that does not return is dropped after five seconds; what it pushed by then stays.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "a collector's task ended badly");
        }
    }

    /// Starts it anew if it was set aside or waits after a fault. `None`: it has stopped.
    pub async fn resume(&self) -> Option<Resumed> {
        let (tell, told) = oneshot::channel();
        self.orders.send(Order::Resume(tell)).await.ok()?;
        told.await.ok()
    }

    /// Has it run with another configuration, which is made ready beside what runs. The receiver is told when the new
    /// one is to collect next, or why it is not; it hears nothing where the collector stops, or a later order comes
    /// first. `None`: it has stopped, or as many orders wait for a long collect as may: nothing will be done.
    pub fn replace(&self, config: config::Collector) -> Option<oneshot::Receiver<Result<(), String>>> {
        let (tell, told) = oneshot::channel();
        let candidate = Candidate { config: Box::new(config), told: Told::new(tell) };
        self.orders.try_send(Order::Replace(candidate)).is_ok().then_some(told)
    }
}

/// Starts the task of one collector.
pub fn start(config: config::Collector, ground: Ground) -> Collector {
    let board = Arc::new(Board::new(&config));
    let (stop, stopped) = watch::channel(false);
    let (orders, ordered) = mpsc::channel(ORDERS);
    let place = Place {
        name: config.name.clone(),
        source: format!("collectors/{}", config.name),
        ground,
        board: board.clone(),
    };
    let task = Task {
        place,
        supervisor: Supervisor::default(),
        config,
        reins: Reins { stopped, orders: ordered },
        schedule: None,
        successor: None,
        leaving: JoinSet::new(),
        proven: None,
        adopted: None,
        again: None,
    };
    Collector { board, stop, orders, task: tokio::sync::Mutex::new(Some(tokio::spawn(task.run()))) }
}

/// Reads or fetches a component, and compiles it or takes it from the cache.
pub(super) async fn load(config: &config::Collector, ground: &Ground) -> Result<Plugin, SourceError> {
    ground.plugins.load(&ground.host, config).await
}

/// What stays the same whatever a collector runs.
pub(super) struct Place {
    pub(super) name: String,
    /// `collectors/NAME`
    pub(super) source: String,
    pub(super) ground: Ground,
    pub(super) board: Arc<Board>,
}

impl Place {
    /// What an instance that begins now is given.
    pub(super) fn start(&self, config: &config::Collector) -> Start {
        let services = CollectorServices {
            name: self.name.clone(),
            secrets: config.grants.secrets.clone(),
            parts_are_chosen: matches!(config.grants.system, config::SystemGrant::Parts(_)),
            parts_denied: Mutex::default(),
            source: self.source.clone(),
            store: self.ground.store.clone(),
            system: self.ground.system.clone(),
            clock: self.ground.clock.clone(),
            board: self.board.clone(),
            pushed: AtomicU64::new(0),
            retired: AtomicBool::new(false),
        };
        Start { checkpoint: self.ground.store.checkpoint(&self.source), services: Arc::new(services) }
    }

    pub(super) fn note(&self, cause: &'static str, message: String) {
        let at_unix_ms = clock::unix_ms(&*self.ground.clock);
        self.board.write(|s| s.fault(PastFault { at_unix_ms, cause, message }));
    }

    /// What the limits are told of a fault.
    pub(super) fn count(&self, fault: &Fault, starting: bool) {
        self.board.write(|s| {
            s.log_lines_dropped += fault.lines_dropped;
            s.limits.hit("log_rate", fault.lines_dropped);
            s.limits.fault(&fault.kind, starting);
        });
    }

    /// What runs from now on, or again.
    pub(super) fn show(&self, config: &config::Collector) {
        self.board.write(|s| {
            s.plugin = config.plugin.to_string();
            s.limits.set(config);
        });
    }

    pub(super) async fn shut_down(&self, instance: Instance) {
        shut_down(self.name.clone(), instance).await;
    }
}

/// The plugin's `shutdown`; what it does not do in time is not done.
pub(super) async fn shut_down(name: String, instance: Instance) {
    if let Err(fault) = instance.shutdown(SHUTDOWN_DEADLINE).await {
        tracing::warn!(collector = name, %fault, "the plugin's shutdown failed");
    }
}

pub(super) struct Task {
    pub(super) config: config::Collector,
    pub(super) place: Place,
    pub(super) supervisor: Supervisor,
    pub(super) reins: Reins,
    /// Kept over instances; `None` before the first.
    pub(super) schedule: Option<Schedule>,
    pub(super) successor: Option<Successor>,
    /// Instances that shut down while another collects already.
    pub(super) leaving: JoinSet<()>,
    /// What `config` runs, once it has collected.
    pub(super) proven: Option<Plugin>,
    /// `config` was taken while nothing ran, and has not collected yet.
    pub(super) adopted: Option<Adopted>,
    /// What is loaded and to come up next.
    pub(super) again: Option<Plugin>,
}

/// Why a life has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Stop,
    SetAside,
    /// It begins anew, with another configuration or because an operator said so.
    Anew,
}

/// Why collecting has ended.
pub(super) enum Left {
    Ended(Ended),
    /// A new instance of this is to come up.
    Again(Plugin),
    Fault(Plugin, Fault),
}

impl Task {
    async fn run(mut self) {
        loop {
            match self.live().await {
                Ended::Stop => break,
                Ended::Anew => {}
                Ended::SetAside => {
                    if self.rest().await == Ended::Stop {
                        break;
                    }
                }
            }
        }
        while self.leaving.join_next().await.is_some() {}
        self.place.board.write(|s| s.state = CollectorState::Stopped);
    }

    /// From loading to the end.
    async fn live(&mut self) -> Ended {
        self.place.board.write(|s| s.state = CollectorState::Starting);
        if let config::PluginRef::Exec(exec) = &self.config.plugin {
            let exec = exec.clone();
            return self.live_as_program(&exec).await;
        }
        self.place.board.write(|s| s.outside_sandbox = false);
        let mut plugin = match self.again.take() {
            Some(plugin) => plugin,
            None => match self.load().await {
                Ok(plugin) => plugin,
                Err(ended) => return ended,
            },
        };
        loop {
            plugin = match self.attempt(plugin).await {
                Ok(again) => again,
                Err(ended) => return ended,
            };
        }
    }

    /// Set aside: until somebody wants it otherwise. There is nothing to go back to, and the raster begins anew.
    async fn rest(&mut self) -> Ended {
        (self.schedule, self.proven, self.adopted) = (None, None, None);
        match self.reins.next().await {
            Interrupt::Resume(tell) => {
                tracing::info!(collector = self.place.name, "resumed by an operator");
                self.supervisor.forgive();
                self.place.board.write(|s| s.state = CollectorState::Starting);
                tell_resumed(tell, Resumed::SetAside);
                Ended::Anew
            }
            other => self.interrupted(other),
        }
    }

    fn interrupted(&mut self, interrupt: Interrupt) -> Ended {
        match interrupt {
            Interrupt::Replace(candidate) => self.adopt(*candidate.config, candidate.told),
            Interrupt::Stop => Ended::Stop,
            Interrupt::Resume(tell) => {
                tell_resumed(tell, Resumed::Running);
                Ended::Anew
            }
        }
    }

    /// A component that cannot be used is set aside at once: trying again would find the same bytes. A compiler that is
    /// missing or was killed is tried again like a fault; a registry is waited for.
    async fn load(&mut self) -> Result<Plugin, Ended> {
        let mut waits = 0;
        loop {
            // A stop waits for no compiler and no registry: dropping the future ends them.
            let loaded = self.reins.unless_pulled(load(&self.config, &self.place.ground)).await;
            match loaded.map_err(|interrupt| self.interrupted(interrupt))? {
                Ok(plugin) => {
                    self.place.board.write(|s| s.identity = Some(plugin.description().title()));
                    let Err(problem) = schema::check(&self.config, &plugin) else { return Ok(plugin) };
                    return Err(self.go_back(NO_START, &problem).unwrap_or_else(|| self.set_aside(problem)));
                }
                Err(error) => {
                    let problem = error.to_string();
                    if let Some(ended) = self.go_back(NO_START, &problem) {
                        return Err(ended);
                    }
                    match error.is_retryable() {
                        true if error.is_of_registry() => {
                            self.wait_for_registry(waits, problem).await?;
                            waits += 1;
                        }
                        true => self.after(LOAD, problem).await?,
                        false => return Err(self.set_aside(problem)),
                    }
                }
            }
        }
    }

    /// A registry that is down is no fault of the plugin's, and comes back: it is asked for ever, ever more seldom.
    async fn wait_for_registry(&mut self, waits: u32, problem: String) -> Result<(), Ended> {
        let clock = self.place.ground.clock.clone();
        let longest = REGISTRY_PAUSE.saturating_mul(2u32.saturating_pow(waits)).min(LONGEST_REGISTRY_PAUSE);
        let pause = longest.mul_f64(0.5 + clock::chance(&*clock) / 2.0);
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(collector = self.place.name, problem, pause_ms, "waiting for the registry");
        self.place.board.write(|s| {
            s.state = CollectorState::BackingOff { pause_ms };
            s.last_problem = Some(problem);
        });
        self.pause(pause).await
    }

    pub(super) fn set_aside(&self, problem: String) -> Ended {
        tracing::error!(collector = self.place.name, problem, "collector set aside");
        self.place.board.write(|s| {
            s.state = CollectorState::SetAside;
            s.last_problem = Some(problem);
        });
        Ended::SetAside
    }

    /// One instance's life, and of those that take over from it. The plugin that is to come up next, or the end.
    async fn attempt(&mut self, plugin: Plugin) -> Result<Plugin, Ended> {
        self.place.board.write(|s| s.state = CollectorState::Starting);
        let Start { checkpoint, services } = self.place.start(&self.config);
        let setup = setup(&self.config, checkpoint, services.clone());
        let began = self.place.ground.clock.monotonic();
        let started = self.reins.unless_pulled(plugin.instantiate(setup)).await;
        let (plugin, fault, starting) = match started.map_err(|interrupt| self.interrupted(interrupt))? {
            Ok(instance) => {
                let now = self.place.ground.clock.monotonic();
                self.supervisor.started(now);
                self.place.board.write(|s| {
                    s.state = CollectorState::Running;
                    s.limits.used("init", micros(now.saturating_sub(began)));
                });
                self.adopted_started();
                match self.collect_on_schedule(Current { plugin, instance, services }).await {
                    Left::Ended(ended) => return Err(ended),
                    Left::Again(plugin) => return Ok(plugin),
                    Left::Fault(plugin, fault) => (plugin, fault, false),
                }
            }
            Err(fault) => (plugin, fault, true),
        };
        self.place.count(&fault, starting);
        if let Some(schedule) = self.schedule.as_mut().filter(|_| !starting) {
            schedule.again();
        }
        if let Some(successor) = self.successor.take() {
            // What was to take over does so at once.
            self.place.note(fault.kind.as_str(), fault.to_string());
            self.count_against();
            return Err(self.adopt(successor.config, successor.told));
        }
        if let Some(ended) = self.go_back(if starting { NO_START } else { NO_COLLECT }, &fault.to_string()) {
            self.place.note(fault.kind.as_str(), fault.to_string());
            return Err(ended);
        }
        if fault.is_permanent() {
            self.place.note(fault.kind.as_str(), fault.to_string());
            return Err(self.set_aside(fault.to_string()));
        }
        self.after(fault.kind.as_str(), fault.to_string()).await?;
        Ok(plugin)
    }

    /// After a fault: a pause, which a resume cuts short, or set aside.
    pub(super) async fn after(&mut self, cause: &'static str, fault: String) -> Result<(), Ended> {
        let clock = self.place.ground.clock.clone();
        let verdict = self.supervisor.fault(clock.monotonic(), clock::chance(&*clock));
        self.place.note(cause, fault.clone());
        let pause = match verdict {
            Verdict::RestartAfter(pause) => pause,
            Verdict::SetAside { faults } => {
                return Err(self.set_aside(format!(
                    "set aside after {faults} faults in ten minutes, {}; the last: {fault}",
                    self.until()
                )));
            }
        };
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let collector = self.place.name.as_str();
        tracing::warn!(collector, cause, fault, pause_ms, "collector failed, and starts again");
        self.place.board.write(|s| s.state = CollectorState::BackingOff { pause_ms });
        self.pause(pause).await?;
        self.place.board.write(|s| s.restarts += 1);
        Ok(())
    }

    /// Waits, unless the collector ends or changes; a resume cuts it short.
    async fn pause(&mut self, pause: Duration) -> Result<(), Ended> {
        tokio::select! {
            () = self.place.ground.clock.sleep(pause) => {}
            interrupt = self.reins.next() => match interrupt {
                Interrupt::Resume(tell) => tell_resumed(tell, Resumed::BackingOff),
                other => return Err(self.interrupted(other)),
            },
        }
        Ok(())
    }
}

/// Whoever asked may have gone.
pub(super) fn tell_resumed(tell: oneshot::Sender<Resumed>, stood: Resumed) {
    let _ = tell.send(stood);
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
            log_lines_per_second: config.limits.log_rate,
            table_elements: config.limits.tables,
            resources: config.limits.resources as usize,
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

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
