//! What a command line may name a plugin by: `builtin:NAME`, a file, `oci://...`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use whimbrel_plugin_host::registry::Reference;

use super::super::source::Source;
use crate::{
    config::{PluginRef, Plugins as Settings, Registered},
    plugins::{Component, Plugins},
};

/// Whether this names a plugin, and no collector of a configuration.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with("builtin:") || text.starts_with("oci:") || Path::new(text).exists()
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
    if let Some(name) = text.strip_prefix("builtin:") {
        return Ok(PluginRef::Builtin(name.to_owned()));
    }
    if !text.starts_with("oci:") {
        return Ok(PluginRef::Path(PathBuf::from(text)));
    }
    let reference =
        Reference::parse(text).map_err(|error| anyhow::anyhow!("{text} {}: {}", error.what, error.remedy))?;
    let mut registered = Registered::new(reference);
    if let Some(settings) = settings() {
        settings.equip_registered(&mut registered);
    }
    Ok(PluginRef::Registry(Box::new(registered)))
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
