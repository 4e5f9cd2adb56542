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

use super::{
    language::Language,
    project::Project,
    tools::{Needed, Preparation},
    wasi,
};

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

/// What builds a plugin in this language.
pub(crate) fn needed(language: Language) -> &'static Needed {
    match language {
        Language::Rust => &rust::CARGO,
        Language::C => &c::NEEDED,
        Language::Go => &go::NEEDED,
        Language::Js => &js::NEEDED,
        Language::Python => &python::NEEDED,
    }
}

/// The same in words.
pub(crate) fn builder(language: Language) -> &'static str {
    needed(language).what
}

/// What gets a new plugin's packages or tools, if they are not there yet, or in another version.
pub(crate) fn preparation(language: Language, folder: &Path) -> Option<Preparation> {
    match language {
        Language::Rust => rust::preparation(folder),
        Language::C => c::NEEDED.preparation(folder),
        Language::Go => go::NEEDED.preparation(folder),
        Language::Js => js::NEEDED.preparation(folder),
        Language::Python => python::NEEDED.preparation(folder),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::template;

    /// The versions stand in the templates too, where the languages' own tools read them.
    #[test]
    fn templates_name_the_versions_that_are_asked_for() {
        let named = |language, file: &str, text: &str| {
            let files = template::files(language, "x");
            let (_, bytes) = files.iter().find(|(path, _)| path == Path::new(file)).unwrap();
            let content = String::from_utf8_lossy(bytes);
            assert!(content.contains(text), "{file}: {text:?} is not in:\n{content}");
        };
        named(
            Language::Js,
            "package.json",
            &format!("\"componentize-qjs\": \"{}\"", js::NEEDED.version.wanted),
        );
        named(
            Language::Python,
            "requirements.txt",
            &format!("componentize-py=={}", python::NEEDED.version.wanted),
        );
        named(Language::Go, "go.mod", &format!("\ngo {}\n", go::NEEDED.version.wanted));
        named(
            Language::Rust,
            "sdk/Cargo.toml",
            &format!("rust-version = \"{}\"", rust::CARGO.version.wanted),
        );
        named(Language::C, "README.md", c::NEEDED.install);
        let all: [&Needed; 5] = [&rust::CARGO, &c::NEEDED, &go::NEEDED, &js::NEEDED, &python::NEEDED];
        for needed in all {
            assert!(needed.what.contains(needed.version.wanted), "{}", needed.what);
        }
    }
}
