//! The structural walk: is it well-formed OTLP, and how many items are in it?
//!
//! Stands where bytes enter: a plugin's push, a receiver's request. What has passed can be stored, joined, parted
//! and merged without another look, and every protobuf decoder of the field takes it. Checked are the wire format
//! and, for all fields that OTLP has, wire types, lengths, UTF-8, the sizes of ids, one kind of data a metric, and
//! how deep messages are nested. Unknown fields are left alone, so that newer senders pass.
//!
//! Invariants: no panic, whatever the input; nothing is allocated unless the walk refuses; the stack is bounded by
//! [`MAX_DEPTH`].

use crate::Signal;
use crate::flaw::{Flaw, WalkError, locate};
use crate::plain;
use crate::schema::{Kind, Message, key_value, log_record, number_point};
use crate::wire::{Fields, Wire, Wrong, delimited, fixed, tag, varint, wrong};

/// So many messages may enclose each other, the request itself included. Decoders commonly stop at 100
/// (protobuf's default), and not all of them gracefully.
pub const MAX_DEPTH: u32 = 64;

/// The largest request: protobuf's own limit.
pub(crate) const MAX_LEN: usize = i32::MAX as usize;

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Walked {
    /// Data points, log records or spans.
    pub items: u32,
    /// `ResourceMetrics`, `ResourceLogs` or `ResourceSpans`.
    pub resources: u32,
}

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
