//! One request under way: its redirects, its time, its bound.

use std::time::Duration;

use super::{Error, Headers, Request, Step, Url, way};
use crate::clock;

/// What must not reach another origin.
const IDENTIFYING: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// A request under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    request: Request,
    url: Url,
    pending: Option<way::Pending>,
    redirected: u32,
    received: u64,
    began_ns: u64,
}

impl Exchange {
    pub(crate) fn begin(request: Request) -> Result<Self, Error> {
        let url = Url::parse(&request.url).ok_or_else(|| {
            Error::Invalid(format!("`{}` is not a URL such as https://example.com/path", request.url))
        })?;
        let began_ns = clock::monotonic_ns();
        let pending = Some(way::Pending::begin(&request, &url)?);
        Ok(Self { request, url, pending, redirected: 0, received: 0, began_ns })
    }

    /// How long it is under way.
    pub(crate) fn took(&self) -> Duration {
        Duration::from_nanos(clock::monotonic_ns().saturating_sub(self.began_ns))
    }

    /// How long it may still take.
    pub(crate) fn left(&self) -> Duration {
        self.request.timeout.saturating_sub(self.took())
    }

    /// Where it went at last.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn pending(&self) -> Option<&way::Pending> {
        self.pending.as_ref()
    }

    /// What there is, without waiting. After [`Step::End`] and after an error there is no more.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        let stepped = self.step_on();
        if matches!(stepped, Ok(Step::End) | Err(_)) {
            self.pending = None;
        }
        stepped
    }

    fn step_on(&mut self) -> Result<Step, Error> {
        loop {
            let Some(pending) = &mut self.pending else { return Ok(Step::End) };
            let step = pending.step()?;
            if self.took() > self.request.timeout {
                return Err(Error::timeout(self.request.timeout));
            }
            match step {
                Step::Head(status, headers) => match self.redirect(status, &headers) {
                    Some(to) => self.follow(status, to?)?,
                    None => return Ok(Step::Head(status, headers)),
                },
                Step::Chunk(bytes) => {
                    self.received += bytes.len() as u64;
                    if self.received > self.request.max_body {
                        return Err(Error::TooLarge(self.request.max_body));
                    }
                    return Ok(Step::Chunk(bytes));
                }
                other => return Ok(other),
            }
        }
    }

    /// Where an answer leads, if it does and is to be followed.
    fn redirect(&self, status: u16, headers: &Headers) -> Option<Result<Url, Error>> {
        let location = headers.get("location").filter(|_| [301, 302, 303, 307, 308].contains(&status))?;
        if self.request.redirects == 0 {
            return None;
        }
        if self.redirected == self.request.redirects {
            return Some(Err(Error::Redirects(self.request.redirects)));
        }
        let to = self.url.join(location);
        Some(to.ok_or_else(|| Error::Protocol(format!("it redirects to `{location}`, which is no URL"))))
    }

    fn follow(&mut self, status: u16, to: Url) -> Result<(), Error> {
        if to.origin() != self.url.origin() {
            self.request.headers.remove(&IDENTIFYING);
        }
        // As browsers do, and RFC 9110 section 15.4 allows.
        if status == 303 || status < 303 && self.request.method == "POST" {
            if self.request.method != "HEAD" {
                self.request.method = "GET".to_owned();
            }
            self.request.body.clear();
            self.request.headers.remove(&["content-type"]);
        }
        self.redirected += 1;
        self.request.url = to.to_string();
        self.url = to;
        // The old connection goes first: the host counts them.
        self.pending = None;
        self.pending = Some(way::Pending::begin(&self.request, &self.url)?);
        Ok(())
    }

    /// Waits until there is something, or its time is over.
    pub(crate) fn wait(&mut self) -> Result<Step, Error> {
        loop {
            match self.step()? {
                Step::Waiting => match &self.pending {
                    // A moment more than it has, so that it is over then.
                    Some(pending) => way::wait(&[pending], self.left() + Duration::from_millis(1)),
                    None => return Ok(Step::End),
                },
                other => return Ok(other),
            }
        }
    }
}

/// An answer, whose body is read piece by piece.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Headers,
    exchange: Exchange,
}

impl Response {
    pub(crate) fn receive(mut exchange: Exchange) -> Result<Self, Error> {
        match exchange.wait()? {
            Step::Head(status, headers) => Ok(Self { status, headers, exchange }),
            _ => Err(Error::Closed("the connection was closed before an answer".to_owned())),
        }
    }

    /// Such as 200.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Where it is from: another URL than that of the request after redirects.
    #[must_use]
    pub fn url(&self) -> &Url {
        self.exchange.url()
    }

    /// The next piece of the body, never an empty one; `None` when it is over.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Timeout`], [`Error::Closed`].
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.exchange.wait()? {
            Step::Chunk(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk()? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The rest of the body, as text.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk), and [`Error::Protocol`] if it is not UTF-8.
    pub fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?)
            .map_err(|error| Error::Protocol(format!("the answer is not text: {error}")))
    }
}
