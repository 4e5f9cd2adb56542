//! The receiver `otlp`: applications' SDKs send here, over gRPC and HTTP, all three signals.
//!
//! ```text
//! head: path, method, content type, encoding, token, rate
//!   -> room in `limits.memory` -> body (bounded in bytes and time) -> unpacked (bounded)
//!   -> walked, not decoded -> store -> the answer, once it is durable
//! ```
//!
//! Both ports take both protocols, told apart by path and content type, so that a sender that mixed them up works. A
//! request with an unsound item is refused whole and the item is named; partial success is not used. A body that is one
//! sound zstd frame is stored as it came.

mod answer;
mod handle;
mod refusal;
mod services;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;

use handle::Receiver;

use super::{Connection, Ground, Guard, ListenError, Listener, Started, serve};
use crate::config::OtlpReceiver;

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(config: &OtlpReceiver, ground: Ground) -> Result<Started, ListenError> {
    let mut started = Started::default();
    let receiver = Receiver::new(&ground, config.add_resource);
    let endpoints = [("grpc", &config.grpc), ("http", &config.http)];
    for (what, endpoint) in endpoints.into_iter().filter_map(|(what, one)| Some((what, one.as_ref()?))) {
        let listener = Listener::bind(what, endpoint, true, &ground).await?;
        started.listening.push(format!("{what} {}", listener.address()));
        let (receiver, guard) = (receiver.clone(), Guard::of(endpoint));
        let handle = move |request: Request<Incoming>, connection: Arc<Connection>| {
            let (receiver, guard) = (receiver.clone(), guard.clone());
            async move { receiver.answer(request, &connection, &guard).await }
        };
        started.tasks.spawn(serve::http(listener, ground.stop.clone(), handle));
    }
    started.tasks.spawn(receiver.services.tell_when_stopping(ground.stop.clone()));
    Ok(started)
}
