//! The language's own tools: found by name, or missed with the command that installs them.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use serde_json::Value;

/// A program that a recipe needs, as its author knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needed {
    /// What is missing, in a sentence.
    pub(crate) what: &'static str,
    /// The ways to call it, best first: program and first arguments.
    pub(crate) ways: &'static [&'static [&'static str]],
    /// Names another program, over all of the ways.
    pub(crate) variable: Option<&'static str>,
    /// The command that installs it, or the page where it is.
    pub(crate) install: &'static str,
    /// Which one it should be.
    pub(crate) version: Version,
}

/// Which version of a tool is wanted, and how to know which one is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version {
    pub(crate) wanted: &'static str,
    /// A later one is as good.
    pub(crate) or_later: bool,
    pub(crate) told_by: ToldBy,
}

/// How a tool tells its version.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ToldBy {
    /// Called with these arguments, in place of the first ones.
    Arguments(&'static [&'static str]),
    /// It does not; the npm package of this name that it is in does.
    Package(&'static str),
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
    #[error("{what} is missing (looked for {}); {}", looked.join(", "), how(install))]
    Missing { what: &'static str, looked: Vec<String>, install: &'static str },
    #[error("{} is version {found}, and {what} is needed; {}", program.display(), how(install))]
    Old { program: PathBuf, found: String, what: &'static str, install: &'static str },
    #[error("{} can't be started: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("{} failed ({status}){}", program.display(), said(output))]
    Failed { program: PathBuf, status: ExitStatus, output: String },
}

fn how(install: &str) -> String {
    let verb = if is_page(install) { "get it from" } else { "install it with" };
    format!("{verb}\n\n    {install}\n")
}

fn is_page(install: &str) -> bool {
    install.starts_with("https://")
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

impl Needed {
    /// Whether the one that is there is too old, where any later one would do.
    ///
    /// # Errors
    /// [`ToolError::Old`].
    pub(crate) fn check_age(&self, tool: &Tool, folder: &Path) -> Result<(), ToolError> {
        match tool.version(self.version.told_by, folder) {
            Some(found) if self.version.or_later && !self.version.is_met_by(&found) => Err(ToolError::Old {
                program: tool.program.clone(),
                found,
                what: self.what,
                install: self.install,
            }),
            _ => Ok(()),
        }
    }

    /// What an author has to do about it first; `None`: it is there, and the right one.
    pub(crate) fn preparation(&self, project: &Path) -> Option<Preparation> {
        let step = if is_page(self.install) {
            format!("# get {} from {}", self.what, self.install)
        } else {
            self.install.to_owned()
        };
        let Ok(tool) = self.find(project) else { return Some(Preparation { step, note: None }) };
        // Not in the project: there Go fetches the one that go.mod names, which takes its time.
        let found = tool.version(self.version.told_by, Path::new("/"))?;
        let note = format!(
            "{} is version {found}; the template is made for {}{}.",
            tool.program.display(),
            self.version.wanted,
            if self.version.or_later { " and later" } else { "" }
        );
        (!self.version.is_met_by(&found)).then_some(Preparation { step, note: Some(note) })
    }
}

/// What comes before a first build.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Preparation {
    /// A line for a shell.
    pub(crate) step: String,
    /// Why, where it is not that something is missing.
    pub(crate) note: Option<String>,
}

impl Version {
    fn is_met_by(&self, found: &str) -> bool {
        let numbers = |text: &str| text.split('.').map_while(|part| part.parse().ok()).collect::<Vec<u64>>();
        let (found, wanted) = (numbers(found), numbers(self.wanted));
        if self.or_later { found >= wanted } else { found == wanted }
    }
}

impl Tool {
    /// The file that is called, and what it is called with first.
    pub(crate) fn parts(&self) -> (&Path, &[OsString]) {
        (&self.program, &self.first)
    }

    /// As it says itself; `None`: it does not say.
    pub(crate) fn version(&self, told_by: ToldBy, folder: &Path) -> Option<String> {
        match told_by {
            ToldBy::Arguments(arguments) => {
                let mut command = Command::new(&self.program);
                command.args(arguments).current_dir(folder).stdin(Stdio::null());
                number(&quietly(command).ok()?)
            }
            ToldBy::Package(name) => {
                let program = self.program.canonicalize().ok()?;
                let manifests = program.ancestors().skip(1).map(|folder| folder.join("package.json"));
                let package = |file: PathBuf| {
                    let package: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
                    (package["name"] == name).then(|| package["version"].as_str().map(str::to_owned))?
                };
                manifests.into_iter().find_map(package)
            }
        }
    }

    /// A call of it, in this folder.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.first).current_dir(folder).stdin(Stdio::null());
        command
    }
}

/// The first version in a text: `1.19.8` of `go version go1.19.8 linux/amd64`.
fn number(text: &str) -> Option<String> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.'));
    words.into_iter().find(|word| word.contains('.')).map(str::to_owned)
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
        version: Version { wanted: "1.2.3", or_later: false, told_by: ToldBy::Arguments(&["version"]) },
    };

    /// A program in the project that says this.
    fn saying(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join(".venv/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("no-such-compiler"), format!("#!/bin/sh\necho '{text}'\n")).unwrap();
        fs::set_permissions(bin.join("no-such-compiler"), fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

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
    fn another_version_is_told_and_the_right_one_is_not() {
        let right = saying("compiler version 1.2.3 (today)");
        assert_eq!(NEEDED.preparation(right.path()), None);
        let other = saying("compiler version 1.2.10");
        let told = NEEDED.preparation(other.path()).unwrap();
        assert_eq!(told.step, NEEDED.install);
        let note = told.note.unwrap();
        assert!(note.ends_with("is version 1.2.10; the template is made for 1.2.3."), "{note}");
        let missing = NEEDED.preparation(Path::new("/nowhere")).unwrap();
        assert_eq!(missing, Preparation { step: NEEDED.install.to_owned(), note: None });

        let version = Version { or_later: true, ..NEEDED.version };
        let later = Needed { version, install: "https://compiler.example", ..NEEDED };
        assert_eq!(later.preparation(other.path()), None);
        let old = saying("compiler 1.2");
        let told = later.preparation(old.path()).unwrap();
        assert_eq!(told.step, "# get a compiler that nobody has from https://compiler.example");
        let check =
            |folder: &tempfile::TempDir| later.check_age(&later.find(folder.path()).unwrap(), folder.path());
        let error = check(&old).unwrap_err().to_string();
        for part in ["no-such-compiler is version 1.2, and", "is needed; get it from\n\n    https://compiler"]
        {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
        check(&right).unwrap();
        check(&saying("no number at all")).unwrap();
    }

    #[test]
    fn a_package_tells_the_version_of_its_program() {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("node_modules");
        fs::create_dir_all(modules.join("tool/bin")).unwrap();
        fs::create_dir_all(modules.join(".bin")).unwrap();
        fs::write(modules.join("tool/package.json"), r#"{"name": "tool", "version": "0.4.5"}"#).unwrap();
        fs::copy("/bin/sh", modules.join("tool/bin/tool.js")).unwrap();
        std::os::unix::fs::symlink("../tool/bin/tool.js", modules.join(".bin/tool")).unwrap();
        let needed = Needed { ways: &[&["tool"]], ..NEEDED };
        let tool = needed.find(folder.path()).unwrap();
        let version = |name| tool.version(ToldBy::Package(name), folder.path());
        assert_eq!((version("tool").as_deref(), version("other")), (Some("0.4.5"), None));
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
