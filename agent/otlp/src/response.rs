//! What a receiver answers: partial success, and errors with their delay.
//!
//! ```text
//! Export*ServiceResponse: 1 partial_success: { 1 rejected (int64), 2 error_message }
//! google.rpc.Status: 1 code (int32), 2 message, 3 details: Any { 1 type_url, 2 value }
//! google.rpc.RetryInfo: 1 retry_delay: Duration { 1 seconds (int64), 2 nanos (int32) }
//! ```
//!
//! Answers come from the network and are read as far as they can be: a receiver that answers nonsense has still
//! accepted, or not, by its status code. Messages are cut, and never break a log line.

use std::time::Duration;

use crate::wire::{Field, Fields, Wire};

/// Longer messages of receivers are cut here.
pub const MAX_MESSAGE: usize = 1024;

/// So many fields of an answer are read; real ones have a handful.
const MAX_FIELDS: usize = 256;

/// The type of the detail that says when to come again; the host before the slash may be any.
const RETRY_INFO: &[u8] = b"/google.rpc.RetryInfo";

/// The longest delay that is believed: a year. A longer one is cut to it.
const MAX_DELAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The receiver took the request, but not all of its items; or it took all and warns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialSuccess {
    /// How many items it did not take; 0: only a warning. They must not be sent again.
    pub rejected: u64,
    /// Why, for people; cut at [`MAX_MESSAGE`] bytes, without control characters.
    pub message: String,
}

/// Reads an `ExportMetricsServiceResponse`, or those of logs and traces, which have the same shape. `None`: it took
/// everything and has nothing to say, or it can't be read.
#[must_use]
pub fn partial_success(response: &[u8]) -> Option<PartialSuccess> {
    let partial = message_field(response, 1)?;
    let rejected = fields(partial).filter(|field| is(field, 1, Wire::Varint)).last();
    let rejected = rejected.map_or(0, |field| field.varint() as i64);
    let message = text_field(partial, 2);
    let rejected = u64::try_from(rejected).unwrap_or(0);
    (rejected > 0 || !message.is_empty()).then_some(PartialSuccess { rejected, message })
}

/// What a receiver says about a request that it refused: a `google.rpc.Status`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// A gRPC status code; 0 if none was given.
    pub code: i32,
    /// Why, for people; cut at [`MAX_MESSAGE`] bytes, without control characters.
    pub message: String,
    /// When to come again, from `RetryInfo`. Its presence also means that the request may be sent again.
    pub retry_delay: Option<Duration>,
}

/// Reads a `google.rpc.Status`: the body of an OTLP/HTTP error, or the bytes of gRPC's `grpc-status-details-bin`.
/// `None` if there is nothing of one in it.
#[must_use]
pub fn status(body: &[u8]) -> Option<Status> {
    // What is no protobuf at all, an HTML page for instance, is not mined for words.
    if body.is_empty() || Fields::of(body).take(MAX_FIELDS).any(|field| field.is_err()) {
        return None;
    }
    let code = fields(body).filter(|field| is(field, 1, Wire::Varint)).last();
    let status = Status {
        code: code.map_or(0, |field| field.varint() as i32),
        message: text_field(body, 2),
        retry_delay: fields(body)
            .filter(|field| is(field, 3, Wire::Length))
            .find_map(|detail| retry_delay(detail.content)),
    };
    (status != Status::default()).then_some(status)
}

fn retry_delay(detail: &[u8]) -> Option<Duration> {
    if !message_field(detail, 1)?.ends_with(RETRY_INFO) {
        return None;
    }
    let Some(delay) = message_field(message_field(detail, 2)?, 1) else { return Some(Duration::ZERO) };
    let number = |number| {
        let field = fields(delay).filter(|field| is(field, number, Wire::Varint)).last();
        u64::try_from(field.map_or(0, |field| field.varint() as i64)).unwrap_or(0)
    };
    let nanos = Duration::from_nanos(number(2).min(999_999_999));
    Some(Duration::from_secs(number(1).min(MAX_DELAY.as_secs())).saturating_add(nanos).min(MAX_DELAY))
}

fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    Fields::of(message).take(MAX_FIELDS).flatten()
}

fn is(field: &Field<'_>, number: u32, wire: Wire) -> bool {
    field.number == number && field.wire == wire
}

fn message_field(message: &[u8], number: u32) -> Option<&[u8]> {
    fields(message).filter(|field| is(field, number, Wire::Length)).last().map(|field| field.content)
}

/// A string for people: cut, with U+FFFD for what is not UTF-8 and spaces for control characters.
fn text_field(message: &[u8], number: u32) -> String {
    let bytes = message_field(message, number).unwrap_or(&[]);
    let cut = &bytes[..bytes.len().min(MAX_MESSAGE)];
    let mut text: String = String::from_utf8_lossy(cut)
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if cut.len() < bytes.len() {
        // The cut may have gone through a character.
        while text.ends_with(char::REPLACEMENT_CHARACTER) {
            text.pop();
        }
        text.push_str("...");
    }
    text
}
