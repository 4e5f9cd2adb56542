//! JavaScript: QuickJS, snapshotted with the plugin's sources by componentize-qjs.

use std::fs;

use anyhow::{Context as _, bail};

use super::{write_contract, write_if_changed};
use crate::{
    assemble::WORLD,
    author::{
        project::Project,
        tools::{Needed, quietly},
    },
};

/// componentize-qjs; its version stands in the template's package.json.
pub(super) const NEEDED: Needed = Needed {
    what: "componentize-qjs",
    ways: &[&["componentize-qjs"]],
    variable: Some("WHIMBREL_COMPONENTIZE_QJS"),
    install: "npm install",
};

/// Where a plugin in JavaScript begins.
const MAIN: &str = "src/plugin.js";

pub(super) fn make(project: &Project) -> anyhow::Result<Vec<u8>> {
    let tool = NEEDED.find(&project.root)?;
    let main = project.root.join(MAIN);
    if !main.is_file() {
        bail!("{} is not there: a plugin in JavaScript begins in it", main.display());
    }
    let wit = write_contract(project)?;
    let version = project.metadata.version.as_deref().unwrap_or_default();
    let identity = format!("export const NAME = {:?};\nexport const VERSION = {version:?};\n", project.name);
    write_if_changed(&project.build_folder().join("identity.js"), identity.as_bytes())?;
    let component = project.build_folder().join("component.wasm");
    let mut command = tool.command(&project.root);
    command.arg("--wit").arg(wit).args(["--world", WORLD]).arg("--js").arg(&main);
    command.arg("--module-root").arg(&project.root);
    command.args(["--stub-wasi", "--sync", "--opt-size"]).arg("--output").arg(&component);
    quietly(command)?;
    fs::read(&component).with_context(|| format!("{} can't be read", component.display()))
}
