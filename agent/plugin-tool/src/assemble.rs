//! What a compiler gave becomes a plugin: a component with metadata and schema, checked against the contract.

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use wasm_encoder::{
    ComponentNameSection, ComponentSection as _, ComponentSectionId, CustomSection, Encode as _,
    ProducersField, ProducersSection,
};
use whimbrel_plugin_host::{Description, description::CONFIG_SCHEMA_SECTION, schema, world};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{Resolve, WorldId};

use crate::{
    describe::{describe, schema as read_schema},
    sections::take_apart,
};

/// The contract, in WIT.
pub(crate) const CONTRACT: &str = include_str!("../../../wit/v0.1/whimbrel.wit");
/// The world of the contract that plugins are written against.
pub(crate) const WORLD: &str = "collector";

/// What a plugin is made of.
#[derive(Debug)]
pub(crate) struct Ingredients {
    /// A core module, or a component.
    pub(crate) made: Vec<u8>,
    /// The world that a module was written against, if it does not say so itself.
    pub(crate) world: Option<String>,
    /// Name and module of adapters for imports that are no part of the contract.
    pub(crate) adapters: Vec<(String, Vec<u8>)>,
    /// Goes before what the module says of itself.
    pub(crate) metadata: Metadata,
    /// Goes before the one in the module.
    pub(crate) config_schema: Option<Value>,
    /// What it is written in, where the tools that made it do not say so.
    pub(crate) language: Option<&'static str>,
    /// Without the names of functions.
    pub(crate) strip: bool,
}

impl Ingredients {
    /// The component, and what can be known of it.
    ///
    /// # Errors
    /// No component can be made of it, or the agent would refuse it.
    pub(crate) fn assemble(self) -> anyhow::Result<(Vec<u8>, Description)> {
        let mut metadata = self.metadata;
        let mut config_schema = self.config_schema;
        let mut component = if wasmparser::Parser::is_component(&self.made) {
            self.made
        } else {
            let parts = take_apart(&self.made, self.strip).context("it can't be read as a core module")?;
            metadata = metadata.over(parts.metadata);
            if let (None, Some(own)) = (&config_schema, &parts.config_schema) {
                config_schema = Some(read_schema(own.as_bytes())?);
            }
            encode(parts.module, self.world.as_deref(), &self.adapters)?
        };
        metadata.append_to(&mut component);
        if let Some(language) = self.language {
            append_language(&mut component, language);
        }
        if let Some(schema) = &config_schema {
            look_through(schema)?;
            append(&mut component, CONFIG_SCHEMA_SECTION, serde_json::to_string(schema)?.as_bytes());
        }
        let description = describe(&component).context("the component that was made is not sound")?;
        world::check(&description)
            .context("the agent would refuse the component (a module of plain bindings needs --world)")?;
        Ok((component, description))
    }
}

/// A schema with a mistake would be applied as far as it goes, and nobody would learn of it.
fn look_through(schema: &Value) -> anyhow::Result<()> {
    let flaws = schema::flaws(schema).context("the schema of the configuration")?;
    let told: Vec<_> = flaws.iter().map(|flaw| format!("{}: {}", flaw.path.join("."), flaw.what)).collect();
    anyhow::ensure!(flaws.is_empty(), "the schema of the configuration is none: {}", told.join("; "));
    Ok(())
}

fn encode(
    mut module: Vec<u8>,
    world: Option<&str>,
    adapters: &[(String, Vec<u8>)],
) -> anyhow::Result<Vec<u8>> {
    if let Some(world) = world {
        let (resolve, world) = contract(world)?;
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    }
    let mut encoder = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .context("it can't be read as a core module")?;
    for (name, adapter) in adapters {
        encoder =
            encoder.adapter(name, adapter).with_context(|| format!("the adapter {name} can't be read"))?;
    }
    encoder.encode().context("no component can be made of it")
}

/// The contract, and a world of it.
///
/// # Errors
/// There is no such world.
pub(crate) fn contract(world: &str) -> anyhow::Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("whimbrel.wit", CONTRACT)?;
    match resolve.select_world(&[package], Some(world)) {
        Ok(found) => Ok((resolve, found)),
        Err(_) => bail!("the contract has no world `{world}`"),
    }
}

/// Who a plugin is.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// What the plugin is called
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// Its version
    #[arg(long = "plugin-version", value_name = "TEXT")]
    pub(crate) version: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Whom to ask
    #[arg(long, value_name = "TEXT")]
    pub(crate) authors: Option<String>,
    /// An SPDX license expression
    #[arg(long, value_name = "SPDX")]
    pub(crate) licenses: Option<String>,
    /// Where the source is
    #[arg(long, value_name = "URL")]
    pub(crate) source: Option<String>,
    /// Where more is to be read
    #[arg(long, value_name = "URL")]
    pub(crate) homepage: Option<String>,
    /// The source's commit
    #[arg(long, value_name = "ID")]
    pub(crate) revision: Option<String>,
}

impl Metadata {
    /// What is said here, and for the rest what the other says.
    pub(crate) fn over(self, other: Metadata) -> Metadata {
        Metadata {
            name: self.name.or(other.name),
            version: self.version.or(other.version),
            description: self.description.or(other.description),
            authors: self.authors.or(other.authors),
            licenses: self.licenses.or(other.licenses),
            source: self.source.or(other.source),
            homepage: self.homepage.or(other.homepage),
            revision: self.revision.or(other.revision),
        }
    }

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

/// As the tool conventions of WebAssembly say: a section `producers` with a field `language`.
fn append_language(component: &mut Vec<u8>, language: &str) {
    let mut field = ProducersField::new();
    field.value(language, "");
    let mut producers = ProducersSection::new();
    producers.field("language", &field);
    component.push(ComponentSectionId::CoreCustom.into());
    producers.encode(component);
}

fn append(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    CustomSection { name: name.into(), data: data.into() }.append_to_component(component);
}
