//! One recipe a language: what it takes to get from sources to a core module or a component.
//!
//! A recipe makes nothing but files below the plugin's `build/` (and what the language's own tools keep for
//! themselves, such as `target/`). The tools' versions stand here, once, in the commands that install them.

mod c;
mod go;
mod js;
mod preview1;
mod python;
mod rust;

use std::{fs, path::Path};

use anyhow::Context as _;

use super::{language::Language, project::Project, wasi};

/// Builds the plugin's core module or component.
///
/// # Errors
/// A tool is missing, with the command that installs it; or the sources do not build: the tool's own words are in
/// the error, or went to stderr.
pub(crate) fn make(project: &Project) -> anyhow::Result<Vec<u8>> {
    match project.language {
        Language::Rust => rust::make(project),
        Language::C => c::make(project),
        Language::Go => go::make(project),
        Language::Js => js::make(project),
        Language::Python => python::make(project),
    }
}

/// What stands in for imports that are no part of the contract, by module name.
///
/// # Errors
/// An adapter can't be made.
pub(crate) fn adapters(language: Language) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    match language {
        Language::C | Language::Go => Ok(vec![("wasi_snapshot_preview1".to_owned(), preview1::adapter()?)]),
        Language::Rust | Language::Js | Language::Python => Ok(Vec::new()),
    }
}

/// The command that gets a new plugin's packages or tools, if they are not there yet.
pub(crate) fn preparation(language: Language, folder: &Path) -> Option<&'static str> {
    match language {
        Language::Rust => rust::preparation(),
        Language::C => c::NEEDED.find(folder).is_err().then_some(c::NEEDED.install),
        Language::Go => go::NEEDED.find(folder).is_err().then_some(go::NEEDED.install),
        Language::Js => js::NEEDED.find(folder).is_err().then_some(js::NEEDED.install),
        Language::Python => python::NEEDED.find(folder).is_err().then_some(python::NEEDED.install),
    }
}

/// Writes the world, with WASI under this name, below the build folder, for tools that read WIT.
fn write_world(project: &Project, wasi: &str) -> anyhow::Result<std::path::PathBuf> {
    let folder = project.build_folder().join("wit");
    // What a build with another world left would be read as well.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("{} can't be removed", folder.display()))?;
    }
    for (name, text) in wasi::files(&project.wasi, wasi) {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).with_context(|| format!("{} can't be made", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(folder)
}

/// Leaves a file alone that is as it should be, so that incremental tools see no change.
fn write_if_changed(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("{} can't be written", path.display()))
}
