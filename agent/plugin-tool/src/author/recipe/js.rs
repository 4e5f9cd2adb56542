//! JavaScript: QuickJS, snapshotted with the plugin's sources by componentize-qjs.
//!
//! QuickJS brings imports of WASI 0.2 along that no plugin needs, and `--stub-wasi` puts traps in their place: in the
//! place of all that is named `wasi:`, the plugin's own imports with it (version 0.4.5). So the plugin's world has WASI
//! under another name, and the component's imports get the right one afterwards.

use std::fs;

use anyhow::{Context as _, bail};
use wasmparser::{Parser, Payload};

use super::{write_if_changed, write_world};
use crate::{
    assemble::WORLD,
    author::{
        project::Project,
        tools::{Needed, ToldBy, ToolError, Version, quietly},
        wasi::{self, Wasi},
    },
};

/// componentize-qjs; its version stands in the template's package.json.
pub(super) const NEEDED: Needed = Needed {
    what: "componentize-qjs 0.4.5",
    ways: &[&["componentize-qjs"]],
    variable: Some("WHIMBREL_COMPONENTIZE_QJS"),
    install: "npm install",
    version: Version { wanted: "0.4.5", or_later: false, told_by: ToldBy::Package("componentize-qjs") },
};

/// What WASI is called while the component is made: as long as the right name, so that it can be written over it.
const STAND_IN: &str = "wazi";
/// What of WASI there is for plugins, in files whose names stay as they are.
const HTTP: &str = r#"export * from "WASI:http/outgoing-handler@VERSION";
export * from "WASI:http/types@VERSION";
"#;
const FILES: &str = r#"export * from "WASI:filesystem/preopens@VERSION";
export * from "WASI:filesystem/types@VERSION";
"#;
/// Where a plugin in JavaScript begins.
const MAIN: &str = "src/plugin.js";

pub(super) fn make(project: &Project) -> anyhow::Result<Vec<u8>> {
    let tool = NEEDED.find(&project.root)?;
    let main = project.root.join(MAIN);
    if !main.is_file() {
        bail!("{} is not there: a plugin in JavaScript begins in it", main.display());
    }
    let wit = write_world(project, STAND_IN)?;
    let version = project.metadata.version.as_deref().unwrap_or_default();
    let identity = format!("export const NAME = {:?};\nexport const VERSION = {version:?};\n", project.name);
    write_if_changed(&project.build_folder().join("identity.js"), identity.as_bytes())?;
    for (wasi, name, text) in [(Wasi::Http, "wasi-http.js", HTTP), (Wasi::Files, "wasi-files.js", FILES)] {
        let text = if project.wasi.contains(&wasi) {
            text.replace("WASI", STAND_IN).replace("VERSION", wasi::VERSION)
        } else {
            missing(wasi)
        };
        write_if_changed(&project.build_folder().join(name), text.as_bytes())?;
    }
    let component = project.build_folder().join("component.wasm");
    let mut command = tool.command(&project.root);
    command.arg("--wit").arg(wit).args(["--world", WORLD]).arg("--js").arg(&main);
    command.arg("--module-root").arg(&project.root);
    command.args(["--stub-wasi", "--sync", "--opt-size"]).arg("--output").arg(&component);
    quietly(command).map_err(explained)?;
    let mut bytes = fs::read(&component).with_context(|| format!("{} can't be read", component.display()))?;
    right_name(&mut bytes).context("what componentize-qjs made is no component")?;
    Ok(bytes)
}

/// Adds what helps where a module of WASI is not found: it has another name here.
fn explained(error: ToolError) -> anyhow::Error {
    let direct = error.to_string().contains(&format!("Error resolving module '{}:", wasi::NAME));
    let error = anyhow::Error::from(error);
    if !direct {
        return error;
    }
    error.context(
        "WASI is imported from build/wasi-http.js or build/wasi-files.js, with `wasi: [http, files]` in plugin.yaml",
    )
}

/// For a plugin that uses what its plugin.yaml does not name: an error that says so, when it is built.
fn missing(wasi: Wasi) -> String {
    // The names are there, so that it is this error that is met, and not one of a missing name.
    let names = match wasi {
        Wasi::Http => "handle, Fields, OutgoingRequest, RequestOptions",
        Wasi::Files => "getDirectories",
    };
    format!(
        "export let {names};\nthrow new Error(\"this needs `wasi: [{}]` in plugin.yaml\");\n",
        wasi.name()
    )
}

/// Gives the component's own imports of WASI their name.
fn right_name(component: &mut [u8]) -> anyhow::Result<()> {
    let mut imports = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => imports.push(section.range()),
            _ => {}
        }
    }
    let (from, to) = (format!("{STAND_IN}:"), format!("{}:", wasi::NAME));
    for range in imports {
        let names = &mut component[range];
        let places: Vec<usize> = names
            .windows(from.len())
            .enumerate()
            .filter(|(_, it)| *it == from.as_bytes())
            .map(|(at, _)| at)
            .collect();
        for at in places {
            names[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_get_their_name_and_nothing_else_changes() {
        assert_eq!(STAND_IN.len(), wasi::NAME.len());
        let text = |wasi: &str| {
            format!(
                r#"(component (import "{wasi}:io/error@0.2.12" (instance))
                    (component (import "{STAND_IN}:io/poll@0.2.12" (instance)))
                    (import "{wasi}:io/streams@0.2.12" (instance)) (core module (import "{STAND_IN}:a" "" (func))))"#
            )
        };
        let mut component = wat::parse_str(text(STAND_IN)).unwrap();
        right_name(&mut component).unwrap();
        assert_eq!(component, wat::parse_str(text(wasi::NAME)).unwrap());
    }
}
