//! The way out of a component: `wasi:http`.

use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, StreamError};

use super::{Error, Headers, Request, Step, Url};

/// The most that is read at once, in bytes.
const CHUNK: u64 = 64 << 10;
/// The most that the host takes in one write.
const WRITE: usize = 4096;

/// A request under way.
#[derive(Debug)]
pub(crate) struct Pending {
    state: State,
    origin: String,
}

#[derive(Debug)]
enum State {
    Head(FutureIncomingResponse),
    /// In this order they are given back: a stream before what it is of.
    Body(
        InputStream,
        #[allow(dead_code, reason = "held")] IncomingBody,
        #[allow(dead_code, reason = "held")] IncomingResponse,
    ),
}

impl Pending {
    pub(crate) fn begin(request: &Request, url: &Url) -> Result<Self, Error> {
        let origin = url.origin();
        let fields = Fields::new();
        for (name, value) in request.headers.iter() {
            let refused = |_| Error::Invalid(format!("the header `{name}` can't be sent"));
            fields.append(name, value).map_err(refused)?;
        }
        if !request.body.is_empty() {
            let length = request.body.len().to_string();
            let refused = |_| Error::Invalid("content-length is set from the body".to_owned());
            fields.append("content-length", length.as_bytes()).map_err(refused)?;
        }
        let outgoing = OutgoingRequest::new(fields);
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => Scheme::Other(other.to_owned()),
        };
        let set = outgoing
            .set_method(&method(&request.method))
            .and_then(|()| outgoing.set_scheme(Some(&scheme)))
            .and_then(|()| outgoing.set_authority(Some(url.authority())))
            .and_then(|()| outgoing.set_path_with_query(Some(&url.target())));
        set.map_err(|()| Error::Invalid(format!("{} {url} can't be sent", request.method)))?;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let wait =
            |time: Option<Duration>| Some(nanoseconds(time.unwrap_or(request.timeout).min(request.timeout)));
        let options = RequestOptions::new();
        // A host that knows one of them not has its own.
        let _ = options.set_connect_timeout(wait(request.connect_timeout));
        let _ = options.set_first_byte_timeout(wait(request.first_byte_timeout));
        let _ = options.set_between_bytes_timeout(wait(request.between_bytes_timeout));
        let body = if request.body.is_empty() { None } else { outgoing.body().ok() };
        let pending =
            outgoing_handler::handle(outgoing, Some(options)).map_err(|code| error(&code, &origin))?;
        if let Some(body) = body {
            send(body, &request.body);
        }
        Ok(Self { state: State::Head(pending), origin })
    }

    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        match &mut self.state {
            State::Head(pending) => {
                let Some(answer) = pending.get() else { return Ok(Step::Waiting) };
                let closed = || Error::Closed("the answer was taken before".to_owned());
                let answer = answer.map_err(|()| closed())?.map_err(|code| error(&code, &self.origin))?;
                let (status, headers) = (answer.status(), answer.headers());
                let headers: Headers = headers.entries().into_iter().collect();
                let body = answer.consume().map_err(|()| closed())?;
                let stream = body.stream().map_err(|()| closed())?;
                self.state = State::Body(stream, body, answer);
                Ok(Step::Head(status, headers))
            }
            State::Body(stream, ..) => match stream.read(CHUNK) {
                Ok(bytes) if bytes.is_empty() => Ok(Step::Waiting),
                Ok(bytes) => Ok(Step::Chunk(bytes)),
                Err(StreamError::Closed) => Ok(Step::End),
                Err(StreamError::LastOperationFailed(cause)) => Err(match http_error_code(&cause) {
                    Some(code) => error(&code, &self.origin),
                    None => Error::Closed(cause.to_debug_string()),
                }),
            },
        }
    }

    fn subscribe(&self) -> Pollable {
        match &self.state {
            State::Head(pending) => pending.subscribe(),
            State::Body(stream, ..) => stream.subscribe(),
        }
    }
}

/// Until one of them has something, or the time is over.
pub(crate) fn wait(pending: &[&Pending], most: Duration) {
    let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    let mut all: Vec<Pollable> = pending.iter().map(|one| one.subscribe()).collect();
    all.push(monotonic_clock::subscribe_duration(most));
    let all: Vec<&Pollable> = all.iter().collect();
    poll(&all);
}

fn method(method: &str) -> Method {
    match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

/// What goes wrong here, the answer tells.
fn send(body: OutgoingBody, bytes: &[u8]) {
    if let Ok(stream) = body.write() {
        for chunk in bytes.chunks(WRITE) {
            if stream.blocking_write_and_flush(chunk).is_err() {
                break;
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

fn error(code: &ErrorCode, origin: &str) -> Error {
    match code {
        ErrorCode::HttpRequestDenied => Error::denied(origin),
        ErrorCode::DestinationIpProhibited => Error::Denied(format!(
            "{origin} has no address that is granted; the agent's log says which it has, and this would grant them: \
             grants: {{http: [\"{origin} in ADDRESS\"]}}"
        )),
        ErrorCode::DnsTimeout => Error::Name(format!("the name of {origin} was not resolved in time")),
        ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => {
            Error::Name(format!("the name of {origin} has no address"))
        }
        ErrorCode::ConnectionRefused
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable => Error::Connect(format!("{origin} takes no connections")),
        ErrorCode::ConnectionTimeout => Error::Timeout(format!("connecting to {origin} took too long")),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            Error::Timeout(format!("{origin} did not answer in time"))
        }
        ErrorCode::ConnectionWriteTimeout => Error::Timeout(format!("{origin} took the request too slowly")),
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => {
            Error::Closed(format!("{origin} closed the connection before its answer was whole"))
        }
        ErrorCode::ConnectionLimitReached => Error::Busy,
        ErrorCode::TlsCertificateError => {
            Error::Certificate(format!("the certificate of {origin} is not trusted"))
        }
        ErrorCode::TlsProtocolError | ErrorCode::TlsAlertReceived(_) => {
            Error::Tls(format!("{origin} and this host agree on no TLS"))
        }
        ErrorCode::HttpResponseBodySize(limit) => Error::TooLarge(limit.unwrap_or_default()),
        ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong => Error::Invalid(format!("{origin}: {code:?}")),
        other => Error::Protocol(format!("{origin}: {other:?}")),
    }
}
