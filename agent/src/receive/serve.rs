//! HTTP/1.1 and HTTP/2 over a listener: bounds on headers and streams, and a graceful end.

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{
    body::{Body, Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};

use super::{Connection, Listener, Stop, Stream};

const MAX_HEADERS: usize = 64;
/// Bytes of headers over HTTP/2.
const MAX_HEADER_LIST: u32 = 16 << 10;
/// Bytes of headers over HTTP/1, and the most that is read of a body at once.
const MAX_BUFFER: usize = 64 << 10;
/// A client that has begun a request must have sent its headers by then.
const HEADER_TIME: Duration = Duration::from_secs(10);
const MAX_STREAMS: u32 = 128;
/// What a peer may send ahead on one stream, bytes: a request of the usual size without a pause, and 5 MB/s over a link
/// of 50 ms.
const STREAM_WINDOW: u32 = 256 << 10;
/// And on one connection. What was sent ahead lies in memory beside `limits.memory` while its request waits for room, so
/// that all connections together may hold this as often as there are of them.
const CONNECTION_WINDOW: u32 = 512 << 10;
/// How often an HTTP/2 peer that says nothing is asked whether it is there, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Serves requests on a listener until the agent stops; requests under way are answered then.
pub(super) async fn http<H, F, B>(listener: Listener, stop: Stop, handle: H)
where
    H: Fn(Request<Incoming>, Arc<Connection>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    listener
        .serve(move |stream, connection| serve_connection(stream, connection, stop.clone(), handle.clone()))
        .await;
}

async fn serve_connection<H, F, B>(stream: Stream, connection: Arc<Connection>, stop: Stop, handle: H)
where
    H: Fn(Request<Incoming>, Arc<Connection>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let service = service_fn(move |request: Request<Incoming>| {
        let at_work = connection.at_work();
        let answer = handle(request, connection.clone());
        async move {
            let answer = answer.await;
            drop(at_work);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.wait() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // The other side went away, or sent no HTTP.
        tracing::debug!(%error, "a connection ended early");
    }
}
