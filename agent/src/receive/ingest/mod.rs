//! The receiver `ingest`: events by `POST /ingest` and `POST /ingest/batch`, as JSON.
//!
//! ```text
//! head: path, method, origin, token, rate --> body (bounded) --> event: JSON -> items of OTLP --> gather
//!   --> 202 once durable (`answer: durable`), or at once (`answer: accepted`)
//! ```
//!
//! Described with examples in `agent/docs/ingest.md`, which is tested. Invariants: nothing of a request that is refused is
//! taken; the buffer is bounded; pages of other origins than those configured can't send.

mod event;
mod handle;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;

use super::{Connection, Ground, Guard, ListenError, Listener, Started, serve};
use crate::config::IngestReceiver;
use handle::Receiver;

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(config: &IngestReceiver, ground: Ground) -> Result<Started, ListenError> {
    let mut started = Started::default();
    let listener = Listener::bind("http", &config.http, true, &ground).await?;
    started.listening.push(format!("http {}", listener.address()));
    let receiver = Arc::new(Receiver::new(config, &ground, Guard::of(&config.http)));
    let handle = move |request: Request<Incoming>, connection: Arc<Connection>| {
        let receiver = receiver.clone();
        async move { receiver.answer(request, &connection).await }
    };
    started.tasks.spawn(serve::http(listener, ground.stop.clone(), handle));
    Ok(started)
}

/// What a body becomes; for fuzzing.
#[cfg(fuzzing)]
pub(super) fn map_all(body: &[u8], metrics: &[crate::config::IngestMetric]) -> super::pieces::Pieces {
    let mut pieces = super::pieces::Pieces::default();
    let envelope = Arc::new(whimbrel_otlp::write::Envelope::default());
    // What is refused as a whole is thrown away by the receiver; what it had become so far must be sound all the same.
    let _ = event::read(body, |event| event.put(&mut pieces, &envelope, metrics, 1));
    pieces
}
