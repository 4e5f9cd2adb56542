//! Which plugins ship, and what each is made of.
//!
//! A shipped plugin is a package of this workspace in a folder of `plugins/` that compiles to a `cdylib`; its name
//! is the folder's.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// The one target that plugins in Rust are compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// This workspace, as cargo sees it.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    packages: Vec<Package>,
    /// The checksums of `Cargo.lock`, by name and version.
    checksums: BTreeMap<(String, String), String>,
}

/// A shipped plugin.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    /// Such as `host`.
    pub(crate) name: String,
    /// Such as `whimbrel-collector-host`.
    pub(crate) package: String,
    /// The stem of the core module's file.
    pub(crate) library: String,
    /// What cargo hands to the compiler of the package's description, one line each.
    pub(crate) facts: Vec<String>,
}

/// What a plugin is linked from, or built with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ingredient {
    /// A folder of this workspace, relative to its root.
    Folder(PathBuf),
    /// A package of a registry: name, version, checksum and features on one line.
    Package(String),
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    edition: String,
    authors: Vec<String>,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version=1"]);
        // Set by `cargo run` and `cargo test`; called by hand, it is the workspace one stands in.
        if let Some(folder) = env::var_os("CARGO_MANIFEST_DIR") {
            command.current_dir(folder);
        }
        let metadata: Metadata =
            serde_json::from_str(&output(command)?).context("what cargo metadata says")?;
        let lock = metadata.workspace_root.join("Cargo.lock");
        let lock = fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            packages: metadata.packages,
            checksums: checksums(&lock),
        })
    }

    /// Where components are kept.
    pub(crate) fn components(&self) -> PathBuf {
        self.root.join("plugins/components")
    }

    /// What was made of what.
    pub(crate) fn lock(&self) -> PathBuf {
        self.components().join("components.lock")
    }

    /// The shipped plugins, by name; all, or only these.
    pub(crate) fn plugins(&self, only: &[String]) -> anyhow::Result<Vec<Plugin>> {
        let plugins = self.root.join("plugins");
        let mut found = Vec::new();
        for package in &self.packages {
            let library =
                package.targets.iter().find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"));
            let folder = package.manifest_path.parent();
            if let Some(library) = library
                && let Some(folder) = folder
                && folder.parent() == Some(&plugins)
                && let Some(name) = folder.file_name().and_then(OsStr::to_str)
            {
                found.push(Plugin {
                    name: name.to_owned(),
                    package: package.name.clone(),
                    library: library.name.replace('-', "_"),
                    facts: package.facts(),
                });
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let names: Vec<_> = found.iter().map(|plugin| plugin.name.clone()).collect();
        if let Some(unknown) = only.iter().find(|name| !names.contains(name)) {
            bail!("no plugin {unknown} ships; those that do: {}", names.join(", "));
        }
        found.retain(|plugin| only.is_empty() || only.contains(&plugin.name));
        Ok(found)
    }

    /// All that goes into a plugin, ordered. Features are those of this plugin alone, whatever the agent needs.
    pub(crate) fn ingredients(&self, plugin: &Plugin) -> anyhow::Result<Vec<Ingredient>> {
        let mut found = Vec::new();
        for line in self.tree(&plugin.package, &["--target", TARGET, "-e", "normal,build"])?.lines() {
            found.push(self.ingredient(line).with_context(|| format!("cargo tree says {line:?}"))?);
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The version of `dependency` that `package` uses.
    pub(crate) fn version_of(&self, dependency: &str, package: &str) -> anyhow::Result<String> {
        let tree = self.tree(package, &["--depth", "1", "-e", "normal"])?;
        let version = tree.lines().find_map(|line| line.strip_prefix(dependency)?.strip_prefix(" v"));
        let version = version.and_then(|rest| rest.split(' ').next());
        version.map(str::to_owned).with_context(|| format!("{package} does not depend on {dependency}"))
    }

    fn tree(&self, package: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = cargo();
        command.current_dir(&self.root).args(["tree", "--locked", "--package", package]);
        command.args(["--prefix", "none", "--no-dedupe", "--format", "{p} [{f}]"]).args(arguments);
        output(command)
    }

    /// `name v1.2.3 (proc-macro) (/a/path) [features]`, with or without what stands in parentheses.
    fn ingredient(&self, line: &str) -> Option<Ingredient> {
        let (package, features) = line.strip_suffix(']')?.rsplit_once(" [")?;
        let folder = package.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")).map(|(_, last)| last);
        if let Some(folder) = folder.filter(|folder| Path::new(folder).is_absolute()) {
            return Some(Ingredient::Folder(Path::new(folder).strip_prefix(&self.root).ok()?.to_owned()));
        }
        let mut words = package.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        let checksum = self.checksums.get(&(name.to_owned(), version.to_owned()))?;
        Some(Ingredient::Package(format!("{name} {version} {checksum} [{features}]")))
    }
}

impl Package {
    fn facts(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            format!("version {}", self.version),
            format!("edition {}", self.edition),
            format!("authors {}", self.authors.join(":")),
            format!("license {}", text(&self.license)),
            format!("repository {}", text(&self.repository)),
        ]
    }
}

/// cargo, as it called us.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What a command writes; an error with what it complains of, if it fails.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} can't be started"))?;
    if !output.status.success() {
        bail!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} wrote what is not UTF-8"))
}

/// `Cargo.lock` is TOML of one shape, written by cargo alone.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |key: &str| {
            let prefix = format!("{key} = \"");
            let line = package.lines().find_map(|line| line.strip_prefix(&prefix));
            line.and_then(|rest| rest.strip_suffix('"')).map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingredients_are_read_as_cargo_writes_them() {
        let lock = "version = 4\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\nsource = \"registry\"\n\
                    checksum = \"abc\"\ndependencies = [\n \"x\",\n]\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let workspace = Workspace {
            root: "/w".into(),
            target: "/w/target".into(),
            packages: Vec::new(),
            checksums: checksums(lock),
        };
        let package = |text: &str| Some(Ingredient::Package(text.to_owned()));
        assert_eq!(
            workspace.ingredient("serde v1.0.1 [derive,std]"),
            package("serde 1.0.1 abc [derive,std]")
        );
        assert_eq!(workspace.ingredient("serde v1.0.1 (proc-macro) []"), package("serde 1.0.1 abc []"));
        let folder = Some(Ingredient::Folder("own".into()));
        assert_eq!(workspace.ingredient("own v0.1.0 (/w/own) []"), folder);
        assert_eq!(workspace.ingredient("own v0.1.0 (proc-macro) (/w/own) [a]"), folder);
        assert_eq!(workspace.ingredient("own v0.1.0 (/elsewhere/own) []"), None, "not ours to digest");
        assert_eq!(workspace.ingredient("unknown v0.1.0 []"), None, "no checksum, no trust");
    }

    #[test]
    fn the_shipped_plugins_are_found_with_all_they_are_made_of() {
        let workspace = Workspace::find().unwrap();
        let plugins = workspace.plugins(&[]).unwrap();
        let names: Vec<_> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        let shipped =
            ["file-tail", "heartbeat", "host", "hostile", "http-check", "prometheus-scrape", "reach"];
        assert_eq!(names, shipped);
        let host = plugins.iter().find(|plugin| plugin.name == "host").unwrap();
        let ingredients = workspace.ingredients(host).unwrap();
        for folder in ["plugins/host", "plugin-sdk", "agent/otlp"] {
            assert!(ingredients.contains(&Ingredient::Folder(folder.into())), "{folder} in {ingredients:#?}");
        }
        let has = |prefix: &str| {
            ingredients.iter().any(|one| matches!(one, Ingredient::Package(line) if line.starts_with(prefix)))
        };
        assert!(has("wit-bindgen ") && has("serde ") && !has("prost "), "{ingredients:#?}");
        let error = workspace.plugins(&["hst".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("file-tail, heartbeat, host, hostile, http-check"), "{error}");
    }
}
