//! `whimbrel plugin`: who a component is and what it asks for, and one collect of it.

use std::path::PathBuf;

use super::{exit::Outcome, source::Source};

/// What `plugin` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Who made it, what it can do, what it asks for; runs none of it
    Inspect(InspectArgs),
    /// One collect, printed; nothing is stored or sent
    Run(RunArgs),
}

/// What `plugin inspect` takes.
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// The component, or builtin:NAME
    pub(super) plugin: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What `plugin run` takes.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The name of a configured collector, or else a component or builtin:NAME, which then runs with what the options
    /// below give it
    pub(super) plugin: String,
    #[command(flatten)]
    pub(super) source: Source,
    /// The plugin's own configuration, as JSON; over the configured one
    #[arg(long, value_name = "JSON")]
    pub(super) plugin_config: Option<String>,
    /// Grant a part of the system, or all of it with `all`; may be repeated; over what is configured
    #[arg(long, value_name = "PART")]
    pub(super) grant_system: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs one of them.
pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::Inspect(args) => inspect(args),
        Command::Run(args) => collect_once(args),
    }
}

fn inspect(args: &InspectArgs) -> Outcome {
    let InspectArgs { plugin, json } = args;
    Err(anyhow::anyhow!("this build can't inspect {} (asked for with --json: {json})", plugin.display())
        .into())
}

fn collect_once(args: &RunArgs) -> Outcome {
    let RunArgs { plugin, source, plugin_config, grant_system, json } = args;
    let _loaded = source.load()?;
    let own = plugin_config.is_some() || !grant_system.is_empty();
    Err(anyhow::anyhow!("this build can't run {plugin} (options of its own: {own}, --json: {json})").into())
}
