//! Reads JSON values as protobuf's mapping writes them, and says where something else was found.
//!
//! Knows JSON only; what the fields mean stands in `json`.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub(crate) struct JsonError {
    /// Such as `resourceMetrics[0].scopeMetrics[0].metrics[2].name`.
    path: String,
    reason: String,
}

pub(super) type Fields = Map<String, Value>;

impl JsonError {
    fn new(reason: impl Into<String>) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }

    fn wanted(what: &str, found: &Value) -> Self {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "another number",
            Value::String(_) => "other text",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        Self::new(format!("{what} is needed here, this is {found}"))
    }

    fn under(mut self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }
}

pub(super) fn object(value: &Value) -> Result<&Fields, JsonError> {
    value.as_object().ok_or_else(|| JsonError::wanted("an object", value))
}

pub(super) fn optional<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Value) -> Result<T, JsonError>,
) -> Result<Option<T>, JsonError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).map_err(|error| error.under(name)),
    }
}

pub(super) fn field<T: Default>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Value) -> Result<T, JsonError>,
) -> Result<T, JsonError> {
    Ok(optional(fields, name, read)?.unwrap_or_default())
}

pub(super) fn one<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Fields) -> Result<T, JsonError>,
) -> Result<Option<T>, JsonError> {
    optional(fields, name, |value| read(object(value)?))
}

pub(super) fn values<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Value) -> Result<T, JsonError>,
) -> Result<Vec<T>, JsonError> {
    field(fields, name, |value| {
        let list = value.as_array().ok_or_else(|| JsonError::wanted("an array", value))?;
        let read =
            |(index, value)| read(value).map_err(|error: JsonError| error.under(&format!("[{index}]")));
        list.iter().enumerate().map(read).collect()
    })
}

pub(super) fn each<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Fields) -> Result<T, JsonError>,
) -> Result<Vec<T>, JsonError> {
    values(fields, name, |value| read(object(value)?))
}

/// A way to read one member of a `oneof`.
pub(super) type Member<'a, T> = (&'a str, &'a dyn Fn(&Value) -> Result<T, JsonError>);

pub(super) fn one_of<T>(fields: &Fields, members: &[Member<'_, T>]) -> Result<Option<T>, JsonError> {
    let mut found: Option<(&str, T)> = None;
    for (name, read) in members {
        if let Some(value) = optional(fields, name, read)? {
            if let Some((other, _)) = found {
                return Err(
                    JsonError::new(format!("only one of {other} and {name} can be given")).under(name)
                );
            }
            found = Some((name, value));
        }
    }
    Ok(found.map(|(_, value)| value))
}

pub(super) fn text(value: &Value) -> Result<String, JsonError> {
    value.as_str().map(str::to_owned).ok_or_else(|| JsonError::wanted("text", value))
}

pub(super) fn boolean(value: &Value) -> Result<bool, JsonError> {
    value.as_bool().ok_or_else(|| JsonError::wanted("true or false", value))
}

pub(super) fn u64_of(value: &Value) -> Result<u64, JsonError> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| JsonError::wanted("an unsigned integer (a number, or text of one)", value))
}

pub(super) fn i64_of(value: &Value) -> Result<i64, JsonError> {
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| JsonError::wanted("an integer (a number, or text of one)", value))
}

pub(super) fn u32_of(value: &Value) -> Result<u32, JsonError> {
    u64_of(value)?.try_into().map_err(|_| JsonError::new("the number is above 4294967295"))
}

pub(super) fn i32_of(value: &Value) -> Result<i32, JsonError> {
    let number = value.as_i64().ok_or_else(|| JsonError::wanted("an integer", value))?;
    number.try_into().map_err(|_| JsonError::new("the number is beyond 32 bits"))
}

pub(super) fn f64_of(value: &Value) -> Result<f64, JsonError> {
    // Rust reads "inf" and "nan" too; JSON's mapping of protobuf knows these three only.
    let number = match value {
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            other => other.parse().ok().filter(|number: &f64| number.is_finite()),
        },
        other => other.as_f64(),
    };
    number.ok_or_else(|| JsonError::wanted("a number (or text of one, NaN, Infinity, -Infinity)", value))
}

pub(super) fn hex(value: &Value) -> Result<Vec<u8>, JsonError> {
    let wanted = || JsonError::wanted("text of hexadecimal digits", value);
    let digits = value.as_str().ok_or_else(wanted)?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or_else(wanted)
}

pub(super) fn base64(value: &Value) -> Result<Vec<u8>, JsonError> {
    let wanted = || JsonError::wanted("base64 text", value);
    BASE64_STANDARD.decode(value.as_str().ok_or_else(wanted)?).map_err(|_| wanted())
}
