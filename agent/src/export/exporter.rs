//! One exporter: checks its configuration, starts its lanes, wakes, pauses, drains and stops them.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{sync::watch, task::JoinHandle};
use whimbrel_otlp::Signal;

use super::{
    answer::Secrets,
    client::Clients,
    grpc::GrpcTransport,
    http::HttpTransport,
    lane::{Lane, MAX_CONCURRENCY, Settings},
    orders::{Orders, Phase, Progress},
    source::{DeadLetters, Source},
    status::ExporterStatus,
    transport::Transport,
};
use crate::{
    clock::{Clock, unix_ms},
    config::{self, Protocol},
};

/// Starts an exporter: a task for each signal on the current tokio runtime. Nothing is connected before there is
/// something to send.
///
/// # Errors
/// If the configuration can't be used: a file that can't be read, a header that is none. Nothing is started then.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(
    config: &config::Exporter,
    source: Arc<dyn Source>,
    dead_letters: Arc<dyn DeadLetters>,
    clock: Arc<dyn Clock>,
) -> Result<ExporterHandle, ExportError> {
    let wrong = |problem| ExportError { exporter: config.name.clone(), problem };
    let visible = |c: char| c.is_ascii_graphic() && c != '/';
    if config.name.is_empty() || !config.name.chars().all(visible) {
        return Err(wrong(Problem::Name));
    }
    let transports = transports(config, &clock).map_err(wrong)?;
    let name: Arc<str> = config.name.as_str().into();
    let (orders, _) = watch::channel(Orders::FIRST);
    let lanes = transports.map(|(signal, transport)| {
        let settings = Settings {
            compression: target(config, signal).compression,
            concurrency: concurrency(config, signal),
            max_request: config.max_request,
            max_delay: config.max_delay,
            max_age: config.max_age,
            retry: config.retry,
        };
        Arc::new(Lane::new(
            Arc::clone(&name),
            signal,
            settings,
            Arc::clone(&source),
            Arc::clone(&dead_letters),
            transport,
            Arc::clone(&clock),
            orders.subscribe(),
        ))
    });
    let tasks = lanes.iter().map(|lane| tokio::spawn(Arc::clone(lane).run())).collect();
    let exporter = Exporter {
        name,
        endpoint: config.endpoint.clone(),
        protocol: config.protocol,
        max_age: config.max_age,
        source,
        lanes,
        orders,
        tasks: Mutex::new(tasks),
        settlings: AtomicU64::new(0),
        clock,
    };
    Ok(ExporterHandle { exporter: Arc::new(exporter) })
}

/// A signal, and where it goes.
type Out = (Signal, Arc<dyn Transport>);

/// One a signal, in the order of [`Signal::ALL`]. Checks everything that can be checked without a connection.
fn transports(config: &config::Exporter, clock: &Arc<dyn Clock>) -> Result<[Out; 3], Problem> {
    let connections = Signal::ALL.into_iter().map(|signal| concurrency(config, signal)).sum();
    let mut clients = Clients::new(config, connections)?;
    let secrets = Signal::ALL.into_iter().flat_map(|signal| target(config, signal).headers);
    let secrets = secrets.map(|(_, value)| value.reveal().trim().to_owned());
    let secrets = Arc::new(Secrets::new(secrets));
    let mut transport = |signal| -> Result<Out, Problem> {
        let target = target(config, signal);
        let way = clients.way(&target)?;
        let (secrets, clock) = (Arc::clone(&secrets), Arc::clone(clock));
        Ok((
            signal,
            match target.protocol {
                Protocol::HttpProtobuf => Arc::new(HttpTransport::new(way, secrets, clock)),
                Protocol::Grpc => Arc::new(GrpcTransport::new(way, secrets, clock)),
            },
        ))
    };
    let [metrics, logs, traces] = Signal::ALL;
    Ok([transport(metrics)?, transport(logs)?, transport(traces)?])
}

/// A signal's part of the configuration.
fn target(exporter: &config::Exporter, signal: Signal) -> config::Target<'_> {
    match signal {
        Signal::Metrics => exporter.metrics(),
        Signal::Logs => exporter.logs(),
        Signal::Traces => exporter.traces(),
    }
}

/// Requests in flight in a lane. Metrics go one at a time, because backends refuse samples out of order.
fn concurrency(config: &config::Exporter, signal: Signal) -> usize {
    let default = if signal == Signal::Metrics { 1 } else { 2 };
    config.concurrency.unwrap_or(default).clamp(1, MAX_CONCURRENCY)
}

/// A running exporter. Clones are the same one; when the last is dropped, it stops.
#[derive(Clone)]
pub struct ExporterHandle {
    pub(super) exporter: Arc<Exporter>,
}

pub(super) struct Exporter {
    pub(super) name: Arc<str>,
    endpoint: String,
    protocol: Protocol,
    pub(super) max_age: Option<Duration>,
    pub(super) source: Arc<dyn Source>,
    pub(super) lanes: [Arc<Lane>; 3],
    pub(super) orders: watch::Sender<Orders>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// How many times the cursor was to be set back.
    pub(super) settlings: AtomicU64,
    pub(super) clock: Arc<dyn Clock>,
}

/// How draining ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every visible record is settled.
    Empty,
    /// Records are left in the WAL: time was up, or the receiver would not have been tried again before.
    Left,
}

impl ExporterHandle {
    /// A snapshot.
    pub fn status(&self) -> ExporterStatus {
        let lanes: Vec<_> = self.exporter.lanes.iter().map(|lane| lane.status()).collect();
        let worst = lanes.iter().map(|lane| &lane.state).max().cloned();
        ExporterStatus {
            name: self.exporter.name.to_string(),
            endpoint: self.exporter.endpoint.clone(),
            protocol: self.exporter.protocol.name(),
            state: worst.unwrap_or(super::State::Idle),
            lanes,
        }
    }

    /// Records became visible. Cheap, callable from any thread.
    pub fn wake(&self) {
        for lane in &self.exporter.lanes {
            lane.wake.notify_one();
        }
    }

    /// Its key in the configuration.
    pub fn name(&self) -> &str {
        &self.exporter.name
    }

    /// Nothing is sent any more until [`resume`](Self::resume); requests on the wire are answered and acknowledged. Whether
    /// it was not paused before. Kept in memory only.
    pub fn pause(&self) -> bool {
        let now = unix_ms(&*self.exporter.clock);
        self.exporter.orders.send_if_modified(|orders| {
            let changed = orders.paused.is_none();
            orders.paused.get_or_insert(now);
            changed
        })
    }

    /// Ends a pause, and whatever is held or waits is tried at once. Whether it was paused.
    pub fn resume(&self) -> bool {
        let was_paused = self.exporter.orders.send_if_modified(|orders| orders.paused.take().is_some());
        for lane in &self.exporter.lanes {
            lane.resume.notify_waiters();
        }
        was_paused
    }

    /// Sends what is visible without waiting for more, for at most this long; ends early where the next try would
    /// come too late, and at once where the exporter is paused. The exporter runs on, without `max_delay`; [`stop`](ExporterHandle::stop) comes after this.
    pub async fn drain(&self, within: Duration) -> Drained {
        let clock = &self.exporter.clock;
        let deadline = clock.monotonic().saturating_add(within);
        self.exporter.orders.send_if_modified(|orders| {
            let running = orders.phase == Phase::Running;
            if running {
                orders.phase = Phase::Draining;
            }
            running
        });
        let lanes = self.exporter.lanes.iter().map(|lane| async {
            let mut progress = lane.progress.subscribe();
            let ended = progress.wait_for(|progress| match progress {
                Progress::Busy => false,
                Progress::Stuck(until) => *until >= deadline,
                Progress::Drained => true,
            });
            matches!(ended.await.as_deref(), Ok(Progress::Drained))
        });
        tokio::select! {
            drained = join_all(lanes) => {
                if drained.into_iter().all(|drained| drained) { Drained::Empty } else { Drained::Left }
            }
            () = clock.sleep(within) => Drained::Left,
        }
    }

    /// Ends the exporter: requests under way are broken off and stay planned in the WAL; the next start sends them
    /// again, identically. Answers that have come are acknowledged first.
    pub async fn stop(&self) {
        self.exporter.orders.send_modify(|orders| orders.phase = Phase::Stopping);
        let tasks = std::mem::take(&mut *self.exporter.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in join_all(tasks).await {
            if let Err(error) = task {
                tracing::error!(exporter = %self.exporter.name, %error, "an exporter's task failed");
            }
        }
    }
}

impl fmt::Debug for ExporterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterHandle").field("name", &self.exporter.name).finish_non_exhaustive()
    }
}

/// Why an exporter could not be started.
#[derive(Debug, thiserror::Error)]
#[error("exporters.{exporter}: {problem}")]
pub struct ExportError {
    exporter: String,
    problem: Problem,
}

/// What is wrong with an exporter's configuration. Never shows a header's value.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("the name must be visible ASCII without a slash, because it is part of the Idempotency-Key")]
    Name,
    #[error("the endpoint {0}")]
    Endpoint(String),
    #[error("the header {name:?} {problem}")]
    Header { name: String, problem: String },
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("{0}")]
    Tls(String),
}
