//! Fetches a plugin through a child process, and holds what comes against its digests.
//!
//! The child (`whimbrel-plugin fetch`) speaks HTTP and TLS with a stranger. It gets the request through its standard
//! input, of the environment only what a client of registries needs, limits on memory and time, and answers over
//! its standard output. Whatever happens to it happens there.

use std::{env, io, path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};
use zeroize::Zeroizing;

use super::{
    frame::{self, Credentials, Failure, Reply, Request},
    manifest::{Manifest, ManifestError},
    reference::{Digest, Reference},
};
use crate::{compile::compiler_path, error::CompileError, text::clean};

/// The largest manifest, in bytes (OCI distribution specification, "Pushing Manifests": 4 MiB are to be taken).
pub const MAX_MANIFEST: usize = 4 << 20;
/// The most of the child's standard error that is repeated, in bytes.
const MAX_STDERR: u64 = 4 << 10;
/// How much longer the child may live than the request says: it ends itself first, and says why.
const GRACE: Duration = Duration::from_secs(2);
/// What finds credentials, authorities and proxies. Nothing else of the agent's environment is passed on.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "DOCKER_CONFIG",
    "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// How a registry is spoken to.
#[derive(Debug, Clone)]
pub struct Access {
    /// Over `http://`.
    pub plain_http: bool,
    /// PEM of authorities to trust instead of the system's.
    pub ca_pem: Option<String>,
    /// `None`: what docker's configuration file says.
    pub credentials: Option<Credentials>,
    /// How long all of it may take.
    pub timeout: Duration,
    /// The largest plugin, in bytes.
    pub max_size: u64,
}

/// What a registry gave, every byte held against its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Of the manifest's bytes.
    pub digest: Digest,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The plugin; `None`: the manifest is the known one.
    pub plugin: Option<Vec<u8>>,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FetchError {
    #[error(transparent)]
    Registry(#[from] Failure),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the registry gave {what} with the digest {found}, and {wanted} was asked for")]
    Altered { what: &'static str, wanted: Digest, found: Digest },
    #[error("what fetches plugins from registries is missing: {0}")]
    Missing(CompileError),
    #[error("{} could not be started: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("talking to {} failed: {source}", program.display())]
    Pipe { program: PathBuf, source: io::Error },
    #[error("fetching took longer than {limit:?}, and was stopped")]
    TimedOut { limit: Duration },
    #[error("fetching failed ({status}){said}")]
    Failed { status: String, said: String },
    #[error("{} does not belong to this agent ({detail}): install both from one release", program.display())]
    Foreign { program: PathBuf, detail: String },
}

impl FetchError {
    /// Whether the same may succeed later, without anybody doing anything about it here.
    pub fn is_retryable(&self) -> bool {
        match self {
            FetchError::Registry(failure) => failure.is_retryable(),
            FetchError::Manifest(_) | FetchError::Foreign { .. } => false,
            FetchError::Altered { .. }
            | FetchError::Missing(_)
            | FetchError::Start { .. }
            | FetchError::Pipe { .. }
            | FetchError::TimedOut { .. }
            | FetchError::Failed { .. } => true,
        }
    }
}

/// Fetches what the reference names. `known` is the manifest whose plugin is there already: if it still is what the
/// reference names, only the manifest travels.
///
/// # Errors
/// [`FetchError`].
///
/// # Cancel safety
/// Can be dropped at any time; the child is killed.
pub async fn fetch(
    reference: &Reference,
    access: &Access,
    known: Option<Digest>,
) -> Result<Fetched, FetchError> {
    let program = compiler_path(None).map_err(FetchError::Missing)?;
    let request = Request {
        reference: reference.to_string(),
        plain_http: access.plain_http,
        ca_pem: access.ca_pem.clone(),
        credentials: access.credentials.clone(),
        known: known.map(|digest| digest.to_string()),
        max_size: access.max_size,
        timeout_ms: u64::try_from(access.timeout.as_millis()).unwrap_or(u64::MAX),
    };
    let json = serde_json::to_vec(&request)
        .map_err(|error| FetchError::Pipe { program: program.clone(), source: error.into() })?;
    let limit = access.timeout + GRACE;
    let talk = talk(&program, Zeroizing::new(json), access.max_size);
    let answer = tokio::time::timeout(limit, talk).await.map_err(|_| FetchError::TimedOut { limit })??;
    let foreign = |detail: String| FetchError::Foreign { program: program.clone(), detail };
    let (reply, manifest, plugin) = frame::read(&answer).map_err(|error| foreign(error.to_string()))?;
    let with_plugin = match reply {
        Reply::Failed(failure) => return Err(failure.into()),
        Reply::Fetched => true,
        Reply::Known if frame::is_known(&request, manifest) => false,
        Reply::Known => return Err(foreign("it takes another manifest for the known one".to_owned())),
    };
    let digest = Digest::of(manifest);
    if let Some(wanted) = reference.digest.filter(|wanted| *wanted != digest) {
        return Err(FetchError::Altered { what: "a manifest", wanted, found: digest });
    }
    let wanted = Manifest::read(manifest)?.digest;
    if with_plugin {
        let found = Digest::of(plugin);
        if found != wanted {
            return Err(FetchError::Altered { what: "a plugin", wanted, found });
        }
    }
    Ok(Fetched { digest, manifest: manifest.to_vec(), plugin: with_plugin.then(|| plugin.to_vec()) })
}

/// The bytes of the child's reply.
async fn talk(program: &PathBuf, request: Zeroizing<Vec<u8>>, max_size: u64) -> Result<Vec<u8>, FetchError> {
    let pipe = |source| FetchError::Pipe { program: program.clone(), source };
    let mut child = Command::new(program)
        .arg("fetch")
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?))))
        .env("MALLOC_ARENA_MAX", "2")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| FetchError::Start { program: program.clone(), source })?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(pipe(io::Error::other("the child has no pipes")));
    };
    let feed = async move {
        match stdin.write_all(&request).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    };
    // The reply's own header and JSON are small beside these.
    let most = max_size.saturating_add(2 * MAX_MANIFEST as u64);
    let ((), reply, said) =
        tokio::try_join!(feed, read_to(stdout, most), read_to(stderr, MAX_STDERR)).map_err(pipe)?;
    let status = child.wait().await.map_err(pipe)?;
    if !status.success() {
        let said = clean(String::from_utf8_lossy(&said).trim().to_owned(), MAX_STDERR as usize);
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        return Err(FetchError::Failed { status: status.to_string(), said });
    }
    Ok(reply)
}

/// What a pipe gives, to a limit; the rest is read and dropped, so that the child does not wait for us.
async fn read_to(mut from: impl AsyncRead + Unpin, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut from).take(limit).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}
