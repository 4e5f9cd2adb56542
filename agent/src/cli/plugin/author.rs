//! What needs a compiler is done by `whimbrel-plugin`, beside this program.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::Context as _;
use serde::Deserialize;
use whimbrel_plugin_host::{CALLED_BY_AGENT, compiler_path};

use crate::cli::exit::{Exit, Failure, Outcome};

pub(super) const NOT_STARTED: &str = "cannot start whimbrel-plugin";
/// The file that makes a folder a plugin's.
const MANIFEST: &str = "plugin.yaml";

/// What a build made.
#[derive(Debug, Deserialize)]
pub(super) struct Made {
    /// Absolute.
    pub(super) component: PathBuf,
    pub(super) title: String,
    pub(super) size: u64,
    /// Whether it was made now; else nothing had changed since.
    pub(super) built: bool,
    pub(super) took_ms: u64,
}

/// `whimbrel-plugin`, which calls itself what was typed: `whimbrel plugin`.
///
/// # Errors
/// It is not to be found.
pub(super) fn tool() -> anyhow::Result<Command> {
    let mut command = Command::new(compiler_path(None)?);
    command.arg0(CALLED_BY_AGENT);
    Ok(command)
}

/// Has it done there: its output, its messages and its exit code are ours.
pub(super) fn pass(command: &str, arguments: &[OsString]) -> Outcome {
    let mut process = tool()?;
    let status = process.arg(command).args(arguments).status().context(NOT_STARTED)?;
    ended(status)
}

/// What its end is to us: what went wrong it has said itself.
pub(super) fn ended(status: ExitStatus) -> Outcome {
    match status.code() {
        Some(0) => Ok(Exit::Done),
        Some(2) => Ok(Exit::Usage),
        _ => Err(Failure { exit: Exit::Failed, error: None }),
    }
}

/// Whether a folder is a plugin's, as far as a look tells: a build says what is missing.
pub(super) fn is_project(folder: &Path) -> bool {
    folder.join(MANIFEST).exists()
}

/// A build of the plugin in this folder, to be started; what is there already is taken where it is certain that another
/// would be the same. What goes wrong stands on stderr.
///
/// # Errors
/// `whimbrel-plugin` is not to be found.
pub(super) fn build_command(folder: &Path) -> anyhow::Result<Command> {
    let mut command = tool()?;
    command
        .args(["build", "--json", "--if-changed", "--dir"])
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    Ok(command)
}

/// What a build said.
///
/// # Errors
/// It says something else than what was made.
pub(super) fn made(stdout: &[u8]) -> anyhow::Result<Made> {
    let mut made: Made = serde_json::from_slice(stdout).context("what whimbrel-plugin build says")?;
    made.component = std::path::absolute(&made.component)?;
    Ok(made)
}

/// Builds, to the end.
///
/// # Errors
/// It failed; why stands on stderr, and is not told again.
pub(super) fn build(folder: &Path) -> Result<Made, Failure> {
    let child = build_command(folder)?.spawn().context(NOT_STARTED)?;
    let output = child.wait_with_output().context(NOT_STARTED)?;
    if !output.status.success() {
        return Err(Failure { exit: Exit::Failed, error: None });
    }
    Ok(made(&output.stdout)?)
}
