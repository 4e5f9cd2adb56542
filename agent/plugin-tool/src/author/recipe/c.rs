//! C: zig's clang with its libc for WASI, or any clang with a sysroot; bindings by wit-bindgen.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use wit_bindgen_core::Files;

use super::write_if_changed;
use crate::{
    assemble::{WORLD, contract},
    author::{
        project::Project,
        tools::{Needed, ToldBy, Version, quietly},
        wasi,
    },
};

/// The compiler.
pub(super) const NEEDED: Needed = Needed {
    what: "a C compiler for WebAssembly (zig 0.17.0)",
    ways: &[&["zig", "cc"], &["python-zig", "cc"]],
    variable: Some("WHIMBREL_WASM_CC"),
    install: "python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.0",
    version: Version { wanted: "0.17.0", or_later: false, told_by: ToldBy::Arguments(&["version"]) },
};

/// As small as it gets, one translation unit for the linker, no `main`.
const FLAGS: [&str; 8] = [
    "--target=wasm32-wasi",
    "-std=c17",
    "-Os",
    "-flto",
    "-mexec-model=reactor",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
];

pub(super) fn make(project: &Project) -> anyhow::Result<Vec<u8>> {
    let compiler = NEEDED.find(&project.root)?;
    let bindings = project.build_folder().join("bindings");
    write_bindings(&bindings)?;
    let mut sources = sources(&project.root.join("src"))?;
    if sources.is_empty() {
        bail!("{} has no .c file", project.root.join("src").display());
    }
    sources.push(bindings.join("collector.c"));
    let module = project.build_folder().join("module.wasm");
    let mut command = compiler.command(&project.root);
    let version = project.metadata.version.as_deref().unwrap_or_default();
    command.arg(format!("-DPLUGIN_NAME={:?}", project.name)).arg(format!("-DPLUGIN_VERSION={version:?}"));
    command.args(FLAGS).arg("-I").arg(&bindings).arg("-I").arg(project.root.join("src"));
    command.args(sources).arg(bindings.join("collector_component_type.o")).arg("-o").arg(&module);
    let said = quietly(command)?;
    if !said.trim().is_empty() {
        tell(&said);
    }
    let mut bytes = fs::read(&module).with_context(|| format!("{} can't be read", module.display()))?;
    // What whimbrel_outside.c calls, by its names in the canonical ABI; what is not called is not imported.
    let (resolve, world) = wasi::beside()?;
    wit_component::embed_component_metadata(
        &mut bytes,
        &resolve,
        world,
        wit_component::StringEncoding::UTF8,
    )?;
    Ok(bytes)
}

/// Warnings of a build that went well.
fn tell(said: &str) {
    use std::io::Write as _;
    // If even this can't be written there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{}", said.trim_end());
}

fn write_bindings(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let (mut resolve, world) = contract(WORLD)?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    for (name, bytes) in files.iter() {
        write_if_changed(&folder.join(name), bytes)?;
    }
    Ok(())
}

/// All C files of a folder and those below it.
fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "c") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
