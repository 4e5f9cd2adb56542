//! One command that builds every shipped plugin, `cargo run -p whimbrel-plugins-build`, and one that checks that
//! what is committed is what the sources say, with `-- check`.
//!
//! On the way: `shipped` finds the plugins and what each is made of, `sources` makes one digest of it, `toolchain`
//! finds a compiler for WebAssembly, `compile` makes core modules, `module` takes their metadata out, `component`
//! calls `whimbrel-plugin` to make components of them, `lock` writes down what was made of what, `check` compares.
//!
//! Components are committed so that nobody needs a WebAssembly compiler to build or test the agent. They are
//! reproducible: the same sources, compiler and recipe give the same bytes in any folder.

mod check;
mod compile;
mod component;
mod lock;
mod shipped;
mod sources;
mod toolchain;

use std::{
    fs,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{
    component::Tool,
    lock::{Lock, Record},
    shipped::Workspace,
    toolchain::Toolchain,
};

/// Builds the components that ship with Whimbrel into plugins/components/, and writes components.lock.
#[derive(Debug, Parser)]
#[command(name = "whimbrel-plugins-build")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only this plugin; may be repeated
    #[arg(long = "plugin", value_name = "NAME", global = true)]
    plugins: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that the committed components are those of the sources
    ///
    /// Fails if a source has changed since its component was built, or if a component is not the one that
    /// was built. Then builds again, and compares what components import and export and what they say of
    /// themselves; and the bytes, if the compiler is the one they were built with.
    Check {
        /// Do not build; compare digests only. Needs no WebAssembly compiler
        #[arg(long)]
        sources_only: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => build(&arguments.plugins),
        Some(Command::Check { sources_only }) => check::run(&arguments.plugins, !sources_only),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn build(only: &[String]) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    let plugins = workspace.plugins(only)?;
    let toolchain = Toolchain::find(&workspace)?;
    let tool = Tool::build(&workspace)?;
    let folder = workspace.components();
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let lock_file = workspace.lock();
    let mut lock = Lock::read(&lock_file)?.unwrap_or_default();
    for plugin in plugins {
        let sources = sources::digest(&workspace, &plugin)?;
        let component = component::make(&workspace, &plugin, &toolchain, &tool)?;
        let path = folder.join(format!("{}.wasm", plugin.name));
        component::write(&path, &component)?;
        let record = Record::new(&plugin, sources, &toolchain, &tool, &path, &component)?;
        say(&format!("{} {} bytes, sha256 {}", path.display(), record.size, record.sha256));
        lock.put(record);
    }
    lock.keep(&workspace.plugins(&[])?);
    lock.write(&lock_file)
}

/// A line for the person at the terminal. Nobody left to read it is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
