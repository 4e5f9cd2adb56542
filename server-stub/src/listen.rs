//! A listener: accepts connections, bounds them, and serves HTTP/1.1 and HTTP/2 (prior knowledge) on each.

use std::{fmt, future::Future, net::SocketAddr, ops::ControlFlow, pin::pin, sync::Arc, time::Duration};

use http::{Request, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, watch},
    task::JoinSet,
};

use crate::{options::Limits, outage::Outage, receive::Answer};

/// How long requests under way may take when the stub stops.
const GRACE: Duration = Duration::from_secs(5);
/// How long a listener rests when the system has no more sockets for it.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const MAX_HEADERS: usize = 64;
const MAX_STREAMS: u32 = 128;

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told to close the connection")
    }
}

impl std::error::Error for Closed {}

/// Serves at an address, but for the time of outages, until `stop` turns true or its sender is gone.
pub(crate) async fn serve_with_outages<H, F>(
    mut listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    outage: Outage,
    handle: H,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Answer, Closed>> + Send + 'static,
{
    while serve(listener, limits.clone(), stop.clone(), outage.begins(), handle.clone()).await.is_break() {
        match outage.reopen(address, &mut stop).await {
            Some(again) => listener = again,
            None => return,
        }
    }
}

/// Serves until `stop` turns true or its sender is gone; then lets requests end for at most 5 s. Or until `cut`; then
/// (`Break`) everything is closed at once.
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    cut: impl Future<Output = ()>,
    handle: H,
) -> ControlFlow<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Answer, Closed>> + Send + 'static,
{
    let mut cut = pin!(cut);
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let room = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, room)
        };
        tokio::select! {
            () = told(&mut stop) => break,
            () = cut.as_mut() => {
                drop(listener);
                connections.shutdown().await;
                return ControlFlow::Break(());
            }
            // Collects what ended, so that the set does not grow.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (accepted, room) = accepted => match accepted {
                Ok((stream, _)) => {
                    let connection = serve_connection(stream, limits.clone(), stop.clone(), handle.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(room);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::warn!("closed connections whose requests did not end");
        connections.shutdown().await;
    }
    ControlFlow::Continue(())
}

/// Returns once `stop` is true, or its sender gone. Cancel safe.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    // The guard that this returns must not be held across an await.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn serve_connection<H, F>(stream: TcpStream, limits: Limits, mut stop: watch::Receiver<bool>, handle: H)
where
    H: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Result<Answer, Closed>> + Send + 'static,
{
    // Answers are small and waited for. Where it can't be set, they are merely later.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle).max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(limits.idle)
        .keep_alive_timeout(limits.idle);
    // HTTP/1 ends with the error of a request; HTTP/2 would end the one stream only.
    let closed = Arc::new(Notify::new());
    let told_to_close = Arc::clone(&closed);
    let service = service_fn(move |request: Request<Incoming>| {
        let closed = (request.version() == Version::HTTP_2).then(|| Arc::clone(&told_to_close));
        let answer = handle(request);
        async move {
            let answer = answer.await;
            if let (Err(Closed), Some(closed)) = (&answer, closed) {
                closed.notify_one();
            }
            answer
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed.notified() => return,
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The other side went away, sent no HTTP, or a rule closed the connection.
        tracing::debug!(%error, "a connection ended early");
    }
}
