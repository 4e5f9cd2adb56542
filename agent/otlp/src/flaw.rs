//! What can be wrong with a request, and where.
//!
//! The walk only notes at which byte it stopped and why. Where that is, in words, is found here by going down the
//! request once more: errors may cost what they like, the walk not.

use std::fmt;
use std::ops::Range;

use crate::Signal;
use crate::walk::{MAX_DEPTH, MAX_LEN};
use crate::wire::{Fields, Wire, Wrong, tag};

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

/// Says where in the request something is wrong.
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
