//! `whimbrel-plugin inspect`: who a plugin is and what it asks for, without running it.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use whimbrel_plugin_host::{
    Asked, Description, asks,
    bundle::{self, Machine},
    text::{clean, hex},
    world,
};

use crate::{confine::Confinement, describe::describe, sign::MAX_PLUGIN};

const EXAMPLE: &str = "\
Examples:
  whimbrel plugin inspect uptime.wasm
  whimbrel plugin inspect uptime.bundle
  whimbrel plugin inspect oci://registry.example.com/team/uptime:1.2.3 --json";

/// Say who a plugin is and what it asks for, without running it.
///
/// Shows the metadata of a component, what it imports and which grants it would need, the size, the version of the
/// contract, and what its configuration looks like. Ends with 1 if this version of Whimbrel can't run it, and says why.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct InspectArgs {
    /// The component, or a bundle of compiled code; - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the agent names it by, where it is no file: the agent hands over what it has fetched
    #[arg(long, value_name = "REFERENCE", hide = true)]
    named: Option<String>,
    /// The same with the digest of its manifest
    #[arg(long, value_name = "REFERENCE", hide = true)]
    pinned: Option<String>,
    /// Everything, as JSON
    #[arg(long)]
    json: bool,
}

/// Where it is, and its bytes there.
#[derive(Serialize)]
struct Place {
    /// A file, builtin:NAME, or a reference of a registry.
    plugin: String,
    /// The reference that names these bytes for ever.
    pinned: Option<String>,
    file: Bytes,
}

/// Of the file: a bundle's are others than those of the component that it was made of.
#[derive(Serialize)]
struct Bytes {
    size: u64,
    sha256: String,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    place: &'a Place,
    /// Size and SHA-256 in it are the component's.
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
        let stdin = self.file.as_os_str() == "-";
        let file = if stdin { "the standard input".to_owned() } else { self.file.display().to_string() };
        let name = self.named.clone().unwrap_or(file);
        let bytes = if stdin { read_stdin() } else { fs::read(&self.file) };
        let bytes = bytes.with_context(|| format!("{name} can't be read"))?;
        Confinement { memory: 4 << 30, cpu_seconds: 60, file_size: 1 << 30, open_files: true }
            .enter()
            .context("the limits could not be set")?;
        let (description, machine) = who(&bytes).with_context(|| name.clone())?;
        let file = Bytes { size: bytes.len() as u64, sha256: hex(&Sha256::digest(&bytes)) };
        let place = Place { plugin: name, pinned: self.pinned.clone(), file };
        let fits = world::check(&description);
        let text = if self.json {
            let report = Report {
                place: &place,
                description: &description,
                machine: machine.as_ref(),
                contract: fits.as_ref().ok().map(ToString::to_string),
                misfit: fits.as_ref().err().map(ToString::to_string),
                grants: asks(&description).iter().map(ToString::to_string).collect(),
                asks: asks(&description).into_iter().map(Asks::from).collect(),
            };
            format!("{}\n", serde_json::to_string_pretty(&report)?)
        } else {
            render(&description, machine.as_ref(), &place, &fits)
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
    place: &Place,
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
    let Place { plugin, pinned, file } = place;
    let kind = if plugin.contains(':') { "plugin" } else { "file" };
    line(kind, &format!("{plugin} ({})", size(file.size)));
    if let Some(pinned) = pinned.as_ref().filter(|pinned| *pinned != plugin) {
        line("pinned", pinned);
    }
    line("sha256", &file.sha256);
    if machine.is_some() {
        line("made of", &format!("a component ({}), {}", size(description.size), description.sha256));
    }
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
    let (beside, wanted): (Vec<Asked>, Vec<Asked>) =
        asks(description).into_iter().partition(|asked| asked.incidental);
    let words = |all: &[Asked]| {
        let each = all.iter().map(|asked| format!("{}\n  grant: {asked}", asked.what));
        each.collect::<Vec<_>>().join("\n")
    };
    if !wanted.is_empty() {
        line("asks for", &words(&wanted));
    } else if beside.is_empty() {
        line("asks for", "nothing that needs a grant");
    }
    if !beside.is_empty() {
        let why = incidental(description.is_interpreted());
        line("may ask for", &format!("{}\n({why})", words(&beside)));
    }
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

/// Why a component imports what its author may never have heard of, and what to make of it.
pub(crate) fn incidental(interpreted: bool) -> &'static str {
    if interpreted {
        "the interpreter imports it; grant what the plugin needs"
    } else {
        "the standard library imports it; grant what the plugin needs"
    }
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_PLUGIN).read_to_end(&mut bytes)?;
    Ok(bytes)
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
