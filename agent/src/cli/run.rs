//! `whimbrel run`: the agent itself.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    confine,
    exit::{Exit, Failure, Outcome},
    source::Source,
};
use crate::{
    collect,
    config::{Loaded, ProcessEnvironment, Sources, load},
    pipeline::{Pipeline, StartError},
    reload, telemetry,
};

/// How long what waits is sent after the first TERM or INT.
const DRAIN: Duration = Duration::from_secs(10);
/// Guests and exporters share these; the WAL's writer and the kernel have their own.
const MOST_WORKERS: usize = 4;
/// Short reads of the WAL, mostly; each more costs a stack and an arena of the allocator's.
const MOST_BLOCKING: usize = 4;

/// Enough; and children walk over all that they may have when they close them.
const MOST_OPEN_FILES: u64 = 1 << 16;

/// What `run` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) source: Source,
}

/// Runs until told to end.
pub(super) fn run(args: &Args) -> Outcome {
    let loaded = args.source.load()?;
    collect::programs_are_confined_by(confine::program());
    let _log = telemetry::log::init(loaded.config.log)?;
    raise_open_files();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(MOST_BLOCKING)
        .enable_all()
        .build()?
        .block_on(until_told(loaded, args.source.sources()))
}

/// As many open files as the system lets this process have: the usual 1024 are there for programs with `select`, and
/// connections of receivers and plugins' files come on top of the WAL's.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MOST_OPEN_FILES, |most| most.min(MOST_OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

async fn until_told(loaded: Loaded, sources: Sources) -> Outcome {
    loaded.notes.iter().for_each(|note| tracing::info!("{note}"));
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{}", warning.in_one_line()));
    let mut signals = Signals::new()?;
    // From here on HUP does not end the agent; one that comes while it starts is a reload after that.
    let hang_up = signal(SignalKind::hangup())?;
    let data_dir = loaded.config.data_dir.clone();
    let (collectors, exporters) = (loaded.config.collectors.len(), loaded.config.exporters.len());
    let pipeline =
        match Pipeline::start(loaded.config, Box::new(move || load(&sources, &ProcessEnvironment))).await {
            Ok(pipeline) => pipeline,
            Err(error) => return Err(Failure::new(exit_of(&error), error)),
        };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %data_dir.display(),
        collectors,
        exporters,
        health = pipeline.health_address().map(tracing::field::display),
        "running"
    );
    let reloading = tokio::spawn(reload_on(hang_up, pipeline.reload()));
    let name = signals.next().await;
    reloading.abort();
    tracing::info!(signal = name, most_seconds = DRAIN.as_secs(), "stopping: sending what waits");
    tokio::select! {
        stopped = pipeline.stop(DRAIN) => match stopped? {
            0 => tracing::info!("stopped; nothing waits"),
            pending => tracing::info!(pending, "stopped; what waits stays in the WAL and goes out at the next start"),
        },
        name = signals.next() => tracing::warn!(signal = name, "stopping at once; what waits stays in the WAL"),
    }
    Ok(Exit::Done)
}

fn exit_of(error: &StartError) -> Exit {
    if error.is_locked_or_foreign() { Exit::Locked } else { Exit::Failed }
}

/// Asks for a reload at every HUP.
async fn reload_on(mut hang_up: Signal, reload: reload::Handle) {
    while hang_up.recv().await.is_some() {
        tracing::info!("HUP: reading the configuration again");
        reload.request();
    }
}

/// TERM and INT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "TERM",
            _ = self.interrupt.recv() => "INT",
        }
    }
}
