//! What the embedder provides to a guest, and the types that cross.
//!
//! Whatever a guest hands over leaves as OTLP, whichever version of the contract it speaks. The records of `snapshot` are
//! the contract's own (generated from `wit/`). Nothing here knows the WAL.

use std::{
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    time::Duration,
};

use whimbrel_otlp::Signal;

use crate::address::Origin;

pub use crate::contract::{Attribute, Entity, Figure, Value};

/// What an instance is given by the agent. One object an instance; all calls for it come one at a time.
///
/// The functions that are not `async` are called on the executor: they must not block for long. A panic in
/// one of them is the embedder's and goes up through the call.
pub trait Services: Send + Sync {
    /// Makes the batch durable, with the checkpoint in the same record. The time until the answer is not
    /// charged to the guest. Bounded waiting is up to the embedder: `unavailable` after at most 1 s.
    ///
    /// # Errors
    /// Are given to the guest as they are.
    fn push(
        &self,
        batch: Batch,
        checkpoint: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send + '_>>;

    /// The host's figures of one part, as far as `select` wants them: pairs of key and value, empty for what the
    /// part gives by default. The grant has been checked, and the number (256) and length (1024 bytes) of pairs.
    ///
    /// # Errors
    /// Are given to the guest as they are.
    fn snapshot(&self, part: &str, select: &[(String, String)]) -> Result<Vec<Entity>, GuestError>;

    /// A line for the agent's own log. Its rate and its length have been limited.
    fn log(&self, line: LogLine);

    /// A secret by its name. The grant has been checked.
    ///
    /// # Errors
    /// Are given to the guest as they are.
    fn reveal(&self, name: &str) -> Result<String, GuestError>;

    /// The guest asked for what is not granted. Called once for each thing, not for each time.
    fn denied(&self, what: &Denied);

    /// The clock that the guest is to see, in nanoseconds since the Unix epoch.
    fn now_ns(&self) -> u64;

    /// Time that has passed for the guest and not for this machine, where somebody moves [`now_ns`](Self::now_ns): its
    /// monotonic clock runs ahead by so much.
    fn skipped(&self) -> Duration {
        Duration::ZERO
    }
}

/// What a guest pushes in one call: one OTLP export request. One that the guest encoded itself is unchecked.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Which of the three.
    pub signal: Signal,
    /// The export request, protobuf.
    pub request: Vec<u8>,
}

/// A line that a guest wrote. Free of control characters but line feed and tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// As the guest gave it.
    pub level: Level,
    /// At most 8 KiB.
    pub message: String,
    /// At most 32, keys and values at most 1 KiB each.
    pub fields: Vec<(String, String)>,
    /// Lines left out before this one, because there were too many a second.
    pub dropped_before: u64,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// What a guest asked for and was not granted. Texts are free of control characters, and not long.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Denied {
    /// A part of the host's figures.
    System(String),
    /// A secret.
    Secret(String),
    /// A request to an origin.
    Http(Origin),
    /// A request to an origin that is granted, where it has an address that is not.
    HttpAddress(Origin, IpAddr),
    /// A request over a Unix socket.
    Unix(PathBuf),
    /// A folder to read in.
    Read(PathBuf),
    /// A folder to change something in.
    Write(PathBuf),
    /// A connection.
    Tcp(SocketAddr),
    /// A datagram.
    Udp(SocketAddr),
    /// The addresses of a name.
    Name(String),
    /// An answer to a request, by whom, of more bytes than this.
    Answer(String, u64),
    /// To listen for connections or datagrams on a port.
    Listen(SocketAddr),
    /// Something of the agent itself.
    Agent(String),
}

/// As YAML reads it back.
fn quoted(text: impl fmt::Display) -> String {
    serde_json::Value::String(text.to_string()).to_string()
}

impl Denied {
    /// The lines of the configuration that would allow it; `None` where none does. A detail (`process.each`) comes
    /// with its part.
    pub fn grant(&self) -> Option<String> {
        let (key, value) = self.allowed_by()?;
        let plain = matches!(self, Denied::System(_) | Denied::Secret(_));
        Some(format!("grants: {{ {key}: [{}] }}", if plain { value } else { quoted(value) }))
    }

    /// The same as key and value: what [`Grant`](crate::Grant) reads with `=` between them.
    pub fn allowed_by(&self) -> Option<(&'static str, String)> {
        Some(match self {
            Denied::System(part) => ("system", whole(part).to_owned()),
            Denied::Secret(name) => ("secrets", name.clone()),
            Denied::Http(origin) => ("http", origin.to_string()),
            Denied::HttpAddress(origin, address) => ("http", format!("{origin} in {address}")),
            Denied::Unix(path) => ("unix", path.display().to_string()),
            Denied::Read(folder) => ("read", folder.display().to_string()),
            Denied::Write(folder) => ("write", folder.display().to_string()),
            Denied::Tcp(address) => ("tcp", address.to_string()),
            Denied::Udp(address) => ("udp", address.to_string()),
            Denied::Name(name) => ("tcp", format!("{name}:PORT")),
            Denied::Answer(..) | Denied::Listen(_) | Denied::Agent(_) => return None,
        })
    }
}

/// What is said of several parts of the host's figures that were denied, and of one as [`Denied`] says it.
pub fn parts_denied(parts: &[String]) -> String {
    if let [part] = parts {
        return Denied::System(part.clone()).to_string();
    }
    let named: Vec<_> = parts.iter().map(|part| format!("`{part}`")).collect();
    let mut grants: Vec<_> = parts.iter().map(|part| whole(part)).collect();
    grants.dedup();
    format!(
        "the parts {} of the host's figures are not granted; this would grant them: grants: {{ system: [{}] }}",
        named.join(", "),
        grants.join(", ")
    )
}

/// The part of which this is one, or a detail.
fn whole(part: &str) -> &str {
    part.split_once('.').map_or(part, |(part, _)| part)
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::System(part) => write!(f, "the part `{part}` of the host's figures")?,
            Denied::Secret(name) => write!(f, "the secret `{name}`")?,
            Denied::Http(origin) => write!(f, "a request to {origin}")?,
            Denied::HttpAddress(origin, address) => {
                write!(f, "a request to {origin} at its address {address}")?
            }
            Denied::Unix(path) => write!(f, "a request over the Unix socket {}", path.display())?,
            Denied::Read(folder) => write!(f, "reading in {}", folder.display())?,
            Denied::Write(folder) => write!(f, "writing in {}", folder.display())?,
            Denied::Tcp(address) => write!(f, "a TCP connection to {address}")?,
            Denied::Udp(address) => write!(f, "UDP to {address}")?,
            Denied::Name(name) => write!(f, "looking up the name {name}")?,
            Denied::Answer(of, limit) => {
                let limit = crate::limits::mebibytes(*limit);
                return write!(
                    f,
                    "an answer of {of} with more than {limit} is cut, and nothing can grant it"
                );
            }
            Denied::Listen(address) => {
                return write!(f, "listening on {address} is not granted, and nothing can grant it");
            }
            Denied::Agent(what) => {
                return write!(f, "{what} belongs to the agent itself, and nothing can grant it");
            }
        }
        write!(f, " is not granted")?;
        self.grant().map_or(Ok(()), |grant| write!(f, "; this would grant it: {grant}"))
    }
}

/// The contract's `error`: what a guest answers, and what it is answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// The plugin's configuration is wrong.
    #[error("configuration: {0}")]
    Config(String),
    /// Not granted.
    #[error("denied: {0}")]
    Denied(String),
    /// Not at this moment.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Malformed data.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Over a limit, in bytes.
    #[error("too large: at most {0} bytes")]
    TooLarge(u64),
    /// May succeed next time.
    #[error("{0}")]
    Transient(String),
    /// Will fail again.
    #[error("{0}")]
    Permanent(String),
}

impl GuestError {
    /// Whether trying the same again may help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, GuestError::Unavailable(_) | GuestError::Transient(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_granted_with_its_part() {
        let text = Denied::System("process.each".into()).to_string();
        assert!(text.contains("`process.each`") && text.contains("grants: { system: [process] }"), "{text}");
    }

    #[test]
    fn several_parts_are_told_in_one_line_with_one_grant() {
        let parts = ["cpu", "process", "process.each"].map(str::to_owned);
        let text = parts_denied(&parts);
        assert!(text.contains("`cpu`, `process`, `process.each`"), "{text}");
        assert!(text.ends_with("grants: { system: [cpu, process] }"), "{text}");
        assert_eq!(parts_denied(&parts[..1]), Denied::System("cpu".to_owned()).to_string());
    }
}
