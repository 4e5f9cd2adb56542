//! OTLP/HTTP with binary protobuf over hyper: HTTP/1.1 with kept connections, or h2 where TLS negotiates it.
//!
//! Each exporter has a client, and so connections, of its own. Bodies are handed to the socket as they are.

use std::{
    collections::VecDeque,
    convert::Infallible,
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use whimbrel_otlp::Signal;

use super::{
    answer::{Body, Secrets, classify, one_line},
    exporter::Problem,
    tls,
    transport::{Answer, Encoding, Outcome, Request, Transport},
};
use crate::{clock::Clock, config};

/// What is read of an answer, bytes (OTLP recommends to bound it).
const MAX_ANSWER: usize = 4 << 20;

/// How long a connection may wait for the next request.
const IDLE: Duration = Duration::from_secs(90);

/// Redirects that one request follows.
const MAX_REDIRECTS: usize = 3;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

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

type HttpClient = Client<HttpsConnector<HttpConnector>, Chunks>;

/// One receiver over HTTP.
pub(super) struct HttpTransport {
    /// One a signal, in the order of [`Signal::ALL`].
    ways: [Way; 3],
    secrets: Secrets,
    clock: Arc<dyn Clock>,
}

/// Where one signal goes, and how.
struct Way {
    client: HttpClient,
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
}

impl HttpTransport {
    /// Checks everything that can be checked without a connection, and makes none.
    pub(super) fn new(
        exporter: &config::Exporter,
        connections: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Problem> {
        if exporter.endpoint.contains(['?', '#']) {
            return Err(Problem::Endpoint("holds a query, to which no path can be added".to_owned()));
        }
        let mut clients: Vec<(&config::Tls, bool, HttpClient)> = Vec::new();
        let mut secrets = Vec::new();
        let mut way = |target: config::Target<'_>, tls| {
            secrets.extend(target.headers.iter().map(|(_, value)| value.reveal().trim().to_owned()));
            let uri = address(&target.url)?;
            let https = uri.scheme() == Some(&uri::Scheme::HTTPS);
            let known = clients.iter().find(|(known, of, _)| *known == tls && *of == https);
            let client = match known {
                Some((.., client)) => client.clone(),
                None => {
                    let client = connector(tls, https, exporter.timeout, connections)?;
                    clients.push((tls, https, client.clone()));
                    client
                }
            };
            Ok(Way { client, uri, headers: headers(target.headers)?, timeout: target.timeout })
        };
        let [metrics, logs, traces] = Signal::ALL.map(|signal| target(exporter, signal));
        let tls = [metrics.tls, logs.tls, traces.tls];
        let ways = [way(metrics, tls[0])?, way(logs, tls[1])?, way(traces, tls[2])?];
        Ok(Self { ways, secrets: Secrets::new(secrets.into_iter()), clock })
    }

    async fn exchange(&self, request: Request) -> Answer {
        let way = self.way(request.signal);
        let mut uri = way.uri.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = match way.client.request(way.request(uri.clone(), &request)).await {
                Ok(response) => response,
                Err(error) => return failed(&error).into(),
            };
            let (head, body) = response.into_parts();
            if let Some(next) = redirect(head.status, &head.headers, &uri) {
                uri = next;
                continue;
            }
            let server =
                head.headers.get(header::SERVER).and_then(|server| server.to_str().ok()).map(one_line);
            let body = read(body).await;
            let outcome = classify(head.status, &head.headers, &body, self.clock.now(), &self.secrets);
            return Answer { outcome, server };
        }
        Outcome::Held { reason: format!("more than {MAX_REDIRECTS} redirects") }.into()
    }

    fn way(&self, signal: Signal) -> &Way {
        let [metrics, logs, traces] = &self.ways;
        match signal {
            Signal::Metrics => metrics,
            Signal::Logs => logs,
            Signal::Traces => traces,
        }
    }
}

impl Way {
    fn request(&self, uri: Uri, request: &Request) -> hyper::Request<Chunks> {
        let mut http = hyper::Request::new(Chunks::new(request.body.clone()));
        *http.method_mut() = Method::POST;
        *http.uri_mut() = uri;
        let headers = http.headers_mut();
        headers.clone_from(&self.headers);
        if request.encoding != Encoding::Identity {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(request.encoding.name()));
        }
        if let Some(key) = &request.key
            && let Ok(key) = HeaderValue::from_str(key)
        {
            // The exporter's name was checked at the start; the rest is digits and letters.
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        http
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Answer> {
        let timeout = self.way(request.signal).timeout;
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = self.exchange(request) => answer,
                () = self.clock.sleep(timeout) => Outcome::Unavailable {
                    reason: format!("no answer within {timeout:?}"),
                    retry_after: None,
                    disconnected: true,
                }
                .into(),
            }
        })
    }
}

/// A body of several pieces, none of which is copied.
#[derive(Debug)]
struct Chunks {
    chunks: VecDeque<Bytes>,
    left: u64,
}

impl Chunks {
    fn new(chunks: Vec<Bytes>) -> Self {
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

/// A signal's part of the configuration.
pub(super) fn target(exporter: &config::Exporter, signal: Signal) -> config::Target<'_> {
    match signal {
        Signal::Metrics => exporter.metrics(),
        Signal::Logs => exporter.logs(),
        Signal::Traces => exporter.traces(),
    }
}

fn connector(
    tls: &config::Tls,
    https: bool,
    timeout: Duration,
    connections: usize,
) -> Result<HttpClient, Problem> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(IDLE));
    tcp.set_connect_timeout(Some(timeout));
    let builder =
        HttpsConnectorBuilder::new().with_tls_config(tls::client_config(tls, https)?).https_or_http();
    let builder = match tls::server_name(tls)? {
        Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
        None => builder,
    };
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(connections)
        .build(builder.enable_all_versions().wrap_connector(tcp)))
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
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("whimbrel/", env!("CARGO_PKG_VERSION"))),
    );
    for (name, value) in configured {
        let problem = |problem: &str| Problem::Header { name: name.clone(), problem: problem.to_owned() };
        let name: HeaderName = name.parse().map_err(|_| problem("is no header name"))?;
        if RESERVED.contains(&name) {
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

/// Where a redirect leads that may be followed: to another path of the same server, with the same method.
fn redirect(status: StatusCode, headers: &HeaderMap, from: &Uri) -> Option<Uri> {
    if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        return None;
    }
    let place = headers.get(header::LOCATION)?.to_str().ok()?;
    if place.starts_with("//") {
        // Another host, which `Uri` would take for a path.
        return None;
    }
    let to: Uri = place.parse().ok()?;
    let mut parts = from.clone().into_parts();
    if to.authority().is_some() && (to.scheme() != from.scheme() || host_and_port(&to) != host_and_port(from))
    {
        return None;
    }
    parts.path_and_query = to.into_parts().path_and_query;
    Uri::from_parts(parts).ok()
}

fn host_and_port(uri: &Uri) -> Option<(String, u16)> {
    let default = if uri.scheme() == Some(&uri::Scheme::HTTPS) { 443 } else { 80 };
    Some((uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(default)))
}

async fn read(mut body: Incoming) -> Body {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let Ok(data) = frame.into_data() else { continue };
                if read.len() + data.len() > MAX_ANSWER {
                    return Body::TooLong;
                }
                read.extend_from_slice(&data);
            }
            Err(error) => return Body::Broken(chain(&error)),
        }
    }
    Body::Whole(read.freeze())
}

/// No answer at all. What TLS refuses is a matter of certificates and configuration, so the exporter is held;
/// everything else may be better the next time.
fn failed(error: &hyper_util::client::legacy::Error) -> Outcome {
    if let Some(tls) = tls_error(error) {
        return Outcome::Held { reason: one_line(&format!("TLS: {tls}")) };
    }
    Outcome::Unavailable { reason: chain(error), retry_after: None, disconnected: true }
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
    use crate::config::Secret;

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
            let config = crate::export::tests::config_to(endpoint);
            let clock = Arc::new(crate::clock::SystemClock);
            let error = HttpTransport::new(&config, 1, clock).err().expect(endpoint).to_string();
            assert!(error.starts_with("the endpoint ") && error.contains(why), "{endpoint}: {error}");
            assert!(!error.contains("hunter22"), "{error}");
        }
    }

    #[test]
    fn headers_are_checked_and_their_values_never_shown() {
        let set = |name: &str, value: &str| headers(&[(name.to_owned(), Secret::new(value.to_owned()))]);
        let made = set("Authorization", "Bearer s3cr3t\n").unwrap();
        assert_eq!(made["authorization"], "Bearer s3cr3t", "a file's last line end is no part of a token");
        assert!(!format!("{made:?}").contains("s3cr3t"));
        assert_eq!(made["content-type"], "application/x-protobuf");
        assert!(made["user-agent"].to_str().unwrap().starts_with("whimbrel/0."));
        for (name, value) in [
            ("bad name", "x"),
            ("x-a", "s3cr3t\r\nx-b: y"),
            ("Content-Encoding", "gzip"),
            ("idempotency-key", "1"),
        ] {
            let error = set(name, value).expect_err(name).to_string();
            assert!(error.contains(name) && !error.contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn only_a_redirect_to_the_same_server_is_followed() {
        let from: Uri = "http://otlp.example:4318/v1/metrics".parse().unwrap();
        let follow = |status: u16, location: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, HeaderValue::from_static(location));
            redirect(StatusCode::from_u16(status).unwrap(), &headers, &from).map(|uri| uri.to_string())
        };
        let expected = Some("http://otlp.example:4318/otlp/v1/metrics".to_owned());
        assert_eq!(follow(307, "/otlp/v1/metrics"), expected);
        assert_eq!(follow(308, "http://OTLP.example:4318/otlp/v1/metrics"), expected);
        for (status, location) in [
            (301, "/otlp/v1/metrics"),
            (303, "/otlp/v1/metrics"),
            (307, "http://evil.example:4318/v1/metrics"),
            (307, "http://otlp.example/v1/metrics"),
            (307, "https://otlp.example:4318/v1/metrics"),
            (307, "//evil.example/v1/metrics"),
            (307, ""),
        ] {
            assert_eq!(follow(status, location), None, "{status} {location}");
        }
    }
}
