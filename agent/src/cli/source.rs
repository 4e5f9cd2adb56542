//! `-c`, which every command that needs the configuration takes, and `--socket` of those that ask a running agent.

use std::path::PathBuf;

use crate::config::{Loaded, Problems, ProcessEnvironment, Sources, load};

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Source {
    /// Configuration: a file, a folder of *.yaml, or env:NAME for the text in a variable. May be repeated; all of it
    /// is joined. Without it: $WHIMBREL_CONFIG, ./whimbrel.yaml, /etc/whimbrel/whimbrel.yaml, or what is built in
    #[arg(short = 'c', long = "config", value_name = "PATH|env:NAME")]
    pub(super) config: Vec<String>,
}

impl Source {
    /// Reads and checks it.
    ///
    /// # Errors
    /// With every problem there is; as a [`Failure`](super::Failure) it exits with 78.
    pub(super) fn load(&self) -> Result<Loaded, Problems> {
        load(&self.sources(), &ProcessEnvironment)
    }

    /// Where it is read from.
    pub(super) fn sources(&self) -> Sources {
        Sources::from_arguments(&self.config)
    }
}

/// Which running agent is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Running {
    #[command(flatten)]
    pub(super) source: Source,
    /// The agent's control socket; without it, the one that the configuration names
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
}

impl Running {
    /// Its control socket. The configuration is read only where it must say.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub(super) fn socket(&self) -> Result<PathBuf, Problems> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => Ok(self.source.load()?.config.control_socket),
        }
    }
}
