//! `whimbrel demo`: the agent and `whimbrel-stub`, from beside this program, in one go.
//!
//! Both run as they would anywhere, as processes of their own on free ports; the demo only starts them, asks the stub
//! what arrived and the agent how it does, and shows both. Nothing is left behind but what `--keep` asks for.

use std::{
    fs,
    io::{BufRead as _, BufReader, IsTerminal as _},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    exit::{Exit, Outcome},
    print, screen,
};
use crate::admin;

/// How often what arrived is shown anew.
const TICK: Duration = Duration::from_secs(1);
/// How long the agent and the stub may take to end before they are killed.
const PATIENCE: Duration = Duration::from_secs(15);

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep the data of the agent and of the backend in this folder; without it, nothing is left behind
    #[arg(long, value_name = "FOLDER")]
    pub(super) keep: Option<PathBuf>,
    /// End after so many seconds instead of running until interrupted
    #[arg(long, value_name = "SECONDS")]
    pub(super) seconds: Option<u64>,
}

/// Runs until interrupted.
pub(super) fn run(args: &Args) -> Outcome {
    let home = Home::new(args.keep.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stub, listening) = start_stub(&home)?;
    let agent = start_agent(&home, listening.otlp)?;
    let mut programs = Programs { agent, stub };
    let shown =
        runtime.block_on(show(&mut programs, &home, listening, args.seconds.map(Duration::from_secs)));
    programs.end();
    shown?;
    match &args.keep {
        Some(folder) => print::text(format_args!("\nstopped; kept in {}\n", folder.display()))?,
        None => print::text("\nstopped; nothing is left behind\n")?,
    }
    Ok(Exit::Done)
}

/// The folder of the demo's data; removed in the end unless it is to be kept.
struct Home {
    path: PathBuf,
    keep: bool,
}

impl Home {
    fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let path = match keep {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::temp_dir().join(format!("whimbrel-demo-{}", std::process::id())),
        };
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .recursive(keep.is_some())
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, keep: keep.is_some() })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            print::message(format_args!("could not remove {}: {error}", self.path.display()));
        }
    }
}

/// Where the stub listens.
#[derive(Clone, Copy)]
struct Listening {
    otlp: SocketAddr,
    ui: SocketAddr,
}

fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let program = this.with_file_name(name);
    if !program.is_file() {
        bail!("{name} is not beside {}: the demo needs it there", this.display());
    }
    Ok(program)
}

/// In a process group of its own, so that an interrupt from the terminal reaches the demo alone, which then ends
/// both in order.
fn start_stub(home: &Home) -> anyhow::Result<(Child, Listening)> {
    let program = beside("whimbrel-stub")?;
    let mut child = Command::new(&program)
        .args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--ui", "127.0.0.1:0", "--json", "--data"])
        .arg(home.path.join("stub"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let stdout = child.stdout.take().context("its output is piped")?;
    let (mut otlp, mut ui) = (None, None);
    for line in BufReader::new(stdout).lines().take(3) {
        let said: Value =
            serde_json::from_str(&line?).context("the stub said where it listens, not as JSON")?;
        let address = said["address"].as_str().and_then(|a| a.parse().ok());
        match said["listener"].as_str() {
            Some("http") => otlp = address,
            Some("ui") => ui = address,
            _ => {}
        }
    }
    match (otlp, ui) {
        (Some(otlp), Some(ui)) => Ok((child, Listening { otlp, ui })),
        _ => {
            child.kill()?;
            bail!("the stub ended before it listened; its message stands above")
        }
    }
}

fn start_agent(home: &Home, otlp: SocketAddr) -> anyhow::Result<Child> {
    let config = home.path.join("whimbrel.yaml");
    fs::write(&config, configuration(otlp)).with_context(|| format!("cannot write {}", config.display()))?;
    let log = fs::File::create(home.path.join("agent.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        // The demo shows its own configuration, not what the environment would make of it.
        if name.to_string_lossy().starts_with("WHIMBREL__") {
            command.env_remove(name);
        }
    }
    command
        .args(["run", "-c"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the agent")
}

/// A configuration as a user would write it.
fn configuration(otlp: SocketAddr) -> String {
    format!(
        "data_dir: agent\n\
         collectors:\n\
         \x20 host: {{plugin: \"builtin:host\", interval: 1s, grants: {{system: true}}}}\n\
         \x20 heartbeat: {{plugin: \"builtin:heartbeat\", interval: 1s}}\n\
         exporters:\n\
         \x20 stub: {{endpoint: \"http://{otlp}\", max_delay: 100ms}}\n\
         health: {{listen: \"127.0.0.1:0\"}}\n"
    )
}

struct Programs {
    agent: Child,
    stub: Child,
}

impl Programs {
    /// The agent first, so that it can send what waits.
    fn end(&mut self) {
        for child in [&mut self.agent, &mut self.stub] {
            terminate(child);
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.end();
    }
}

fn terminate(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let (Ok(None), Some(pid)) = (child.try_wait(), pid) {
        // Gone between the two calls is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let end = Instant::now() + PATIENCE;
    while let Ok(None) = child.try_wait() {
        if Instant::now() > end {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn show(
    programs: &mut Programs,
    home: &Home,
    listening: Listening,
    up_to: Option<Duration>,
) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let end = up_to.map(|seconds| tokio::time::Instant::now() + seconds);
    let until_end = async {
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(until_end);
    let mut screen =
        screen::Screen::new(terminal, programs.agent.id(), &home.path, listening.otlp, listening.ui);
    print::text(screen.greeting())?;
    let socket = home.path.join("agent/control.sock");
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            () = &mut until_end => return Ok(()),
            _ = tick.tick() => {}
        }
        if let Some(status) = programs.agent.try_wait()? {
            let log = fs::read_to_string(home.path.join("agent.log")).unwrap_or_default();
            bail!("the agent ended with {status}; it said:\n{log}");
        }
        if let Some(status) = programs.stub.try_wait()? {
            bail!("the stub ended with {status}");
        }
        let metrics = admin::get(listening.ui, "/api/metrics").await;
        let stats = admin::get(listening.ui, "/api/stats").await;
        let mut series = Vec::new();
        for name in screen::KNOWN {
            let asked = admin::get(listening.ui, &format!("/api/series?name={name}&limit=1")).await;
            series.extend(asked.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()));
        }
        let agent = admin::ask(&socket, "/status").await;
        let parsed = |bytes: bytes::Bytes| serde_json::from_slice::<Value>(&bytes).ok();
        print::text(screen.draw(
            metrics.ok().and_then(parsed).as_ref(),
            &series,
            stats.ok().and_then(parsed).as_ref(),
            agent.ok().and_then(parsed).as_ref(),
        ))?;
    }
}
