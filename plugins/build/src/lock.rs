//! `plugins/components/components.lock`: which component was made of what, with what.
//!
//! JSON, ordered by name, so that a change shows as a change of lines.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    component::{self, Tool},
    shipped::Plugin,
    sources::sha256,
    toolchain::Toolchain,
};

const ABOUT: &str = "Written by `cargo run -p whimbrel-plugins-build`; not to be edited.";

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    about: String,
    /// Of this format.
    version: u32,
    pub(crate) components: Vec<Record>,
}

/// One component.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Such as `host`; the file is `host.wasm`.
    pub(crate) name: String,
    /// The digest of all it is made of, the compiler apart.
    pub(crate) sources: String,
    /// What it was made with, exactly.
    pub(crate) toolchain: String,
    /// Of the component.
    pub(crate) sha256: String,
    /// Of the component, bytes.
    pub(crate) size: u64,
    /// What it imports, exports and says of itself.
    pub(crate) description: Value,
}

impl Default for Lock {
    fn default() -> Self {
        Self { about: ABOUT.to_owned(), version: 1, components: Vec::new() }
    }
}

impl Lock {
    /// None if there is none yet.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match fs::read(path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(|| path.display().to_string())?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        component::write(path, text.as_bytes())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Record> {
        self.components.iter().find(|record| record.name == name)
    }

    pub(crate) fn put(&mut self, record: Record) {
        self.components.retain(|other| other.name != record.name);
        self.components.push(record);
        self.components.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// Forgets plugins that no longer ship.
    pub(crate) fn keep(&mut self, plugins: &[Plugin]) {
        self.components.retain(|record| plugins.iter().any(|plugin| plugin.name == record.name));
    }
}

impl Record {
    /// Of a component that was just written to `path`.
    pub(crate) fn new(
        plugin: &Plugin,
        sources: String,
        toolchain: &Toolchain,
        tool: &Tool,
        path: &Path,
        component: &[u8],
    ) -> anyhow::Result<Self> {
        Ok(Self {
            name: plugin.name.clone(),
            sources,
            toolchain: toolchain.id.clone(),
            sha256: sha256(component),
            size: component.len() as u64,
            description: tool.describe(path)?,
        })
    }
}
