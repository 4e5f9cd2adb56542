//! `wasi:http`: requests to granted origins.
//!
//! A request is one connection. Nothing follows a redirect but the guest, with a request of its own, which is checked
//! like any other. The address that was checked is the address that is connected to: a name is resolved once a request.
//!
//! Over Unix sockets: scheme `http+unix`, and the path in hexadecimal digits for the host, as in
//! `http+unix://2f72756e2f646f636b65722e736f636b/version`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::unix::ffi::OsStringExt as _,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, uri::Scheme};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, timeout},
};
use wasmtime_wasi::runtime;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpHooks, io::TokioIo, p2::bindings::http::types::ErrorCode,
};

use super::{lookups::Lookups, open::Shortage};
use crate::{
    address::{Origin, Peer},
    denials::Denials,
    grants::Grants,
    limits::DeniedGrowth,
    services::Denied,
};

/// Requests that one instance may have under way, those included whose answers are not read to the end.
const MAX_REQUESTS: usize = 16;
/// The most of one answer, in bytes.
const MAX_RESPONSE: u64 = 64 << 20;
/// Status line and headers of an answer, in bytes.
const MAX_HEAD: usize = 128 << 10;
/// How long a request and its answer may take together.
const MAX_TIME: Duration = Duration::from_secs(120);
/// How long to wait for a connection, for the answer's head, and between two pieces of its body; a guest may ask for
/// less.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(30);
/// What of a request's body is kept before it is sent, in bytes.
const CHUNK: usize = 64 << 10;
/// The scheme of requests over Unix sockets.
const UNIX: &str = "http+unix";

type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// What one instance is granted, and its way out.
#[derive(Clone)]
pub(crate) struct Requests {
    origins: Arc<[Origin]>,
    sockets: Arc<[PathBuf]>,
    pub(super) lookups: Arc<Lookups>,
    denials: Arc<Denials>,
    shortage: Arc<Shortage>,
    slots: Arc<Semaphore>,
}

/// The place of a request among those of its instance, and of its connection among all that plugins hold open.
type Slot = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Requests {
    pub(super) fn new(
        grants: &Grants,
        lookups: Arc<Lookups>,
        denials: Arc<Denials>,
        shortage: Arc<Shortage>,
    ) -> Requests {
        Requests {
            origins: grants.http.clone().into(),
            sockets: grants.unix.clone().into(),
            lookups,
            denials,
            shortage,
            slots: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }
}

impl WasiHttpHooks for Requests {
    fn is_supported_scheme(&mut self, scheme: &Scheme) -> bool {
        *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS || scheme.as_str() == UNIX
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let way = self.clone();
        Box::new(async move { way.send(request, Waits::new(options)).await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    // The library's own write a line of the agent's log each time.
    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            ErrorCode::ConnectionTerminated
        } else if error.is_parse_too_large() {
            ErrorCode::HttpResponseHeaderSectionSize(u32::try_from(MAX_HEAD).ok())
        } else {
            ErrorCode::HttpProtocolError
        }
    }

    fn p2_error_from_connect(&mut self, error: &io::Error) -> ErrorCode {
        match error.kind() {
            io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                ErrorCode::DestinationUnavailable
            }
            _ => ErrorCode::ConnectionRefused,
        }
    }

    fn p2_error_from_tls(&mut self, error: &io::Error) -> ErrorCode {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(_)) => ErrorCode::TlsCertificateError,
            _ => ErrorCode::TlsProtocolError,
        }
    }
}

/// How long to wait.
struct Waits {
    connect: Duration,
    head: Duration,
    between: Duration,
}

impl Waits {
    fn new(options: Option<RequestOptions>) -> Waits {
        let options = options.unwrap_or_default();
        let wait = |asked: Option<Duration>| asked.unwrap_or(MAX_WAIT).min(MAX_WAIT);
        Waits {
            connect: wait(options.connect_timeout),
            head: wait(options.first_byte_timeout),
            between: wait(options.between_bytes_timeout),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

impl Requests {
    async fn send(self, mut request: Request<WasiBody>, waits: Waits) -> Result<Answer, Error> {
        if request.method() == http::Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let slot = self.slot().ok_or(Error::ConnectionLimitReached)?;
        let stream = timeout(waits.connect, self.connect(request.uri()));
        let stream = stream.await.map_err(|_| Error::ConnectionTimeout)??;
        let whose = whose(request.uri());
        if request.uri().scheme_str() == Some(UNIX) {
            request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
        }
        // What is sent to a server names neither scheme nor host.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        let refused = Refused { denials: Arc::clone(&self.denials), whose };
        exchange(stream, request, waits, slot, refused).await
    }

    /// Room for another request; if there is none, the operator is told.
    pub(super) fn slot(&self) -> Option<Slot> {
        let all = self.lookups.outside.descriptors();
        match (Arc::clone(&self.slots).try_acquire_owned(), all.try_acquire_owned()) {
            (Ok(slot), Ok(descriptor)) => return Some((slot, descriptor)),
            (Err(_), _) => self.shortage.note(DeniedGrowth::Requests { limit: MAX_REQUESTS as u64 }),
            (Ok(_), Err(_)) => self.shortage.note(DeniedGrowth::Shared),
        }
        None
    }

    async fn connect(&self, uri: &Uri) -> Result<Box<dyn Stream>, Error> {
        if uri.scheme_str() == Some(UNIX) {
            return Ok(Box::new(self.connect_unix(uri).await?));
        }
        let origin = Origin::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        if let Some(stage) = self.lookups.outside.stage() {
            self.granted(&origin)?;
            return Ok(Box::new(stage.answers.connect(&origin)));
        }
        let stream = self.connect_tcp(&origin).await?;
        // Small requests and answers must not wait for each other; where it can't be said, they do.
        let _ = stream.set_nodelay(true);
        if !origin.secure {
            return Ok(Box::new(stream));
        }
        let name = server_name(&origin)?;
        let tls = self.lookups.outside.tls().await.map_err(Error::Tls)?;
        let stream = tokio_rustls::TlsConnector::from(tls.client).connect(name, stream).await;
        Ok(Box::new(stream.map_err(Error::Tls)?))
    }

    /// The grants for this origin, one at least.
    fn granted(&self, origin: &Origin) -> Result<Vec<&Origin>, Error> {
        let granted: Vec<_> = self.origins.iter().filter(|granted| granted.is_of(origin)).collect();
        if granted.is_empty() {
            self.denials.note(Denied::Http(origin.clone()));
            return Err(Error::HttpRequestDenied);
        }
        Ok(granted)
    }

    pub(super) async fn connect_tcp(&self, origin: &Origin) -> Result<TcpStream, Error> {
        let granted = self.granted(origin)?;
        let found = self.addresses(&origin.endpoint.peer).await?;
        let mut last = Error::DestinationIpProhibited;
        for address in found {
            let at = SocketAddr::new(address, origin.endpoint.port);
            if !granted.iter().any(|granted| granted.endpoint.covers(address)) {
                self.denials.note(Denied::HttpAddress(origin.clone(), address));
                continue;
            }
            if self.lookups.outside.is_listener(at) {
                self.denials.note(Denied::Agent(format!("the agent's own listener on {at}")));
                continue;
            }
            match TcpStream::connect(at).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Error::Connect(error),
            }
        }
        Err(last)
    }

    async fn addresses(&self, peer: &Peer) -> Result<Vec<IpAddr>, Error> {
        let name = match peer {
            Peer::Address(address) => return Ok(vec![*address]),
            Peer::Name(name) => name,
        };
        match self.lookups.resolve(name).await {
            Ok(found) if found.is_empty() => Err(Error::DestinationNotFound),
            Ok(found) => Ok(found),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Error::DnsTimeout),
            Err(_) => Err(Error::DnsError { rcode: None, info_code: None }),
        }
    }

    async fn connect_unix(&self, uri: &Uri) -> Result<UnixStream, Error> {
        if self.lookups.outside.stage().is_some() {
            return Err(Error::DestinationUnavailable);
        }
        let path = uri.authority().and_then(|authority| unhex(authority.as_str()));
        let path = path.ok_or(Error::HttpRequestUriInvalid)?;
        if !self.sockets.contains(&path) {
            let shown = crate::text::clean(path.to_string_lossy().into_owned(), 1024);
            self.denials.note(Denied::Unix(shown.into()));
            return Err(Error::HttpRequestDenied);
        }
        let stream = UnixStream::connect(&path).await.map_err(Error::Connect)?;
        // Whatever links lead there: nobody but the agent has its process.
        let peer = stream.peer_cred().map_err(Error::Connect)?;
        if peer.pid().is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id())) {
            self.denials.note(Denied::Agent(format!("the agent's own socket {}", path.display())));
            return Err(Error::DestinationIpProhibited);
        }
        Ok(stream)
    }
}

/// Whom the server is to prove to be.
pub(super) fn server_name(origin: &Origin) -> Result<ServerName<'static>, Error> {
    match &origin.endpoint.peer {
        Peer::Address(address) => Ok(ServerName::from(*address)),
        Peer::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid),
    }
}

/// The path that is written as hexadecimal digits.
fn unhex(text: &str) -> Option<PathBuf> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |index: usize| text.get(index..index + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes.map(|bytes| std::ffi::OsString::from_vec(bytes).into())
}

async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<WasiBody>,
    waits: Waits,
    slot: Slot,
    refused: Refused,
) -> Result<Answer, Error> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let handshake = timeout(waits.connect, builder.handshake(TokioIo::new(stream))).await;
    let (mut sender, connection) = handshake.map_err(|_| Error::ConnectionTimeout)??;
    // Ends with the answer, or with whoever waits for it, or with its time. What goes wrong is told by the answer.
    let connection = runtime::spawn(async move {
        let _slot = slot;
        let _ = timeout(MAX_TIME, connection).await;
    });
    let answer = timeout(waits.head, sender.send_request(request)).await;
    let answer = answer.map_err(|_| Error::ConnectionReadTimeout)??;
    let announced = answer.body().size_hint().lower();
    if announced > MAX_RESPONSE {
        refused.too_large();
        return Err(Error::HttpResponseBodySize(Some(announced)));
    }
    let answer = answer.map(|body| Bounded::new(body, waits.between, refused).boxed_unsync());
    Ok((
        answer,
        Box::new(async move {
            connection.await;
            Ok(())
        }),
    ))
}

/// Tells the operator of an answer that was not taken.
struct Refused {
    denials: Arc<Denials>,
    whose: String,
}

impl Refused {
    fn too_large(&self) {
        self.denials.note(Denied::Answer(self.whose.clone(), MAX_RESPONSE));
    }
}

/// Who answers, for the operator.
fn whose(uri: &Uri) -> String {
    match (Origin::of(uri), uri.authority().and_then(|authority| unhex(authority.as_str()))) {
        (Some(origin), _) => origin.to_string(),
        (None, Some(path)) => crate::text::clean(path.to_string_lossy().into_owned(), 1024),
        (None, None) => String::new(),
    }
}

/// A body of so many bytes at most, that doesn't pause for long.
struct Bounded {
    body: Incoming,
    left: u64,
    between: Duration,
    pause: Pin<Box<Sleep>>,
    refused: Refused,
}

impl Bounded {
    fn new(body: Incoming, between: Duration, refused: Refused) -> Bounded {
        let pause = Box::pin(tokio::time::sleep(between));
        Bounded { body, left: MAX_RESPONSE, between, pause, refused }
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            ready!(this.pause.as_mut().poll(context));
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        this.pause.as_mut().reset(tokio::time::Instant::now() + this.between);
        let Some(frame) = frame.transpose()? else { return Poll::Ready(None) };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match this.left.checked_sub(bytes) {
            Some(left) => {
                this.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                this.refused.too_large();
                Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(MAX_RESPONSE)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_digits_is_read_and_anything_else_is_not() {
        assert_eq!(unhex("2f72756e2f782e736f636b"), Some("/run/x.sock".into()));
        for text in ["2", "zz", "2f7", "é", "2f:80", "+f"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
