//! What a command line may name a plugin by: `builtin:NAME`, a file, `oci://...`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::source::Source;
use crate::{
    config::{self, PluginRef, Plugins as Settings},
    plugins::{Component, Plugins},
};

/// Whether this names a plugin, and no collector of a configuration.
pub(super) fn is_reference(text: &str) -> bool {
    // No collector's name has a colon.
    text.starts_with("builtin:")
        || text.starts_with("oci:")
        || text.contains("://")
        || Path::new(text).exists()
}

/// What it names. A registry is spoken to as the configuration says, where there is one that can be read.
pub(super) fn parse(text: &str, source: &Source) -> anyhow::Result<PluginRef> {
    parse_with(text, || source.load().ok().map(|loaded| loaded.config.plugins))
}

/// The same, with settings that were read already.
pub(super) fn parse_with(
    text: &str,
    settings: impl FnOnce() -> Option<Settings>,
) -> anyhow::Result<PluginRef> {
    let named = config::plugin_named(text, Path::new(""));
    let mut plugin = named.map_err(|(what, remedy)| anyhow::anyhow!("{text} {what}: {remedy}"))?;
    if let PluginRef::Registry(registered) = &mut plugin
        && let Some(settings) = settings()
    {
        settings.equip_registered(registered);
    }
    Ok(plugin)
}

/// Its bytes. What comes from a registry is kept in the user's cache folder.
pub(super) fn bytes(plugin: &PluginRef) -> anyhow::Result<Component> {
    let store = match plugin {
        PluginRef::Registry(_) => scratch_cache()?.join("store"),
        // Never looked at.
        PluginRef::Builtin(_) | PluginRef::Path(_) | PluginRef::Exec(_) => PathBuf::new(),
    };
    let plugins = Plugins::new(store, Settings::default().store_max_size);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(plugins.get(plugin))?)
}

/// Plugins compiled and fetched for trials: the user's own cache folder, so that a second run is quick.
pub(super) fn scratch_cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("WHIMBREL_PLUGIN_CACHE").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        cache.or_else(home).map(|cache| cache.join("whimbrel/plugins"))
    });
    base.context("neither XDG_CACHE_HOME nor HOME is set: name a collector of a configuration instead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_named_on_a_command_line_as_in_a_configuration() {
        let parse = |text: &str| parse_with(text, || None).map(|plugin| plugin.to_string());
        for named in ["builtin:host", "oci://registry.example.com/a:1", "./a.wasm", "/a/b.wasm"] {
            assert_eq!(parse(named).unwrap(), named);
        }
        for (wrong, said) in [
            (
                "https://a.example/x.wasm",
                "https://a.example/x.wasm is a URL, and a plugin is a file or in a registry: fetch it",
            ),
            ("builtin:hots", "did you mean `builtin:host`?"),
            ("oci://a/b", "oci://a/b "),
        ] {
            assert!(is_reference(wrong), "{wrong} would be taken for a collector");
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
