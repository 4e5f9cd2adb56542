//! What is asked for, and within which bounds.

use std::fmt;
use std::time::Duration;

use super::exchange::Exchange;
use super::{Error, Headers, Response};

/// The most that is taken of an answer's body, where nothing else is said, in bytes.
const MAX_BODY: u64 = 16 << 20;
/// How long a request and its answer may take, where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A request.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) max_body: u64,
    pub(crate) redirects: u32,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) between_bytes_timeout: Option<Duration>,
}

impl Request {
    /// A GET of this URL, `http://`, `https://`, or over a Unix socket `http+unix://`, with the socket's path in
    /// hexadecimal digits for the host. Follows no redirect, takes 16 MiB at most, and 10 s.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A request of another method.
    #[must_use]
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Headers::new(),
            body: Vec::new(),
            max_body: MAX_BODY,
            redirects: 0,
            timeout: TIMEOUT,
            connect_timeout: None,
            first_byte_timeout: None,
            between_bytes_timeout: None,
        }
    }

    /// Its method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Where it goes.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its headers.
    #[must_use]
    pub const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// `authorization: Bearer TOKEN`
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// What is sent. More than 64 KiB wait, at the beginning, until the server has taken them.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Takes at most so many bytes of the answer's body; more is [`Error::TooLarge`]. The host takes 64 MiB at most.
    #[must_use]
    pub const fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }

    /// Follows so many redirects (301, 302, 303, 307, 308). Each is checked by the host like any request; what
    /// identifies (`authorization`, `cookie`) does not go to another origin.
    #[must_use]
    pub const fn redirects(mut self, count: u32) -> Self {
        self.redirects = count;
        self
    }

    /// How long all of it may take, redirects and body included. The host allows 120 s for one answer.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long connecting may take; at most the host's 30 s.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// How long to wait for status and headers; at most the host's 30 s.
    #[must_use]
    pub const fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.first_byte_timeout = Some(timeout);
        self
    }

    /// How long to wait between two pieces of the body; at most the host's 30 s.
    #[must_use]
    pub const fn between_bytes_timeout(mut self, timeout: Duration) -> Self {
        self.between_bytes_timeout = Some(timeout);
        self
    }

    /// Sends it, and waits for status and headers. The body is then read of what is returned.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn send(self) -> Result<Response, Error> {
        Response::receive(Exchange::begin(self)?)
    }
}

/// Values of headers are left out: there are secrets among them.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &headers)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}
