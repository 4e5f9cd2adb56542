//! `whimbrel-plugin compile FILE`: a bundle of compiled code, for machines that should not compile.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use whimbrel_plugin_host::{
    bundle::{self, Machine, Manifest},
    engine, world,
};

use crate::{confine::Confinement, describe::describe, sign};

/// What can be compiled for: the triple, and how the agent there names itself.
const TARGETS: &[(&str, &str, &str)] = &[
    ("x86_64-unknown-linux-gnu", "x86_64", "linux"),
    ("x86_64-unknown-linux-musl", "x86_64", "linux"),
    ("aarch64-unknown-linux-gnu", "aarch64", "linux"),
    ("aarch64-unknown-linux-musl", "aarch64", "linux"),
    ("aarch64-apple-darwin", "aarch64", "macos"),
    ("x86_64-apple-darwin", "x86_64", "macos"),
];

/// How a bundle is made.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    /// A component to make a bundle of; without it, see above
    #[arg(value_name = "FILE", requires = "output")]
    file: Option<PathBuf>,
    /// Where the bundle goes
    #[arg(short, long, value_name = "BUNDLE", requires = "file")]
    output: Option<PathBuf>,
    /// Compile for every processor of this kind, such as aarch64-unknown-linux-gnu; without it for this machine's, with
    /// all that it can do
    #[arg(long, value_name = "TRIPLE", requires = "file")]
    target: Option<String>,
    /// Sign the bundle with this secret key; without it, `whimbrel plugin sign BUNDLE` does so later
    #[arg(long, value_name = "FILE", requires = "file")]
    key: Option<PathBuf>,
}

impl BundleArgs {
    /// Whether there is a component to make a bundle of.
    pub(crate) fn is_wanted(&self) -> bool {
        self.file.is_some()
    }

    /// Compiles, writes the bundle, signs it if a key is given.
    pub(crate) fn run(&self, confinement: Confinement) -> anyhow::Result<()> {
        let (Some(file), Some(output)) = (&self.file, &self.output) else {
            bail!("a component and --output are needed");
        };
        let key = self.key.as_deref().map(sign::secret_key).transpose()?;
        let bytes = sign::read(file)?;
        Confinement { open_files: true, ..confinement }.enter().context("the limits could not be set")?;
        let (machine, config) = self.machine()?;
        let description = describe(&bytes).with_context(|| file.display().to_string())?;
        world::check(&description).with_context(|| format!("the agent would refuse {}", file.display()))?;
        let engine = wasmtime::Engine::new(&config).map_err(wrapped("the engine could not be set up"))?;
        let code = engine
            .precompile_component(&bytes)
            .map_err(wrapped(&format!("{} can't be compiled", file.display())))?;
        let title = description.title();
        let manifest = Manifest { machine, description };
        let whole = bundle::write(&manifest, &code)?;
        write_whole(output, &whole)?;
        let mut said = format!(
            "{}: {title} for {}-{}, {} bytes\n  {}\n",
            output.display(),
            manifest.machine.arch,
            manifest.machine.os,
            whole.len(),
            manifest.machine.build
        );
        match key {
            Some(key) => said.push_str(&sign::sign(output, &whole, &key)?),
            None => said.push_str("  not signed: no agent takes it before `whimbrel plugin sign`\n"),
        }
        io::stdout().lock().write_all(said.as_bytes()).context("writing to the standard output failed")
    }

    fn machine(&self) -> anyhow::Result<(Machine, wasmtime::Config)> {
        let mut config = engine::config().map_err(wrapped("the engine could not be set up"))?;
        let Some(target) = &self.target else { return Ok((Machine::here(), config)) };
        let Some((_, arch, os)) = TARGETS.iter().find(|(triple, ..)| triple == target) else {
            let known: Vec<&str> = TARGETS.iter().map(|(triple, ..)| *triple).collect();
            bail!("--target {target} is not known; there are {}", known.join(", "));
        };
        config.target(target).map_err(wrapped(&format!("--target {target}")))?;
        Ok((Machine::baseline(arch, os), config))
    }
}

/// wasmtime's errors are of their own kind.
fn wrapped(what: &str) -> impl Fn(wasmtime::Error) -> anyhow::Error + '_ {
    move |error| anyhow::anyhow!("{what}: {error:#}")
}

/// Under a temporary name, synced and renamed: what a full disk or a crash cuts off is never taken for a bundle.
fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("{} can't be written", path.display()))
}
