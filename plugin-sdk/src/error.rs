//! What can go wrong, in the contract's words.

use std::fmt;

/// The contract's error: what a plugin returns, and what the host answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The plugin's configuration is wrong: what, and how to put it right.
    Config(String),
    /// Not granted: what grant would allow it.
    Denied(String),
    /// Not now; try later.
    Unavailable(String),
    /// Malformed data: what is wrong, and where.
    Invalid(String),
    /// Over a limit, which is given in bytes.
    TooLarge(u64),
    /// Failed, and may succeed next time.
    Transient(String),
    /// Failed, and will fail again.
    Permanent(String),
}

impl Error {
    /// Wrong configuration; say what, and how to put it right.
    pub fn config(message: impl fmt::Display) -> Self {
        Error::Config(message.to_string())
    }

    /// A failure that may be gone next time.
    pub fn transient(message: impl fmt::Display) -> Self {
        Error::Transient(message.to_string())
    }

    /// A failure that will not go away by itself.
    pub fn permanent(message: impl fmt::Display) -> Self {
        Error::Permanent(message.to_string())
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::Transient(_))
    }

    /// Whether a grant is missing.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        matches!(self, Error::Denied(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(message) => write!(f, "configuration: {message}"),
            Error::Denied(message) => write!(f, "denied: {message}"),
            Error::Unavailable(message) => write!(f, "unavailable: {message}"),
            Error::Invalid(message) => write!(f, "invalid data: {message}"),
            Error::TooLarge(limit) => write!(f, "too large: the limit is {limit} bytes"),
            Error::Transient(message) => write!(f, "failed for now: {message}"),
            Error::Permanent(message) => write!(f, "failed: {message}"),
        }
    }
}

impl std::error::Error for Error {}
