//! `whimbrel-plugin component`: a core module becomes a plugin.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    assemble::{Ingredients, Metadata},
    describe::schema,
};

const EXAMPLE: &str = "\
Example:
  whimbrel-plugin component target/wasm32-unknown-unknown/release/uptime.wasm -o uptime.wasm \\
    --metadata plugin.json --config-schema schema.json";

/// Make a plugin of a core WebAssembly module.
///
/// The module is one that a compiler made against the contract's bindings (Rust: a `cdylib` for
/// wasm32-unknown-unknown that uses `wit-bindgen` or the SDK); it carries the types of its world. The
/// metadata given here goes into the component's standard sections, and is what `inspect` and the agent
/// show. What the agent would refuse is not written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
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
    /// Leave out the names of functions: half the size, and traps without a backtrace
    #[arg(long)]
    strip: bool,
}

impl ComponentArgs {
    /// Reads the module, writes the component.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let path = self.module.display();
        let module = read(&self.module)?;
        if wasmparser::Parser::is_component(&module) {
            bail!("{path} is a component already");
        }
        let mut adapters = Vec::new();
        for adapter in &self.adapters {
            let Some((name, file)) = adapter.split_once('=') else {
                bail!("--adapt takes NAME=FILE, not `{adapter}`");
            };
            adapters.push((name.to_owned(), read(file.as_ref())?));
        }
        let config_schema = match &self.config_schema {
            None => None,
            Some(file) => Some(schema(&read(file)?).with_context(|| file.display().to_string())?),
        };
        let ingredients = Ingredients {
            made: module,
            world: self.world.clone(),
            adapters,
            metadata: self.metadata()?,
            config_schema,
            language: None,
            strip: self.strip,
        };
        let (component, _) = ingredients.assemble().with_context(|| path.to_string())?;
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
        Ok(self.given.clone().over(file))
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} can't be read", path.display()))
}
