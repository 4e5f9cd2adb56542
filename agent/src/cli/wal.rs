//! `whimbrel wal`: the durable buffer as it lies on disk.

use super::{exit::Outcome, source::Source};

/// What `wal` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// What is stored, and what each exporter has still to send
    Status(Args),
    /// Read everything and say what is damaged or missing; exits with 3 if anything is. Changes nothing
    Verify(Args),
}

/// What each of its commands takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) source: Source,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs one of them.
pub(super) fn run(command: &Command) -> Outcome {
    let (Command::Status(args) | Command::Verify(args)) = command;
    let _loaded = args.source.load()?;
    Err(anyhow::anyhow!("this build can't look at the WAL (asked for with --json: {})", args.json).into())
}
