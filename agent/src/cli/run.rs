//! `whimbrel run`: the agent itself.

use super::{exit::Outcome, source::Source};

/// What `run` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) source: Source,
}

/// Runs until told to end.
pub(super) fn run(args: &Args) -> Outcome {
    let _loaded = args.source.load()?;
    Err(anyhow::anyhow!("this build can check a configuration, and not run it").into())
}
