//! OTLP/gRPC: one unary call a request, over hyper's HTTP/2.
//!
//! gRPC's part of a unary call is five bytes before the message, a few headers, and an answer whose status comes
//! last; hyper does the rest (streams, flow control, pings). A gRPC library on top would take the message as a
//! decoded type and compress it again; here the stored zstd frames are the message, and no byte of them is copied.
//! Source of the protocol: grpc/doc/PROTOCOL-HTTP2.md.

mod frame;
mod status;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use self::status::{Reply, classify};
use super::{
    answer::{Body, Secrets, one_line},
    client::{Chunks, Way, read},
    transport::{Answer, Encoding, Outcome, Request, Transport},
};
use crate::clock::Clock;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// One receiver of one signal over gRPC.
pub(super) struct GrpcTransport {
    way: Way,
    secrets: Arc<Secrets>,
    clock: Arc<dyn Clock>,
}

impl GrpcTransport {
    /// The way's path is the method's.
    pub(super) fn new(mut way: Way, secrets: Arc<Secrets>, clock: Arc<dyn Clock>) -> Self {
        let timeout = timeout(way.timeout);
        let headers = &mut way.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(frame::OFFERED));
        headers.insert(GRPC_TIMEOUT, timeout);
        Self { way, secrets, clock }
    }

    async fn exchange(&self, request: Request) -> Answer {
        let Some(prefix) = frame::prefix(request.encoding != Encoding::Identity, request.len()) else {
            let reason = format!("{} bytes are more than a gRPC message can hold", request.len());
            return Outcome::DataRefused { reason, suspect_encoding: false }.into();
        };
        let body = Chunks::new(std::iter::once(prefix).chain(request.body.iter().cloned()));
        let mut call = self.way.post(self.way.uri.clone(), &request, body);
        if request.encoding != Encoding::Identity {
            call.headers_mut().insert(GRPC_ENCODING, HeaderValue::from_static(request.encoding.name()));
        }
        let (head, body) = match self.way.send(call).await {
            Ok(response) => response.into_parts(),
            Err(outcome) => return outcome.into(),
        };
        let server = head.headers.get(header::SERVER).and_then(|server| server.to_str().ok()).map(one_line);
        // "Trailers-Only": the status came at once, and no message follows.
        let (body, trailers) = match head.headers.contains_key(GRPC_STATUS) {
            true => (Body::Whole(Default::default()), Some(HeaderMap::new())),
            false => read(body).await,
        };
        let reply =
            Reply { status: head.status, headers: &head.headers, body: &body, trailers: trailers.as_ref() };
        let outcome = classify(&reply, request.encoding, self.clock.now(), &self.secrets);
        Answer { outcome, server }
    }
}

impl Transport for GrpcTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = self.exchange(request) => answer,
                () = self.clock.sleep(self.way.timeout) => self.way.timed_out().into(),
            }
        })
    }
}

/// `grpc-timeout`: at most eight digits, and a unit.
fn timeout(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let milliseconds = timeout.as_millis();
    let text = match milliseconds {
        0..=MOST => format!("{}m", milliseconds.max(1)),
        _ => format!("{}S", u128::from(timeout.as_secs()).min(MOST)),
    };
    // Digits and a letter are always a header's value.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("10S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_at_most_eight_digits() {
        for (given, expected) in [
            (Duration::from_secs(10), "10000m"),
            (Duration::from_micros(10), "1m"),
            (Duration::from_millis(99_999_999), "99999999m"),
            (Duration::from_millis(100_000_000), "100000S"),
            (Duration::MAX, "99999999S"),
        ] {
            assert_eq!(timeout(given), expected);
        }
    }
}
