//! Python: CPython, snapshotted with the plugin's sources by componentize-py.

use std::fs;

use anyhow::{Context as _, bail};

use super::{write_if_changed, write_world};
use crate::{
    assemble::WORLD,
    author::{
        project::Project,
        tools::{Needed, ToldBy, Version, quietly},
        wasi::{self, Wasi},
    },
};

/// componentize-py; the template's requirements.txt names the same version.
pub(super) const NEEDED: Needed = Needed {
    what: "componentize-py 0.25.1",
    ways: &[&["componentize-py"]],
    variable: Some("WHIMBREL_COMPONENTIZE_PY"),
    install: "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
    version: Version { wanted: "0.25.1", or_later: false, told_by: ToldBy::Arguments(&["--version"]) },
};

/// The module that a plugin in Python begins in, below `src`.
const MAIN: &str = "plugin";

pub(super) fn make(project: &Project) -> anyhow::Result<Vec<u8>> {
    let tool = NEEDED.find(&project.root)?;
    let sources = project.root.join("src");
    let main = sources.join(format!("{MAIN}.py"));
    if !main.is_file() {
        bail!("{} is not there: a plugin in Python begins in it", main.display());
    }
    let wit = write_world(project, wasi::NAME)?;
    let version = project.metadata.version.as_deref().unwrap_or_default();
    let generated = project.build_folder().join("generated");
    fs::create_dir_all(&generated).with_context(|| format!("{} can't be made", generated.display()))?;
    let identity = format!("NAME = {:?}\nVERSION = {version:?}\n", project.name);
    write_if_changed(&generated.join("whimbrel_identity.py"), identity.as_bytes())?;
    let component = project.build_folder().join("component.wasm");
    let mut command = tool.command(&project.root);
    command.arg("--quiet").arg("--wit-path").arg(wit).args(["--world", WORLD]);
    command.args(["componentize", MAIN]);
    // Files are Python's own, and bring all of WASI along.
    if !project.wasi.contains(&Wasi::Files) {
        command.arg("--stub-wasi");
    }
    command.arg("--python-path").arg(&sources).arg("--python-path").arg(&generated);
    // What the author has installed beside the tool; without it the tool would take the whole machine's packages.
    let packages = project.root.join("vendor");
    if packages.is_dir() {
        command.arg("--python-path").arg(packages);
    }
    command.arg("--output").arg(&component);
    quietly(command)?;
    fs::read(&component).with_context(|| format!("{} can't be read", component.display()))
}
