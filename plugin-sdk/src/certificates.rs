//! Certificates of servers, granted by origin under `http`.

use std::time::Duration;

use crate::{Error, host};

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Its time, or that of one that it stands on, is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It is for other names than the one that was asked for.
    WrongName,
    /// No authority that the host trusts stands behind it.
    Untrusted,
    /// Anything else; the words say what.
    Other,
}

impl Flaw {
    /// A short word for it, as an attribute has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Flaw::Expired => "expired",
            Flaw::NotYetValid => "not_yet_valid",
            Flaw::WrongName => "wrong_name",
            Flaw::Untrusted => "untrusted",
            Flaw::Other => "other",
        }
    }
}

/// A server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// As `CN=example.com, O=Example`.
    pub subject: String,
    /// Who signed it, in the same form.
    pub issuer: String,
    /// Hexadecimal digits, as in `0a:1f`.
    pub serial: String,
    /// The names and addresses that it is for; at most 100.
    pub names: Vec<String>,
    /// When its time begins, in seconds since the Unix epoch.
    pub not_before: i64,
    /// When its time is over, in seconds since the Unix epoch.
    pub not_after: i64,
    /// SHA-256 of the whole certificate, 32 bytes.
    pub fingerprint: Vec<u8>,
    /// All that is wrong with it, and in words; none: a client would trust it now.
    pub flaws: Vec<(Flaw, String)>,
}

/// The certificate that a server shows: `https://example.com:8443`. The host makes a handshake, and sends no request;
/// it waits 30 s at most. A certificate that is not trusted is shown, too.
///
/// # Errors
/// [`Error::Denied`] if the origin is not granted, [`Error::Invalid`] if it is none of https, [`Error::Unavailable`]
/// if too many requests are under way, [`Error::Transient`] if there is no connection, or no TLS.
pub fn peer(origin: &str, timeout: Duration) -> Result<Certificate, Error> {
    // 0 would be the host's own.
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
    host::certificate(origin, milliseconds)
}
