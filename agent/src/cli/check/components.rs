//! The components that a configuration names, in the words of `whimbrel-plugin`, which reads them: the agent itself
//! parses no WebAssembly. Builtins are known to be sound.

use std::{path::Path, process::Command};

use serde::Deserialize;

use crate::config::{Collector, Config, PluginRef, SystemGrant};

/// What is needed of `whimbrel-plugin inspect --json`.
#[derive(Deserialize)]
struct Inspected {
    misfit: Option<String>,
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

/// What the agent would refuse, and what could be asked for and is not granted.
pub(super) fn inspect(config: &Config) -> (Vec<String>, Vec<String>) {
    let (mut misfits, mut uncovered) = (Vec::new(), Vec::new());
    for collector in &config.collectors {
        let PluginRef::Path(file) = &collector.plugin else { continue };
        match inspected(file) {
            Ok(Inspected { misfit: None, asks }) => {
                let granted = granted(collector);
                let covered = |asks: &Asks| asks.keys.iter().any(|key| granted.contains(&key.as_str()));
                let missing = asks.iter().filter(|asks| !asks.incidental && !covered(asks));
                uncovered.extend(missing.map(|asks| lacks(collector, asks)));
            }
            Ok(Inspected { misfit: Some(said), .. }) | Err(said) => {
                misfits.push(format!("collectors.{}.plugin: {said}", collector.name));
            }
        }
    }
    (misfits, uncovered)
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

/// The keys under `grants` that grant something.
pub(super) fn granted(collector: &Collector) -> Vec<&'static str> {
    let grants = &collector.grants;
    let keys = [
        ("system", grants.system != SystemGrant::None),
        ("http", !grants.http.is_empty()),
        ("read", !grants.read.is_empty()),
        ("write", !grants.write.is_empty()),
        ("tcp", !grants.tcp.is_empty()),
        ("udp", !grants.udp.is_empty()),
        ("unix", !grants.unix.is_empty()),
        ("env", !grants.env.is_empty()),
        ("secrets", !grants.secrets.is_empty()),
    ];
    keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
}
