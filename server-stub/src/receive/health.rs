//! `grpc.health.v1.Health` (grpc/doc/health-checking.md): `Check` answers once, `Watch` streams.
//!
//! The stub serves, or it is not there: only when it stops do those that watch hear NOT_SERVING before the end.

use futures_util::{StreamExt as _, stream};
use hyper::body::{Frame, Incoming};
use prost::Message;

use super::{
    answer::Answer,
    code::Code,
    encoding::Encoding,
    frame,
    grpc::{Status, streamed},
    handle::Receiver,
};
use crate::{
    listen::{Closed, told},
    signal::Signal,
};

pub(super) const SERVICE: &str = "grpc.health.v1.Health";

/// A name of a service, and five bytes.
const LONGEST_REQUEST: usize = 1024;

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl Receiver {
    /// Answers a call of the health service.
    pub(super) async fn health(&self, method: &str, body: Incoming) -> Result<Answer, Closed> {
        let body = match self.read(body, LONGEST_REQUEST).await {
            Ok(body) => body,
            Err(failure) => return Ok(Status::new(Code::of(failure.status), failure.message).alone()),
        };
        let request = match frame::message(&body, Encoding::Identity) {
            Ok((_, message)) => HealthCheckRequest::decode(message).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let service = match request {
            Ok(request) => request.service,
            Err(error) => return Ok(Status::new(Code::INVALID_ARGUMENT, error).alone()),
        };
        // The empty name is the server as a whole.
        let known = service.is_empty() || Signal::ALL.iter().any(|signal| signal.service() == service);
        match method {
            "Check" if known => Ok(streamed(stream::iter([Ok(says(SERVING))]), &Status::new(Code::OK, ""))),
            "Check" => Ok(Status::new(Code::NOT_FOUND, format!("unknown service {service}")).alone()),
            "Watch" => {
                let now = if known { SERVING } else { SERVICE_UNKNOWN };
                let mut stopped = self.stopped.clone();
                let end = stream::once(async move {
                    told(&mut stopped).await;
                    Ok(says(if known { NOT_SERVING } else { SERVICE_UNKNOWN }))
                });
                let changes = stream::iter([Ok(says(now))]).chain(end);
                Ok(streamed(changes, &Status::new(Code::UNAVAILABLE, "the stub stops")))
            }
            _ => {
                Ok(Status::new(Code::UNIMPLEMENTED, format!("unknown method {method} for service {SERVICE}"))
                    .alone())
            }
        }
    }
}

fn says(status: i32) -> Frame<bytes::Bytes> {
    Frame::data(frame::framed(&HealthCheckResponse { status }.encode_to_vec()))
}
