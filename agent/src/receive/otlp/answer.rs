//! Answers: a response message, or a `google.rpc.Status`, in the form of the request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::{
    refusal::{Kind, Refusal},
    services::Streamed,
};
use crate::receive::body::Encoding;

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// OTLP/HTTP with protobuf.
    Protobuf,
    /// OTLP/HTTP with JSON.
    Json,
    /// gRPC.
    Grpc,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
            Self::Grpc => "application/grpc",
        }
    }
}

/// The body of an answer.
pub(super) enum AnswerBody {
    /// One piece, perhaps with trailers.
    Whole { data: Option<Bytes>, trailers: Option<HeaderMap> },
    /// What a gRPC service of the library's answers.
    Service(Streamed),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match self.get_mut() {
            Self::Whole { data, trailers } => {
                let frame = data.take().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            Self::Service(body) => body.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { data, trailers } => data.is_none() && trailers.is_none(),
            Self::Service(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { data, .. } => SizeHint::with_exact(data.as_ref().map_or(0, Bytes::len) as u64),
            Self::Service(body) => body.size_hint(),
        }
    }
}

/// An answer.
pub(super) type Answer = Response<AnswerBody>;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Longest message in a header, bytes, before it is escaped.
const LONGEST_MESSAGE: usize = 1024;

/// Everything was taken: an empty response message.
pub(super) fn taken(format: Format) -> Answer {
    let (data, trailers) = match format {
        Format::Protobuf => (None, None),
        Format::Json => (Some(Bytes::from_static(b"{}")), None),
        // An empty message: not compressed, no bytes.
        Format::Grpc => {
            let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
            (Some(Bytes::from_static(&[0; 5])), Some(trailers))
        }
    };
    whole(StatusCode::OK, format.content_type(), data, trailers)
}

/// Nothing was taken.
pub(super) fn refused(refusal: &Refusal, format: Format) -> Answer {
    match format {
        Format::Grpc => grpc(refusal),
        Format::Protobuf | Format::Json => http(refusal, format),
    }
}

fn http(refusal: &Refusal, format: Format) -> Answer {
    let body = match format {
        Format::Json => {
            serde_json::json!({"code": refusal.kind.grpc(), "message": refusal.message}).to_string().into()
        }
        _ => Bytes::from(refusal.status()),
    };
    let mut answer = whole(refusal.kind.http(), format.content_type(), Some(body), None);
    let headers = answer.headers_mut();
    if let Some(after) = refusal.retry_after {
        // Whole seconds, and not too early.
        let seconds = after.as_millis().div_ceil(1000).clamp(1, u64::MAX.into());
        headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
    match refusal.kind {
        Kind::Method => drop(headers.insert(header::ALLOW, HeaderValue::from_static("POST"))),
        Kind::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // RFC 7694, section 3.
        Kind::MediaType => {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(Encoding::NAMES));
        }
        _ => {}
    }
    answer
}

/// Trailers only: the status stands in the headers.
fn grpc(refusal: &Refusal) -> Answer {
    let mut answer = whole(StatusCode::OK, Format::Grpc.content_type(), None, None);
    let headers = answer.headers_mut();
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(refusal.kind.grpc())));
    if let Ok(message) = HeaderValue::from_str(&percent(&refusal.message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if refusal.retry_after.is_some()
        && let Ok(details) = HeaderValue::from_str(&BASE64_STANDARD_NO_PAD.encode(refusal.status()))
    {
        headers.insert(GRPC_DETAILS, details);
    }
    if refusal.kind == Kind::MediaType {
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,zstd"));
    }
    answer
}

fn whole(
    status: StatusCode,
    content_type: &'static str,
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
) -> Answer {
    let mut answer = Response::new(AnswerBody::Whole { data, trailers });
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A message as gRPC has it in a header: what is not visible ASCII, and `%`, as bytes in hexadecimal.
fn percent(message: &str) -> String {
    let mut escaped = String::with_capacity(message.len());
    for byte in message.bytes().take(LONGEST_MESSAGE) {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
