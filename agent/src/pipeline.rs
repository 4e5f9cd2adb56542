//! The one place that names all stages and joins them.
//!
//! ```text
//!  receive: what applications send --> store (as below)
//!  collect: one task a collector --> store --> WAL --> export: one task an exporter and signal
//!     ^ system: the host's figures     |        ^  `-> dead letters: what a receiver refuses
//!     `---- "durable", checkpoint -----'        keys
//!  status: one picture of all of it --> admin: health over TCP, control over a Unix socket
//!  reload: the configuration anew --> the collectors that differ
//! ```
//!
//! Starting goes from the disk outwards (lock and keys first: nothing is touched that belongs to another agent),
//! stopping the other way: sources first, then what waits is sent until the deadline, then the WAL is sealed.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use whimbrel_otlp::{Resource, write::Attributes};
use whimbrel_plugin_host::{Host, HostOptions, Outside, Reserved};
use whimbrel_wal::{ConsumerOptions, OpenError, OpenReport, Options, Start, SyncPolicy, Wal};

use crate::{
    admin,
    clock::{Clock, SystemClock},
    collect::{Ground, Roster},
    config::{self, Config},
    dead_letters::DeadLetterBox,
    export,
    keys::{self, KeysError},
    receive::{ReceiverError, Receivers},
    reload::{self, Reloader},
    resource, rotate,
    status::{AgentStatus, Configuration, Overview},
    store::Store,
    system::{self, System},
};

/// Overrides where compiled plugins are kept; a variable for tests and for images that ship a warm cache.
const PLUGIN_CACHE_VARIABLE: &str = "WHIMBREL_PLUGIN_CACHE";

/// Why the agent did not start. Nothing was damaged.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("data_dir {path}: {source}", path = path.display())]
    DataDir {
        /// It.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The key cannot be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Reading the keys broke off.
    #[error("reading the keys: {0}")]
    KeysTask(tokio::task::JoinError),
    /// The WAL, or that of the dead letters, cannot be opened.
    #[error(transparent)]
    Wal(#[from] OpenError),
    /// An exporter cannot be set up.
    #[error(transparent)]
    Exporter(#[from] export::ExportError),
    /// A receiver cannot listen.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// Plugins cannot be run at all.
    #[error("plugins cannot be run: {0}")]
    Host(#[from] whimbrel_plugin_host::HostError),
    /// The health endpoint.
    #[error("health.listen {address}: {source}")]
    Health {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The control socket.
    #[error("control.socket {path}: {source}", path = path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl StartError {
    /// The data directory belongs to another agent, or another key.
    pub fn is_locked_or_foreign(&self) -> bool {
        match self {
            Self::Wal(error) => error.is_locked() || error.is_wrong_key(),
            Self::Keys(KeysError::Lost { .. }) => true,
            _ => false,
        }
    }
}

/// The folders and files under `data_dir`.
pub struct Places {
    /// The WAL's segments, cursors, quarantine.
    pub wal: PathBuf,
    /// The WAL of refused records.
    pub dead_letters: PathBuf,
    /// Compiled plugins.
    pub plugin_cache: PathBuf,
}

impl Places {
    /// Those of this data directory.
    pub fn of(data_dir: &Path) -> Self {
        Self {
            wal: data_dir.join("wal"),
            dead_letters: data_dir.join("dead-letters"),
            plugin_cache: std::env::var_os(PLUGIN_CACHE_VARIABLE)
                .map_or_else(|| data_dir.join("plugin-cache"), PathBuf::from),
        }
    }
}

/// A running agent.
pub struct Pipeline {
    overview: Arc<Overview>,
    wal: Wal,
    dead_letters: Arc<DeadLetterBox>,
    health: Option<(SocketAddr, tokio::task::JoinHandle<()>)>,
    control: admin::Socket,
    reload: reload::Handle,
    reloader: Reloader,
}

impl Pipeline {
    /// Opens the WAL, then starts exporters, collectors and endpoints. `read` is how a reload gets the
    /// configuration.
    ///
    /// # Errors
    /// [`StartError`]; whatever was started is stopped again.
    pub async fn start(config: Config, read: reload::Read) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let places = Places::of(&config.data_dir);
        make_private(&config.data_dir)?;

        let keys = {
            let (encryption, data_dir) = (config.wal.encryption.clone(), config.data_dir.clone());
            let wal_dir = places.wal.clone();
            // A command may take its time.
            let read = move || keys::read(&encryption, &data_dir, &wal_dir);
            tokio::task::spawn_blocking(read).await.map_err(StartError::KeysTask)??
        };
        if keys.created {
            tracing::info!(key = %key_place(&config.wal), "first start: made a key for the WAL; keep a copy of it elsewhere");
        }
        let (wal, report) = Wal::open(&places.wal, wal_options(&config, keys.encryption.clone()))?;
        say_what_was_found(&places.wal, &report);
        let dead_letters = Arc::new(DeadLetterBox::new(places.dead_letters, keys.encryption, clock.clone())?);

        let around = resource::Surroundings::of_this_process(&config.system.root_path);
        let mut warnings: Vec<_> = keys.warning.into_iter().collect();
        if let Some(warning) = resource::check_identity(&config.data_dir, &around) {
            tracing::warn!("{warning}");
            warnings.push(warning);
        }
        let attributes = resource::attributes(&config.resource, &around);
        let resource = Resource::new(&Attributes::from_iter(attributes.iter().map(|(k, v)| (k, v.as_str()))));
        let store = Store::new(
            wal.clone(),
            resource,
            clock.clone(),
            config.wal.on_full_collectors,
            config.wal.on_full_receivers,
        );

        let mut exporters = Vec::new();
        for exporter in &config.exporters {
            exporters.push(start_exporter(exporter, &wal, &dead_letters, &clock)?);
        }
        let outside = Arc::new(Outside::new(reserved(&config, &places.plugin_cache)));
        let host =
            Host::new(HostOptions { outside: outside.clone(), ..HostOptions::new(places.plugin_cache) })?;
        let ground = Ground {
            host,
            store: store.clone(),
            system: Arc::new(System::new(system_options(&config.system))),
            clock: clock.clone(),
        };
        // Before the collectors: an address that is taken ends the start.
        let receivers = Receivers::start(&config.receivers, &store, attributes.clone(), &clock).await?;
        receivers.addresses().into_iter().for_each(|address| outside.reserve(address));
        let collectors = Arc::new(Roster::start(&config.collectors, ground));
        let configuration = Arc::new(Configuration::first());

        let overview = Arc::new(Overview {
            data_dir: config.data_dir.clone(),
            started: clock.monotonic(),
            clock,
            store,
            warnings,
            resource: attributes,
            configuration: configuration.clone(),
            collectors: collectors.clone(),
            receivers,
            exporters,
            retain: config.wal.retain,
            dead_letters: dead_letters.clone(),
        });
        let (reload, reloader) = Reloader::start(read, config.clone(), collectors, configuration);
        let rotation =
            rotate::Rotation::new(config.wal.encryption.clone(), wal.clone(), dead_letters.clone());
        let control = admin::control(
            &config.control_socket,
            admin::Behind { overview: overview.clone(), reload: reload.clone(), keys: Arc::new(rotation) },
        )
        .map_err(|source| StartError::Control { path: config.control_socket.clone(), source })?;
        let health = match config.health {
            Some(address) => Some(
                admin::health(address, overview.clone())
                    .await
                    .map_err(|source| StartError::Health { address, source })?,
            ),
            None => None,
        };
        if let Some((address, _)) = &health {
            outside.reserve(*address);
        }
        Ok(Self { overview, wal, dead_letters, health, control, reload, reloader })
    }

    /// Where the health endpoint listens, with the port that port 0 became.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|(address, _)| *address)
    }

    /// What `whimbrel status` shows.
    pub fn status(&self) -> AgentStatus {
        self.overview.read()
    }

    /// The way in for batches that no collector or receiver brings.
    pub(crate) fn store(&self) -> &Store {
        &self.overview.store
    }

    /// The way to have the configuration read again.
    pub fn reload(&self) -> reload::Handle {
        self.reload.clone()
    }

    /// Stops the sources, sends what waits until `deadline` has passed, seals the WAL. What was not sent stays in
    /// the WAL; returns how many records that are, over all exporters.
    ///
    /// # Errors
    /// When the WAL cannot be closed in good order; what it answered for is as durable as it said.
    pub async fn stop(self, deadline: Duration) -> Result<u64, whimbrel_wal::CloseError> {
        let end = tokio::time::Instant::now() + deadline;
        // First, so that no collector starts behind the stop.
        self.reloader.stop().await;
        self.overview.stop_sources().await;
        self.overview.drain_exporters(end).await;
        let pending = self.overview.pending_records();
        if let Some((_, task)) = self.health {
            task.abort();
        }
        drop(self.control);
        self.dead_letters.close()?;
        self.wal.close()?;
        Ok(pending)
    }
}

/// Where the host's figures are read.
pub(crate) fn system_options(system: &config::System) -> system::Options {
    system::Options {
        proc: system.proc_path.clone(),
        sys: system.sys_path.clone(),
        ..system::Options::at(&system.root_path)
    }
}

/// What of the agent no plugin reaches; the addresses of receivers follow when they listen.
fn reserved(config: &Config, plugin_cache: &Path) -> Reserved {
    let mut paths = vec![config.data_dir.clone(), plugin_cache.to_owned()];
    if let config::Encryption::Aes256Gcm(places) = &config.wal.encryption {
        let all = std::iter::once(&places.current).chain(&places.older);
        paths.extend(all.filter_map(|place| match place {
            config::KeyPlace::File(path) => Some(path.clone()),
            config::KeyPlace::Env(_) | config::KeyPlace::Command(_) => None,
        }));
    }
    Reserved { listeners: config.health.into_iter().collect(), paths }
}

fn make_private(data_dir: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::DataDir { path: data_dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed)
}

fn key_place(wal: &config::Wal) -> String {
    match &wal.encryption {
        config::Encryption::Aes256Gcm(places) => places.current.to_string(),
        config::Encryption::None => "none".to_owned(),
    }
}

fn wal_options(config: &Config, encryption: whimbrel_wal::Encryption) -> Options {
    let wal = &config.wal;
    let mut options = Options::new(encryption);
    options.sync = match wal.sync {
        config::Sync::Always => SyncPolicy::Always,
        config::Sync::Interval(every) => match SyncPolicy::interval() {
            SyncPolicy::Interval { bytes, .. } => SyncPolicy::Interval { every, bytes },
            other => other,
        },
        config::Sync::Never => SyncPolicy::Never,
    };
    options.max_size = wal.max_size;
    options.zstd_level = wal.zstd_level;
    options.on_wrong_key = match &wal.encryption {
        config::Encryption::Aes256Gcm(places) => match places.on_wrong_key {
            config::OnWrongKey::Refuse => whimbrel_wal::OnWrongKey::Refuse,
            config::OnWrongKey::SetAside => whimbrel_wal::OnWrongKey::SetAside,
        },
        config::Encryption::None => whimbrel_wal::OnWrongKey::Refuse,
    };
    options.retain = wal.retain;
    options.consumers = config
        .exporters
        .iter()
        .map(|exporter| ConsumerOptions {
            name: exporter.name.clone(),
            max_lag: exporter.max_lag,
            start: match exporter.from {
                config::Beginning::Oldest => Start::Oldest,
                config::Beginning::Now => Start::Now,
            },
        })
        .collect();
    options
}

fn start_exporter(
    config: &config::Exporter,
    wal: &Wal,
    dead_letters: &Arc<DeadLetterBox>,
    clock: &Arc<dyn Clock>,
) -> Result<export::ExporterHandle, StartError> {
    let consumer = wal.consumer(&config.name).expect("the WAL was opened with every configured exporter");
    let handle = export::start(config, Arc::new(consumer.clone()), dead_letters.clone(), clock.clone())?;
    let exporter = handle.clone();
    consumer.on_visible(move || exporter.wake());
    Ok(handle)
}

fn say_what_was_found(folder: &Path, report: &OpenReport) {
    let wal = folder.display();
    if let Some(aside) = &report.set_aside {
        tracing::warn!(%wal, aside = %aside.display(), "the WAL was under another key: moved aside whole, a new one begun");
    }
    if report.torn_bytes > 0 {
        tracing::info!(%wal, bytes = report.torn_bytes, "cut off writes that a crash had interrupted: none of them had been answered");
    }
    if report.lost_records > 0 {
        tracing::error!(%wal, records = report.lost_records, "durable records are damaged or missing: the disk lost or altered them");
    }
    for (file, reason) in &report.quarantined {
        tracing::error!(%wal, file = %file.display(), reason, "a damaged file was moved to quarantine");
    }
    for consumer in &report.cursors_reset {
        tracing::error!(%wal, exporter = consumer, "its cursor was unusable: it begins again at the oldest record");
    }
    for file in &report.foreign {
        tracing::warn!(%wal, file = %file.display(), "not a file of the WAL's: left alone");
    }
    if report.full {
        tracing::error!(%wal, "the disk has no room for a new segment: nothing can be appended until it has");
    }
    let took_ms = u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(%wal, segments = report.segments, recovered = report.recovered_records, took_ms, "opened the WAL");
}
