//! Why there is no answer.

use std::fmt;
use std::time::Duration;

/// Why a request was not sent, or not answered to the end. An answer of whatever status is none of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request is none: its URL, a header, its method.
    Invalid(String),
    /// Not granted; says what would grant it.
    Denied(String),
    /// The name has no address, or nobody said which.
    Name(String),
    /// Nobody takes connections there.
    Connect(String),
    /// The connection was closed before the answer was whole.
    Closed(String),
    /// The server's certificate is not trusted: expired, for another name, of an unknown authority.
    Certificate(String),
    /// TLS failed otherwise.
    Tls(String),
    /// It took longer than it may.
    Timeout(String),
    /// The answer is larger than so many bytes.
    TooLarge(u64),
    /// Too many redirects.
    Redirects(u32),
    /// More requests are under way than the host takes.
    Busy,
    /// What the server says is not HTTP.
    Protocol(String),
}

impl Error {
    /// A short word for each kind, as an attribute has it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Error::Invalid(_) => "invalid_request",
            Error::Denied(_) => "denied",
            Error::Name(_) => "name_resolution",
            Error::Connect(_) => "connect",
            Error::Closed(_) => "connection_closed",
            Error::Certificate(_) => "certificate",
            Error::Tls(_) => "tls",
            Error::Timeout(_) => "timeout",
            Error::TooLarge(_) => "too_large",
            Error::Redirects(_) => "too_many_redirects",
            Error::Busy => "busy",
            Error::Protocol(_) => "protocol",
        }
    }

    /// Whether a grant is missing.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        matches!(self, Error::Denied(_))
    }

    pub(crate) fn timeout(after: Duration) -> Self {
        Error::Timeout(format!("it was not done within {after:?}"))
    }

    /// The origin is not granted, or has no address that is.
    pub(crate) fn denied(origin: &str) -> Self {
        Error::Denied(format!(
            "{origin} is not granted; this would grant it: grants: {{http: [\"{origin}\"]}}"
        ))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(what) => write!(f, "not a request: {what}"),
            Error::Denied(what)
            | Error::Name(what)
            | Error::Connect(what)
            | Error::Closed(what)
            | Error::Certificate(what)
            | Error::Tls(what)
            | Error::Timeout(what)
            | Error::Protocol(what) => f.write_str(what),
            Error::TooLarge(limit) => write!(f, "the answer is larger than {limit} bytes"),
            Error::Redirects(limit) => write!(f, "more than {limit} redirects"),
            Error::Busy => f.write_str("too many requests are under way"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(_) => crate::Error::Invalid(error.to_string()),
            Error::Denied(what) => crate::Error::Denied(what),
            Error::TooLarge(limit) => crate::Error::TooLarge(limit),
            Error::Busy => crate::Error::Unavailable(error.to_string()),
            other => crate::Error::Transient(other.to_string()),
        }
    }
}
