//! A core module to a component, with the program that plugin authors use.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{
    compile::{core_module, local_folders},
    shipped::{Plugin, Workspace, cargo, output},
    toolchain::Toolchain,
};

/// `whimbrel-plugin`.
#[derive(Debug)]
pub(crate) struct Tool {
    path: PathBuf,
}

impl Tool {
    /// The one that `WHIMBREL_PLUGIN_TOOL` names, or the workspace's own, built.
    pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<Self> {
        if let Some(path) = env::var_os("WHIMBREL_PLUGIN_TOOL") {
            return Ok(Self { path: path.into() });
        }
        let mut command = cargo();
        command.current_dir(&workspace.root).args(["build", "--quiet", "--package", "whimbrel-plugin"]);
        let status = command.status().context("cargo can't be started")?;
        if !status.success() {
            bail!("whimbrel-plugin did not compile");
        }
        Ok(Self {
            path: workspace.target.join("debug").join(format!("whimbrel-plugin{}", env::consts::EXE_SUFFIX)),
        })
    }

    /// What a component says of itself and asks for, without what changes with every build of it.
    pub(crate) fn describe(&self, component: &Path) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.path);
        command.args(["inspect", "--json"]).arg(component);
        let mut description: Value =
            serde_json::from_str(&output(command)?).context("what whimbrel-plugin inspect says")?;
        let fields = description.as_object_mut().context("whimbrel-plugin inspect says no JSON object")?;
        // The file, where it lies, and what else is not of the sources.
        fields.retain(|key, _| !["sha256", "size", "file", "plugin", "pinned"].contains(&key.as_str()));
        if let Some(identity) = fields.get_mut("identity").and_then(Value::as_object_mut) {
            identity.remove("made_with");
        }
        Ok(description)
    }

    fn component(&self, folder: &Path, module: &[u8]) -> anyhow::Result<Vec<u8>> {
        let path = folder.join("module.wasm");
        fs::write(&path, module).with_context(|| path.display().to_string())?;
        let made = folder.join("component.wasm");
        let mut command = Command::new(&self.path);
        command.args(["component", "--strip"]).arg(&path).arg("-o").arg(&made);
        output(command)?;
        fs::read(&made).with_context(|| made.display().to_string())
    }
}

/// Builds a plugin's component.
pub(crate) fn make(
    workspace: &Workspace,
    plugin: &Plugin,
    toolchain: &Toolchain,
    tool: &Tool,
) -> anyhow::Result<Vec<u8>> {
    let module = core_module(workspace, plugin, toolchain)?;
    let folder = workspace.target.join("wasm/components").join(&plugin.name);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let component = tool.component(&folder, &module).with_context(|| plugin.name.clone())?;
    for local in local_folders(workspace, toolchain)? {
        if let Some(trace) = trace_of(&local, &component) {
            bail!("the component {} tells where it was built: {trace}", plugin.name);
        }
    }
    Ok(component)
}

/// Whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes).with_context(|| new.display().to_string())?;
    fs::rename(&new, path).with_context(|| path.display().to_string())
}

/// The path, with what follows it, if it stands in the bytes.
fn trace_of(folder: &Path, bytes: &[u8]) -> Option<String> {
    let needle = folder.as_os_str().as_encoded_bytes();
    let at = bytes.windows(needle.len()).position(|window| window == needle)?;
    let end = bytes[at..].iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(bytes.len() - at);
    Some(String::from_utf8_lossy(&bytes[at..at + end.min(120)]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_this_machine_is_found_wherever_it_stands() {
        let bytes = b"\0\x01/home/me/w/src/lib.rs\0more";
        assert_eq!(trace_of(Path::new("/home/me/w"), bytes).as_deref(), Some("/home/me/w/src/lib.rs"));
        assert_eq!(trace_of(Path::new("/home/you"), bytes), None);
    }
}
