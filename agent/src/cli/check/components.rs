//! The components that a configuration names, in the words of `whimbrel-plugin`, which reads them: the agent itself
//! parses no WebAssembly. Builtins are known to be sound.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use whimbrel_plugin_host::{
    bundle::{self, Machine},
    schema,
};

use crate::{
    collect::{self, Unfit},
    config::{Collector, Grants, Loaded, PluginRef, Problems, SystemGrant},
};

/// What is needed of `whimbrel-plugin inspect --json`.
#[derive(Deserialize)]
struct Inspected {
    misfit: Option<String>,
    config_schema: Option<serde_json::Value>,
    #[serde(default)]
    asks: Vec<Asks>,
}

#[derive(Deserialize)]
struct Asks {
    what: String,
    /// One of them is enough.
    keys: Vec<String>,
    example: String,
    /// Imported by standard libraries, whether the plugin needs it or not: no cause for a warning.
    incidental: bool,
}

/// What there is to say of the components and their configurations.
#[derive(Default)]
pub(super) struct Found {
    /// What could be asked for and is not granted, and the like.
    pub(super) warnings: Vec<String>,
    /// What the agent would refuse: components, and what their schemas say of their configurations.
    pub(super) problems: Problems,
}

/// Looks at all of them.
pub(super) fn inspect(loaded: &Loaded) -> Found {
    let Found { warnings: mut uncovered, mut problems } = Found::default();
    for collector in &loaded.config.collectors {
        let mut apply = |config_schema: Option<serde_json::Value>| {
            let refused = config_schema.map(|schema| schema::violations(&schema, &collector.config));
            match refused.unwrap_or_else(|| Ok(Vec::new())) {
                Ok(found) => found.iter().for_each(|one| {
                    problems.push(loaded.refused_by_schema(&collector.name, &one.path, &one.what));
                }),
                Err(error) => uncovered.push(format!("collectors.{}.config: {error}", collector.name)),
            }
        };
        let file = match &collector.plugin {
            PluginRef::Builtin(name) => {
                apply(collect::schema::builtin(name));
                continue;
            }
            PluginRef::Path(file) => file,
            // A program has neither grants nor schema.
            PluginRef::Exec(exec) => {
                if let Some(Unfit { what, remedy }) = collect::unfit(exec) {
                    problems.push(loaded.refused_program(&collector.name, what, remedy));
                }
                continue;
            }
            // What is in a registry is looked at when it is fetched.
            PluginRef::Registry(_) => continue,
        };
        match inspected(file) {
            Ok(Inspected { misfit: None, config_schema, asks }) => {
                let untrusted = super::super::plugin::verify::untrusted(&collector.plugin, &collector.trust);
                if let Some(said) = untrusted.or_else(|| foreign(file)) {
                    problems.push(loaded.refused_component(&collector.name, said));
                    continue;
                }
                apply(config_schema);
                let granted = granted(collector);
                let covered =
                    |asks: &Asks| granted.iter().any(|(key, _)| asks.keys.iter().any(|it| it == key));
                let missing = asks.iter().filter(|asks| !asks.incidental && !covered(asks));
                uncovered.extend(missing.map(|asks| lacks(collector, asks)));
            }
            Ok(Inspected { misfit: Some(said), .. }) | Err(said) => {
                problems.push(loaded.refused_component(&collector.name, said));
            }
        }
    }
    Found { warnings: uncovered, problems }
}

/// Why compiled code does not run here, in the words of the agent, which is this program. `None` for a component, and for
/// what can't be read, which is told elsewhere.
fn foreign(file: &Path) -> Option<String> {
    let bytes = std::fs::read(file).ok().filter(|bytes| bundle::is_bundle(bytes))?;
    bundle::read_for(&bytes, &Machine::here()).err().map(|error| format!("{}: {error}", file.display()))
}

fn lacks(collector: &Collector, asks: &Asks) -> String {
    let grants: Vec<_> =
        asks.keys.iter().map(|key| format!("`grants: {{{key}: {}}}`", asks.example)).collect();
    format!(
        "collectors.{}: its component can ask for {}, and is granted none; if it needs them, add {}",
        collector.name,
        asks.what,
        grants.join(" or ")
    )
}

fn inspected(file: &Path) -> Result<Inspected, String> {
    let tool = whimbrel_plugin_host::compiler_path(None).map_err(|error| error.to_string())?;
    let output = Command::new(&tool)
        .args(["inspect", "--json"])
        .arg(file)
        .output()
        .map_err(|error| format!("cannot start {}: {error}", tool.display()))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("whimbrel-plugin: ").to_owned()
    })
}

/// What is granted, as a person reads it.
pub(super) fn granted_words(collector: &Collector) -> String {
    let granted = granted(collector);
    if granted.is_empty() {
        return "granted nothing".to_owned();
    }
    let words = granted.into_iter().map(|(key, what)| match what.is_empty() {
        true => key.to_owned(),
        false => format!("{key}: {}", what.join(", ")),
    });
    format!("granted {}", words.collect::<Vec<_>>().join("; "))
}

/// The keys under `grants` that grant something, and what; nothing stands for all.
fn granted(collector: &Collector) -> Vec<(&'static str, Vec<String>)> {
    fn texts<T: ToString>(items: &[T]) -> Vec<String> {
        items.iter().map(ToString::to_string).collect()
    }
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    let Grants { system, http, read, write, tcp, udp, unix, env, secrets } = &collector.grants;
    let parts = match system {
        SystemGrant::All => Some(("system", Vec::new())),
        SystemGrant::Parts(parts) => Some(("system", parts.clone())),
        SystemGrant::None => None,
    };
    let others = [
        ("http", texts(http)),
        ("read", paths(read)),
        ("write", paths(write)),
        ("tcp", texts(tcp)),
        ("udp", texts(udp)),
        ("unix", paths(unix)),
        ("env", env.clone()),
        ("secrets", secrets.iter().map(|(name, _)| name.clone()).collect()),
    ];
    parts.into_iter().chain(others.into_iter().filter(|(_, items)| !items.is_empty())).collect()
}
