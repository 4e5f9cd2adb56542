//! `-c`, which every command that needs the configuration takes.

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
