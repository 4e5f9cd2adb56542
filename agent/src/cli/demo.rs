//! `whimbrel demo`: the agent and `whimbrel-stub`, from beside this program, in one go.

use std::path::PathBuf;

use super::exit::Outcome;

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep the data of the agent and of the backend in this folder; without it, nothing is left behind
    #[arg(long, value_name = "FOLDER")]
    pub(super) keep: Option<PathBuf>,
}

/// Runs until interrupted.
pub(super) fn run(_args: &Args) -> Outcome {
    Err(anyhow::anyhow!("this build has no demo").into())
}
