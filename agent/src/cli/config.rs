//! `whimbrel config`: what the configuration comes to.

use super::{
    exit::{Exit, Outcome},
    print,
    source::Source,
};

/// What `config` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The configuration as YAML, joined from all files and variables; secrets are left out
    Show(ShowArgs),
}

/// What `config show` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) source: Source,
    /// As it works: every default filled in, paths absolute
    #[arg(long)]
    pub(super) effective: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Shows it; notes and warnings go to stderr.
pub(super) fn run(command: &Command) -> Outcome {
    let Command::Show(args) = command;
    let loaded = args.source.load()?;
    loaded.notes.iter().for_each(|note| print::message(format_args!("note: {note}")));
    loaded.warnings.iter().for_each(|warning| print::message(format_args!("warning: {warning}")));
    let shown = if args.effective { loaded.effective() } else { loaded.written() };
    match args.json {
        true => print::json(&shown)?,
        false => print::text(shown.to_yaml()?)?,
    }
    Ok(Exit::Done)
}
