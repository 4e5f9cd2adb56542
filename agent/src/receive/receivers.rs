//! All receivers: started, shown, stopped.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    Counts, Gather, Ground, Intake, ListenError, ReceiverStatus, Stop, gather::WhenUnavailable, guard::Pace,
    ingest, ldjson, listen::Places, otlp, statsd, syslog,
};
use crate::{
    clock::Clock,
    config::{self, Answer, ReceiverKind},
    store::Store,
};

/// How long sources' last words may take to reach the WAL when the agent stops.
const GRACE: Duration = Duration::from_secs(6);

/// Why a receiver did not start.
#[derive(Debug, thiserror::Error)]
#[error("receivers.{name}: {source}")]
pub struct ReceiverError {
    /// The key in the configuration.
    pub name: String,
    /// Why not.
    pub source: ListenError,
}

/// The receivers that run.
pub struct Receivers(Vec<Running>);

struct Running {
    name: String,
    kind: &'static str,
    listening: Vec<String>,
    counts: Arc<Counts>,
    /// The protocol's own tasks end first, then what they gathered is brought to the disk.
    stop: watch::Sender<bool>,
    stop_gather: watch::Sender<bool>,
    tasks: Mutex<Option<(JoinSet<()>, JoinHandle<()>)>>,
}

impl Receivers {
    /// Starts them. `agent_resource` is what the agent says about this host.
    ///
    /// # Errors
    /// [`ReceiverError`] names the first that cannot listen; those before it are stopped again.
    pub async fn start(
        receivers: &[config::Receiver],
        store: &Store,
        agent_resource: BTreeMap<String, String>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ReceiverError> {
        let agent_resource = Arc::new(agent_resource);
        let mut running = Self(Vec::new());
        for receiver in receivers {
            match start(receiver, store, &agent_resource, clock).await {
                Ok(one) => {
                    tracing::info!(receiver = one.name, listening = one.listening.join(", "), "receiving");
                    running.0.push(one);
                }
                Err(source) => {
                    running.stop().await;
                    return Err(ReceiverError { name: receiver.name.clone(), source });
                }
            }
        }
        Ok(running)
    }

    /// Where they listen over TCP and UDP, with the ports that port 0 became.
    pub fn addresses(&self) -> Vec<std::net::SocketAddr> {
        // `tcp 127.0.0.1:4318`
        let address = |listening: &String| listening.split_once(' ')?.1.parse().ok();
        self.0.iter().flat_map(|one| one.listening.iter().filter_map(address)).collect()
    }

    /// What each did.
    pub fn status(&self) -> Vec<ReceiverStatus> {
        self.0.iter().map(|one| one.counts.read(&one.name, one.kind, &one.listening)).collect()
    }

    /// Stops all of them, side by side: nothing new is taken, requests under way are answered, what was gathered is
    /// brought to the disk. At most 12 s.
    pub async fn stop(&self) {
        futures_util::future::join_all(self.0.iter().map(Running::stop)).await;
    }
}

impl Running {
    async fn stop(&self) {
        self.stop.send_replace(true);
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut tasks, mut gather)) = tasks else { return };
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!(receiver = self.name, "closed connections whose requests did not end");
            tasks.shutdown().await;
        }
        self.stop_gather.send_replace(true);
        if tokio::time::timeout(GRACE, &mut gather).await.is_err() {
            tracing::warn!(receiver = self.name, "what was gathered did not reach the WAL in time");
            gather.abort();
        }
    }
}

async fn start(
    receiver: &config::Receiver,
    store: &Store,
    agent_resource: &Arc<BTreeMap<String, String>>,
    clock: &Arc<dyn Clock>,
) -> Result<Running, ListenError> {
    let counts = Arc::new(Counts::default());
    let limits = &receiver.limits;
    let (tell, stop) = Stop::new();
    let (tell_gather, stop_gather) = Stop::new();
    let source: Arc<str> = format!("receivers/{}", receiver.name).into();
    let intake = Intake::new(store.clone(), source, counts.clone());
    let (buffer, when_unavailable) = match &receiver.kind {
        ReceiverKind::Ingest(ingest) if ingest.answer == Answer::Durable => {
            (ingest.buffer, WhenUnavailable::Tell)
        }
        ReceiverKind::Ingest(ingest) => (ingest.buffer, WhenUnavailable::Keep),
        _ => (GATHERED, WhenUnavailable::Keep),
    };
    let (gather, gathering) =
        Gather::start(intake.clone(), counts.clone(), buffer, when_unavailable, stop_gather);
    let ground = Ground {
        intake,
        gather,
        counts: counts.clone(),
        clock: clock.clone(),
        limits: Arc::new(limits.clone()),
        pace: Arc::new(Pace::new(limits.rate)),
        places: Arc::new(Places::new(limits.connections, limits.idle, counts.clone(), clock.clone())),
        stop,
        agent_resource: agent_resource.clone(),
    };
    let started = match &receiver.kind {
        ReceiverKind::Otlp(config) => otlp::start(config, ground).await?,
        ReceiverKind::Ldjson(config) => ldjson::start(config, ground).await?,
        ReceiverKind::Ingest(config) => ingest::start(config, ground).await?,
        ReceiverKind::Statsd(config) => statsd::start(config, ground).await?,
        ReceiverKind::Syslog(config) => syslog::start(config, ground).await?,
    };
    Ok(Running {
        name: receiver.name.clone(),
        kind: receiver.kind.name(),
        listening: started.listening,
        counts,
        stop: tell,
        stop_gather: tell_gather,
        tasks: Mutex::new(Some((started.tasks, gathering))),
    })
}

/// Bytes of events that wait or are on their way to the disk, of receivers that don't say.
const GATHERED: usize = 4 << 20;
