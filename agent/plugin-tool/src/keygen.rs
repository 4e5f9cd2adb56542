//! `whimbrel-plugin keygen`: a key to sign plugins with.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use whimbrel_plugin_host::trust::SecretKey;

const EXAMPLE: &str = "\
Example:
  whimbrel plugin keygen --out team.key
  whimbrel plugin sign uptime.wasm --key team.key";

/// Make a key to sign plugins with.
///
/// Writes the secret key to FILE, for you alone (mode 0600), and the public one to FILE.pub: that one goes to those
/// who run the plugins, into plugins.trust of their configuration. ed25519, as PEM: `openssl pkey` reads both. Files
/// that are there are never written over.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct KeygenArgs {
    /// Where the secret key goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl KeygenArgs {
    /// Writes both, and says what to do with them.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        // Told before the other: it is the file that was named.
        if self.out.symlink_metadata().is_ok() {
            return Err(is_there(&self.out));
        }
        let key = SecretKey::generate()?;
        let public_file = public_file(&self.out);
        // The public one first: if it can't be written, no secret lies about.
        write_new(&public_file, key.public().to_pem().as_bytes(), 0o644)?;
        if let Err(error) = write_new(&self.out, key.to_pem().as_bytes(), 0o600) {
            // It was made just now, and belongs to a key that is not.
            let _ = std::fs::remove_file(&public_file);
            return Err(error);
        }
        let said = format!(
            "secret key: {} (keep it to yourself)\npublic key: {}\n\nIn the configuration of those who trust it:\n\
             plugins:\n  trust:\n    - {{name: NAME, key: \"{}\"}}\n",
            self.out.display(),
            public_file.display(),
            key.public()
        );
        io::stdout().lock().write_all(said.as_bytes()).context("writing to the standard output failed")
    }
}

fn public_file(secret: &Path) -> PathBuf {
    let mut name = secret.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

fn is_there(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} is there already, and a key is never written over: choose another name with --out",
        path.display()
    )
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(mode).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(is_there(path)),
        opened => opened
            .and_then(|mut file| file.write_all(bytes))
            .with_context(|| format!("{} can't be written", path.display())),
    }
}
