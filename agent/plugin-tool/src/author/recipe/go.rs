//! Go: the standard compiler for wasip1, as a library, with an adapter that answers what Go's runtime asks of WASI.

use std::fs;

use anyhow::Context as _;

use crate::author::{
    project::Project,
    tools::{Needed, ToldBy, Version, quietly},
    wasi::{self, Wasi},
};

/// The compiler.
pub(super) const NEEDED: Needed = Needed {
    what: "Go 1.24 or later",
    ways: &[&["go"]],
    variable: None,
    install: "https://go.dev/dl",
    version: Version { wanted: "1.24", or_later: true, told_by: ToldBy::Arguments(&["env", "GOVERSION"]) },
};

pub(super) fn make(project: &Project) -> anyhow::Result<Vec<u8>> {
    let go = NEEDED.find(&project.root)?;
    // An old one says of wasip1, or of the template's go.mod, what nobody understands.
    NEEDED.check_age(&go, &project.root)?;
    let module = project.build_folder().join("module.wasm");
    let mut command = go.command(&project.root);
    command
        .args(["build", "-buildmode=c-shared", "-trimpath"])
        .arg(format!("-ldflags={}", link_flags(project)?));
    command.arg("-o").arg(&module).arg("./src");
    command.env("GOOS", "wasip1").env("GOARCH", "wasm");
    quietly(command)?;
    let mut bytes = fs::read(&module).with_context(|| format!("{} can't be read", module.display()))?;
    let (resolve, world) = wasi::resolve(&Wasi::ALL)?;
    wit_component::embed_component_metadata(
        &mut bytes,
        &resolve,
        world,
        wit_component::StringEncoding::UTF8,
    )?;
    Ok(bytes)
}

/// Small, and with who the plugin is.
fn link_flags(project: &Project) -> anyhow::Result<String> {
    let path = project.root.join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))?;
    let module = text.lines().find_map(|line| line.strip_prefix("module ")).map(str::trim);
    let module = module.with_context(|| format!("{} names no module", path.display()))?;
    let version = project.metadata.version.as_deref().unwrap_or_default();
    // Quoted, because a version may be of any letters.
    let set = |name: &str, value: &str| format!("-X '{module}/whimbrel.{name}={}'", value.replace('\'', ""));
    Ok(format!("-s -w {} {}", set("pluginName", &project.name), set("pluginVersion", version)))
}
