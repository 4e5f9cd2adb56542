//! The templates and the Rust SDK, as they were when this program was built.
//!
//! A template is a plugin that works, named `my-plugin`; a new one is it, under another name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::language::Language;

/// Path from `plugin-sdk/templates`, content.
const TEMPLATES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));
/// The SDK as a workspace of its own: path, content.
const SDK: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
/// What every template has beside its own.
const COMMON: &str = "common";
/// The folder of the SDK in a plugin's.
const SDK_FOLDER: &str = "sdk";

/// The files of a new plugin, by their path in its folder.
pub(crate) fn files(language: Language, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for folder in [COMMON, language.name()] {
        let of = TEMPLATES
            .iter()
            .filter_map(|(path, bytes)| Some((path.strip_prefix(folder)?.strip_prefix('/')?, bytes)));
        for (path, bytes) in of {
            // A file of the language's own goes before the common one.
            let path = PathBuf::from(renamed(path.strip_suffix(".in").unwrap_or(path), name));
            files.retain(|(other, _)| *other != path);
            files.push((path, rewritten(bytes, name)));
        }
    }
    if language == Language::Rust {
        files.extend(SDK.iter().map(|(path, bytes)| (Path::new(SDK_FOLDER).join(path), bytes.to_vec())));
    }
    files
}

fn rewritten(bytes: &[u8], name: &str) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) => renamed(text, name).into_bytes(),
        Err(_) => bytes.to_vec(),
    }
}

/// `my-plugin`, `my_plugin` and `MyPlugin`, after the plugin.
fn renamed(text: &str, name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    let camel: String = name.split('-').map(capital).collect();
    text.replace("my-plugin", name).replace("my_plugin", &name.replace('-', "_")).replace("MyPlugin", &camel)
}

/// Writes the files into a folder that is made, or is empty.
///
/// # Errors
/// The folder has something in it, or can't be written to.
pub(crate) fn write(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if fs::read_dir(folder)?.next().is_some() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something in it already"));
    }
    for (path, bytes) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_plugin_bears_its_name_everywhere() {
        for language in [Language::Rust, Language::C, Language::Go, Language::Js, Language::Python] {
            let files = files(language, "queue-depth");
            for needed in
                ["plugin.yaml", "README.md", "whimbrel.yaml", "config.schema.json", "tests/default.yaml"]
            {
                assert!(
                    files.iter().any(|(path, _)| path == Path::new(needed)),
                    "{language}: {needed} is missing"
                );
            }
            for (path, bytes) in &files {
                let text = String::from_utf8_lossy(bytes);
                for old in ["my-plugin", "my_plugin", "MyPlugin"] {
                    assert!(!text.contains(old), "{language}: {old} stands in {}", path.display());
                }
            }
            let manifest = files.iter().find(|(path, _)| path == Path::new("plugin.yaml")).unwrap();
            let text = String::from_utf8_lossy(&manifest.1);
            assert!(
                text.contains("name: queue-depth") && text.contains(&format!("language: {language}")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_folder_that_is_in_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "").unwrap();
        let error = write(folder.path(), &files(Language::C, "a")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
