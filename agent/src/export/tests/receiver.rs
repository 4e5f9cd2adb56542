//! An OTLP receiver on a loopback socket that answers as the test says.

use std::{
    convert::Infallible,
    future::pending,
    io::{self, Read as _},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Barrier, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::in_time;

/// Runs until it is dropped.
pub(super) struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    // Dropping it ends the listener and every connection.
    _tasks: JoinSet<()>,
}

/// A request and its number -> what is answered.
type Answer = dyn Fn(&Received, usize) -> Reply + Send + Sync;

struct Shared {
    received: Mutex<Vec<Received>>,
    connections: Mutex<usize>,
    changes: watch::Sender<usize>,
    retired: watch::Sender<usize>,
    answer: Box<Answer>,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    /// As it travelled.
    pub(super) raw: Bytes,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn key(&self) -> &str {
        self.header("idempotency-key").unwrap_or("")
    }

    /// The body; of a gRPC call the message, without what goes before it.
    pub(super) fn message(&self) -> &[u8] {
        if self.header("content-type") != Some("application/grpc") {
            return &self.raw;
        }
        let (prefix, message) = self.raw.split_at(5);
        let compressed = u8::from(self.header("grpc-encoding").is_some());
        assert_eq!(prefix, [&[compressed][..], &(message.len() as u32).to_be_bytes()].concat());
        message
    }

    /// How the body is encoded, whichever header says it.
    pub(super) fn encoding(&self) -> &str {
        self.header("content-encoding").or(self.header("grpc-encoding")).unwrap_or("identity")
    }

    /// The decoded body, all zstd frames of it.
    pub(super) fn text(&self) -> String {
        let decoded = match self.encoding() {
            "identity" => self.message().to_vec(),
            "zstd" => zstd::decode_all(self.message()).expect("zstd"),
            "gzip" => {
                let mut decoded = Vec::new();
                flate2::read::GzDecoder::new(self.message()).read_to_end(&mut decoded).expect("gzip");
                decoded
            }
            other => panic!("{other}"),
        };
        String::from_utf8(decoded).expect("these tests export text")
    }
}

/// What the test wants to be answered.
pub(super) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        trailers: Vec<(&'static str, String)>,
    },
    /// Closes the connection without a byte.
    Close,
    /// Status 200 and the first half of an answer, then closes.
    Half,
    /// Never answers.
    Hang,
    /// This status once so many requests have come.
    Together(Arc<Barrier>, u16),
    /// Status 200, and then no end of an answer.
    Endless,
}

impl Reply {
    pub(super) fn ok() -> Self {
        Self::status(200)
    }

    pub(super) fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Vec::new(), trailers: Vec::new() }
    }

    /// A gRPC answer of this message, uncompressed, and status 0.
    pub(super) fn message(message: &[u8]) -> Self {
        let prefix = [&[0][..], &(message.len() as u32).to_be_bytes()].concat();
        Self::ok().with("content-type", "application/grpc").saying([&prefix, message].concat()).ending("0")
    }

    /// A gRPC answer of a status alone.
    pub(super) fn code(code: u8) -> Self {
        Self::ok().with("content-type", "application/grpc").with("grpc-status", code.to_string())
    }

    /// The trailer `grpc-status`.
    pub(super) fn ending(mut self, code: &str) -> Self {
        if let Self::Answer { trailers, .. } = &mut self {
            trailers.push(("grpc-status", code.to_owned()));
        }
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }

    pub(super) fn saying(mut self, text: impl AsRef<[u8]>) -> Self {
        if let Self::Answer { body, .. } = &mut self {
            *body = text.as_ref().to_vec();
        }
        self
    }
}

impl Receiver {
    /// Answers every request as the function of the request and its number says.
    pub(super) async fn new(answer: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(answer, None).await
    }

    pub(super) async fn with_tls(
        acceptor: TlsAcceptor,
        answer: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(answer, Some(acceptor)).await
    }

    async fn listen(
        answer: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            connections: Mutex::new(0),
            changes: watch::Sender::new(0),
            retired: watch::Sender::new(0),
            answer: Box::new(answer),
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared), tls));
        Self { address, scheme, shared, _tasks: tasks }
    }

    /// Takes everything.
    pub(super) async fn willing() -> Self {
        Self::new(|_, _| Reply::ok()).await
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The decoded bodies, in order of arrival.
    pub(super) fn texts(&self) -> Vec<String> {
        self.received().iter().map(Received::text).collect()
    }

    /// Ends all connections in good order (GOAWAY), and listens on.
    pub(super) fn retire(&self) {
        self.shared.retired.send_modify(|times| *times += 1);
    }

    pub(super) fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// Waits for so many requests, answered or not.
    pub(super) async fn gets(&self, requests: usize) -> Vec<Received> {
        let mut changes = self.shared.changes.subscribe();
        in_time(changes.wait_for(|received| *received >= requests)).await.expect("shared holds the sender");
        self.received()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        *shared.connections.lock().unwrap() += 1;
        connections.spawn(serve(socket, Arc::clone(&shared), tls.clone()));
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    match tls {
        None => serve_io(socket, shared).await,
        // A connection's failure is what some tests are about.
        Some(acceptor) => {
            if let Ok(socket) = acceptor.accept(socket).await {
                serve_io(socket, shared).await;
            }
        }
    }
}

async fn serve_io(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let mut retired = shared.retired.subscribe();
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        _ = connection.as_mut() => {}
        Ok(()) = retired.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn answer(
    request: hyper::Request<hyper::body::Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<BoxBody<Bytes, io::Error>>, io::Error> {
    let (head, body) = request.into_parts();
    let raw = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let received =
        Received { path: head.uri.path().to_owned(), version: head.version, headers: head.headers, raw };
    let (reply, number) = {
        let mut all = shared.received.lock().unwrap();
        let reply = (shared.answer)(&received, all.len());
        all.push(received);
        (reply, all.len())
    };
    shared.changes.send_replace(number);
    match reply {
        Reply::Answer { status, headers, body, trailers } => {
            let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
            if trailers.is_empty() {
                return Ok(response.body(body.boxed()).unwrap());
            }
            let trailers: HeaderMap = trailers
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            Ok(response.body(body.with_trailers(async { Some(Ok(trailers)) }).boxed()).unwrap())
        }
        Reply::Close => Err(io::Error::other("closed on command")),
        Reply::Half => {
            let half = futures_util::stream::unfold(true, |first| async move {
                if first {
                    return Some((Ok(Frame::data(Bytes::from_static(b"\x0A"))), false));
                }
                // hyper flushes what it has when there is nothing more yet.
                tokio::task::yield_now().await;
                Some((Err(io::Error::other("closed on command")), false))
            });
            Ok(Response::builder()
                .header("content-length", "20")
                .body(BoxBody::new(StreamBody::new(half)))
                .unwrap())
        }
        Reply::Hang => pending().await,
        Reply::Together(all, status) => {
            all.wait().await;
            let empty = Full::default().map_err(|never: Infallible| match never {});
            Ok(Response::builder().status(status).body(empty.boxed()).unwrap())
        }
        Reply::Endless => {
            let chunk = || Some((Ok(Frame::data(Bytes::from_static(&[b'x'; 65536]))), ()));
            let endless = futures_util::stream::unfold((), move |()| async move { chunk() });
            Ok(Response::new(BoxBody::new(StreamBody::new(endless))))
        }
    }
}
