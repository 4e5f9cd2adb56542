//! The language's own tools: found by name, or missed with the command that installs them.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

/// A program that a recipe needs, as its author knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needed {
    /// What is missing, in a sentence.
    pub(crate) what: &'static str,
    /// The ways to call it, best first: program and first arguments.
    pub(crate) ways: &'static [&'static [&'static str]],
    /// Names another program, over all of the ways.
    pub(crate) variable: Option<&'static str>,
    /// The command that installs it.
    pub(crate) install: &'static str,
}

/// A program that is there.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    program: PathBuf,
    first: Vec<OsString>,
}

/// A language's tool is missing, or did not do its work.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum ToolError {
    #[error("{what} is missing (looked for {}); install it with\n\n    {install}\n", looked.join(", "))]
    Missing { what: &'static str, looked: Vec<String>, install: &'static str },
    #[error("{} can't be started: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("{} failed ({status}){}", program.display(), said(output))]
    Failed { program: PathBuf, status: ExitStatus, output: String },
}

fn said(output: &str) -> String {
    let output = output.trim();
    if output.is_empty() { ": what it said stands above".to_owned() } else { format!(":\n{output}") }
}

impl Needed {
    /// Looks in the project (`.venv`, `node_modules`), then in the PATH.
    ///
    /// # Errors
    /// [`ToolError::Missing`].
    pub(crate) fn find(&self, project: &Path) -> Result<Tool, ToolError> {
        if let Some(named) = self.variable.and_then(env::var_os) {
            let mut words =
                named.to_string_lossy().split_whitespace().map(OsString::from).collect::<Vec<_>>();
            if !words.is_empty() {
                let program = PathBuf::from(words.remove(0));
                return Ok(Tool { program, first: words });
            }
        }
        let own = [project.join(".venv/bin"), project.join("node_modules/.bin")];
        let path = env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = own.into_iter().chain(env::split_paths(&path)).collect();
        for way in self.ways {
            let Some((name, first)) = way.split_first() else { continue };
            let found = folders.iter().map(|folder| folder.join(name)).find(|path| is_program(path));
            if let Some(program) = found {
                return Ok(Tool { program, first: first.iter().map(OsString::from).collect() });
            }
        }
        Err(ToolError::Missing {
            what: self.what,
            looked: self.ways.iter().map(|way| way.join(" ")).collect(),
            install: self.install,
        })
    }
}

impl Tool {
    /// A call of it, in this folder.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.first).current_dir(folder).stdin(Stdio::null());
        command
    }
}

/// Runs it to its end, and keeps what it says unless it fails.
///
/// # Errors
/// It can't be started, or failed; then what it said is in the error.
pub(crate) fn quietly(mut command: Command) -> Result<String, ToolError> {
    let program = PathBuf::from(command.get_program());
    let output = command.output().map_err(|source| ToolError::Start { program: program.clone(), source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let output_text = format!("{}{}", text(&output.stdout), text(&output.stderr));
    Err(ToolError::Failed { program, status: output.status, output: output_text })
}

/// Runs it to its end; what it says on stderr goes to ours, as it comes.
///
/// # Errors
/// It can't be started, or failed.
pub(crate) fn aloud(mut command: Command) -> Result<String, ToolError> {
    let program = PathBuf::from(command.get_program());
    let failed = |source| ToolError::Start { program: program.clone(), source };
    let child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(ToolError::Failed { program, status: output.status, output: String::new() });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: Needed = Needed {
        what: "a compiler that nobody has",
        ways: &[&["no-such-compiler", "cc"], &["python-no-such"]],
        variable: None,
        install: "pip install no-such-compiler==1.2.3",
    };

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let error = NEEDED.find(Path::new("/nowhere")).unwrap_err().to_string();
        for part in [
            "a compiler that nobody has is missing",
            "no-such-compiler cc",
            "\n    pip install no-such-compiler==1.2.3\n",
        ] {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }

    #[test]
    fn the_projects_own_tools_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("node_modules/.bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink("/bin/sh", bin.join("sh")).unwrap();
        let needed = Needed { ways: &[&["sh", "-c"]], ..NEEDED };
        let tool = needed.find(folder.path()).unwrap();
        let mut command = tool.command(folder.path());
        assert_eq!(command.get_program(), bin.join("sh"));
        command.arg("echo it failed >&2; exit 3");
        let error = quietly(command).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("it failed"), "{error}");
    }
}
