//! OTLP's `AnyValue`: the value of an attribute, and the body of a log record.
//!
//! ```text
//! AnyValue: 1 string | 2 bool | 3 int64 (varint) | 4 double | 5 ArrayValue | 6 KeyValueList | 7 bytes
//! ArrayValue: 1 AnyValue*    KeyValueList: 1 KeyValue*    KeyValue: 1 key, 2 AnyValue
//! ```

use super::buffer::{close_short, fixed64, message, open_short, put_bytes, put_fixed64, put_varint, varint};

/// A value of an attribute or the body of a log record.
///
/// [`walk`](crate::walk) refuses what is nested too deep, [`MAX_DEPTH`](crate::MAX_DEPTH) messages: each array
/// costs two of them, each map three.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value<'a> {
    /// No value at all; OTLP allows it, most receivers show nothing.
    #[default]
    Empty,
    /// A string.
    Text(&'a str),
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Values in order.
    Array(Vec<Value<'a>>),
    /// Keys and values; a key stands once.
    Map(Vec<(&'a str, Value<'a>)>),
}

impl Value<'_> {
    /// Appends the fields of an `AnyValue`, without tag and length.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        match self {
            Value::Empty => {}
            // A oneof has presence: an empty string is written, too.
            Value::Text(text) => put_bytes(out, message(1), text.as_bytes()),
            Value::Bool(value) => out.extend_from_slice(&[varint(2), u8::from(*value)]),
            Value::Int(value) => {
                out.push(varint(3));
                put_varint(out, *value as u64);
            }
            Value::Double(value) => put_fixed64(out, fixed64(4), value.to_bits()),
            Value::Array(values) => {
                let array = open_short(out, message(5));
                for value in values {
                    let start = open_short(out, message(1));
                    value.append(out);
                    close_short(out, start);
                }
                close_short(out, array);
            }
            Value::Map(entries) => {
                let map = open_short(out, message(6));
                for (key, value) in entries {
                    append_key_value(out, message(1), key, value);
                }
                close_short(out, map);
            }
            Value::Bytes(bytes) => put_bytes(out, message(7), bytes),
        }
    }
}

/// Appends a `KeyValue` under the given tag.
pub(crate) fn append_key_value(out: &mut Vec<u8>, tag: u8, key: &str, value: &Value<'_>) {
    let pair = open_short(out, tag);
    super::buffer::put_text(out, message(1), key);
    let start = open_short(out, message(2));
    value.append(out);
    close_short(out, start);
    close_short(out, pair);
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Value::Int(value.into())
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Value::Int(value.into())
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Value::Double(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Bytes(bytes)
    }
}
