//! The program `whimbrel-stub`: flags, a line per listener, and an end on TERM or INT.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use server_stub::{Data, Options, Retention, StartError, Stub};
use tokio::signal::unix::{SignalKind, signal};

/// The data folder is in use by another process; the agent uses the same code.
const LOCKED: u8 = 4;
/// How often the stub is looked after while nothing happens.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// Receives OpenTelemetry data, keeps it, shows it, and fails on command.
///
/// An OTLP backend for trying things and for tests: point any OTLP exporter at --grpc or --http, and read what
/// arrived from --ui.
#[derive(Debug, Parser)]
#[command(name = "whimbrel-stub", version, after_long_help = AFTER_HELP)]
struct Arguments {
    /// Where OTLP/gRPC is received (identity, gzip, zstd), with grpc.health.v1.Health. Port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4317")]
    grpc: SocketAddr,

    /// Where OTLP/HTTP is received (protobuf and JSON; identity, gzip, zstd). Port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4318")]
    http: SocketAddr,

    /// Where the page, /api and /control are served. Whoever reaches it can read everything: keep it on loopback
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    ui: SocketAddr,

    /// The socket of a demo's launcher, which `whimbrel demo` gives: the page then has its counters and buttons
    #[arg(long, value_name = "SOCKET", hide = true)]
    demo: Option<PathBuf>,

    /// Where the data is kept: a folder (a 200 then means synced to the disk), or "memory"
    #[arg(long, value_name = "DIR|memory", default_value = "memory")]
    data: PathBuf,

    /// Keep at most so many points, so many logs and so many spans; the oldest go first
    #[arg(long, value_name = "N", default_value_t = Retention::default().rows)]
    max_rows: u64,

    /// Keep them for so many hours
    #[arg(long, value_name = "HOURS", default_value_t = Retention::default().age.as_secs() / 3600)]
    max_age: u64,

    /// Keep the database below so many MiB
    #[arg(long, value_name = "MIB", default_value_t = Retention::default().bytes >> 20)]
    max_size: u64,

    /// Print one JSON object per listener instead of a sentence: {"listener":"http","address":"127.0.0.1:4318"}
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
What arrived (GET on --ui, JSON):
  /api/stats                     requests, items, repeats, refusals by signal; latency p50, p90, p99
  /api/metrics                   names, units, kinds, number of series, last value
  /api/series?name=NAME          the points of one metric
  /api/values?name=NAME          all whole numbers received for it, in order: gaps and repeats show
  /api/logs, /api/spans          newest first; ?limit=, ?host=, ?before=ID
  /api/hosts, /api/requests      who sent; what was stored, with idempotency keys
  /api/latest?since=CURSOR&wait=10s   what is new, for a live view

Misbehaviour (POST on --ui; GET /control lists all, GET /control/stats those in force):
  curl -X POST 'http://127.0.0.1:8080/control/fail?code=503&for=20s&rate=0.3&retry_after=2'
  curl -X POST 'http://127.0.0.1:8080/control/close?count=1&when=after'
  curl -X POST 'http://127.0.0.1:8080/control/fail?grpc_code=RESOURCE_EXHAUSTED&retry_after=2'
  curl -X POST 'http://127.0.0.1:8080/control/down?for=20s'
  curl -X POST 'http://127.0.0.1:8080/control/reset'

A request that bears the Idempotency-Key (over gRPC, metadata of that name) of one that was stored is answered \
like that one and not stored again.

Signals: TERM and INT stop it; requests under way have 5 s.
The log goes to stderr, by RUST_LOG (warn).
Exit codes: 0 stopped by a signal, 1 failed, 2 wrong use, 4 the data folder is in use.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even this can't be written, the exit code is left.
            let _ = writeln!(io::stderr(), "whimbrel-stub: {error:#}");
            let locked = matches!(error.downcast_ref(), Some(StartError::Locked { .. }));
            if locked { ExitCode::from(LOCKED) } else { ExitCode::FAILURE }
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let memory = arguments.data.as_os_str() == "memory";
    let options = Options {
        http: arguments.http,
        grpc: arguments.grpc,
        ui: arguments.ui,
        demo: arguments.demo.clone(),
        data: if memory { Data::Memory } else { Data::Directory(arguments.data.clone()) },
        retention: Retention {
            rows: arguments.max_rows,
            age: Duration::from_secs(arguments.max_age.saturating_mul(3600)),
            bytes: arguments.max_size.saturating_mul(1 << 20),
            ..Retention::default()
        },
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything is promised, so that a signal never finds the default action.
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let stub = Stub::start(options)?;
    announce(&stub, arguments.json).context("cannot write to stdout")?;
    let ended = runtime.block_on(async {
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                () = tokio::time::sleep(WATCH_EVERY) => {}
            }
            anyhow::ensure!(stub.is_running(), "the stub ended by itself; its log says why");
        }
    });
    stub.stop();
    ended
}

fn announce(stub: &Stub, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for (listener, address) in [("http", stub.http_addr), ("grpc", stub.grpc_addr), ("ui", stub.ui_addr)]
        {
            let line = serde_json::json!({ "listener": listener, "address": address.to_string() });
            writeln!(out, "{line}")?;
        }
    } else {
        writeln!(out, "OTLP/HTTP is received at http://{}", stub.http_addr)?;
        writeln!(out, "OTLP/gRPC is received at http://{}", stub.grpc_addr)?;
        writeln!(out, "what arrived is shown at http://{}", stub.ui_addr)?;
    }
    out.flush()
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
