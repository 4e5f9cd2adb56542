//! `whimbrel-plugin component`: a core module becomes a plugin.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use wasm_encoder::{ComponentNameSection, ComponentSection as _, CustomSection};
use whimbrel_plugin_host::{description::CONFIG_SCHEMA_SECTION, world};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::describe::{describe, schema};

/// The contract, for modules that were not built with bindings that carry it.
const CONTRACT: &str = include_str!("../../../wit/v0.1/whimbrel.wit");

/// Make a plugin of a core WebAssembly module.
///
/// The module is one that a compiler made against the contract's bindings (Rust: a `cdylib` for
/// wasm32-unknown-unknown that uses `wit-bindgen` or the SDK); it carries the types of its world. The
/// metadata given here goes into the component's standard sections, and is what `inspect` and the agent
/// show. What the agent would refuse is not written.
///
/// Example:
///   whimbrel-plugin component target/wasm32-unknown-unknown/release/uptime.wasm -o uptime.wasm \
///     --metadata plugin.json --config-schema schema.json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ComponentArgs {
    /// The core module
    #[arg(value_name = "MODULE")]
    module: PathBuf,
    /// Where the component goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// A JSON object with name, version, description, authors, licenses, source, homepage, revision; the
    /// options below win over it
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    #[command(flatten)]
    given: Metadata,
    /// A JSON Schema of the plugin's configuration
    #[arg(long, value_name = "FILE")]
    config_schema: Option<PathBuf>,
    /// The world of the contract that the module was written against, if it does not say so itself
    #[arg(long, value_name = "NAME")]
    world: Option<String>,
    /// An adapter module for imports that are no part of the contract; may be repeated
    #[arg(long = "adapt", value_name = "NAME=FILE")]
    adapters: Vec<String>,
}

#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    /// What the plugin is called
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Its version
    #[arg(long = "plugin-version", value_name = "TEXT")]
    version: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Whom to ask
    #[arg(long, value_name = "TEXT")]
    authors: Option<String>,
    /// An SPDX license expression
    #[arg(long, value_name = "SPDX")]
    licenses: Option<String>,
    /// Where the source is
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// Where more is to be read
    #[arg(long, value_name = "URL")]
    homepage: Option<String>,
    /// The source's commit
    #[arg(long, value_name = "ID")]
    revision: Option<String>,
}

impl ComponentArgs {
    /// Reads the module, writes the component.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let path = self.module.display();
        let mut module = read(&self.module)?;
        if wasmparser::Parser::is_component(&module) {
            bail!("{path} is a component already");
        }
        if let Some(world) = &self.world {
            embed(&mut module, world)?;
        }
        let mut encoder = ComponentEncoder::default()
            .validate(true)
            .module(&module)
            .with_context(|| format!("{path} can't be read as a core module"))?;
        for adapter in &self.adapters {
            let Some((name, file)) = adapter.split_once('=') else {
                bail!("--adapt takes NAME=FILE, not `{adapter}`");
            };
            encoder = encoder
                .adapter(name, &read(file.as_ref())?)
                .with_context(|| format!("the adapter {file} can't be read"))?;
        }
        let mut component =
            encoder.encode().with_context(|| format!("no component can be made of {path}"))?;
        self.metadata()?.append_to(&mut component);
        if let Some(file) = &self.config_schema {
            let bytes = read(file)?;
            let schema = schema(&bytes).with_context(|| file.display().to_string())?;
            append(&mut component, CONFIG_SCHEMA_SECTION, serde_json::to_string(&schema)?.as_bytes());
        }
        let description = describe(&component).context("the component that was made is not sound")?;
        world::check(&description).with_context(|| {
            format!("the agent would refuse the component (a module of plain bindings needs --world): {path}")
        })?;
        fs::write(&self.output, &component)
            .with_context(|| format!("{} can't be written", self.output.display()))
    }

    /// The options over the file.
    fn metadata(&self) -> anyhow::Result<Metadata> {
        let file = match &self.metadata {
            None => Metadata::default(),
            Some(path) => serde_json::from_slice(&read(path)?)
                .with_context(|| format!("{} is not as it should be", path.display()))?,
        };
        let given = self.given.clone();
        Ok(Metadata {
            name: given.name.or(file.name),
            version: given.version.or(file.version),
            description: given.description.or(file.description),
            authors: given.authors.or(file.authors),
            licenses: given.licenses.or(file.licenses),
            source: given.source.or(file.source),
            homepage: given.homepage.or(file.homepage),
            revision: given.revision.or(file.revision),
        })
    }
}

impl Metadata {
    /// Appends the standard sections. Their order is fixed, so that builds can be compared byte by byte.
    fn append_to(&self, component: &mut Vec<u8>) {
        if let Some(name) = &self.name {
            let mut names = ComponentNameSection::new();
            names.component(name);
            names.append_to_component(component);
        }
        let sections = [
            ("version", &self.version),
            ("description", &self.description),
            ("authors", &self.authors),
            ("licenses", &self.licenses),
            ("source", &self.source),
            ("homepage", &self.homepage),
            ("revision", &self.revision),
        ];
        for (name, text) in sections {
            if let Some(text) = text {
                append(component, name, text.as_bytes());
            }
        }
    }
}

fn append(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    CustomSection { name: name.into(), data: data.into() }.append_to_component(component);
}

/// Tells the encoder which world the module was written against.
fn embed(module: &mut Vec<u8>, world: &str) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("whimbrel.wit", CONTRACT)?;
    let world = resolve
        .select_world(&[package], Some(world))
        .with_context(|| format!("the contract has no world `{world}`"))?;
    wit_component::embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
}

fn read(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} can't be read", path.display()))
}
