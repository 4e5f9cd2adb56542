//! A plugin's package to a core module.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::{
    shipped::{Plugin, TARGET, Workspace, cargo},
    toolchain::Toolchain,
};

/// How a plugin is compiled: part of the digest of its sources. The profile is set here, whole, so that the
/// workspace's can change for the agent's sake.
pub(crate) const RECIPE: &str = "\
recipe 1
profile opt-level=s lto=fat codegen-units=1 panic=abort debug=false strip=none overflow-checks=false
";

const PROFILE: [(&str, &str); 10] = [
    ("OPT_LEVEL", "s"),
    ("LTO", "fat"),
    ("CODEGEN_UNITS", "1"),
    ("PANIC", "abort"),
    ("DEBUG", "false"),
    ("DEBUG_ASSERTIONS", "false"),
    ("OVERFLOW_CHECKS", "false"),
    ("INCREMENTAL", "false"),
    ("RPATH", "false"),
    // What is not wanted of a module is taken out here, whatever the linker's idea of it.
    ("STRIP", "none"),
];

/// The core module, and the folders of this machine that must not be found in it.
pub(crate) fn core_module(
    workspace: &Workspace,
    plugin: &Plugin,
    toolchain: &Toolchain,
) -> anyhow::Result<Vec<u8>> {
    let target = workspace.target.join("wasm");
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args([
        "build",
        "--locked",
        "--release",
        "--lib",
        "--target",
        TARGET,
        "--package",
        &plugin.package,
    ]);
    command.arg("--target-dir").arg(&target);
    for name in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        command.env_remove(name);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(workspace, toolchain)?.join("\u{1f}"));
    for (key, value) in PROFILE {
        command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    toolchain.apply(&mut command);
    let status = command.status().context("cargo can't be started")?;
    if !status.success() {
        bail!("{} did not compile for {TARGET}", plugin.package);
    }
    let module = target.join(TARGET).join("release").join(format!("{}.wasm", plugin.library));
    fs::read(&module).with_context(|| module.display().to_string())
}

/// Folders of this machine that a compiler might write into a module.
pub(crate) fn local_folders(workspace: &Workspace, toolchain: &Toolchain) -> anyhow::Result<Vec<PathBuf>> {
    Ok(vec![workspace.root.clone(), cargo_home()?, toolchain.std_sources.clone()])
}

fn flags(workspace: &Workspace, toolchain: &Toolchain) -> anyhow::Result<Vec<String>> {
    let mut maps = vec![
        (workspace.root.clone(), "/whimbrel".to_owned()),
        (toolchain.std_sources.clone(), "/rust".to_owned()),
    ];
    // Debian's sources of the standard library are behind a link.
    if let Ok(resolved) = fs::canonicalize(&toolchain.std_sources) {
        maps.push((resolved, "/rust".to_owned()));
    }
    let sources = cargo_home()?.join("registry/src");
    if let Ok(registries) = fs::read_dir(&sources) {
        for registry in registries {
            maps.push((
                registry.with_context(|| sources.display().to_string())?.path(),
                "/crates".to_owned(),
            ));
        }
    }
    maps.sort();
    maps.into_iter().map(|(from, to)| Ok(format!("--remap-path-prefix={}={to}", utf8(&from)?))).collect()
}

fn cargo_home() -> anyhow::Result<PathBuf> {
    let home = || env::home_dir().map(|home| home.join(".cargo"));
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .context("there is no home folder, and no CARGO_HOME")
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
