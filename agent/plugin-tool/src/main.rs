//! `whimbrel-plugin`: compiles plugins for the agent, and helps those who write them.
//!
//! A program of its own, so that the agent carries no compiler: the agent starts it to compile a component
//! that is not in its cache, and `whimbrel plugin inspect` and the like call it. A deployment that ships
//! compiled plugins can leave it out.

mod assemble;
mod author;
mod bundle;
mod called;
mod compile;
mod component;
mod confine;
mod describe;
mod fetch;
mod inspect;
mod keygen;
mod push;
mod registry;
mod sections;
mod sign;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use whimbrel_plugin_host::text::whole;

const EXAMPLES: &str = "\
Examples:
  whimbrel-plugin new uptime --lang python
  whimbrel-plugin build --dir uptime
  whimbrel-plugin inspect uptime/build/uptime.wasm
  whimbrel-plugin component target/wasm32-unknown-unknown/release/uptime.wasm -o uptime.wasm

Exit status: 0 done; 1 failed, or the plugin is refused; 2 wrong usage.";

/// Begin, build, inspect, compile, sign and push Whimbrel plugins.
///
/// A plugin is one file: a WebAssembly component. What it can do is what it imports, what it may do is what the
/// configuration grants, and who it is stands in its metadata: nothing has to be run to know any of it.
///
/// `whimbrel plugin` has all of this, and runs and tests plugins too.
#[derive(Debug, Parser)]
#[command(name = "whimbrel-plugin", version, subcommand_required = true, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(author::NewArgs),
    Build(author::BuildArgs),
    Inspect(inspect::InspectArgs),
    Component(Box<component::ComponentArgs>),
    Compile(compile::CompileArgs),
    Keygen(keygen::KeygenArgs),
    Sign(sign::SignArgs),
    Push(push::PushArgs),
    Fetch(fetch::FetchArgs),
}

impl Command {
    /// As it is typed.
    fn name(&self) -> &'static str {
        match self {
            Command::New(_) => "new",
            Command::Build(_) => "build",
            Command::Inspect(_) => "inspect",
            Command::Component(_) => "component",
            Command::Compile(_) => "compile",
            Command::Keygen(_) => "keygen",
            Command::Sign(_) => "sign",
            Command::Push(_) => "push",
            Command::Fetch(_) => "fetch",
        }
    }

    fn run(&self) -> anyhow::Result<bool> {
        match self {
            Command::New(args) => args.run().map(|()| true),
            Command::Build(args) => args.run().map(|()| true),
            Command::Inspect(args) => args.run(),
            Command::Component(args) => args.run().map(|()| true),
            Command::Compile(args) => args.run().map(|()| true),
            Command::Keygen(args) => args.run().map(|()| true),
            Command::Sign(args) => args.run().map(|()| true),
            Command::Push(args) => args.run().map(|()| true),
            Command::Fetch(args) => args.run().map(|()| true),
        }
    }
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(Cli { command }) => command,
        Err(error) => called::sensible(error).exit(),
    };
    match command.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let speaker = called::speaker(std::env::args_os().next().as_deref(), command.name());
            // If even this can't be written there is nobody to tell.
            let _ = writeln!(io::stderr().lock(), "{speaker}: {}", whole(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_names_are_what_is_typed() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        for (line, name) in [("new a --lang c", "new"), ("keygen --out a", "keygen"), ("fetch", "fetch")] {
            let words = format!("whimbrel-plugin {line}");
            let parsed = Cli::try_parse_from(words.split_whitespace()).unwrap();
            assert_eq!(parsed.command.name(), name);
            assert!(cli.find_subcommand(name).is_some(), "{name}");
        }
    }
}
