//! What both transports stand on: hyper's client with its connections, addresses, headers, bodies.
//!
//! Each exporter has connections of its own, shared by its signals where protocol and TLS are the same. Bodies are
//! handed to the socket as they are. OTLP/HTTP speaks HTTP/1.1 with kept connections, or h2 where TLS negotiates it;
//! gRPC speaks h2 always. The client connects again when a connection has ended, and sends again by itself only
//! what it had not begun to send.

use std::{
    collections::VecDeque,
    convert::Infallible,
    error::Error,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    answer::{Body, one_line},
    exporter::Problem,
    tls,
    transport::{Outcome, Request},
};
use crate::config::{self, Protocol};

/// What is read of an answer, bytes (OTLP recommends to bound it).
pub(super) const MAX_ANSWER: usize = 4 << 20;

/// How long a connection may wait for the next request.
const IDLE: Duration = Duration::from_secs(90);

/// How long an h2 connection with a request under way may be silent before it is pinged, and how long it may then
/// still be: a receiver that is gone without a word shows before a long timeout ends. Not shorter, because gRPC
/// servers end connections that ping "too much" (grpc-go: more than twice within five minutes of silence); and
/// never while idle, which they count double.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(15);

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Headers that a request needs to be understood, and that no configuration may set.
const RESERVED: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    IDEMPOTENCY_KEY,
];

/// The namespace of gRPC's own headers.
const GRPC_HEADERS: &str = "grpc-";

type Connector = HttpsConnector<HttpConnector>;

/// Makes the clients of one exporter: one for each protocol and way of TLS.
pub(super) struct Clients {
    connections: usize,
    connect_timeout: Duration,
    ping_after: Duration,
    ping_answer: Duration,
    made: Vec<(config::Tls, bool, Protocol, Arc<Connections>)>,
}

impl Clients {
    /// Makes no connection. `connections`: as many idle ones are kept to a host.
    pub(super) fn new(exporter: &config::Exporter, connections: usize) -> Result<Self, Problem> {
        if exporter.endpoint.contains(['?', '#']) {
            return Err(Problem::Endpoint("holds a query, to which no path can be added".to_owned()));
        }
        Ok(Self {
            connections,
            connect_timeout: exporter.timeout,
            ping_after: PING_AFTER,
            ping_answer: PING_ANSWER,
            made: Vec::new(),
        })
    }

    /// Checks everything that can be checked without a connection.
    pub(super) fn way(&mut self, target: &config::Target<'_>) -> Result<Way, Problem> {
        let uri = address(&target.url)?;
        let https = uri.scheme() == Some(&uri::Scheme::HTTPS);
        let known = self
            .made
            .iter()
            .find(|(tls, of, protocol, _)| (tls, *of, *protocol) == (target.tls, https, target.protocol));
        let connections = match known {
            Some((.., connections)) => Arc::clone(connections),
            None => {
                let made = Arc::new(self.connections(target.tls, https, target.protocol)?);
                self.made.push((target.tls.clone(), https, target.protocol, Arc::clone(&made)));
                made
            }
        };
        Ok(Way {
            connections,
            uri,
            protocol: target.protocol,
            headers: headers(target.headers)?,
            timeout: target.timeout,
            understood: AtomicBool::new(false),
        })
    }

    fn connections(
        &self,
        tls: &config::Tls,
        https: bool,
        protocol: Protocol,
    ) -> Result<Connections, Problem> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(IDLE));
        tcp.set_connect_timeout(Some(self.connect_timeout));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls::client_config(tls, https)?).https_or_http();
        let connector = match tls::server_name(tls)? {
            Some(name) => connector.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => connector,
        };
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(self.connections)
            .http2_keep_alive_interval(self.ping_after)
            .http2_keep_alive_timeout(self.ping_answer);
        let connector = match protocol {
            Protocol::HttpProtobuf => connector.enable_all_versions().wrap_connector(tcp),
            Protocol::Grpc => {
                builder.http2_only(true);
                connector.enable_http2().wrap_connector(tcp)
            }
        };
        let client = RwLock::new(builder.build(connector.clone()));
        Ok(Connections { builder, connector, client })
    }
}

/// The connections that requests of one kind share.
struct Connections {
    builder: legacy::Builder,
    connector: Connector,
    client: RwLock<Client<Connector, Chunks>>,
}

impl Connections {
    fn client(&self) -> Client<Connector, Chunks> {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next request makes a new connection; those under way keep theirs.
    fn renew(&self) {
        let fresh = self.builder.build(self.connector.clone());
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }
}

/// Where one signal goes, and how.
pub(super) struct Way {
    connections: Arc<Connections>,
    pub(super) uri: Uri,
    protocol: Protocol,
    /// Of every request: the configured ones, and the user agent.
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    /// Whether there was ever an answer.
    understood: AtomicBool,
}

impl Way {
    /// A POST to `uri` with this way's headers and the request's key.
    pub(super) fn post(&self, uri: Uri, request: &Request, body: Chunks) -> hyper::Request<Chunks> {
        let mut http = hyper::Request::new(body);
        *http.method_mut() = Method::POST;
        *http.uri_mut() = uri;
        let headers = http.headers_mut();
        headers.clone_from(&self.headers);
        if let Some(key) = &request.key
            && let Ok(key) = HeaderValue::from_str(key)
        {
            // The exporter's name was checked at the start; the rest is digits and letters.
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        http
    }

    /// Sends a request. What TLS refuses is a matter of certificates and configuration, so the exporter is held;
    /// everything else that is no answer may be better the next time.
    pub(super) async fn send(
        &self,
        request: hyper::Request<Chunks>,
    ) -> Result<hyper::Response<Incoming>, Outcome> {
        let error = match self.connections.client().request(request).await {
            Ok(response) => {
                self.understood.store(true, Ordering::Relaxed);
                return Ok(response);
            }
            Err(error) => error,
        };
        if let Some(tls) = tls_error(&error) {
            return Err(Outcome::held(one_line(&format!("TLS: {tls}"))));
        }
        let mut reason = chain(&error);
        if !error.is_connect() && !self.understood.load(Ordering::Relaxed) {
            // What a server of the other protocol looks like from here differs from one to the next.
            reason = format!("{reason}; nothing was understood yet: does it speak {}?", self.protocol.name());
        }
        Err(Outcome::Unavailable { reason, retry_after: None, disconnected: true })
    }

    /// There was no answer in time. An h2 connection outlives its requests, and may be one whose other end is gone:
    /// it would take the next request too, and answer none.
    pub(super) fn timed_out(&self) -> Outcome {
        self.connections.renew();
        Outcome::Unavailable {
            reason: format!("no answer within {:?}", self.timeout),
            retry_after: None,
            disconnected: true,
        }
    }
}

/// A body of several pieces, none of which is copied.
#[derive(Debug)]
pub(super) struct Chunks {
    chunks: VecDeque<Bytes>,
    left: u64,
}

impl Chunks {
    pub(super) fn new(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        // hyper asks not to be handed empty pieces.
        let chunks: VecDeque<Bytes> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks, left }
    }
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.pop_front();
        self.left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Reads an answer's body, as far as it is bounded, and its trailers, if it came to them.
pub(super) async fn read(mut body: Incoming) -> (Body, Option<HeaderMap>) {
    let mut read = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                if read.len() + data.len() > MAX_ANSWER {
                    return (Body::TooLong, None);
                }
                read.extend_from_slice(&data);
            }
            Ok(Err(frame)) => trailers = frame.into_trailers().ok().or(trailers),
            Err(error) => return (Body::Broken(chain(&error)), None),
        }
    }
    (Body::Whole(read.freeze()), trailers)
}

/// The address that a URL names.
fn address(url: &str) -> Result<Uri, Problem> {
    let problem = |problem: &str| Problem::Endpoint(problem.to_owned());
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(problem("begins neither with http:// nor with https://"));
    }
    let uri: Uri =
        url.parse().map_err(|error: uri::InvalidUri| Problem::Endpoint(format!("is no URL: {error}")))?;
    let authority = uri.authority().ok_or_else(|| problem("names no host"))?;
    if authority.as_str().contains('@') {
        return Err(problem("holds a user or password: set the header `authorization` instead"));
    }
    Ok(uri)
}

fn headers(configured: &[(String, config::Secret)]) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("whimbrel/", env!("CARGO_PKG_VERSION"))),
    );
    for (name, value) in configured {
        let problem = |problem: &str| Problem::Header { name: name.clone(), problem: problem.to_owned() };
        let name: HeaderName = name.parse().map_err(|_| problem("is no header name"))?;
        if RESERVED.contains(&name) || name.as_str().starts_with(GRPC_HEADERS) {
            return Err(problem("is set by the exporter itself"));
        }
        // What is wrong with the value is not said: the value is a secret.
        let mut value: HeaderValue = value
            .reveal()
            .trim()
            .parse()
            .map_err(|_| problem("has a value that no header can hold: visible ASCII on one line"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    // An I/O error that wraps another is not its source; it has it inside.
    let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inside.and_then(|inside| tls_error(inside)).or_else(|| error.source().and_then(tls_error))
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    one_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Secret, export::transport::Encoding};

    #[test]
    fn an_endpoint_that_can_t_be_used_says_why() {
        for (endpoint, why) in [
            ("otlp.example:4318", "http://"),
            ("ftp://otlp.example", "http://"),
            ("http://user:hunter22@otlp.example", "authorization"),
            ("http://otlp.example?a=b", "query"),
            ("http://", "no URL"),
            ("", "http://"),
        ] {
            for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
                let config = config::Exporter { protocol, ..crate::export::tests::config_to(endpoint) };
                let way = Clients::new(&config, 1).and_then(|mut clients| clients.way(&config.metrics()));
                let error = way.err().expect(endpoint).to_string();
                assert!(error.starts_with("the endpoint ") && error.contains(why), "{endpoint}: {error}");
                assert!(!error.contains("hunter22"), "{error}");
            }
        }
    }

    #[test]
    fn headers_are_checked_and_their_values_never_shown() {
        let set = |name: &str, value: &str| headers(&[(name.to_owned(), Secret::new(value.to_owned()))]);
        let made = set("Authorization", "Bearer s3cr3t\n").unwrap();
        assert_eq!(made["authorization"], "Bearer s3cr3t", "a file's last line end is no part of a token");
        assert!(!format!("{made:?}").contains("s3cr3t"));
        assert!(made["user-agent"].to_str().unwrap().starts_with("whimbrel/0."));
        for (name, value) in [
            ("bad name", "x"),
            ("x-a", "s3cr3t\r\nx-b: y"),
            ("Content-Encoding", "gzip"),
            ("idempotency-key", "1"),
            ("grpc-timeout", "1S"),
        ] {
            let error = set(name, value).expect_err(name).to_string();
            assert!(error.contains(name) && !error.contains("s3cr3t"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_receiver_that_is_gone_without_a_word_shows_by_a_ping() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let silent = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            // Empty SETTINGS, and the acknowledgement of the client's: frames of type 4 (RFC 9113, section 6.5).
            socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
            let (mut received, mut buffer) = (Vec::new(), vec![0; 4096]);
            while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                received.extend_from_slice(&buffer[..read]);
            }
            received
        });
        let base = crate::export::tests::config_to(&endpoint);
        let config = config::Exporter { protocol: Protocol::Grpc, ..base };
        let mut clients = Clients::new(&config, 1).unwrap();
        (clients.ping_after, clients.ping_answer) = (Duration::from_millis(50), Duration::from_millis(100));
        let way = clients.way(&config.metrics()).unwrap();
        let request = Request { encoding: Encoding::Identity, body: Vec::new(), key: None };
        let request = way.post(way.uri.clone(), &request, Chunks::new([]));
        let answer = tokio::time::timeout(Duration::from_secs(60), way.send(request)).await;
        let outcome = answer.expect("within a minute").expect_err("nobody answers");
        let Outcome::Unavailable { reason, disconnected: true, .. } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("keep-alive timed out"), "{reason}");
        // Eight bytes of type 6, no flags, stream 0 (RFC 9113, section 6.7).
        let (received, ping) = (silent.await.unwrap(), [0, 0, 8, 6, 0, 0, 0, 0, 0]);
        assert_eq!(received.windows(ping.len()).filter(|window| *window == ping).count(), 1);
    }

    #[test]
    fn signals_share_connections_where_they_may() {
        let mut config = crate::export::tests::config_to("http://otlp.example");
        config.signals.traces.protocol = Some(Protocol::Grpc);
        let mut clients = Clients::new(&config, 1).unwrap();
        let [metrics, logs, traces] =
            [config.metrics(), config.logs(), config.traces()].map(|target| clients.way(&target).unwrap());
        assert!(Arc::ptr_eq(&metrics.connections, &logs.connections));
        assert!(!Arc::ptr_eq(&metrics.connections, &traces.connections), "another protocol");
    }
}
