//! `whimbrel-plugin inspect`: who a plugin is and what it asks for, without running it.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use whimbrel_plugin_host::{
    Asked, Description, asks,
    bundle::{self, Machine},
    text::clean,
    world,
};

use crate::{confine::Confinement, describe::describe};

/// Say who a plugin is and what it asks for, without running it.
///
/// Shows the metadata of a component, what it imports and which grants it would need, the size, the version
/// of the contract, and what its configuration looks like. Ends with 1 if this version of Whimbrel can't run
/// it, and says why.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Everything, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    description: &'a Description,
    /// What it was compiled for, if it is a bundle.
    machine: Option<&'a Machine>,
    /// The version of the contract, if it fits.
    contract: Option<String>,
    /// Why it does not fit.
    misfit: Option<String>,
    /// The grants that it would need for all that it can do.
    grants: Vec<String>,
    /// The same in parts.
    asks: Vec<Asks>,
}

impl InspectArgs {
    /// Prints the report; answers whether the plugin fits.
    pub(crate) fn run(&self) -> anyhow::Result<bool> {
        let path = self.file.display();
        let bytes = fs::read(&self.file).with_context(|| format!("{path} can't be read"))?;
        Confinement { memory: 4 << 30, cpu_seconds: 60, file_size: 1 << 30, open_files: true }
            .enter()
            .context("the limits could not be set")?;
        let (description, machine) = who(&bytes).with_context(|| path.to_string())?;
        let fits = world::check(&description);
        let text = if self.json {
            let report = Report {
                description: &description,
                machine: machine.as_ref(),
                contract: fits.as_ref().ok().map(ToString::to_string),
                misfit: fits.as_ref().err().map(ToString::to_string),
                grants: asks(&description).iter().map(ToString::to_string).collect(),
                asks: asks(&description).into_iter().map(Asks::from).collect(),
            };
            format!("{}\n", serde_json::to_string_pretty(&report)?)
        } else {
            render(&description, machine.as_ref(), &path.to_string(), &fits)
        };
        match io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(fits.is_ok()),
        }
    }
}

/// What an import lets a plugin do that needs a grant.
#[derive(Serialize)]
struct Asks {
    what: &'static str,
    /// One of these under `grants` allows it.
    keys: &'static [&'static str],
    example: &'static str,
    /// Imported by standard libraries, whether the plugin needs it or not.
    incidental: bool,
}

impl From<Asked> for Asks {
    fn from(asked: Asked) -> Self {
        let Asked { what, keys, example, incidental } = asked;
        Self { what, keys, example, incidental }
    }
}

/// What every collector may do.
const FREE: &[(&str, &str)] = &[
    ("emit", "push metrics, logs and traces"),
    ("clock", "read the clock, draw random numbers"),
    ("log", "write lines to the agent's log"),
];

/// What a component says about itself, or a bundle about the one it was made of.
fn who(bytes: &[u8]) -> anyhow::Result<(Description, Option<Machine>)> {
    if !bundle::is_bundle(bytes) {
        return Ok((describe(bytes)?, None));
    }
    let (manifest, _) = bundle::read(bytes)?;
    Ok((manifest.description, Some(manifest.machine)))
}

fn render(
    description: &Description,
    machine: Option<&Machine>,
    path: &str,
    fits: &Result<world::Version, world::Misfit>,
) -> String {
    let identity = &description.identity;
    let mut text = format!("{}\n", description.title());
    if let Some(what) = &identity.description {
        let _ = writeln!(text, "  {what}"); // Writing to a String cannot fail.
    }
    text.push('\n');
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "  {what:<14}{}", value.replace('\n', "\n                "));
    };
    line("file", &format!("{path} ({})", size(description.size)));
    line("sha256", &description.sha256);
    if let Some(Machine { build, arch, os, cpu }) = machine {
        let cpu: String = cpu.iter().map(|feature| format!(" +{feature}")).collect();
        let text = format!("{arch}-{os}{cpu}, {build}\nnative code: needs a key that may ship it");
        line("compiled for", &clean(text, 4 << 10));
    }
    let known = [
        ("authors", &identity.authors),
        ("licenses", &identity.licenses),
        ("source", &identity.source),
        ("revision", &identity.revision),
        ("homepage", &identity.homepage),
    ];
    for (what, value) in known {
        if let Some(value) = value {
            line(what, value);
        }
    }
    if !identity.made_with.is_empty() {
        line("made with", &identity.made_with.join(", "));
    }
    match fits {
        Ok(version) => line("contract", &format!("{version}, a collector; this version of Whimbrel runs it")),
        Err(misfit) => line("contract", &format!("this version of Whimbrel refuses it: {misfit}")),
    }
    let asks = asks(description);
    let words: Vec<String> = asks.iter().map(|asked| format!("{}\n  grant: {asked}", asked.what)).collect();
    line(
        "asks for",
        if asks.is_empty() { "nothing that needs a grant".to_owned() } else { words.join("\n") }.as_str(),
    );
    let free: Vec<&str> =
        FREE.iter().filter(|(interface, _)| description.imports_contract(interface)).map(|it| it.1).collect();
    if !free.is_empty() {
        line("and may", &free.join(", "));
    }
    let foreign: Vec<String> = description
        .imports
        .iter()
        .filter(|import| !import.name.starts_with("whimbrel:plugin/"))
        .map(ToString::to_string)
        .collect();
    if !foreign.is_empty() {
        line("also imports", &foreign.join("\n"));
    }
    line("configuration", &configuration(description.config_schema.as_ref()));
    text
}

/// The keys of a configuration, from its schema.
fn configuration(schema: Option<&serde_json::Value>) -> String {
    let Some(schema) = schema else { return "not described (it has no schema)".to_owned() };
    let required = |key: &str| {
        let keys = schema.get("required").and_then(|it| it.as_array());
        keys.is_some_and(|keys| keys.iter().any(|it| it == key))
    };
    let Some(properties) = schema.get("properties").and_then(|it| it.as_object()) else {
        return "any (its schema names no keys; see it with --json)".to_owned();
    };
    if properties.is_empty() {
        return "none".to_owned();
    }
    let key = |(key, value): (&String, &serde_json::Value)| {
        let mut text = key.clone();
        if let Some(kind) = value.get("type").and_then(|it| it.as_str()) {
            let _ = write!(text, ": {kind}");
        }
        if required(key) {
            text.push_str(", required");
        } else if let Some(default) = value.get("default") {
            let _ = write!(text, ", default {default}");
        }
        if let Some(what) = value.get("description").and_then(|it| it.as_str()) {
            let _ = write!(text, "\n  {what}");
        }
        text
    };
    // The schema is a stranger's text too; the rest of the description was cleaned when it was read.
    let text = properties.iter().map(key).collect::<Vec<_>>().join("\n");
    whimbrel_plugin_host::text::clean(text, 64 << 10)
}

pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
