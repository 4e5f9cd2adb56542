//! `whimbrel-plugin`: compiles plugins for the agent, and helps those who write them.
//!
//! A program of its own, so that the agent carries no compiler: the agent starts it to compile a component
//! that is not in its cache, and `whimbrel plugin inspect` and the like call it. A deployment that ships
//! compiled plugins can leave it out.

mod assemble;
mod author;
mod bundle;
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

/// Begin, build, inspect and compile Whimbrel plugins.
///
/// A plugin is one file: a WebAssembly component. What it can do is what it imports, what it may do is what
/// the configuration grants, and who it is stands in its metadata: nothing has to be run to know any of it.
///
/// Examples:
///   whimbrel-plugin new uptime --lang python
///   whimbrel-plugin build --dir uptime
///   whimbrel-plugin inspect uptime.wasm
///   whimbrel-plugin component target/wasm32-unknown-unknown/release/uptime.wasm -o uptime.wasm
///
/// Exit status: 0 done; 1 failed, or the plugin is refused; 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "whimbrel-plugin", version, verbatim_doc_comment, subcommand_required = true)]
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

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::New(args) => args.run().map(|()| true),
        Command::Build(args) => args.run().map(|()| true),
        Command::Inspect(args) => args.run(),
        Command::Component(args) => args.run().map(|()| true),
        Command::Compile(args) => args.run().map(|()| true),
        Command::Keygen(args) => args.run().map(|()| true),
        Command::Sign(args) => args.run().map(|()| true),
        Command::Push(args) => args.run().map(|()| true),
        Command::Fetch(args) => args.run().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // If even this can't be written there is nobody to tell.
            let _ = writeln!(io::stderr().lock(), "whimbrel-plugin: {error:#}");
            ExitCode::FAILURE
        }
    }
}
