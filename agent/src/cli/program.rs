//! The structure of the command line, and the way from arguments to an exit code.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};

use whimbrel_plugin_host::text::whole;

use super::{
    check, config, confine, demo,
    exit::{Exit, Failure, Outcome},
    exporter, key, plugin, print, reload, run, status, wal,
};
use crate::config::Problems;

const ABOUT: &str = "\
Whimbrel collects telemetry from hosts and edge machines and delivers it to any OTLP endpoint. Collectors are \
WebAssembly components in a sandbox: each reaches only what its configuration grants. Every batch is made durable, \
and encrypted, on disk before it is answered for, and drained to the exporters from there, so that a dead link, a \
restart or a power cut costs no data.";

const MORE: &str = "\
Examples:
  whimbrel demo                          see it work, with a backend that shows what arrives
  whimbrel check -c whimbrel.yaml        what would run, or everything that is wrong with the file
  whimbrel run -c whimbrel.yaml          run until TERM or INT
  whimbrel config show --effective       the configuration with every default filled in
  whimbrel status                        what the running agent does
  whimbrel reload                        apply what changed in the configuration
  whimbrel plugin new NAME --lang python begin a plugin of your own
  whimbrel plugin inspect FILE           who made a plugin, and what it asks for
  whimbrel wal verify                    whether the data on disk is whole
  whimbrel key rotate                    encrypt with a new key from now on
  whimbrel exporter rewind NAME --since 2h
                                         send again what was delivered and is still kept
  whimbrel wal dump --limit 1            a stored record as OTLP/JSON

Environment:
  WHIMBREL_CONFIG                        what -c would name
  WHIMBREL__SECTION__KEY                 any key of the configuration, over what files say:
                                         WHIMBREL__EXPORTERS__BACKEND__ENDPOINT=https://otlp.example.com
  OTEL_EXPORTER_OTLP_*                   the exporter, where none is configured
  OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME
                                         resource attributes, under those of the configuration
  STATE_DIRECTORY, CREDENTIALS_DIRECTORY where data and wal.key are, as systemd sets them
  NO_COLOR                               no colours on a terminal

Exit codes:
  0 done   1 failed   2 wrong use   3 data lost or damaged (wal verify, dump, repair)
  4 data directory locked, or under another key   78 configuration";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "whimbrel", version, about = ABOUT, after_help = MORE, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent until TERM or INT: what is collected by then is sent, or stays in the WAL
    Run(run::Args),
    /// Check the configuration and show what would run; touches no data
    Check(check::Args),
    /// Show the configuration
    #[command(subcommand, arg_required_else_help = true)]
    Config(config::Command),
    /// Write, test, run, inspect, sign and push plugins; list and resume the agent's
    #[command(subcommand, arg_required_else_help = true)]
    Plugin(plugin::Command),
    /// Look at the write-ahead log, the durable buffer on disk
    #[command(subcommand, arg_required_else_help = true)]
    Wal(wal::Command),
    /// Make, list, rotate and retire the keys that the write-ahead log is encrypted with
    #[command(subcommand, arg_required_else_help = true)]
    Key(key::Command),
    /// Look at the running agent's exporters; pause, resume and rewind them
    #[command(subcommand, arg_required_else_help = true)]
    Exporter(exporter::Command),
    /// Ask the running agent what it does
    Status(status::Args),
    /// Have the running agent read its configuration again, and apply what differs of the collectors. Ends with 1 where a
    /// collector does not run as configured, and names it
    Reload(reload::Args),
    /// See it work: the agent and a backend that shows what arrives, until interrupted
    Demo(demo::Args),
    /// Run one program within limits: how the agent starts what `collectors.NAME.exec` names
    #[command(hide = true)]
    Confine(confine::Args),
}

/// Runs what the process was started with.
pub fn main() -> ExitCode {
    end(run_with(std::env::args_os())).into()
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> Outcome {
    let program = match Program::try_parse_from(arguments) {
        Ok(program) => program,
        Err(error) => return usage(&error),
    };
    match program.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Plugin(command) => plugin::run(&command),
        Command::Wal(command) => wal::run(&command),
        Command::Key(command) => key::run(&command),
        Command::Exporter(command) => exporter::run(&command),
        Command::Status(args) => status::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Confine(args) => confine::run(&args),
    }
}

/// Help and the version are asked for and go to stdout; anything else is wrong use.
fn usage(error: &clap::Error) -> Outcome {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print::text(error.render())?;
            Ok(Exit::Done)
        }
        _ => {
            print::message(error.render().to_string().trim_end());
            Ok(Exit::Usage)
        }
    }
}

/// Says why it failed, if it did.
fn end(outcome: Outcome) -> Exit {
    let Failure { exit, error } = match outcome {
        Ok(exit) => return exit,
        Err(failure) => failure,
    };
    if let Some(error) = error {
        match error.downcast_ref::<Problems>() {
            Some(problems) => print::message(heading(problems)),
            None => print::message(format_args!("whimbrel: {}", whole(error.as_ref()))),
        }
    }
    exit
}

/// All problems below one line that counts them.
fn heading(problems: &Problems) -> String {
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    format!("whimbrel: {count} in the configuration; nothing was started, and no data touched\n\n{problems}")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Program, clap::Error> {
        Program::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn every_command_of_this_version_is_understood() {
        for line in [
            "whimbrel run",
            "whimbrel run -c a.yaml -c conf.d -c env:TEXT",
            "whimbrel check --json",
            "whimbrel config show --effective -c a.yaml",
            "whimbrel wal status --json",
            "whimbrel wal verify -c a.yaml",
            "whimbrel wal list --json",
            "whimbrel wal dump --from 3 --to 9 --signal logs --source collectors/host --segment 1 --limit 2",
            "whimbrel wal dump --pending backend",
            "whimbrel wal repair --apply --json",
            "whimbrel wal record --from collectors/host --signal metrics",
            "whimbrel key generate --out wal.key",
            "whimbrel key list -c a.yaml --json",
            "whimbrel key rotate --socket /run/x.sock",
            "whimbrel key retire 1a2b3c4d",
            "whimbrel wal forget backend --yes --json",
            "whimbrel exporter status",
            "whimbrel exporter status backend --json",
            "whimbrel exporter pause backend",
            "whimbrel exporter resume backend --socket /run/x.sock",
            "whimbrel exporter rewind backend --since 2h",
            "whimbrel exporter rewind backend --oldest",
            "whimbrel plugin inspect a.wasm --json",
            "whimbrel plugin run a.wasm",
            "whimbrel plugin run oci://registry.example.com/a:1",
            "whimbrel plugin verify a.wasm --key a.pub --key b.pub",
            "whimbrel plugin verify oci://registry.example.com/a:1 -c a.yaml",
            "whimbrel plugin keygen --out a.key",
            "whimbrel plugin sign a.wasm --key a.key",
            "whimbrel plugin compile a.wasm --target aarch64-unknown-linux-gnu -o a.bundle",
            "whimbrel plugin push a.wasm oci://registry.example.com/a:1",
            "whimbrel plugin sign --help",
            "whimbrel plugin new a --lang c",
            "whimbrel plugin build --help",
            "whimbrel plugin test default --dir a",
            "whimbrel plugin dev --count 3",
            "whimbrel plugin list --json",
            "whimbrel plugin resume host --json",
            "whimbrel status --json",
            "whimbrel reload --socket /run/x.sock --json",
            "whimbrel demo --keep /tmp/x",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn commands_of_later_versions_are_not_offered() {
        for line in ["whimbrel top", "whimbrel tap", "whimbrel help"] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSubcommand, "{line}");
        }
    }

    #[test]
    fn a_rewinding_must_say_how_far_and_once() {
        for line in [
            "whimbrel exporter rewind backend",
            "whimbrel exporter rewind backend --oldest --since 2h",
            "whimbrel exporter rewind backend --since yesterday",
            "whimbrel exporter rewind --oldest",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    /// Of the commands whose help is this program's; the others' is `whimbrel-plugin`'s.
    #[test]
    fn the_help_of_each_plugin_command_says_more_than_a_line_and_has_an_example() {
        let mut program = Program::command();
        program.build();
        let plugin = program.find_subcommand_mut("plugin").unwrap();
        for name in ["test", "dev", "list", "inspect", "run", "verify", "resume"] {
            let command = plugin.find_subcommand_mut(name).unwrap();
            let help = command.render_long_help().to_string();
            let (prose, rest) = help.split_once("\nUsage: ").unwrap();
            assert!(prose.trim().contains("\n\n"), "{name}: {help}");
            assert!(rest.starts_with(&format!("whimbrel plugin {name} ")), "{name}: {help}");
            assert!(rest.contains(&format!("Examples:\n  whimbrel plugin {name}")), "{name}: {help}");
        }
    }

    #[test]
    fn help_names_the_environment_and_the_exit_codes() {
        let help = Program::command().render_help().to_string();
        for wanted in
            ["WHIMBREL__", "OTEL_EXPORTER_OTLP_", "78 configuration", "whimbrel check", "whimbrel plugin new"]
        {
            assert!(help.contains(wanted), "{wanted} in\n{help}");
        }
        assert!(parse("whimbrel --version").unwrap_err().to_string().starts_with("whimbrel 0."));
    }
}
