//! Where the built programs are.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

/// Built by one invocation, so that their dependencies are built once.
const PACKAGES: [&str; 3] = ["whimbrel", "whimbrel-plugin", "server-stub"];

/// The path of a program: `whimbrel`, `whimbrel-plugin`, `whimbrel-stub`.
///
/// # Panics
/// When it cannot be built.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name)
}

fn build() -> PathBuf {
    let this = env::current_exe().expect("a running program knows where it is");
    // target/PROFILE/deps/this
    let folder =
        this.parent().and_then(|deps| deps.parent()).expect("cargo puts tests into PROFILE/deps").to_owned();
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg("build").current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    let output = command.output().expect("cargo starts");
    assert!(
        output.status.success(),
        "the programs do not build: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder
}
