//! The agent at one moment.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::Instant;
use whimbrel_wal::ForgetError;

use super::{
    configuration::{Configuration, ConfigurationStatus},
    record::{self, ShowError, Wanted},
    wal::WalStatus,
};
use crate::{
    clock::Clock,
    collect::{CollectorStatus, Resumed, Roster},
    dead_letters::DeadLetterBox,
    export::{ExporterHandle, ExporterStatus},
    receive::{ReceiverStatus, Receivers},
    store::Store,
};

/// The agent at one moment.
#[derive(Debug, Serialize)]
pub struct AgentStatus {
    /// The agent's version.
    pub version: &'static str,
    /// Process id.
    pub pid: u32,
    /// Since the pipeline came up.
    pub uptime_ms: u64,
    /// Whether every collector has come up, or was set aside: what `/readyz` says.
    pub ready: bool,
    /// Where everything on disk lies.
    pub data_dir: PathBuf,
    /// Which configuration it runs with.
    #[serde(flatten)]
    pub configuration: ConfigurationStatus,
    /// Things an operator should know and may want to change.
    pub warnings: Vec<String>,
    /// What everything that is sent says about this host.
    pub resource: BTreeMap<String, String>,
    /// One an entry of `collectors:`.
    pub collectors: Vec<CollectorStatus>,
    /// One an entry of `receivers:`.
    pub receivers: Vec<ReceiverStatus>,
    /// The WAL.
    pub wal: WalStatus,
    /// One an entry of `exporters:`.
    pub exporters: Vec<ExporterStatus>,
    /// Records that receivers refused for what they hold, kept.
    pub dead_letters: u64,
}

/// Gives the picture. Shared by the pipeline, which fills it, and `admin`, which shows it.
pub struct Overview {
    pub(crate) data_dir: PathBuf,
    pub(crate) started: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Store,
    pub(crate) warnings: Vec<String>,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) collectors: Arc<Roster>,
    pub(crate) receivers: Receivers,
    pub(crate) exporters: Vec<ExporterHandle>,
    pub(crate) retain: Duration,
    pub(crate) dead_letters: Arc<DeadLetterBox>,
}

impl Overview {
    /// The picture, now.
    pub fn read(&self) -> AgentStatus {
        AgentStatus {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_ms: millis(self.clock.monotonic().saturating_sub(self.started)),
            ready: self.ready(),
            data_dir: self.data_dir.clone(),
            configuration: self.configuration.read(),
            warnings: self.warnings.clone(),
            resource: self.resource.clone(),
            collectors: self.collectors.status(),
            receivers: self.receivers.status(),
            wal: WalStatus::from(self.store.status()),
            exporters: self.exporters.iter().map(ExporterHandle::status).collect(),
            dead_letters: self.dead_letters.pending(),
        }
    }

    /// Whether every collector has come up, or was set aside.
    pub fn ready(&self) -> bool {
        self.collectors.ready()
    }

    /// Records that some exporter has not delivered yet, over all exporters.
    pub fn pending_records(&self) -> u64 {
        self.store.status().consumers.iter().filter(|c| c.configured).map(|c| c.total().pending).sum()
    }

    /// The newest stored record, as bytes and as what it says, in JSON; `None` where there is none. Blocks while it
    /// reads.
    ///
    /// # Errors
    /// [`ShowError`].
    pub fn newest_record(&self, wanted: &Wanted) -> Result<Option<String>, ShowError> {
        let found = self.store.newest(wanted.source.as_deref(), wanted.signal)?;
        found.as_ref().map(record::show).transpose()
    }

    /// A running exporter.
    pub fn exporter(&self, name: &str) -> Option<&ExporterHandle> {
        self.exporters.iter().find(|exporter| exporter.name() == name)
    }

    /// Those that run.
    pub fn exporter_names(&self) -> impl Iterator<Item = &str> {
        self.exporters.iter().map(ExporterHandle::name)
    }

    /// Starts a collector anew that was set aside or waits after a fault.
    ///
    /// # Errors
    /// The names that there are, where this is none of them.
    pub async fn resume_plugin(&self, name: &str) -> Result<Resumed, Vec<String>> {
        self.collectors.resume(name).await
    }

    /// How long the WAL keeps what every exporter has delivered.
    pub fn retain(&self) -> Duration {
        self.retain
    }

    /// Forgets an exporter that left the configuration. Blocks while files are removed.
    ///
    /// # Errors
    /// [`ForgetError`].
    pub fn forget(&self, name: &str) -> Result<(), ForgetError> {
        self.store.forget(name)
    }

    /// Stops all collectors and receivers, side by side.
    pub(crate) async fn stop_sources(&self) {
        tokio::join!(self.collectors.stop(), self.receivers.stop());
    }

    /// Lets all exporters send what waits, side by side, until `end`; then stops them.
    pub(crate) async fn drain_exporters(&self, end: Instant) {
        let left = end.saturating_duration_since(Instant::now());
        futures_util::future::join_all(self.exporters.iter().map(|exporter| async move {
            exporter.drain(left).await;
            exporter.stop().await;
        }))
        .await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
