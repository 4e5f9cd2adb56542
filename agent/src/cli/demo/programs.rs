//! The two processes of the demo: started, killed on demand, and ended in good order.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{Home, hostile};

/// How long the agent and the stub may take to end before they are killed.
const PATIENCE: Duration = Duration::from_secs(15);
/// The agent's configuration and its log, in the demo's folder.
const CONFIGURATION: &str = "whimbrel.yaml";
const LOG: &str = "agent.log";

/// Where the stub listens.
#[derive(Clone, Copy)]
pub(super) struct Listening {
    pub(super) otlp: SocketAddr,
    pub(super) ui: SocketAddr,
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
fn start_stub(home: &Home, launcher: &Path) -> anyhow::Result<(Child, Listening)> {
    let program = beside("whimbrel-stub")?;
    let mut child = Command::new(&program)
        .args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--ui", "127.0.0.1:0", "--json", "--data"])
        .arg(home.path().join("stub"))
        .arg("--demo")
        .arg(launcher)
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

fn start_agent(home: &Path) -> anyhow::Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(home.join(LOG))?;
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        // The demo shows its own configuration, not what the environment would make of it.
        if name.to_string_lossy().starts_with("WHIMBREL__") {
            command.env_remove(name);
        }
    }
    command
        .args(["run", "-c"])
        .arg(home.join(CONFIGURATION))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the agent")
}

/// A configuration as a user would write it.
fn configuration(otlp: SocketAddr, with_hostile: bool) -> String {
    let hostile = if with_hostile { format!("  {}\n", hostile::COLLECTOR) } else { String::new() };
    format!(
        "data_dir: agent\n\
         collectors:\n\
         \x20 host: {{plugin: \"builtin:host\", interval: 1s, grants: {{system: true}}}}\n\
         \x20 heartbeat: {{plugin: \"builtin:heartbeat\", interval: 1s}}\n\
         {hostile}\
         exporters:\n\
         \x20 stub: {{endpoint: \"http://{otlp}\", max_delay: 100ms}}\n\
         health: {{listen: \"127.0.0.1:0\"}}\n"
    )
}

/// Both processes.
pub(super) struct Programs {
    home: PathBuf,
    agent: Option<Child>,
    stub: Child,
    pub(super) listening: Listening,
    /// How often the agent was started.
    pub(super) starts: u64,
}

impl Programs {
    /// Starts the stub, then the agent that sends to it.
    pub(super) fn start(home: &Home, launcher: &Path) -> anyhow::Result<Self> {
        let (stub, listening) = start_stub(home, launcher)?;
        // From here on, dropping this ends what runs.
        let mut programs = Self { home: home.path().to_owned(), agent: None, stub, listening, starts: 0 };
        programs.configure(false)?;
        programs.start_agent()?;
        Ok(programs)
    }

    /// Writes the agent's configuration, with the hostile plugin or without; a running agent is not told.
    pub(super) fn configure(&self, with_hostile: bool) -> anyhow::Result<()> {
        if with_hostile {
            hostile::write(&self.home).context("cannot write the hostile plugin")?;
        }
        let (unready, file) = (self.home.join("whimbrel.yaml.new"), self.home.join(CONFIGURATION));
        fs::write(&unready, configuration(self.listening.otlp, with_hostile))
            .and_then(|()| fs::rename(&unready, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Starts the agent, again if it was killed.
    pub(super) fn start_agent(&mut self) -> anyhow::Result<u32> {
        let child = start_agent(&self.home)?;
        let pid = child.id();
        self.agent = Some(child);
        self.starts += 1;
        Ok(pid)
    }

    /// The agent's process, while it runs.
    pub(super) fn agent_pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// `kill -9` of the agent: it has no say in it. Gives the pid that was, if it ran.
    pub(super) fn kill_agent(&mut self) -> anyhow::Result<Option<u32>> {
        let Some(mut agent) = self.agent.take() else { return Ok(None) };
        agent.kill().context("cannot kill the agent")?;
        agent.wait().context("cannot wait for the killed agent")?;
        Ok(Some(agent.id()))
    }

    /// Fails when one of them ended by itself.
    pub(super) fn both_run(&mut self) -> anyhow::Result<()> {
        let ended = |child: &mut Child| child.try_wait();
        if let Some(status) = self.agent.as_mut().map(ended).transpose()?.flatten() {
            let log = fs::read_to_string(self.home.join(LOG)).unwrap_or_default();
            bail!("the agent ended with {status}; it said:\n{log}");
        }
        if let Some(status) = ended(&mut self.stub)? {
            bail!("the stub ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Programs {
    /// The agent first, so that it can send what waits.
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            terminate(agent);
        }
        terminate(&mut self.stub);
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
