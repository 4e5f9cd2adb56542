//! What `whimbrel-plugin fetch` reads from its standard input (JSON: [`Request`]) and writes to its standard output.
//!
//! ```text
//!  0        8          12             16             24
//!  +--------+----------+--------------+--------------+--------------+----------+----------+
//!  | magic  | json len | manifest len | plugin len   | JSON: Reply  | manifest | plugin   |
//!  | 8      | u32 LE   | u32 LE       | u64 LE       |              |          |          |
//!  +--------+----------+--------------+--------------+--------------+----------+----------+
//! ```
//!
//! A failure has neither manifest nor plugin; what is known already comes without the plugin. Nothing may follow.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::reference::Digest;

/// The first bytes; the last of them is the version of the layout and of the JSON.
const MAGIC: [u8; 8] = *b"WHFETCH\x01";
const HEADER: usize = 24;

/// What is wanted, and how. Goes through a pipe, because credentials are in it: no argument and no variable shows them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// As [`super::Reference`] writes it.
    pub reference: String,
    /// Over `http://`.
    pub plain_http: bool,
    /// PEM of authorities to trust instead of the system's.
    pub ca_pem: Option<String>,
    /// Those of the configuration; without them docker's configuration file is asked.
    pub credentials: Option<Credentials>,
    /// The digest of a manifest whose plugin is there already.
    pub known: Option<String>,
    /// The largest plugin, in bytes.
    pub max_size: u64,
    /// How long the whole of it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// What a registry wants to be told.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Credentials {
    Basic { username: String, password: String },
    Token(String),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Manifest and plugin follow.
    Fetched,
    /// The manifest follows; it is the known one.
    Known,
    /// Nothing follows.
    Failed(Failure),
}

/// Why a registry gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Failure {
    #[error("the registry can't be reached: {detail}")]
    Unreachable { detail: String },
    #[error("the registry answers with an error: {detail}")]
    Server { detail: String },
    #[error(
        "the registry refuses it ({detail}): give `username` and `password` or a `token` under plugins.registries, or \
         log in with `docker login` as the agent's user; a name that is not there is refused in the same way"
    )]
    Denied { detail: String },
    #[error("the registry does not have it: {detail}")]
    Missing { detail: String },
    #[error("{detail}")]
    Unsuitable { detail: String },
    #[error("it has {size} bytes, and a plugin has at most {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("the registry gave other bytes than their digest says: {detail}")]
    Altered { detail: String },
}

impl Failure {
    /// Whether the same may succeed later, without anybody doing anything about it here.
    pub fn is_retryable(&self) -> bool {
        match self {
            // A registry answers "denied" and "missing" also before a plugin is pushed, and while it starts.
            Failure::Unreachable { .. } | Failure::Server { .. } | Failure::Altered { .. } => true,
            Failure::Denied { .. } | Failure::Missing { .. } => true,
            Failure::Unsuitable { .. } | Failure::TooLarge { .. } => false,
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("reference", &self.reference).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A reply that is none.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FrameError {
    #[error("it does not begin as a reply does")]
    Magic,
    #[error("it was cut off, or something follows it")]
    Length,
    #[error("its JSON can't be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes a reply.
///
/// # Errors
/// The writer's.
pub fn write(reply: &Reply, manifest: &[u8], plugin: &[u8], to: &mut impl Write) -> io::Result<()> {
    let json = serde_json::to_vec(reply)?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    to.write_all(&MAGIC)?;
    to.write_all(&length(&json)?.to_le_bytes())?;
    to.write_all(&length(manifest)?.to_le_bytes())?;
    to.write_all(&(plugin.len() as u64).to_le_bytes())?;
    to.write_all(&json)?;
    to.write_all(manifest)?;
    to.write_all(plugin)?;
    to.flush()
}

/// Takes a reply apart: reply, manifest, plugin.
///
/// # Errors
/// It is not one.
pub fn read(bytes: &[u8]) -> Result<(Reply, &[u8], &[u8]), FrameError> {
    let (header, rest) = bytes.split_at_checked(HEADER).ok_or(FrameError::Length)?;
    if header[..8] != MAGIC {
        return Err(FrameError::Magic);
    }
    let number = |range: std::ops::Range<usize>| {
        header[range].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let length = |number: u64| usize::try_from(number).map_err(|_| FrameError::Length);
    let (json, rest) = rest.split_at_checked(length(number(8..12))?).ok_or(FrameError::Length)?;
    let (manifest, plugin) = rest.split_at_checked(length(number(12..16))?).ok_or(FrameError::Length)?;
    if plugin.len() as u64 != number(16..24) {
        return Err(FrameError::Length);
    }
    Ok((serde_json::from_slice(json)?, manifest, plugin))
}

/// The digest of the manifest that is known, if this is it.
pub fn is_known(request: &Request, manifest: &[u8]) -> bool {
    request.known.as_deref().is_some_and(|known| known == Digest::of(manifest).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_as_it_was_written_and_no_cut_is() {
        let mut whole = Vec::new();
        write(&Reply::Fetched, b"{}", b"\0asm", &mut whole).unwrap();
        assert_eq!(read(&whole).unwrap(), (Reply::Fetched, &b"{}"[..], &b"\0asm"[..]));
        for at in 0..whole.len() {
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        whole.push(0);
        assert!(matches!(read(&whole), Err(FrameError::Length)));
    }

    #[test]
    fn credentials_do_not_show_themselves() {
        let credentials = Credentials::Basic { username: "ada".into(), password: "hunter2".into() };
        let request = Request {
            reference: "oci://x/y:1".into(),
            plain_http: false,
            ca_pem: None,
            credentials: Some(credentials.clone()),
            known: None,
            max_size: 1,
            timeout_ms: 1,
        };
        let shown = format!("{credentials:?} {request:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("ada"), "{shown}");
    }
}
