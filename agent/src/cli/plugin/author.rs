//! What needs a compiler is done by `whimbrel-plugin`, beside this program.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::cli::exit::{Exit, Failure, Outcome};

/// What a build made.
#[derive(Debug, Deserialize)]
pub(super) struct Made {
    /// Absolute.
    pub(super) component: PathBuf,
    pub(super) title: String,
    pub(super) size: u64,
    pub(super) took_ms: u64,
}

/// Has it done there: its output, its messages and its exit code are ours.
pub(super) fn pass(command: &str, arguments: &[OsString]) -> Outcome {
    let tool = whimbrel_plugin_host::compiler_path(None)?;
    let status = Command::new(&tool).arg(command).args(arguments).status();
    let status = status.with_context(|| format!("cannot start {}", tool.display()))?;
    match status.code() {
        Some(0) => Ok(Exit::Done),
        Some(2) => Ok(Exit::Usage),
        _ => Err(Failure { exit: Exit::Failed, error: None }),
    }
}

/// A build of the plugin in this folder, to be started. What goes wrong stands on stderr.
///
/// # Errors
/// `whimbrel-plugin` is not to be found.
pub(super) fn build_command(folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(whimbrel_plugin_host::compiler_path(None)?);
    command.args(["build", "--json", "--dir"]).arg(folder);
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
/// It failed; why stands on stderr.
pub(super) fn build(folder: &Path) -> anyhow::Result<Made> {
    let mut command = build_command(folder)?;
    let output =
        command.stderr(std::process::Stdio::inherit()).output().context("cannot start whimbrel-plugin")?;
    if !output.status.success() {
        bail!("the plugin in {} was not built", folder.display());
    }
    made(&output.stdout)
}
