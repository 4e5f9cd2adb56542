//! One digest of all that decides what a component is, but for the compiler.
//!
//! SHA-256 over a text of lines, in this order: the recipe, the package's facts, the packages of registries (name,
//! version, checksum, features), the files of this workspace that go in (path, SHA-256): the contract and every
//! folder the plugin is linked from, without tests, benchmarks and prose.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::{
    compile::RECIPE,
    shipped::{Ingredient, Plugin, Workspace},
};

/// The contract that components are made against.
const CONTRACT: &str = "wit/v0.1";

/// Folders of a package that a component has nothing of.
const NOT_SOURCES: [&str; 5] = ["tests", "benches", "examples", "fuzz", "target"];

/// 64 hexadecimal digits.
pub(crate) fn digest(workspace: &Workspace, plugin: &Plugin) -> anyhow::Result<String> {
    let mut text = String::from(RECIPE);
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!("package {}", plugin.package));
    plugin.facts.iter().cloned().for_each(&mut line);
    let mut folders = vec![PathBuf::from(CONTRACT)];
    for ingredient in workspace.ingredients(plugin)? {
        match ingredient {
            Ingredient::Folder(folder) => folders.push(folder),
            Ingredient::Package(package) => line(package),
        }
    }
    let mut files = Vec::new();
    for folder in folders {
        list(&workspace.root, &folder, &mut files)?;
    }
    files.sort();
    for file in files {
        let bytes = fs::read(workspace.root.join(&file)).with_context(|| file.display().to_string())?;
        // The same on a system with other separators.
        let path = file.to_string_lossy().replace('\\', "/");
        line(format!("{path} {}", sha256(&bytes)));
    }
    Ok(sha256(text.as_bytes()))
}

/// 64 hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds the files of a folder, relative to the workspace.
fn list(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let path = root.join(folder);
    for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
        let entry = entry.with_context(|| path.display().to_string())?;
        let name = entry.file_name();
        let relative = folder.join(&name);
        let name = name.to_string_lossy();
        if entry.file_type().with_context(|| relative.display().to_string())?.is_dir() {
            // A package within the folder is an ingredient of its own, or none.
            let package = entry.path().join("Cargo.toml").exists();
            if !NOT_SOURCES.contains(&&*name) && !name.starts_with('.') && !package {
                list(root, &relative, files)?;
            }
        } else if !name.ends_with(".md") && !name.starts_with('.') {
            files.push(relative);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_count_and_tests_and_prose_do_not() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "p/Cargo.toml",
            "p/src/lib.rs",
            "p/src/deep/er.rs",
            "p/schema.json",
            "p/README.md",
            "p/tests/golden.bin",
            "p/benches/b.rs",
            "p/inner/Cargo.toml",
            "p/inner/src/lib.rs",
            "p/.hidden",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let mut files = Vec::new();
        list(root.path(), Path::new("p"), &mut files).unwrap();
        files.sort();
        let expected = ["p/Cargo.toml", "p/schema.json", "p/src/deep/er.rs", "p/src/lib.rs"];
        assert_eq!(files, expected.map(PathBuf::from));
    }

    #[test]
    fn a_digest_is_the_same_twice_and_another_for_another_plugin() {
        let workspace = Workspace::find().unwrap();
        let plugins = workspace.plugins(&[]).unwrap();
        let first = digest(&workspace, &plugins[0]).unwrap();
        assert_eq!(first, digest(&workspace, &plugins[0]).unwrap());
        assert_ne!(first, digest(&workspace, &plugins[1]).unwrap());
        assert_eq!(first.len(), 64);
    }
}
