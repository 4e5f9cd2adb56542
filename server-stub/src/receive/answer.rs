//! What OTLP/HTTP answers: a response message, or a `google.rpc.Status`, in the encoding of the request.

use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use prost::Message;
use serde_json::json;

use super::{code::Code, decode::Format, handle::Rejected};
use crate::{
    faults::{AnswerBody, Refusal},
    signal::Signal,
};

/// A body that is sent, or that breaks off on command.
pub(crate) type AnswerBytes = UnsyncBoxBody<Bytes, io::Error>;
/// An answer on its way.
pub(crate) type Answer = Response<AnswerBytes>;

/// The size of an answer that is told to be huge: twice what a sender should read.
pub(super) const HUGE: usize = 8 << 20;
const HUGE_CHUNK: usize = 64 << 10;
/// How long the half of an answer that is told to be cut has for its way out.
const CUT_AFTER: Duration = Duration::from_millis(50);

/// What went wrong, for whoever sent the request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl ToString) -> Self {
        Self { status, message: message.to_string(), retry_after: None }
    }

    /// The sender should try again, after a while.
    pub(crate) fn later(message: impl ToString, retry_after: Duration) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: message.to_string(),
            retry_after: Some(retry_after),
        }
    }

    pub(crate) fn to_answer(&self, format: Format) -> Answer {
        let mut answer = status_answer(format, self.status, &self.message);
        if let Some(retry_after) = self.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        answer
    }
}

/// Everything was taken, or all but `rejected` items for the reason given.
pub(super) fn success(signal: Signal, format: Format, rejected: Rejected) -> Answer {
    let body = match (format, rejected) {
        (Format::Protobuf, rejected) => response(signal, rejected),
        (Format::Json, None) => b"{}".to_vec(),
        (Format::Json, Some((count, message))) => {
            let partial = json!({ signal.rejected_field(): count.to_string(), "errorMessage": message });
            json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
    };
    with_body(StatusCode::OK, format.content_type(), body)
}

/// The response message of a signal, as protobuf.
pub(super) fn response(signal: Signal, rejected: Rejected) -> Vec<u8> {
    // An empty message: no partial success.
    let Some((count, error_message)) = rejected else { return Vec::new() };
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    match signal {
        Signal::Metrics => {
            let partial = ExportMetricsPartialSuccess { rejected_data_points: count, error_message };
            ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
        Signal::Logs => {
            let partial = ExportLogsPartialSuccess { rejected_log_records: count, error_message };
            ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
        Signal::Traces => {
            let partial = ExportTracePartialSuccess { rejected_spans: count, error_message };
            ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
    }
}

/// What a rule answers.
pub(crate) fn refusal(refusal: &Refusal, format: Format) -> Answer {
    let status = refusal.status;
    let mut answer = match refusal.body {
        AnswerBody::Status => status_answer(format, status, &refusal.message),
        // 0xff is no protobuf tag of a known wire type, and no UTF-8.
        AnswerBody::Garbage => {
            with_body(status, format.content_type(), b"\xff\xfe garbage \x00\xff".to_vec())
        }
        AnswerBody::Empty => with_body(status, format.content_type(), Vec::new()),
        AnswerBody::Html => {
            let page = "<!doctype html><title>Sorry</title><h1>The gateway says no</h1>";
            with_body(status, "text/html; charset=utf-8", page.into())
        }
        AnswerBody::Cut => streamed(status, format.content_type(), cut(b"\x0a\x7f")),
        AnswerBody::Huge => streamed(status, format.content_type(), huge()),
    };
    let headers = answer.headers_mut();
    if let Some(value) = &refusal.retry_after {
        headers.insert(RETRY_AFTER, value.clone());
    }
    if let Some(value) = &refusal.location {
        headers.insert(LOCATION, value.clone());
    }
    answer
}

/// These bytes, and then the end of the connection.
pub(super) fn cut(half: &'static [u8]) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    let broken = async {
        // What is not flushed by now would never be sent.
        tokio::time::sleep(CUT_AFTER).await;
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "told to cut the answer"))
    };
    stream::iter([Ok(Frame::data(Bytes::from_static(half)))]).chain(stream::once(broken))
}

/// [`HUGE`] bytes of nothing.
pub(super) fn huge() -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    let chunk = Bytes::from(vec![b' '; HUGE_CHUNK]);
    stream::iter((0..HUGE / HUGE_CHUNK).map(move |_| Ok(Frame::data(chunk.clone()))))
}

/// An answer whose body is here as a whole.
pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let body = Full::from(body).map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer whose body comes as it is made.
pub(crate) fn with_stream(content_type: &'static str, body: AnswerBytes) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn streamed(
    status: StatusCode,
    content_type: &'static str,
    frames: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
) -> Answer {
    let body = StreamBody::new(frames).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// `google.rpc.Status`, which OTLP/HTTP sends with every failure.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

fn status_answer(format: Format, status: StatusCode, message: &str) -> Answer {
    let code = i32::from(Code::of(status).number());
    let body = match format {
        Format::Protobuf => Status { code, message: message.to_owned() }.encode_to_vec(),
        Format::Json => json!({ "code": code, "message": message }).to_string().into_bytes(),
    };
    with_body(status, format.content_type(), body)
}
