//! A configuration as a tree in which every key and value knows where it stands.
//!
//! The tree holds what is written: `${env:...}` and its like stay as they are until a value is checked, so the
//! tree can be shown, and nothing that is put in can become structure.

use super::text::Position;

/// A value and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A text, as written; its type is decided by the key that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    /// The text, quotes and escapes undone, nothing put in yet.
    pub(super) text: String,
    /// Without quotes: `10` may be a number, `""` may not be null.
    pub(super) plain: bool,
    /// Whether `$` is only a dollar: so in what comes from an environment variable.
    pub(super) literal: bool,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) value: Node,
}

impl Node {
    /// A text that is taken as it is, from an environment variable.
    pub(super) fn literal(at: Position, text: String) -> Self {
        Self { at, value: Value::Scalar(Scalar { text, plain: true, literal: true }) }
    }

    /// A map without entries.
    pub(super) fn empty_map(at: Position) -> Self {
        Self { at, value: Value::Map(Vec::new()) }
    }

    /// The value under `key`, where this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// Whether nothing stands behind the key.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// Whether this is a map or list with nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Scalar(_) => false,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }

    /// In words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

impl Scalar {
    /// Null in YAML's core schema (YAML 1.2.2, 10.3.2).
    pub(super) fn is_null(&self) -> bool {
        self.plain && !self.literal && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// Whether `$` may ask for something to be put in.
    pub(super) fn may_interpolate(&self) -> bool {
        !self.literal && self.text.contains('$')
    }
}

/// Whether a plain text is a number or a boolean in YAML's core schema, and so no text.
pub(super) fn is_typed(text: &str) -> bool {
    parse_boolean(text).is_some() || parse_number(text).is_some()
}

/// The core schema's booleans.
pub(super) fn parse_boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A number of the core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    Float(f64),
}

/// The core schema's numbers: `-?[0-9]+`, `0o17`, `0xff`, floats, `.inf`, `.nan`. Whole numbers beyond 128 bits are
/// floats.
pub(super) fn parse_number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0o") {
        let octal = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        return octal.then(|| i128::from_str_radix(digits, 8).ok().map(Number::Whole)).flatten();
    }
    if let Some(digits) = text.strip_prefix("0x") {
        let hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        return hex.then(|| i128::from_str_radix(digits, 16).ok().map(Number::Whole)).flatten();
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Number::Float(if text.starts_with('-') {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }));
        }
        ".nan" | ".NaN" | ".NAN" if text == unsigned => return Some(Number::Float(f64::NAN)),
        _ => {}
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        || !unsigned.bytes().any(|byte| byte.is_ascii_digit())
        || !unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
    {
        return None;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(whole) = text.parse()
    {
        return Some(Number::Whole(whole));
    }
    text.parse().ok().map(Number::Float)
}
