//! A plugin's folder, as its `plugin.yaml` describes it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{language::Language, wasi::Wasi};
use crate::assemble::Metadata;

/// The file that makes a folder a plugin's.
pub(crate) const MANIFEST: &str = "plugin.yaml";
/// Where everything that is made goes.
const BUILD: &str = "build";
/// Where the schema of the configuration is, unless `plugin.yaml` says otherwise.
const SCHEMA: &str = "config.schema.json";

/// A plugin's folder.
#[derive(Debug)]
pub(crate) struct Project {
    /// Absolute.
    pub(crate) root: PathBuf,
    pub(crate) name: String,
    pub(crate) language: Language,
    pub(crate) metadata: Metadata,
    /// What it uses beyond the contract, where that must be known before it is built.
    pub(crate) wasi: Vec<Wasi>,
    /// The JSON Schema of the configuration; `None` where there is none.
    pub(crate) config_schema: Option<PathBuf>,
}

/// The folder is no plugin's.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum ProjectError {
    #[error(
        "{} is not there: this is no plugin's folder; make one with `whimbrel plugin new NAME --lang LANGUAGE`, or name it with --dir",
        path.display()
    )]
    NoManifest { path: PathBuf },
    #[error("{} can't be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not as it should be: {detail}", path.display())]
    Manifest { path: PathBuf, detail: String },
    #[error("{}: `config_schema: {named}` names no file", path.display())]
    NoSchema { path: PathBuf, named: String },
    #[error("{}: `wasi:` is for JavaScript and Python; in {language}, what is called is imported: leave it out", path.display())]
    Wasi { path: PathBuf, language: Language },
    #[error(
        "{name:?} is no name for a plugin: give 1 to 64 lower-case letters, digits and hyphens, beginning with a letter"
    )]
    Name { name: String },
}

/// `plugin.yaml` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    language: Language,
    version: Option<String>,
    description: Option<String>,
    authors: Option<String>,
    licenses: Option<String>,
    source: Option<String>,
    homepage: Option<String>,
    revision: Option<String>,
    config_schema: Option<String>,
    #[serde(default)]
    wasi: Vec<Wasi>,
}

impl Project {
    /// Reads the folder's `plugin.yaml`.
    ///
    /// # Errors
    /// [`ProjectError`]: there is none, or it is not as it should be.
    pub(crate) fn open(folder: &Path) -> Result<Project, ProjectError> {
        let root = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let path = root.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ProjectError::NoManifest { path });
            }
            Err(source) => return Err(ProjectError::Read { path, source }),
        };
        let manifest: Manifest = serde_yaml::from_str(&text).map_err(|error| {
            // With the lines around it the same is said twice.
            ProjectError::Manifest { path: path.clone(), detail: error.without_snippet().to_string() }
        })?;
        check_name(&manifest.name)?;
        let config_schema = match &manifest.config_schema {
            None => Some(root.join(SCHEMA)).filter(|schema| schema.is_file()),
            Some(named) if root.join(named).is_file() => Some(root.join(named)),
            Some(named) => return Err(ProjectError::NoSchema { path, named: named.clone() }),
        };
        if !manifest.wasi.is_empty() && !matches!(manifest.language, Language::Js | Language::Python) {
            return Err(ProjectError::Wasi { path, language: manifest.language });
        }
        // A field that the template leaves open says nothing.
        let said = |field: Option<String>| field.filter(|text| !text.trim().is_empty());
        Ok(Project {
            root,
            name: manifest.name.clone(),
            language: manifest.language,
            metadata: Metadata {
                name: Some(manifest.name),
                version: said(manifest.version),
                description: said(manifest.description),
                authors: said(manifest.authors),
                licenses: said(manifest.licenses),
                source: said(manifest.source),
                homepage: said(manifest.homepage),
                revision: said(manifest.revision),
            },
            wasi: manifest.wasi,
            config_schema,
        })
    }

    /// Where everything that is made goes.
    pub(crate) fn build_folder(&self) -> PathBuf {
        self.root.join(BUILD)
    }

    /// The component.
    pub(crate) fn component(&self) -> PathBuf {
        self.build_folder().join(format!("{}.wasm", self.name))
    }
}

/// A name becomes a folder, a file, a crate, a package and a part of a metric's name.
///
/// # Errors
/// It is no such name.
pub(crate) fn check_name(name: &str) -> Result<(), ProjectError> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(known)
        && !name.ends_with('-')
        && !name.contains("--");
    if fits { Ok(()) } else { Err(ProjectError::Name { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(text: &str) -> Result<Project, ProjectError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), text).unwrap();
        Project::open(folder.path())
    }

    #[test]
    fn a_manifest_says_who_the_plugin_is_and_empty_is_nothing() {
        let project = project("name: queue-depth\nlanguage: js\nversion: 1.2.3\nsource: \"\"\n").unwrap();
        assert_eq!((project.name.as_str(), project.language), ("queue-depth", Language::Js));
        assert_eq!(project.metadata.version.as_deref(), Some("1.2.3"));
        assert_eq!(project.metadata.source, None);
        assert_eq!(project.config_schema, None);
        assert!(project.component().ends_with("build/queue-depth.wasm"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("name: a\nlanguage: cobol\n", "cobol"),
            ("name: a\nlanguage: c\nlicense: MIT\n", "license"),
            ("language: c\n", "name"),
            ("name: a\nlanguage: c\nwasi: [http]\n", "in c, what is called is imported"),
            ("name: a\nlanguage: js\nwasi: [sockets]\n", "sockets"),
            ("name: A b\nlanguage: c\n", "no name for a plugin"),
            ("name: a\nlanguage: c\nconfig_schema: x.json\n", "`config_schema: x.json` names no file"),
        ] {
            let error = project(text).unwrap_err().to_string();
            assert!(error.contains(part), "{part:?} is not in: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let unknown = project("name: a\nlanguage: c\nlicense: MIT\n").unwrap_err().to_string();
        assert!(unknown.contains("line 3") && unknown.matches("`license`").count() == 1, "{unknown}");
        let nowhere = Project::open(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(
            nowhere.contains("/nowhere/plugin.yaml is not there") && nowhere.contains("plugin new"),
            "{nowhere}"
        );
    }

    #[test]
    fn names_that_a_file_or_a_crate_could_not_bear_are_refused() {
        for name in ["", "1st", "a/b", "..", "a--b", "a-", "Ä", "a_b", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["a", "queue-depth", "x2"] {
            check_name(name).unwrap();
        }
    }
}
