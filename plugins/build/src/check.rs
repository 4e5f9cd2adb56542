//! Whether what is committed is what the sources say.

use std::fs;

use anyhow::{Context as _, bail};

use crate::{
    component::{self, Tool},
    lock::{Lock, Record},
    say,
    shipped::{Plugin, Workspace},
    sources::{self, sha256},
    toolchain::Toolchain,
};

/// Says all that differs, and then fails.
pub(crate) fn run(only: &[String], rebuild: bool) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    let lock_file = workspace.lock();
    let lock = Lock::read(&lock_file)?.with_context(|| {
        format!("{} is not there; `cargo run -p whimbrel-plugins-build` makes it", lock_file.display())
    })?;
    let plugins = workspace.plugins(only)?;
    let mut problems = committed(&workspace, &plugins, &lock)?;
    if only.is_empty() {
        let shipped = |record: &&Record| plugins.iter().any(|plugin| plugin.name == record.name);
        for record in lock.components.iter().filter(|record| !shipped(record)) {
            problems.push(format!("{}: is in components.lock, and no such plugin ships", record.name));
        }
    }
    // A stale component differs from a new one anyway.
    if rebuild && problems.is_empty() {
        let toolchain = Toolchain::find(&workspace)?;
        let tool = Tool::build(&workspace)?;
        for plugin in &plugins {
            problems.extend(rebuilt(&workspace, plugin, &lock, &toolchain, &tool)?);
        }
    }
    for problem in &problems {
        say(problem);
    }
    match problems.len() {
        0 => Ok(()),
        _ => bail!(
            "the committed components are not those of the sources; \
             `cargo run -p whimbrel-plugins-build` builds them anew, and then they want to be committed"
        ),
    }
}

/// Compares digests: of sources and of components.
fn committed(workspace: &Workspace, plugins: &[Plugin], lock: &Lock) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for plugin in plugins {
        let name = &plugin.name;
        let Some(record) = lock.get(name) else {
            problems.push(format!("{name}: is not in components.lock"));
            continue;
        };
        if sources::digest(workspace, plugin)? != record.sources {
            problems.push(format!("{name}: its sources have changed since the component was built"));
        }
        let path = workspace.components().join(format!("{name}.wasm"));
        match fs::read(&path) {
            Ok(bytes) if sha256(&bytes) == record.sha256 => {}
            Ok(_) => problems.push(format!("{name}: {} is not the component that was built", path.display())),
            Err(error) => problems.push(format!("{name}: {}: {error}", path.display())),
        }
    }
    Ok(problems)
}

/// Builds a plugin again, beside the committed one.
fn rebuilt(
    workspace: &Workspace,
    plugin: &Plugin,
    lock: &Lock,
    toolchain: &Toolchain,
    tool: &Tool,
) -> anyhow::Result<Vec<String>> {
    let name = &plugin.name;
    let record = lock.get(name).with_context(|| format!("{name} is not in components.lock"))?;
    let component = component::make(workspace, plugin, toolchain, tool)?;
    let path = workspace.target.join("wasm/components").join(format!("{name}.wasm"));
    component::write(&path, &component)?;
    let mut problems = Vec::new();
    if tool.describe(&path)? != record.description {
        problems.push(format!(
            "{name}: built again, it imports, exports or says of itself something else; compare {} with `whimbrel-plugin inspect`",
            path.display()
        ));
    }
    if toolchain.id != record.toolchain {
        say(&format!(
            "{name}: built with another compiler than the committed one, so that bytes are not compared\n  committed: {}\n  here:      {}",
            record.toolchain, toolchain.id
        ));
    } else if sha256(&component) != record.sha256 {
        problems.push(format!(
            "{name}: built again with the same compiler, it has other bytes: {}",
            path.display()
        ));
    } else {
        say(&format!("{name}: built again, byte for byte the same"));
    }
    Ok(problems)
}
