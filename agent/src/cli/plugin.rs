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
mod scratch;
mod trial;
pub(super) mod verify;

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::Stdio};

use anyhow::Context as _;
use whimbrel_plugin_host::registry::Reference;

use super::{exit::Outcome, source::Source};
use crate::config::PluginRef;

const TEST: &str = "\
Examples:
  whimbrel plugin test
  whimbrel plugin test default --dir queue-depth
  WHIMBREL_GOLDEN=write whimbrel plugin test";

const DEV: &str = "\
Examples:
  whimbrel plugin dev
  whimbrel plugin dev --count 3
  whimbrel plugin dev --agent /run/whimbrel/control.sock";

const LIST: &str = "\
Examples:
  whimbrel plugin list
  whimbrel plugin list --json --socket /run/whimbrel/control.sock";

const INSPECT: &str = "\
Examples:
  whimbrel plugin inspect uptime.wasm
  whimbrel plugin inspect builtin:host
  whimbrel plugin inspect oci://registry.example.com/team/uptime:1.2.3 --json";

const RUN: &str = "\
Examples:
  whimbrel plugin run builtin:host --grant system=all --count 2
  whimbrel plugin run uptime.wasm --plugin-config '{\"label\": \"a\"}' --grant http=https://api.example.com
  whimbrel plugin run queue-depth -c whimbrel.yaml --json";

const VERIFY: &str = "\
Examples:
  whimbrel plugin verify uptime.wasm --key team.key.pub
  whimbrel plugin verify oci://registry.example.com/team/uptime:1.2.3 -c whimbrel.yaml";

const RESUME: &str = "\
Examples:
  whimbrel plugin resume queue-depth
  whimbrel plugin resume queue-depth --socket /run/whimbrel/control.sock";

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
    ///
    /// A case is a file tests/NAME.yaml: what stands below a collector in whimbrel.yaml, and beside it how often to
    /// collect, the checkpoint to begin with, secrets, and what stands in for files and servers. It runs in the agent's
    /// own sandbox, on a clock that stands still; what it emits, logs and is denied is held against
    /// tests/golden/NAME.json, which WHIMBREL_GOLDEN=write writes. Ends with 1 if anything differs.
    #[command(after_help = TEST)]
    Test(cases::Args),
    /// Build and run the plugin of this folder, again whenever it changes
    ///
    /// Runs it as the collector that whimbrel.yaml in the folder configures, and shows what it emits, logs and is
    /// denied. A build that fails and a plugin that does not start leave the one before running; a new one begins with
    /// its checkpoint. Ends when interrupted.
    #[command(after_help = DEV)]
    Dev(dev::Args),
    /// What runs in the agent, and what is shipped
    ///
    /// Asks the running agent for its collectors: their plugins by name and version, their states, where they come
    /// from. Without an agent it shows what is shipped in this program, as builtin:NAME.
    #[command(after_help = LIST)]
    List(list::Args),
    /// Who made it, what it can do, what it asks for; runs none of it
    ///
    /// Of a plugin in a registry it shows the reference with the digest of its manifest too, which is what a
    /// configuration should name: a tag can be moved. Ends with 1 if this version of Whimbrel can't run it, and says
    /// why.
    #[command(after_help = INSPECT)]
    Inspect(InspectArgs),
    /// One collect, printed, or a few; nothing is stored or sent
    ///
    /// A configured collector runs with its configuration, grants and limits; a component, builtin:NAME or oci://...
    /// with what the options give it, and nothing else is granted. What it is denied is told with the option that
    /// grants it. Ends with 1 if it does not start, or a collect fails.
    #[command(after_help = RUN)]
    Run(trial::Args),
    /// Whether a plugin is signed by a key, or by one that the configuration trusts
    ///
    /// Looks at the signatures in FILE.sig beside it, or at those that came along from the registry, and says whose it
    /// is and what was signed: name, version, SHA-256. Ends with 1 if none of the keys has signed these bytes.
    #[command(after_help = VERIFY)]
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
    ///
    /// After too many faults in ten minutes, or where its component is refused, the agent sets a collector aside. This
    /// starts it with a whole budget of faults; one that waits after a fault starts at once, and one that runs is left
    /// alone.
    #[command(after_help = RESUME)]
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

/// The agent holds no WebAssembly parser: `whimbrel-plugin` does it, and its output and exit code are ours. What is no
/// file it is handed on its standard input.
fn inspect(args: &InspectArgs) -> Outcome {
    let mut process = author::tool()?;
    process.arg("inspect");
    if args.json {
        process.arg("--json");
    }
    let plugin = reference::parse(&args.plugin.to_string_lossy(), &args.source)?;
    let PluginRef::Path(_) = plugin else {
        let component = reference::bytes(&plugin)?;
        process.args(["-", "--named", &plugin.to_string()]);
        if let (PluginRef::Registry(registered), Some(digest)) = (&plugin, component.manifest) {
            let pinned = Reference { digest: Some(digest), ..registered.reference.clone() };
            process.args(["--pinned", &pinned.to_string()]);
        }
        let mut child = process.stdin(Stdio::piped()).spawn().context(author::NOT_STARTED)?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it does not read to the end it says why itself.
            let _ = stdin.write_all(&component.bytes);
        }
        return author::ended(child.wait().context(author::NOT_STARTED)?);
    };
    author::ended(process.arg(&args.plugin).status().context(author::NOT_STARTED)?)
}
