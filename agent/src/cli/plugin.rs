//! `whimbrel plugin`: who a component is and what it asks for (here), a few collects of it (`trial`), and whether it is
//! signed (`verify`); for authors, from a first folder to tests (`cases`) and a loop of change and look (`dev`). What
//! needs a compiler, a key or a registry is `whimbrel-plugin`'s, which is called for it (`author`).

mod answers;
mod author;
mod case;
mod cases;
mod dev;
mod golden;
mod granting;
mod list;
mod reference;
mod resume;
mod trial;
pub(super) mod verify;

use std::{ffi::OsString, path::PathBuf, process::Command as Process};

use anyhow::Context as _;

use super::{
    exit::{Exit, Outcome},
    source::Source,
};
use crate::config::PluginRef;

/// What `plugin` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a folder with a plugin that builds at once: new NAME --lang rust|c|go|js|python
    #[command(disable_help_flag = true)]
    New(Passed),
    /// Build the plugin of this folder
    #[command(disable_help_flag = true)]
    Build(Passed),
    /// Build the plugin of this folder, run its cases, compare what it emits
    Test(cases::Args),
    /// Build and run the plugin of this folder, again whenever it changes
    Dev(dev::Args),
    /// What runs in the agent, and what is shipped
    List(list::Args),
    /// Who made it, what it can do, what it asks for; runs none of it
    Inspect(InspectArgs),
    /// One collect, printed, or a few; nothing is stored or sent
    Run(trial::Args),
    /// Whether a plugin is signed by a key, or by one that the configuration trusts
    Verify(verify::Args),
    /// Make a key to sign plugins with
    #[command(disable_help_flag = true)]
    Keygen(Passed),
    /// Sign a component, or a bundle of compiled code
    #[command(disable_help_flag = true)]
    Sign(Passed),
    /// Compile a component to a bundle, for machines that should not compile
    #[command(disable_help_flag = true)]
    Compile(Passed),
    /// Push a plugin into a registry, with its signatures
    #[command(disable_help_flag = true)]
    Push(Passed),
    /// Have the running agent start a plugin anew that it has set aside
    Resume(resume::Args),
}

/// What goes to `whimbrel-plugin` as it is.
#[derive(Debug, clap::Args)]
pub(super) struct Passed {
    /// See --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub(super) arguments: Vec<OsString>,
}

/// What `plugin inspect` takes.
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// The component: a file, builtin:NAME, or oci://registry/name:tag
    pub(super) plugin: PathBuf,
    #[command(flatten)]
    pub(super) source: Source,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs one of them.
pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::New(passed) => author::pass("new", &passed.arguments),
        Command::Build(passed) => author::pass("build", &passed.arguments),
        Command::Test(args) => cases::run(args),
        Command::Dev(args) => dev::run(args),
        Command::List(args) => list::run(args),
        Command::Inspect(args) => inspect(args),
        Command::Run(args) => trial::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Keygen(passed) => author::pass("keygen", &passed.arguments),
        Command::Sign(passed) => author::pass("sign", &passed.arguments),
        Command::Compile(passed) => author::pass("compile", &passed.arguments),
        Command::Push(passed) => author::pass("push", &passed.arguments),
        Command::Resume(args) => resume::run(args),
    }
}

/// The agent holds no WebAssembly parser: `whimbrel-plugin` does it, and its output and exit code are ours.
fn inspect(args: &InspectArgs) -> Outcome {
    let tool = whimbrel_plugin_host::compiler_path(None)?;
    let mut process = Process::new(&tool);
    process.arg("inspect");
    if args.json {
        process.arg("--json");
    }
    let name = args.plugin.to_string_lossy();
    let unpacked; // lives until the tool has read it
    match reference::parse(&name, &args.source)? {
        PluginRef::Path(_) => {
            process.arg(&args.plugin);
        }
        elsewhere => {
            let bytes = reference::bytes(&elsewhere)?.bytes;
            unpacked = Unpacked::new(&bytes)?;
            process.arg(&unpacked.file);
        }
    }
    let status = process.status().with_context(|| format!("cannot start {}", tool.display()))?;
    Ok(if status.success() { Exit::Done } else { Exit::Failed })
}

/// A component that is no file as a file of its own, for as long as this lives.
struct Unpacked {
    file: PathBuf,
}

impl Unpacked {
    fn new(bytes: &[u8]) -> std::io::Result<Self> {
        use std::io::Write as _;
        let file = std::env::temp_dir().join(format!("whimbrel-{}.wasm", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        options.open(&file)?.write_all(bytes)?;
        Ok(Self { file })
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // A temporary file that cannot be removed is the system's to sweep.
        let _ = std::fs::remove_file(&self.file);
    }
}
