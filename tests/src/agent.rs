//! The agent as a child process, in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{programs::program, wait};

/// How long an agent may take to come up or go down on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a configuration, for one agent after the other.
pub struct Home {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    /// Writes `whimbrel.yaml`; `data_dir` and the rest are the configuration's own.
    pub fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        fs::write(folder.path().join("whimbrel.yaml"), yaml).expect("a file can be written there");
        Self { folder, variables: Vec::new() }
    }

    /// The same with this variable in the environment of its agents.
    pub fn with_variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Where the configuration lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the agent keeps everything: `whimbrel-data`, the default beside the configuration.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("whimbrel-data")
    }

    /// Replaces the configuration.
    pub fn configure(&self, yaml: &str) {
        fs::write(self.folder.path().join("whimbrel.yaml"), yaml).expect("a file can be written there");
    }

    /// `whimbrel ARGS`, in this folder, with an environment without surprises.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("whimbrel"));
        command.args(args).current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("OTEL_") || name.starts_with("WHIMBREL") || name == "STATE_DIRECTORY" {
                command.env_remove(name);
            }
        }
        // One cache of compiled plugins for all agents of the tests.
        command.env("WHIMBREL_PLUGIN_CACHE", shared_cache());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().expect("whimbrel starts")
    }

    /// Starts `whimbrel run`; its log goes to `agent.log`.
    pub fn start(&self) -> Agent {
        self.start_with(|_| {})
    }

    /// The same with another environment.
    pub fn start_with(&self, set: impl FnOnce(&mut Command)) -> Agent {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the log opens");
        let mut command = self.command(&["run"]);
        set(&mut command);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("whimbrel starts");
        Agent { child, status: self.command(&["status", "--json"]) }
    }

    /// Starts it and waits until its control socket answers.
    pub fn start_and_wait(&self) -> Agent {
        let mut agent = self.start();
        wait::until("the agent answers", PATIENCE, || {
            if let Some(status) = agent.child.try_wait().expect("a child can be asked") {
                panic!("the agent ended with {status}; its log:\n{}", self.log());
            }
            agent.status().ok_or_else(|| self.log())
        });
        agent
    }

    /// What all agents of this folder wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("agent.log")
    }
}

fn shared_cache() -> PathBuf {
    let test = std::env::current_exe().expect("a running program knows where it is");
    test.ancestors().nth(2).expect("cargo puts tests into PROFILE/deps").join("whimbrel-test-plugin-cache")
}

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    status: Command,
}

impl Agent {
    /// `whimbrel status --json`; `None` where it does not answer.
    pub fn status(&mut self) -> Option<Value> {
        let output = self.status.stdin(Stdio::null()).output().expect("whimbrel starts");
        let running = output
            .status
            .success()
            .then(|| serde_json::from_slice::<Value>(&output.stdout).ok())
            .flatten()?;
        running["pid"].is_number().then_some(running)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child can be waited for");
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill starts");
        assert!(sent.success(), "SIGTERM could not be sent");
        wait::until("the agent ends", PATIENCE, || {
            self.child.try_wait().expect("a child can be asked").ok_or(())
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
