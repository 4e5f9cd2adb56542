//! OTLP/JSON to protobuf, in one pass, without a tree of values.
//!
//! Accepted beyond the letter, as protojson does: names in snake_case, `null` for what is absent, both alphabets of
//! base64 with and without padding. Refused: a known name that stands twice, two fields of one oneof, numbers that don't
//! fit, and what is nested too deep. Unknown names are passed over.

use std::{cell::RefCell, fmt};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::number;
use crate::schema::{Field, Kind, Message, Presence};
use crate::walk::MAX_DEPTH;
use crate::write::buffer::{close_medium, message as length_tag, open_medium, put_varint};
use crate::{Signal, walk};

/// Why a text is no OTLP/JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// The signal that it was taken for.
    pub signal: Signal,
    /// What is wrong, with its line and column.
    pub what: String,
    /// In which field, such as `resourceLogs[0].scopeLogs[2].logRecords[7].timeUnixNano`; empty for the text itself.
    pub path: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not OTLP {} in JSON: {}", self.signal, self.what)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, ", in {}", self.path) }
    }
}

impl std::error::Error for JsonError {}

/// An export request in JSON as protobuf. What comes back has passed [`walk`].
///
/// # Errors
/// [`JsonError`] names the first thing that is wrong. The same text will never pass.
pub fn from_json(signal: Signal, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let trail = Trail::default();
    let wrong = |what: String, path: String| JsonError { signal, what, path };
    // All of it, what is passed over too.
    let json = str::from_utf8(json)
        .map_err(|error| wrong(format!("not UTF-8 at byte {}", error.valid_up_to()), String::new()))?;
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let read = MessageSeed { message: signal.request(), out: &mut out, trail: &trail, depth: 1 }
        .deserialize(&mut deserializer)
        .and_then(|_| deserializer.end());
    read.map_err(|error| wrong(error.to_string(), trail.path()))?;
    // Ids, lengths and depth are as they should be; what is left is the walk's to say.
    walk(signal, &out).map_err(|error| wrong(error.flaw.to_string(), error.path))?;
    Ok(out)
}

/// Where the reading is; it stays there when something is wrong.
#[derive(Default)]
struct Trail(RefCell<Vec<Step>>);

enum Step {
    /// A field, in snake_case.
    Name(&'static str),
    Index(usize),
}

impl Trail {
    fn enter(&self, step: Step) {
        self.0.borrow_mut().push(step);
    }

    fn leave(&self) {
        self.0.borrow_mut().pop();
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.0.borrow().iter() {
            match step {
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Name(snake) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.extend(camel(snake));
                }
            }
        }
        path
    }
}

/// `time_unix_nano` as `timeUnixNano`.
fn camel(snake: &str) -> impl Iterator<Item = char> {
    let mut upper = false;
    snake.chars().filter_map(move |character| match character {
        '_' => {
            upper = true;
            None
        }
        _ if std::mem::take(&mut upper) => Some(character.to_ascii_uppercase()),
        _ => Some(character),
    })
}

/// Reads one message and appends its fields; false for `null`.
struct MessageSeed<'o> {
    message: &'static Message,
    out: &'o mut Vec<u8>,
    trail: &'o Trail,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        if self.depth > MAX_DEPTH {
            return Err(de::Error::custom(format_args!("more than {MAX_DEPTH} messages within each other")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self { message, out, trail, depth } = self;
        let mut seen = 0u32;
        let mut chosen: Option<&'static str> = None;
        while let Some(found) = map.next_key_seed(NameSeed(message))? {
            let Some(number) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = message.field(number);
            trail.enter(Step::Name(field.name));
            if seen & 1 << number != 0 {
                return Err(de::Error::custom("the name stands twice in its object"));
            }
            seen |= 1 << number;
            let written = map.next_value_seed(FieldSeed { field, number, out: &mut *out, trail, depth })?;
            if field.presence == Presence::OneOf && written {
                if let Some(other) = chosen {
                    let other: String = camel(other).collect();
                    return Err(de::Error::custom(format_args!(
                        "only one can be given, and {other} is given too"
                    )));
                }
                chosen = Some(field.name);
            }
            trail.leave();
        }
        Ok(true)
    }
}

/// The number of a name; `None` for one that is not known.
struct NameSeed(&'static Message);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Option<u32>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u32>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<u32>, E> {
        let known = self.0.fields.iter().position(|field| {
            !matches!(field.kind, Kind::Unknown) && is_named(field.name.as_bytes(), name.as_bytes())
        });
        Ok(known.map(|number| number as u32))
    }
}

/// Whether a name in JSON, in lowerCamelCase or as it is in protobuf, is that of a field.
fn is_named(snake: &[u8], name: &[u8]) -> bool {
    if snake.first() != name.first() {
        return false;
    }
    let mut rest = name;
    let mut upper = false;
    for byte in snake {
        if *byte == b'_' {
            upper = true;
            continue;
        }
        let wanted = if std::mem::take(&mut upper) { byte.to_ascii_uppercase() } else { *byte };
        match rest.split_first() {
            Some((first, after)) if *first == wanted => rest = after,
            _ => return snake == name,
        }
    }
    rest.is_empty()
}

/// Reads the value of a field and appends it with its tag; whether there was one.
struct FieldSeed<'o> {
    field: &'static Field,
    number: u32,
    out: &'o mut Vec<u8>,
    trail: &'o Trail,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        if self.field.repeated {
            return deserializer.deserialize_any(Elements(self));
        }
        self.one(deserializer)
    }
}

impl FieldSeed<'_> {
    /// One value, or one element.
    fn one<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let Self { field, number, out, trail, depth } = self;
        // All messages have numbers below 16.
        let tag = length_tag(number as u8);
        if let Some(message) = field.kind.message() {
            let before = out.len();
            let start = open_medium(out, tag);
            let there = MessageSeed { message, out, trail, depth: depth + 1 }.deserialize(deserializer)?;
            match there {
                true => close_medium(out, start),
                false => out.truncate(before),
            }
            return Ok(there);
        }
        match field.kind {
            Kind::Text | Kind::Bytes | Kind::TraceId | Kind::SpanId => {
                let before = out.len();
                let start = open_medium(out, tag);
                let there = TextSeed { kind: field.kind, out }.deserialize(deserializer)?;
                let is_default =
                    out.len() == start && field.presence == Presence::Implicit && !field.repeated;
                match there && !is_default {
                    true => close_medium(out, start),
                    false => out.truncate(before),
                }
                Ok(there)
            }
            kind => {
                let Some(bits) = number::Seed(field.number).deserialize(deserializer)? else {
                    return Ok(false);
                };
                if bits != 0 || field.presence != Presence::Implicit {
                    put_number(out, number, kind, bits);
                }
                Ok(true)
            }
        }
    }
}

/// A number with its tag.
fn put_number(out: &mut Vec<u8>, number: u32, kind: Kind, bits: u64) {
    let wire = match kind {
        Kind::Fixed64 => 1,
        Kind::Fixed32 => 5,
        _ => 0,
    };
    put_varint(out, u64::from(number << 3 | wire));
    match kind {
        Kind::Fixed64 => out.extend_from_slice(&bits.to_le_bytes()),
        Kind::Fixed32 => out.extend_from_slice(&(bits as u32).to_le_bytes()),
        _ => put_varint(out, bits),
    }
}

/// The elements of a repeated field.
struct Elements<'o>(FieldSeed<'o>);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E: de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let FieldSeed { field, number, out, trail, depth } = self.0;
        let packed = matches!(field.kind, Kind::PackedFixed64 | Kind::PackedVarint);
        let before = out.len();
        let start = if packed { open_medium(out, length_tag(number as u8)) } else { before };
        let mut index = 0;
        loop {
            trail.enter(Step::Index(index));
            let there = if packed {
                match elements.next_element_seed(number::Seed(field.number))? {
                    Some(Some(bits)) => {
                        match field.kind {
                            Kind::PackedFixed64 => out.extend_from_slice(&bits.to_le_bytes()),
                            _ => put_varint(out, bits),
                        }
                        Some(true)
                    }
                    other => other.map(|_| false),
                }
            } else {
                elements.next_element_seed(ElementSeed(FieldSeed { field, number, out, trail, depth }))?
            };
            match there {
                Some(true) => {}
                Some(false) => return Err(de::Error::custom("null, which no element can be")),
                None => {
                    trail.leave();
                    break;
                }
            }
            trail.leave();
            index += 1;
        }
        if packed {
            match out.len() > start {
                true => close_medium(out, start),
                false => out.truncate(before),
            }
        }
        Ok(true)
    }
}

/// One element of a repeated field.
struct ElementSeed<'o>(FieldSeed<'o>);

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        self.0.one(deserializer)
    }
}

/// Appends what a text stands for; false for `null`.
struct TextSeed<'o> {
    kind: Kind,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for TextSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::TraceId => "32 hexadecimal digits",
            Kind::SpanId => "16 hexadecimal digits",
            Kind::Bytes => "bytes in base64",
            _ => "a text",
        })
    }

    fn visit_unit<E: de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<bool, E> {
        let good = match self.kind {
            Kind::TraceId => text.is_empty() || text.len() == 32 && unhex(text.as_bytes(), self.out),
            Kind::SpanId => text.is_empty() || text.len() == 16 && unhex(text.as_bytes(), self.out),
            Kind::Bytes => unbase64(text, self.out),
            _ => {
                self.out.extend_from_slice(text.as_bytes());
                true
            }
        };
        match good {
            true => Ok(true),
            false => Err(E::invalid_value(de::Unexpected::Str(shortened(text)), &self)),
        }
    }
}

/// So that a message does not quote a whole document.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

fn unhex(digits: &[u8], out: &mut Vec<u8>) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    for pair in digits.chunks(2) {
        let &[high, low] = pair else { return false };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
        out.push(high << 4 | low);
    }
    true
}

fn unbase64(text: &str, out: &mut Vec<u8>) -> bool {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
    const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
    let engine = if text.contains(['-', '_']) { &URL } else { &STANDARD };
    engine.decode_vec(text, out).is_ok()
}
