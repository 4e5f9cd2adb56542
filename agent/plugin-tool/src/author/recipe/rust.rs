//! Rust: cargo, for wasm32-unknown-unknown, with the SDK.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::author::{
    project::Project,
    tools::{Needed, Preparation, ToldBy, Version, aloud},
};

const TARGET: &str = "wasm32-unknown-unknown";
/// Has cargo build the standard library along, where the target's is not installed.
const BUILD_STD: &str = "CARGO_UNSTABLE_BUILD_STD";
const INSTALL_TARGET: &str = "rustup target add wasm32-unknown-unknown";

pub(super) const CARGO: Needed = Needed {
    what: "cargo of Rust 1.95 or later",
    ways: &[&["cargo"]],
    variable: Some("CARGO"),
    install: "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- --target wasm32-unknown-unknown",
    // The SDK says so in its Cargo.toml.
    version: Version { wanted: "1.95", or_later: true, told_by: ToldBy::Arguments(&["--version"]) },
};

pub(super) fn make(project: &Project) -> anyhow::Result<Vec<u8>> {
    let cargo = CARGO.find(&project.root)?;
    CARGO.check_age(&cargo, &project.root)?;
    if !has_target() {
        bail!(
            "Rust's standard library for WebAssembly is missing; install it with\n\n    {INSTALL_TARGET}\n"
        );
    }
    let mut command = cargo.command(&project.root);
    command.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    let messages = aloud(command)?;
    let module = module(&messages).with_context(|| {
        format!(
            "cargo made no module; in {}, [lib] needs crate-type = [\"cdylib\"]",
            project.root.join("Cargo.toml").display()
        )
    })?;
    fs::read(&module).with_context(|| format!("{} can't be read", module.display()))
}

/// Rust itself, or the target, if it is missing.
pub(super) fn preparation(folder: &Path) -> Option<Preparation> {
    CARGO
        .preparation(folder)
        .or_else(|| (!has_target()).then(|| Preparation { step: INSTALL_TARGET.to_owned(), note: None }))
}

fn has_target() -> bool {
    if env::var_os(BUILD_STD).is_some() {
        return true;
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let printed = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    printed.is_ok_and(|printed| PathBuf::from(String::from_utf8_lossy(&printed.stdout).trim()).is_dir())
}

/// The last module that cargo says it made: that of the plugin, its dependencies come before it.
fn module(messages: &str) -> Option<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut files =
        artifacts.filter(|message| message["reason"] == "compiler-artifact").flat_map(|message| {
            let names = message["filenames"].as_array().cloned().unwrap_or_default();
            names.into_iter().filter_map(|name| name.as_str().map(PathBuf::from)).collect::<Vec<_>>()
        });
    files.rfind(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_in_what_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","filenames":["/t/libserde.rlib"]}
not json
{"reason":"compiler-artifact","filenames":["/t/release/queue_depth.wasm"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(module(messages), Some(PathBuf::from("/t/release/queue_depth.wasm")));
        assert_eq!(module("{}"), None);
    }
}
