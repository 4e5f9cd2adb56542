//! The agent as a library: built from a configuration, given batches, shut down.
//!
//! Everything that the program does is there: collectors, receivers, the WAL, exporters, the control socket. What is
//! deliberately absent: the log (install a `tracing` subscriber of your own) and signals.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{path::Path, time::Duration};
//! use whimbrel::{Agent, Signal};
//!
//! let yaml = "exporters: {backend: {endpoint: \"https://otlp.example.com\"}}";
//! let loaded = Agent::configuration(yaml, Path::new("/var/lib/my-program"))?;
//! let agent = Agent::start(loaded.config).await?;
//! # let request = Vec::new();
//! agent.push(Signal::Logs, "my-program", &request).await?; // it is on the disk now
//! agent.shut_down(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use whimbrel_otlp::Signal;

use crate::{
    config::{Config, Environment, Given, Loaded, Problems, ProcessEnvironment, Sources, load},
    pipeline::{Pipeline, StartError},
    status::AgentStatus,
    store::{Sealed, StoreError, Stored},
};

/// Where the text of a configuration stands for the loader.
const TEXT: &str = "CONFIGURATION";

/// An environment that is one text.
struct Text<'t> {
    yaml: &'t str,
    folder: &'t Path,
}

impl Environment for Text<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        (name == TEXT).then(|| self.yaml.into())
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        Vec::new()
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        Ok(self.folder.to_owned())
    }

    fn disk_size(&self, path: &Path) -> io::Result<u64> {
        ProcessEnvironment.disk_size(path)
    }
}

/// A running agent. Dropping it ends it without sending what waits; that stays in the WAL.
pub struct Agent {
    pipeline: Pipeline,
}

impl Agent {
    /// Reads a configuration (YAML, as `whimbrel.yaml`) as the program would, relative to `folder`. The process's
    /// environment is not looked at: `${env:...}` finds nothing.
    ///
    /// # Errors
    /// Every problem that there is, each with its place and remedy.
    pub fn configuration(yaml: &str, folder: &Path) -> Result<Loaded, Problems> {
        let environment = Text { yaml, folder };
        let given = vec![Given::from_argument(&format!("env:{TEXT}"))];
        load(&Sources { given, search: Vec::new() }, &environment)
    }

    /// Starts an agent. To be called within a tokio runtime of several threads, with time and I/O enabled.
    ///
    /// # Errors
    /// [`StartError`]: the data directory is locked or under another key, an address is taken. Nothing was damaged.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        // An embedded agent is given its configuration once: a reload finds the same.
        let same = config.clone();
        let folder = config.data_dir.clone();
        let read = Box::new(move || {
            let mut loaded = Self::configuration("{}", &folder)?;
            loaded.config.clone_from(&same);
            Ok(loaded)
        });
        Ok(Self { pipeline: Pipeline::start(config, read).await? })
    }

    /// Stores an OTLP export request (protobuf) of one signal; the agent's resource is put to it. Returns when it is as
    /// durable as `wal.sync` says. It goes out under the source `embedded/NAME`.
    ///
    /// Cancel safety: when the future is dropped, the batch is durable or not, as if the process had ended.
    ///
    /// # Errors
    /// [`StoreError`]: not OTLP (names the item; don't try again), or the WAL takes nothing now (try later).
    pub async fn push(&self, signal: Signal, name: &str, request: &[u8]) -> Result<Stored, StoreError> {
        let store = self.pipeline.store();
        let mut merged = Vec::with_capacity(request.len());
        let walked = whimbrel_otlp::merge_resource(signal, request, store.resource(), &mut merged)?;
        let source = format!("embedded/{name}");
        let batch = Sealed { signal, request: &merged, items: walked.items, source: &source, frame: None };
        store.append_sealed(batch).await
    }

    /// What `whimbrel status` shows.
    pub fn status(&self) -> AgentStatus {
        self.pipeline.status()
    }

    /// Stops receivers and collectors, sends what waits until `deadline` has passed, closes the WAL. What was not sent
    /// stays there for the next start; how many records that are, over all exporters.
    ///
    /// # Errors
    /// When the WAL cannot be closed in good order; what was pushed is as durable as promised.
    pub async fn shut_down(self, deadline: Duration) -> Result<u64, whimbrel_wal::CloseError> {
        self.pipeline.stop(deadline).await
    }
}
