//! What an author of plugins has at hand: `whimbrel plugin ...` in a folder, with the languages' tools.

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::agent::Home;

/// CI: every language must be there.
const ALL: &str = "WHIMBREL_ALL_LANGUAGES";
/// Where CI installs tools, below the user's cache folder.
const TOOLS: [&str; 2] = ["whimbrel-ci/plugin-py/bin", "whimbrel-ci/plugin-js/node_modules/.bin"];

/// `whimbrel` with these arguments, as it is called in a plugin's folder.
pub fn command(home: &Home, args: &[&str], folder: &Path, language: &str) -> Command {
    let mut command = home.command(args);
    command.current_dir(folder).env("PATH", path_with_tools()).stdin(Stdio::null());
    if language == "rust" {
        rust_for_wasm(&mut command);
        // Dependencies and, where need be, the standard library are built once.
        let test = env::current_exe().expect("a running program knows where it is");
        let target = test.ancestors().nth(3).expect("cargo puts tests into target/PROFILE/deps");
        command.env("CARGO_TARGET_DIR", target.join("authoring"));
    }
    command
}

/// Whether a build said that the language's tools are missing; that is told, and in CI it is a failure.
pub fn is_skipped(text: &str) -> bool {
    let missing = text.contains("is missing (looked for") || text.contains("for WebAssembly is missing");
    if missing {
        assert!(env::var_os(ALL).is_none_or(|value| value != "1"), "{ALL}=1, and yet: {text}");
        tell(&format!("skipped: {text}"));
    }
    missing
}

/// Beside what the test harness captures.
pub fn tell(text: &str) {
    // Where even this can't be written, nobody reads it.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// All that a program said.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The PATH, with what CI installs before it.
pub fn path_with_tools() -> OsString {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache"))).unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = TOOLS.iter().map(|folder| cache.join(folder)).chain(env::split_paths(&path));
    env::join_paths(folders).expect("folders of a PATH make a PATH")
}

/// Debian's compiler for WebAssembly, where rustup has none: `plugins/build/debian-toolchain.sh`.
fn rust_for_wasm(command: &mut Command) {
    const TARGET: &str = "wasm32-unknown-unknown";
    let printed = |what: &[&str]| {
        let output = Command::new("rustc").args(what).output().expect("rustc starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let debian =
        env::var_os("WHIMBREL_WASM_TOOLCHAIN").map_or_else(|| "/opt/rustc-web".into(), PathBuf::from);
    let web = debian.join("usr/bin/rustc");
    if Path::new(&printed(&["--print", "target-libdir", "--target", TARGET])).is_dir() || !web.is_file() {
        return;
    }
    let host = printed(&["--print", "host-tuple"]);
    let linker =
        Path::new(&printed(&["--print", "sysroot"])).join("lib/rustlib").join(host).join("bin/rust-lld");
    command.env("RUSTC", web).env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    let libraries = debian.join("usr/lib").join(format!("{}-linux-gnu", env::consts::ARCH));
    command.env("LD_LIBRARY_PATH", libraries);
}
