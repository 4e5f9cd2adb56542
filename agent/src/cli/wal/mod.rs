//! `whimbrel wal`: the durable buffer as it lies on disk.

mod dump;
mod list;
mod progress;
mod repair;
mod status;
mod verify;

use super::{exit::Outcome, forget, record, source::Source};

/// What `wal` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// What is stored, and what each exporter has still to send
    Status(Args),
    /// Each segment: what is in it, and which exporters still need it. Needs no key
    List(Args),
    /// Print stored records as OTLP/JSON, one a line. Changes nothing
    Dump(dump::Args),
    /// Read everything and say what is damaged or missing; exits with 3 if anything is. Changes nothing
    Verify(Args),
    /// Say what would put a damaged WAL in order, and do it with --apply. Not while an agent runs on it
    Repair(repair::Args),
    /// Let go of what waits for an exporter that left the configuration
    Forget(forget::Args),
    /// The newest stored record of the running agent: its bytes, beside what they say
    Record(record::Args),
}

/// What commands take that only show.
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
    match command {
        Command::Status(args) => status::run(args),
        Command::List(args) => list::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Repair(args) => repair::run(args),
        Command::Forget(args) => forget::run(args),
        Command::Record(args) => record::run(args),
    }
}
