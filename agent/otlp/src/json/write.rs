//! A request as OTLP/JSON, for people and for tools that read files.
//!
//! 64-bit integers are strings; what has its default value is left out. What protobuf says of repeats holds: of a number
//! that stands twice the last counts, a message that stands twice is merged, of a oneof the last counts.
//!
//! The request is walked first; what has passed is written in one way down its messages, straight into the text. Never
//! on the path of a batch. Unknown fields are left out.

use std::borrow::Cow;

use super::scalar;
use crate::schema::{Field, Kind, Message, Presence};
use crate::wire::{self, Fields};
use crate::{Signal, WalkError, walk};

/// The brackets that a level of messages closes with: its own, and that of the array it is in.
const CLOSING: usize = 2;

/// A request as text, perhaps not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json {
    /// One JSON object, on one line.
    pub text: String,
    /// Something was left out, because there was no room: elements at the end of arrays, and fields too large.
    pub cut: bool,
}

/// A request as OTLP/JSON, on one line: what the Collector's file exporter writes.
///
/// # Errors
/// As [`walk`].
pub fn to_json(signal: Signal, request: &[u8]) -> Result<String, WalkError> {
    Ok(write(signal, request, usize::MAX)?.text)
}

/// As much of a request as fits into `limit` bytes, at least 1024: its first resources, scopes, metrics and points. What
/// does not fit is left out whole, so that the text is JSON and OTLP all the same.
///
/// # Errors
/// As [`walk`].
pub fn to_json_within(signal: Signal, request: &[u8], limit: usize) -> Result<Json, WalkError> {
    write(signal, request, limit.max(1024))
}

fn write(signal: Signal, request: &[u8], limit: usize) -> Result<Json, WalkError> {
    walk(signal, request)?;
    let mut writer = Writer { out: String::new(), limit, depth: 0, cut: false };
    writer.message(signal.request(), request);
    Ok(Json { text: writer.out, cut: writer.cut })
}

struct Writer {
    out: String,
    limit: usize,
    /// How many messages are open.
    depth: usize,
    cut: bool,
}

impl Writer {
    /// Whether what was written last has to be taken back. The brackets of all open messages must fit, too, and
    /// `more` bytes.
    fn is_over(&self, more: usize) -> bool {
        self.out.len() > self.limit.saturating_sub(CLOSING * self.depth + more)
    }

    fn message(&mut self, message: &'static Message, content: &[u8]) {
        self.out.push('{');
        self.depth += 1;
        let start = self.out.len();
        let Present { numbers, chosen } = present(message, content);
        for number in (1..).take(message.fields.len() - 1).filter(|number| numbers & 1 << number != 0) {
            let field = message.field(number);
            let from = match (field.presence, chosen) {
                (Presence::OneOf, Some((it, from))) if it == number => from,
                (Presence::OneOf, _) => continue,
                _ => 0,
            };
            let before = self.out.len();
            if before > start {
                self.out.push(',');
            }
            let written = self.named(field, &content[from..], number);
            if !written || self.is_over(0) {
                self.cut |= written;
                self.out.truncate(before);
            }
        }
        self.depth -= 1;
        self.out.push('}');
    }

    /// `"name":value`; false where there is nothing to be said.
    fn named(&mut self, field: &'static Field, content: &[u8], number: u32) -> bool {
        let mut all = Fields::of(content).flatten().filter(|field| field.number == number).peekable();
        if all.peek().is_none() {
            return false;
        }
        scalar::name(&mut self.out, field.name);
        if field.repeated {
            return self.array(field, all);
        }
        if let Some(message) = field.kind.message() {
            self.message(message, &merged(all));
            return true;
        }
        let Some(last) = all.last() else { return false };
        if field.presence == Presence::Implicit && is_default(&last) {
            return false;
        }
        self.value(field, &last);
        true
    }

    fn array<'a>(&mut self, field: &'static Field, all: impl Iterator<Item = wire::Field<'a>>) -> bool {
        self.out.push('[');
        let start = self.out.len();
        for one in all {
            let before = self.out.len();
            self.elements(field, &one, start);
            // Its own bracket.
            if self.is_over(1) {
                self.cut = true;
                self.out.truncate(before);
                break;
            }
        }
        let any = self.out.len() > start;
        self.out.push(']');
        any
    }

    /// One element; packed, some.
    fn elements(&mut self, field: &'static Field, one: &wire::Field<'_>, start: usize) {
        let element = |writer: &mut Self, write: &dyn Fn(&mut Self)| {
            if writer.out.len() > start {
                writer.out.push(',');
            }
            write(writer);
        };
        match field.kind {
            Kind::PackedFixed64 => {
                for bytes in one.content.as_chunks::<8>().0 {
                    let bits = u64::from_le_bytes(*bytes);
                    element(self, &|writer| scalar::number(&mut writer.out, field.number, bits));
                }
            }
            Kind::PackedVarint => {
                let mut rest = one.content;
                while let Ok((bits, after)) = wire::varint(rest) {
                    rest = after;
                    element(self, &|writer| scalar::number(&mut writer.out, field.number, bits));
                }
            }
            _ => element(self, &|writer| match field.kind.message() {
                Some(message) => writer.message(message, one.content),
                None => writer.value(field, one),
            }),
        }
    }

    fn value(&mut self, field: &'static Field, one: &wire::Field<'_>) {
        let out = &mut self.out;
        match field.kind {
            Kind::Text => scalar::text(out, &String::from_utf8_lossy(one.content)),
            Kind::TraceId | Kind::SpanId => scalar::hexadecimal(out, one.content),
            Kind::Bytes => scalar::base64(out, one.content),
            _ => scalar::number(out, field.number, bits(one)),
        }
    }
}

/// What a message holds.
struct Present {
    /// A bit for each number of a known field.
    numbers: u32,
    /// Which field of its oneof counts, and where what counts of it begins: another one before it is void.
    chosen: Option<(u32, usize)>,
}

fn present(message: &'static Message, content: &[u8]) -> Present {
    let mut present = Present { numbers: 0, chosen: None };
    let mut at = 0;
    for field in Fields::of(content).flatten() {
        let known = message.field(field.number);
        if !matches!(known.kind, Kind::Unknown) {
            present.numbers |= 1 << field.number;
        }
        if known.presence == Presence::OneOf
            && present.chosen.is_none_or(|(number, _)| number != field.number)
        {
            present.chosen = Some((field.number, at));
        }
        at += field.whole.len();
    }
    present
}

/// A message that stands more than once is one: protobuf merges by joining the bytes.
fn merged<'a>(mut all: impl Iterator<Item = wire::Field<'a>>) -> Cow<'a, [u8]> {
    let mut merged = Cow::Borrowed(all.next().map_or(&[][..], |field| field.content));
    for field in all {
        merged.to_mut().extend_from_slice(field.content);
    }
    merged
}

fn bits(field: &wire::Field<'_>) -> u64 {
    match field.wire {
        wire::Wire::Fixed64 => field.fixed64(),
        wire::Wire::Fixed32 => u64::from(field.fixed32()),
        _ => field.varint(),
    }
}

fn is_default(field: &wire::Field<'_>) -> bool {
    match field.wire {
        wire::Wire::Length => field.content.is_empty(),
        _ => bits(field) == 0,
    }
}
