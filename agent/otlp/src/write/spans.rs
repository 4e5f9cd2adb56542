//! Spans, one by one: for those who make spans out of other protocols. The agent's own code makes none.
//!
//! ```text
//! Span: 1 trace id, 2 span id, 4 parent span id, 5 name, 6 kind, 7 start (fixed64), 8 end (fixed64),
//!       9 attributes, 15 status, 16 flags (fixed32)
//! Status: 2 message, 3 code
//! ```

use super::attributes::Attributes;
use super::buffer::{
    close_medium, close_short, fixed64, message, open_medium, open_short, put_bytes, put_fixed64, put_text,
    varint,
};

/// What a span is in the call that it is part of (OTLP, `SpanKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SpanKind {
    /// Work within an application.
    #[default]
    Internal,
    /// The answering side of a call.
    Server,
    /// The asking side of a call.
    Client,
    /// Puts a message into a queue.
    Producer,
    /// Takes a message out of one.
    Consumer,
}

/// How a span ended (OTLP, `Status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SpanStatus {
    /// Nobody said.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// Not well.
    Error,
}

/// A span. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Span<'a> {
    /// The trace that it belongs to.
    pub trace_id: [u8; 16],
    /// Its own id.
    pub span_id: [u8; 8],
    /// The span within which it happened.
    pub parent_span_id: Option<[u8; 8]>,
    /// What was done.
    pub name: &'a str,
    /// Which side of a call it is.
    pub kind: SpanKind,
    /// When it began.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Its attributes.
    pub attributes: Option<&'a Attributes>,
    /// How it ended.
    pub status: SpanStatus,
    /// What went wrong; may be empty.
    pub status_message: &'a str,
}

/// Appends one span as the field of `ScopeSpans` that it is: tag, length, message.
pub fn append_span(out: &mut Vec<u8>, span: &Span<'_>) {
    let start = open_medium(out, message(2));
    put_bytes(out, message(1), &span.trace_id);
    put_bytes(out, message(2), &span.span_id);
    if let Some(parent) = &span.parent_span_id {
        put_bytes(out, message(4), parent);
    }
    put_text(out, message(5), span.name);
    let kind = match span.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    };
    out.extend_from_slice(&[varint(6), kind]);
    put_fixed64(out, fixed64(7), span.start_ns);
    put_fixed64(out, fixed64(8), span.end_ns);
    if let Some(attributes) = span.attributes {
        attributes.append_as(message(9), out);
    }
    let code = match span.status {
        SpanStatus::Unset => 0,
        SpanStatus::Ok => 1,
        SpanStatus::Error => 2,
    };
    if code != 0 || !span.status_message.is_empty() {
        let status = open_short(out, message(15));
        put_text(out, message(2), span.status_message);
        if code != 0 {
            out.extend_from_slice(&[varint(3), code]);
        }
        close_short(out, status);
    }
    close_medium(out, start);
}
