//! Rust: cargo, for wasm32-unknown-unknown, with the SDK.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::author::{
    project::Project,
    tools::{Needed, aloud},
};

const TARGET: &str = "wasm32-unknown-unknown";
/// Has cargo build the standard library along, where the target's is not installed.
const BUILD_STD: &str = "CARGO_UNSTABLE_BUILD_STD";
const INSTALL_TARGET: &str = "rustup target add wasm32-unknown-unknown";

const CARGO: Needed = Needed {
    what: "Rust's cargo",
    ways: &[&["cargo"]],
    variable: Some("CARGO"),
    install: "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- --target wasm32-unknown-unknown",
};

pub(super) fn make(project: &Project) -> anyhow::Result<Vec<u8>> {
    let cargo = CARGO.find(&project.root)?;
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

/// The command that adds the target, if it is missing.
pub(super) fn preparation() -> Option<&'static str> {
    if CARGO.find(std::path::Path::new(".")).is_err() {
        return Some(CARGO.install);
    }
    (!has_target()).then_some(INSTALL_TARGET)
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
