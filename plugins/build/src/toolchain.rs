//! A compiler for WebAssembly: rustup's, or Debian's.
//!
//! Where rustup can't be used, Debian's `rustc-web` has the target's back end and the sources of the standard
//! library, which is then built along. `plugins/build/debian-toolchain.sh` unpacks it into a folder.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::shipped::{TARGET, Workspace, output};

/// Names the folder of Debian's compiler.
const VARIABLE: &str = "WHIMBREL_WASM_TOOLCHAIN";

/// Where `debian-toolchain.sh` unpacks it if it is told nothing else.
const DEFAULT_FOLDER: &str = "/opt/rustc-web";

/// A compiler for [`TARGET`].
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// The compiler, its standard library and its linker, exactly: what else decides the bytes of a component.
    pub(crate) id: String,
    /// Where the sources of its standard library are, in its messages.
    pub(crate) std_sources: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// It has the target's standard library.
    Whole,
    /// The standard library is built along.
    Debian { rustc: PathBuf, libraries: PathBuf, linker: PathBuf },
}

impl Toolchain {
    /// rustup's if it has the target, or else Debian's.
    pub(crate) fn find(workspace: &Workspace) -> anyhow::Result<Self> {
        let named = env::var_os(VARIABLE).map(PathBuf::from);
        let rustc = PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let sysroot = PathBuf::from(output(printing(&rustc, "sysroot"))?.trim());
        let tools = workspace.version_of("wit-component", "whimbrel-plugin")?;
        if named.is_none() && sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
            let version = version(Command::new(&rustc))?;
            return Ok(Self {
                id: format!("{version}, prebuilt std, wit-component {tools}"),
                std_sources: sysroot.join("lib/rustlib/src/rust"),
                kind: Kind::Whole,
            });
        }
        let asked = named.is_some();
        let folder = named.unwrap_or_else(|| DEFAULT_FOLDER.into());
        let web = folder.join("usr/bin/rustc");
        if !web.is_file() {
            let what = if asked {
                format!("{VARIABLE} names {}, which has no usr/bin/rustc", folder.display())
            } else {
                format!("there is no compiler for {TARGET} here")
            };
            bail!(
                "{what}. Either `rustup target add {TARGET}`; or, on Debian, \
                 `plugins/build/debian-toolchain.sh FOLDER`, and {VARIABLE}=FOLDER \
                 (FOLDER may be left out: {DEFAULT_FOLDER})"
            );
        }
        Self::debian(&rustc, &sysroot, &folder, web, &tools)
    }

    fn debian(
        rustc: &Path,
        sysroot: &Path,
        folder: &Path,
        web: PathBuf,
        tools: &str,
    ) -> anyhow::Result<Self> {
        let libraries = folder.join("usr/lib").join(format!("{}-linux-gnu", env::consts::ARCH));
        let own = verbose(Command::new(rustc))?;
        let host = field(&own, "host")?;
        let linker = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
        if !linker.is_file() {
            bail!("{} is not there: rustc's own linker is needed", linker.display());
        }
        let mut command = Command::new(&web);
        command.env("LD_LIBRARY_PATH", &libraries);
        let compiler = version(command)?;
        let mut command = printing(&web, "sysroot");
        command.env("LD_LIBRARY_PATH", &libraries);
        let web_sysroot = PathBuf::from(output(command)?.trim());
        let id = format!(
            "{compiler}, std built along, rust-lld of {}, wit-component {tools}",
            field(&own, "release").map(|release| format!("rustc {release}"))?
        );
        Ok(Self {
            id,
            std_sources: web_sysroot.join("lib/rustlib/src/rust"),
            kind: Kind::Debian { rustc: web, libraries, linker },
        })
    }

    /// What cargo needs to know to use it.
    pub(crate) fn apply(&self, command: &mut Command) {
        match &self.kind {
            Kind::Whole => {}
            Kind::Debian { rustc, libraries, linker } => {
                command.arg("-Zbuild-std=std,panic_abort");
                command.env("RUSTC", rustc);
                command.env("RUSTC_BOOTSTRAP", "1");
                command.env("LD_LIBRARY_PATH", libraries);
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            }
        }
    }
}

fn printing(rustc: &Path, what: &str) -> Command {
    let mut command = Command::new(rustc);
    command.args(["--print", what]);
    command
}

fn verbose(mut rustc: Command) -> anyhow::Result<String> {
    rustc.arg("-vV");
    output(rustc)
}

/// `rustc 1.95.0 (59807616e 2026-04-14), LLVM 22.1.2, x86_64-unknown-linux-gnu`
fn version(rustc: Command) -> anyhow::Result<String> {
    let text = verbose(rustc)?;
    let first = text.lines().next().unwrap_or_default();
    Ok(format!("{first}, LLVM {}, {}", field(&text, "LLVM version")?, field(&text, "host")?))
}

fn field<'a>(text: &'a str, key: &str) -> anyhow::Result<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    line.with_context(|| format!("rustc -vV says nothing of {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_is_known_by_release_llvm_and_host() {
        let text = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
                    release: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(field(text, "host").unwrap(), "x86_64-unknown-linux-gnu");
        assert_eq!(field(text, "LLVM version").unwrap(), "22.1.2");
        assert!(field(text, "commit-hash").is_err());
    }
}
