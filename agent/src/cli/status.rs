//! `whimbrel status`: what the running agent says over its control socket.

use std::path::PathBuf;

use super::{exit::Outcome, source::Source};

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) source: Source,
    /// The agent's control socket; without it, the one that the configuration names
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Asks, and prints the answer.
pub(super) fn run(args: &Args) -> Outcome {
    let _socket = match &args.socket {
        Some(socket) => socket.clone(),
        None => args.source.load()?.config.control_socket,
    };
    Err(anyhow::anyhow!("this build can't ask for the status (asked for with --json: {})", args.json).into())
}
