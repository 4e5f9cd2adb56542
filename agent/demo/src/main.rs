//! The program behind `cargo demo`: builds the agent, the plugin tool and the server stub with the same cargo,
//! then becomes `whimbrel demo`.
//!
//! It depends on nothing, so that it starts compiling what matters at once; the demo itself lives in the agent,
//! where shipped binaries have it too.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode},
};

/// One invocation for all three, so that their dependencies are built once.
const PROGRAMS: [&str; 3] = ["whimbrel", "whimbrel-plugin", "server-stub"];

fn main() -> ExitCode {
    match build_and_start() {
        Ok(code) => code,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn build_and_start() -> Result<ExitCode, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let release = cfg!(not(debug_assertions));
    let mut build = Command::new(&cargo);
    build.arg("build");
    if release {
        build.arg("--release");
    }
    for program in PROGRAMS {
        build.args(["--package", program]);
    }
    let built = build.status().map_err(|e| format!("cannot start {}: {e}", cargo.to_string_lossy()))?;
    if !built.success() {
        return Err("the build failed; what cargo printed above says why".into());
    }
    start(Command::new(programs_folder()?.join("whimbrel")).arg("demo").args(env::args_os().skip(1)))
}

/// Where cargo put this program, and so the others.
fn programs_folder() -> Result<PathBuf, String> {
    let this =
        env::current_exe().map_err(|e| format!("cannot find the folder of the built programs: {e}"))?;
    this.parent().map(PathBuf::from).ok_or_else(|| format!("{} has no folder", this.display()))
}

/// Becomes the demo, so that signals and the terminal are its own.
#[cfg(unix)]
fn start(demo: &mut Command) -> Result<ExitCode, String> {
    use std::os::unix::process::CommandExt;
    let error = demo.exec();
    Err(format!("cannot start {}: {error}", demo.get_program().to_string_lossy()))
}

#[cfg(not(unix))]
fn start(demo: &mut Command) -> Result<ExitCode, String> {
    let status =
        demo.status().map_err(|e| format!("cannot start {}: {e}", demo.get_program().to_string_lossy()))?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

#[allow(clippy::print_stderr)] // the one message of a program that has no log
fn complain(message: &str) {
    eprintln!("cargo demo: {message}");
}
