//! The structural walk: is it well-formed OTLP, and how many items are in it?
//!
//! Stands where bytes enter: a plugin's push, a receiver's request. What has passed can be stored, joined, parted
//! and merged without another look, and every protobuf decoder of the field takes it. Checked are the wire format
//! and, for all fields that OTLP has, wire types, lengths, UTF-8, the sizes of ids, one kind of data a metric, and
//! how deep messages are nested. Unknown fields are left alone, so that newer senders pass.
//!
//! Invariants: no panic, whatever the input; nothing is allocated unless the walk refuses; the stack is bounded by
//! [`MAX_DEPTH`].

use std::fmt;
use std::ops::Range;

use crate::Signal;
use crate::plain;
use crate::schema::{Kind, Message, key_value, log_record, number_point};
use crate::wire::{Fields, Wire, Wrong, delimited, fixed, tag, varint, wrong};

/// So many messages may enclose each other, the request itself included. Decoders commonly stop at 100
/// (protobuf's default), and not all of them gracefully.
pub const MAX_DEPTH: u32 = 64;

/// The largest request: protobuf's own limit.
const MAX_LEN: usize = i32::MAX as usize;

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Walked {
    /// Data points, log records or spans.
    pub items: u32,
    /// `ResourceMetrics`, `ResourceLogs` or `ResourceSpans`.
    pub resources: u32,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Data ends within a varint or a fixed-width number.
    #[error("the data ends within a number")]
    Truncated,
    /// More than 64 bits.
    #[error("a varint of more than 64 bits")]
    VarintTooLong,
    /// A length reaches beyond the message that it is in.
    #[error("a length of {len} bytes where {left} are left")]
    PastTheEnd {
        /// What the length says.
        len: u64,
        /// What is there.
        left: usize,
    },
    /// Field numbers begin at 1.
    #[error("field number 0")]
    FieldZero,
    /// Field numbers end at 2^29 - 1.
    #[error("a field number beyond 536870911")]
    FieldNumberTooLarge,
    /// Wire types 3 and 4, which OTLP never used.
    #[error("a group, which OTLP does not have")]
    Group,
    /// Wire types 6 and 7, which don't exist.
    #[error("a wire type that does not exist")]
    UnknownWireType,
    /// A field of OTLP in another wire type than it has.
    #[error("{found} where {expected} is due")]
    WrongWireType {
        /// What OTLP says.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A trace id is 16 bytes, or absent.
    #[error("a trace id of {0} bytes, not 16")]
    TraceId(usize),
    /// A span id is 8 bytes, or absent.
    #[error("a span id of {0} bytes, not 8")]
    SpanId(usize),
    /// Packed 8-byte numbers in a field whose length 8 doesn't divide.
    #[error("packed 8-byte numbers in {0} bytes")]
    OddlyPacked(usize),
    /// A metric is a gauge, or a sum, or a histogram...
    #[error("a metric with two kinds of data")]
    TwoKindsOfData,
    /// See [`MAX_DEPTH`].
    #[error("more than {MAX_DEPTH} messages within each other")]
    TooDeep,
    /// See the limit of protobuf, 2 GiB.
    #[error("longer than {MAX_LEN} bytes")]
    TooLong,
}

/// A request is not well-formed OTLP: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkError {
    /// The signal that it was taken for.
    pub signal: Signal,
    /// What is wrong.
    pub flaw: Flaw,
    /// At which byte of the request.
    pub offset: usize,
    /// In which field, such as `resource_metrics[0].scope_metrics[2].metrics[7].name`; empty for the request itself.
    pub path: String,
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not OTLP {}: {} at byte {}", self.signal, self.flaw, self.offset)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, ", in {}", self.path) }
    }
}

impl std::error::Error for WalkError {}

/// Checks that a request is well-formed OTLP, and counts its items. An empty request is one, of none.
///
/// # Errors
/// [`WalkError`] names the first thing that is wrong. The same bytes will never pass; refuse or drop them.
pub fn walk(signal: Signal, request: &[u8]) -> Result<Walked, WalkError> {
    let mut walk = Walk { items: 0 };
    let mut resources = 0;
    check_len(signal, request)?;
    each_resource(request, |part| match part {
        Part::Resource { content, .. } => {
            resources += 1;
            walk.resource(signal, content)
        }
        Part::Other(_) => Ok(()),
    })
    .map_err(|wrong| locate(signal, request, wrong))?;
    Ok(Walked { items: walk.items, resources })
}

/// Refuses what is too long to have its items counted in 32 bits.
pub(crate) fn check_len(signal: Signal, request: &[u8]) -> Result<(), WalkError> {
    if request.len() > MAX_LEN {
        return Err(WalkError { signal, flaw: Flaw::TooLong, offset: MAX_LEN, path: String::new() });
    }
    Ok(())
}

/// A piece of a request.
pub(crate) enum Part<'a> {
    /// A `ResourceMetrics`, `ResourceLogs` or `ResourceSpans`.
    Resource { content: &'a [u8] },
    /// An unknown field, all of it.
    Other(&'a [u8]),
}

/// Goes over the pieces of a request, the same in all signals: field 1 is a resource, others are unknown.
pub(crate) fn each_resource<'a>(
    request: &'a [u8],
    mut visit: impl FnMut(Part<'a>) -> Result<(), Wrong<'a>>,
) -> Result<(), Wrong<'a>> {
    for field in Fields::of(request) {
        let field = field?;
        match (field.number, field.wire) {
            (1, Wire::Length) => visit(Part::Resource { content: field.content })?,
            (1, found) => {
                return wrong(
                    field.whole,
                    Flaw::WrongWireType { expected: Wire::Length.name(), found: found.name() },
                );
            }
            _ => visit(Part::Other(field.whole))?,
        }
    }
    Ok(())
}

/// Goes down a request, counting items.
pub(crate) struct Walk {
    pub(crate) items: u32,
}

impl Walk {
    /// Checks the content of a `ResourceMetrics`, `ResourceLogs` or `ResourceSpans`.
    pub(crate) fn resource<'a>(&mut self, signal: Signal, content: &'a [u8]) -> Result<(), Wrong<'a>> {
        match signal.request().field(1).kind.message() {
            Some(message) => self.message(message, content, 2),
            None => Ok(()),
        }
    }

    fn message<'a>(
        &mut self,
        message: &'static Message,
        mut rest: &'a [u8],
        depth: u32,
    ) -> Result<(), Wrong<'a>> {
        let takes_points = matches!(message.field(1).kind, Kind::NumberPoint);
        let mut data = 0;
        while !rest.is_empty() {
            if takes_points {
                let (points, after) = plain::skip_number_points(rest);
                self.items += points;
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let (number, wire, after_tag) = tag(rest)?;
            // Errors point to the field that is at fault, tag included.
            let at = |wrong: Wrong<'a>| Wrong { rest, ..wrong };
            let kind = message.field(number).kind;
            let after = match wire {
                Wire::Length => {
                    let (content, after) = delimited(after_tag).map_err(at)?;
                    if kind.message().is_some() && depth >= MAX_DEPTH {
                        return wrong(rest, Flaw::TooDeep);
                    }
                    match kind {
                        Kind::Attribute => {
                            // Its value is a message, too: the short cut must not reach deeper than allowed.
                            if depth + 2 > MAX_DEPTH || !plain::is_attribute(content) {
                                self.message(key_value(), content, depth + 1)?;
                            }
                        }
                        Kind::Text => check_text(content)?,
                        Kind::Message(message) => self.message(message, content, depth + 1)?,
                        Kind::Item(message) => {
                            self.items += 1;
                            self.message(message, content, depth + 1)?;
                        }
                        Kind::NumberPoint => {
                            self.items += 1;
                            self.message(number_point(), content, depth + 1)?;
                        }
                        Kind::LogRecord => {
                            self.items += 1;
                            if !plain::is_log_record(content) {
                                self.message(log_record(), content, depth + 1)?;
                            }
                        }
                        Kind::Data(message) => {
                            if data != 0 && data != number {
                                return wrong(rest, Flaw::TwoKindsOfData);
                            }
                            data = number;
                            self.message(message, content, depth + 1)?;
                        }
                        Kind::Bytes | Kind::Unknown => {}
                        Kind::TraceId if matches!(content.len(), 0 | 16) => {}
                        Kind::TraceId => return wrong(rest, Flaw::TraceId(content.len())),
                        Kind::SpanId if matches!(content.len(), 0 | 8) => {}
                        Kind::SpanId => return wrong(rest, Flaw::SpanId(content.len())),
                        Kind::PackedFixed64 if content.len().is_multiple_of(8) => {}
                        Kind::PackedFixed64 => return wrong(rest, Flaw::OddlyPacked(content.len())),
                        Kind::PackedVarint => check_varints(content)?,
                        Kind::Varint | Kind::Fixed32 | Kind::Fixed64 => return wrong_wire(rest, kind, wire),
                    }
                    after
                }
                Wire::Fixed64 => match kind {
                    Kind::Fixed64 | Kind::PackedFixed64 | Kind::Unknown => {
                        fixed::<8>(after_tag).map_err(at)?.1
                    }
                    _ => return wrong_wire(rest, kind, wire),
                },
                Wire::Varint => match kind {
                    Kind::Varint | Kind::PackedVarint | Kind::Unknown => varint(after_tag).map_err(at)?.1,
                    _ => return wrong_wire(rest, kind, wire),
                },
                Wire::Fixed32 => match kind {
                    Kind::Fixed32 | Kind::Unknown => fixed::<4>(after_tag).map_err(at)?.1,
                    _ => return wrong_wire(rest, kind, wire),
                },
            };
            rest = after;
        }
        Ok(())
    }
}

#[inline]
fn check_text(text: &[u8]) -> Result<(), Wrong<'_>> {
    if plain::is_ascii(text) {
        return Ok(());
    }
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(error) => wrong(&text[error.valid_up_to()..], Flaw::NotUtf8),
    }
}

fn check_varints(mut packed: &[u8]) -> Result<(), Wrong<'_>> {
    while !packed.is_empty() {
        packed = varint(packed)?.1;
    }
    Ok(())
}

#[cold]
fn wrong_wire(rest: &[u8], kind: Kind, found: Wire) -> Result<(), Wrong<'_>> {
    let expected = match kind {
        Kind::Varint | Kind::PackedVarint => Wire::Varint,
        Kind::Fixed32 => Wire::Fixed32,
        Kind::Fixed64 | Kind::PackedFixed64 => Wire::Fixed64,
        _ => Wire::Length,
    };
    wrong(rest, Flaw::WrongWireType { expected: expected.name(), found: found.name() })
}

/// Says where in the request something is wrong. Goes down once more: errors may cost what they like, the walk not.
#[cold]
pub(crate) fn locate(signal: Signal, request: &[u8], wrong: Wrong<'_>) -> WalkError {
    // `rest` is a part of `request`: their addresses give the distance.
    let offset = (wrong.rest.as_ptr() as usize).saturating_sub(request.as_ptr() as usize);
    WalkError { signal, flaw: wrong.flaw, offset, path: path_to(signal, request, offset) }
}

fn path_to(signal: Signal, request: &[u8], offset: usize) -> String {
    let mut path = String::new();
    let mut message = Some(signal.request());
    let mut start = 0;
    let mut content = request;
    while let Some((fields, at)) = message.zip(field_at(content, offset - start)) {
        let field = fields.field(at.number);
        let dot = if path.is_empty() { "" } else { "." };
        path = format!("{path}{dot}{}", field.name);
        if field.repeated {
            path = format!("{path}[{}]", at.index);
        }
        if offset < start + at.inner.start {
            break;
        }
        start += at.inner.start;
        content = &content[at.inner];
        message = field.kind.message();
    }
    path
}

/// A field of a message, found by offset.
struct FieldAt {
    number: u32,
    /// How many of its number are before it.
    index: usize,
    /// Where the content of a length-delimited field is.
    inner: Range<usize>,
}

fn field_at(message: &[u8], offset: usize) -> Option<FieldAt> {
    let mut before = Vec::new();
    let mut start = 0;
    while start < message.len() {
        let (number, ..) = tag(&message[start..]).ok()?;
        let index = before.iter().filter(|other| **other == number).count();
        // The field that cannot be read is the one that the walk stopped at.
        let Some(Ok(field)) = Fields::of(&message[start..]).next() else {
            return Some(FieldAt { number, index, inner: message.len()..message.len() });
        };
        let end = start + field.whole.len();
        if offset < end {
            let inner = if field.wire == Wire::Length { end - field.content.len()..end } else { end..end };
            return Some(FieldAt { number, index, inner });
        }
        before.push(number);
        start = end;
    }
    None
}
