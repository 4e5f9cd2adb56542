//! OTLP/gRPC: methods, framing and statuses around [`Receiver::receive`].
//!
//! What OTLP/HTTP says by a status is said by the gRPC code of the same meaning; rules of `/control` that name an
//! HTTP status are translated alike. A rule that closes the connection closes it under every call that it carries.

use std::{io, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use prost::Message;

use super::{
    answer::{self, Answer, Failure, with_body},
    code::Code,
    decode::Format,
    encoding::encoding_text,
    frame,
    handle::{Protocol, Receiver, Told},
};
use crate::{
    faults::{AnswerBody, Refusal},
    listen::Closed,
    signal::Signal,
};

pub(super) const CONTENT: &str = "application/grpc";
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ENCODINGS: [&str; 3] = ["identity", "gzip", "zstd"];

impl Receiver {
    /// Answers a call, or closes its connection if a rule says so.
    pub(crate) async fn handle_grpc(&self, request: Request<Incoming>) -> Result<Answer, Closed> {
        let (head, body) = request.into_parts();
        let plain = |status, text: &str| {
            Ok(with_body(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes()))
        };
        if head.version != Version::HTTP_2 {
            let text = "OTLP/gRPC is received here, over HTTP/2; OTLP/HTTP has a port of its own";
            return plain(StatusCode::HTTP_VERSION_NOT_SUPPORTED, text);
        }
        if head.method != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are made by POST");
        }
        let content =
            head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // "application/grpc", or with the message's format: "application/grpc+proto".
        if !matches!(content.split(';').next().unwrap_or_default().trim(), CONTENT | "application/grpc+proto")
        {
            return plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the content type must be application/grpc or application/grpc+proto",
            );
        }
        let method = head.uri.path().strip_prefix('/').and_then(|path| path.rsplit_once('/'));
        let Some((service, method)) = method else {
            self.discard(body).await;
            return Ok(Status::new(Code::UNIMPLEMENTED, "the path names no method").alone());
        };
        if service == super::health::SERVICE {
            return self.health(method, body).await;
        }
        let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.service() == service) else {
            self.discard(body).await;
            return Ok(Status::new(Code::UNIMPLEMENTED, format!("unknown service {service}")).alone());
        };
        if method != "Export" {
            self.discard(body).await;
            let message = format!("unknown method {method} for service {service}");
            return Ok(Status::new(Code::UNIMPLEMENTED, message).alone());
        }
        match self.receive(Protocol::Grpc, signal, Ok(Format::Protobuf), &head.headers, body).await {
            Ok(rejected) => {
                let message = answer::response(signal, rejected);
                Ok(streamed(
                    stream::iter([Ok(Frame::data(frame::framed(&message)))]),
                    &Status::new(Code::OK, ""),
                ))
            }
            Err(ended) => {
                let encoding = encoding_text(&head.headers, GRPC_ENCODING);
                let told = self.ended(signal, ended, |told| Status::of(told).code.name().to_owned()).await?;
                Ok(refused(&told, &encoding))
            }
        }
    }
}

/// How a call ends.
#[derive(Debug)]
pub(super) struct Status {
    code: Code,
    message: String,
    /// When the sender may come again.
    retry_after: Option<Duration>,
}

impl Status {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// The status that says what OTLP/HTTP would have said.
    fn of(told: &Told) -> Self {
        let (code, message, retry_after) = match told {
            Told::Failed(Failure { message, retry_after, .. }) => (None, message, *retry_after),
            Told::Refused(Refusal { message, code, retry_after, .. }) => {
                // A date is HTTP's alone.
                let seconds = retry_after.as_ref().and_then(|value| value.to_str().ok()?.parse().ok());
                (*code, message, seconds.map(Duration::from_secs))
            }
        };
        let code = code.unwrap_or(match told.status() {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UNIMPLEMENTED,
            // Without a delay, RESOURCE_EXHAUSTED means that the request is too large for ever.
            StatusCode::TOO_MANY_REQUESTS if retry_after.is_none() => Code::UNAVAILABLE,
            status => Code::of(status),
        });
        Self { code, message: message.clone(), retry_after }
    }

    /// As trailers, or as headers where they are all there is.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(self.code.number())));
        if let Ok(message) = HeaderValue::from_str(&percent_encode(&self.message))
            && !message.is_empty()
        {
            headers.insert(GRPC_MESSAGE, message);
        }
        if let Some(delay) = self.retry_after {
            let details = STANDARD_NO_PAD.encode(retry_info(self.code, &self.message, delay));
            if let Ok(details) = HeaderValue::from_str(&details) {
                headers.insert(GRPC_STATUS_DETAILS, details);
            }
        }
    }

    /// An answer without a message ("Trailers-Only").
    pub(super) fn alone(&self) -> Answer {
        let mut answer = with_body(StatusCode::OK, CONTENT, Vec::new());
        self.put(answer.headers_mut());
        answer
    }
}

/// A stream of framed messages, or parts of them, and the status behind it.
pub(super) fn streamed(
    frames: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
    status: &Status,
) -> Answer {
    let mut trailers = HeaderMap::new();
    status.put(&mut trailers);
    let frames = frames.chain(stream::iter([Ok(Frame::trailers(trailers))]));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
    answer
}

/// What a failure or a rule answers to a call in `encoding`.
fn refused(told: &Told, encoding: &str) -> Answer {
    let status = Status::of(told);
    let body = match told {
        Told::Failed(_) => AnswerBody::Status,
        Told::Refused(refusal) => refusal.body,
    };
    let mut answer = match body {
        AnswerBody::Status | AnswerBody::Empty => status.alone(),
        // 0xff is no protobuf tag of a known wire type.
        AnswerBody::Garbage => {
            streamed(stream::iter([Ok(Frame::data(frame::framed(b"\xff\xfe garbage \x00\xff")))]), &status)
        }
        // A proxy that knows nothing of gRPC.
        AnswerBody::Html => {
            let page = "<!doctype html><title>Sorry</title><h1>The gateway says no</h1>";
            let mut answer = with_body(told.status(), "text/html; charset=utf-8", page.into());
            if let Told::Refused(Refusal { retry_after: Some(value), .. }) = told {
                answer.headers_mut().insert(RETRY_AFTER, value.clone());
            }
            return answer;
        }
        // Of a message of 7 bytes, two.
        AnswerBody::Cut => streamed(answer::cut(b"\x00\x00\x00\x00\x07\x0a\x05"), &status),
        AnswerBody::Huge => {
            let length = (answer::HUGE as u32).to_be_bytes();
            let prefix = Bytes::from([&[0][..], &length].concat());
            streamed(stream::iter([Ok(Frame::data(prefix))]).chain(answer::huge()), &status)
        }
    };
    if told.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        let others: Vec<&str> = ENCODINGS.into_iter().filter(|known| *known != encoding).collect();
        if let Ok(others) = HeaderValue::from_str(&others.join(",")) {
            answer.headers_mut().insert(GRPC_ACCEPT_ENCODING, others);
        }
    }
    answer
}

/// `google.rpc.Status` with a `google.rpc.RetryInfo` (google/rpc/status.proto, error_details.proto).
fn retry_info(code: Code, message: &str, delay: Duration) -> Vec<u8> {
    #[derive(Clone, PartialEq, Message)]
    struct RpcStatus {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Delay>,
    }
    #[derive(Clone, Copy, PartialEq, Message)]
    struct Delay {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
    let retry_delay = Some(Delay { seconds, nanos: delay.subsec_nanos().cast_signed() });
    let any = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo { retry_delay }.encode_to_vec(),
    };
    RpcStatus { code: code.number().into(), message: message.to_owned(), details: vec![any] }.encode_to_vec()
}

/// `grpc-message`: visible ASCII and spaces but `%` stand for themselves, all else is %XX of its UTF-8.
fn percent_encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'%' => "%25".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("100 % \u{e4}\n"), "100 %25 %C3%A4%0A");
    }
}
