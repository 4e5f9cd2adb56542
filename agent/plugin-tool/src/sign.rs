//! `whimbrel-plugin sign`: a key's name under a plugin.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use sha2::{Digest as _, Sha256};
use whimbrel_plugin_host::{
    Identity, bundle,
    trust::{self, Kind, SecretKey, Signature, Statement},
};
use zeroize::Zeroizing;

use crate::{confine::Confinement, describe::describe};

/// The largest plugin, in bytes.
pub(crate) const MAX_PLUGIN: u64 = 256 << 20;
/// The largest `.sig` file, in bytes.
const MAX_SIGNATURES: u64 = 1 << 20;

const EXAMPLE: &str = "\
Example:
  whimbrel plugin keygen --out team.key
  whimbrel plugin sign uptime.wasm --key team.key
  whimbrel plugin verify uptime.wasm --key team.key.pub";

/// Sign a plugin: a component, or a bundle of compiled code.
///
/// Writes a detached signature to FILE.sig: ed25519 over name, version and SHA-256. What another key has signed there
/// stays, so that a plugin can be signed by several; signatures of other bytes go. `whimbrel plugin push` takes the
/// signature along into a registry.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct SignArgs {
    /// The component or bundle
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The secret key, as `whimbrel plugin keygen` or OpenSSL makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl SignArgs {
    /// Signs, and says what was signed.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let key = secret_key(&self.key)?;
        let bytes = read(&self.file)?;
        Confinement { memory: 4 << 30, cpu_seconds: 120, file_size: 1 << 30, open_files: true }
            .enter()
            .context("the limits could not be set")?;
        let said = sign(&self.file, &bytes, &key)?;
        io::stdout().lock().write_all(said.as_bytes()).context("writing to the standard output failed")
    }
}

/// The bytes of a plugin.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let size = fs::metadata(path).with_context(|| format!("{shown} can't be read"))?.len();
    anyhow::ensure!(size <= MAX_PLUGIN, "{shown} has {size} bytes, and a plugin has at most {MAX_PLUGIN}");
    fs::read(path).with_context(|| format!("{shown} can't be read"))
}

/// The key in a file.
pub(crate) fn secret_key(path: &Path) -> anyhow::Result<SecretKey> {
    let shown = path.display();
    let text =
        fs::read_to_string(path).map(Zeroizing::new).with_context(|| format!("{shown} can't be read"))?;
    SecretKey::parse(&text).with_context(|| shown.to_string())
}

/// Signs these bytes of that file, into the file `.sig` beside it; answers what to say.
pub(crate) fn sign(file: &Path, bytes: &[u8], key: &SecretKey) -> anyhow::Result<String> {
    let identity = identity(bytes).with_context(|| file.display().to_string())?;
    let statement = Statement {
        kind: Kind::of(bytes),
        sha256: Sha256::digest(bytes).into(),
        name: identity.name.unwrap_or_default(),
        version: identity.version.unwrap_or_default(),
    };
    let said = format!("{}: signed by {}\n  {statement}\n", file.display(), key.public());
    let mut signatures: Vec<Signature> = signatures(file)?
        .map(|text| trust::read(&text))
        .transpose()
        .with_context(|| format!("{} is there, and not to be written over", signature_file(file).display()))?
        .unwrap_or_default();
    signatures.retain(|other| {
        let of_these_bytes = other.verify(&other.key()).is_some_and(|said| said.sha256 == statement.sha256);
        of_these_bytes && other.key() != key.public()
    });
    signatures.push(Signature::sign(key, statement)?);
    anyhow::ensure!(
        signatures.len() <= trust::MAX_SIGNATURES,
        "{} is signed by {} keys already",
        file.display(),
        trust::MAX_SIGNATURES
    );
    let target = signature_file(file);
    let temporary = with_suffix(file, ".sig.tmp");
    fs::write(&temporary, trust::write(&signatures))
        .and_then(|()| fs::rename(&temporary, &target))
        .with_context(|| format!("{} can't be written", target.display()))?;
    Ok(said)
}

/// The text of the file `.sig` beside this one, if there is one.
pub(crate) fn signatures(file: &Path) -> anyhow::Result<Option<String>> {
    let path = signature_file(file);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(meta) if meta.len() > MAX_SIGNATURES => anyhow::bail!("{} is too large", path.display()),
        _ => {}
    }
    fs::read_to_string(&path).map(Some).with_context(|| format!("{} can't be read", path.display()))
}

/// Who a plugin is, component or bundle.
pub(crate) fn identity(bytes: &[u8]) -> anyhow::Result<Identity> {
    match Kind::of(bytes) {
        Kind::Component => Ok(describe(bytes)?.identity),
        Kind::Native => Ok(bundle::read(bytes)?.0.description.identity),
    }
}

fn signature_file(file: &Path) -> PathBuf {
    with_suffix(file, ".sig")
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    PathBuf::from(name)
}
