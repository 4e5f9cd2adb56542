//! Serving small HTTP/1.1 answers: bounded connections, headers and times.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Connections open at a time; one more is closed at once.
const CONNECTIONS: usize = 32;
/// A client that has not sent its headers by then is closed, between two requests too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left), so that it is not retried in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of headers a client may send.
const HEADER_BYTES: usize = 16 << 10;

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// Accepts for ever, and answers each request with `answer`, which is dropped half way when the client goes away.
/// `what` listens, for the log.
pub(super) async fn every_connection<S, F, A>(
    what: &str,
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    answer: F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let answer = Arc::new(answer);
    loop {
        match poll_fn(&mut accept).await {
            Ok(stream) => {
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    connection(stream, place, Arc::clone(&answer));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "{what} cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until either side ends it.
fn connection<S, F, A>(stream: S, place: OwnedSemaphorePermit, answer: Arc<F>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    tokio::spawn(async move {
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let answer = answer(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a client of the admin endpoints went away");
        }
        drop(place);
    });
}

/// A plain-text answer.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", body)
}

/// An answer of the given content type.
pub(super) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}

/// A value as JSON.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => typed(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
