//! What small events have in common, whatever protocol they come by: JSON values, times, ids, severities, attributes.
//!
//! Read straight from the text into what OTLP can hold, borrowed where nothing is escaped. Repeated keys are refused:
//! receivers disagree about which of two counts.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use whimbrel_otlp::write::{Attributes, Number, Severity, Value};

/// Values may be nested so deep. Each array costs two messages of OTLP and each map three, of the 64 that a walk allows.
const MOST_DEPTH: u32 = 16;
/// From so many keys on a set finds the repeated ones.
const MANY_KEYS: usize = 16;

/// Upper bounds of a histogram's buckets (OpenTelemetry specification, default of explicit buckets).
pub(crate) const BOUNDS: [f64; 15] =
    [0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0];

/// A text, borrowed where it can be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Any JSON, as OTLP's `AnyValue` can hold it. Integers keep their value; those beyond 64 bits with sign are texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above the largest that OTLP has: kept as text, not rounded.
    Large(String),
    Double(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Map(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl Json<'_> {
    /// As OTLP has it.
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Empty,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Large(digits) => Value::Text(digits),
            Self::Double(value) => Value::Double(*value),
            Self::Text(text) => Value::Text(text),
            Self::List(items) => Value::Array(items.iter().map(Json::value).collect()),
            Self::Map(entries) => {
                Value::Map(entries.iter().map(|(key, value)| (&**key, value.value())).collect())
            }
        }
    }

    fn depth(&self) -> u32 {
        match self {
            Self::List(items) => 1 + items.iter().map(Json::depth).max().unwrap_or(0),
            Self::Map(entries) => 1 + entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(JsonVisitor)?;
        match value.depth() > MOST_DEPTH {
            true => Err(de::Error::custom(format_args!("values nested more than {MOST_DEPTH} deep"))),
            false => Ok(value),
        }
    }
}

/// Within a value the depth is looked at once, from outside; serde_json itself stops at 128.
struct Inner<'a>(Json<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Inner<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Inner)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(value).map_or_else(|_| Json::Large(value.to_string()), Json::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Double(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(Inner(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Json<'de>, A::Error> {
        Ok(Json::Map(entries(map)?))
    }
}

/// The entries of an object, none twice.
fn entries<'de, A: MapAccess<'de>>(mut map: A) -> Result<Vec<(Cow<'de, str>, Json<'de>)>, A::Error> {
    let mut entries: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    while let Some((Text(key), Inner(value))) = map.next_entry::<Text<'de>, Inner<'de>>()? {
        let twice = match entries.len() < MANY_KEYS {
            true => entries.iter().any(|(other, _)| *other == key),
            false => {
                if seen.is_empty() {
                    seen.extend(entries.iter().map(|(key, _)| key.to_string()));
                }
                !seen.insert(key.to_string())
            }
        };
        if twice {
            return Err(de::Error::custom(format_args!("the key {key:?} stands twice")));
        }
        entries.push((key, value));
    }
    Ok(entries)
}

/// The entries of `attributes` or `tags`; those that are null are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Pairs<'a>(pub(crate) Vec<(Cow<'a, str>, Json<'a>)>);

impl Pairs<'_> {
    /// Adds them to attributes.
    pub(crate) fn add_to(&self, attributes: &mut Attributes) {
        for (key, value) in self.0.iter().filter(|(_, value)| *value != Json::Null) {
            attributes.push(key, value.value());
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Map(entries) => Ok(Self(entries)),
            _ => Err(de::Error::custom("attributes must be an object")),
        }
    }
}

/// A number of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Num(pub(crate) Number);

impl Num {
    pub(crate) fn as_f64(self) -> f64 {
        match self.0 {
            Number::Int(value) => value as f64,
            Number::Double(value) => value,
        }
    }
}

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Inner::deserialize(deserializer)?.0 {
            Json::Int(value) => Ok(Self(Number::Int(value))),
            Json::Double(value) => Ok(Self(Number::Double(value))),
            Json::Large(digits) => {
                Err(de::Error::custom(format_args!("{digits} is above the largest integer, {}", i64::MAX)))
            }
            _ => Err(de::Error::custom("a number is due")),
        }
    }
}

/// A time as it was written: RFC 3339, or seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time<'a>(&'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for Time<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a RawValue>::deserialize(deserializer).map(Self)
    }
}

impl Time<'_> {
    /// Nanoseconds since 1970, exactly as written.
    ///
    /// # Errors
    /// In words, when it is no time, or one that OTLP can't hold: before 1970, or after 2554.
    pub(crate) fn ns(self) -> Result<u64, String> {
        let text = self.0.get();
        match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(text) => rfc_3339(text),
            None => seconds(text),
        }
    }
}

fn rfc_3339(text: &str) -> Result<u64, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        format!("{:?} is no time of RFC 3339, such as \"2026-11-20T12:00:00.25Z\"", shortened(text))
    })?;
    u64::try_from(time.as_nanosecond()).map_err(|_| out_of_range(text))
}

/// Decimal seconds, without rounding to a double.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{} is not seconds since 1970, such as 1790000000.25", shortened(text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.starts_with('-') {
        return Err(out_of_range(text));
    }
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 18 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| out_of_range(text))?;
    let padded = format!("{fraction:0<9}");
    let ns: u64 = padded[..9].parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(ns)).ok_or_else(|| out_of_range(text))
}

fn out_of_range(text: &str) -> String {
    format!(
        "{} is before 1970 or after 2554, which OTLP can't hold; times are seconds, not milliseconds",
        shortened(text)
    )
}

/// So that a message does not quote a whole line.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// An id of `N` bytes in hexadecimal, not all zero.
///
/// # Errors
/// In words.
pub(crate) fn id<const N: usize>(what: &str, text: &str) -> Result<[u8; N], String> {
    let wrong = || format!("{what} must be {} hexadecimal digits, not all 0", 2 * N);
    if text.len() != 2 * N {
        return Err(wrong());
    }
    let mut id = [0; N];
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(wrong()) };
        *byte = high << 4 | low;
    }
    if id == [0; N] { Err(wrong()) } else { Ok(id) }
}

/// A severity by its usual names.
///
/// # Errors
/// In words.
pub(crate) fn severity(text: &str) -> Result<Severity, String> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Ok(Severity::TRACE),
        "debug" => Ok(Severity::DEBUG),
        "info" | "information" | "notice" => Ok(Severity::INFO),
        "warn" | "warning" => Ok(Severity::WARN),
        "error" | "err" => Ok(Severity::ERROR),
        "fatal" | "critical" | "emergency" | "alert" => Ok(Severity::FATAL),
        _ => Err("severity must be trace, debug, info, warn, error or fatal".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(json: &str) -> Result<u64, String> {
        serde_json::from_str::<Time<'_>>(json).unwrap().ns()
    }

    #[test]
    fn times_are_read_exactly_as_written() {
        assert_eq!(ns("1790000000.123456789"), Ok(1_790_000_000_123_456_789));
        assert_eq!(ns("1790000000.1"), Ok(1_790_000_000_100_000_000));
        assert_eq!(ns("0"), Ok(0));
        assert_eq!(ns("7258118400"), Ok(7_258_118_400_000_000_000), "the year 2200");
        assert_eq!(ns("\"1970-01-01T00:00:01.5Z\""), Ok(1_500_000_000));
        assert_eq!(ns("\"1970-01-01T02:00:00+02:00\""), Ok(0));
        for wrong in
            ["-1", "1790000000000000", "\"1969-12-31T23:59:59Z\"", "1e9", "\"soon\"", "null", "[1]", "true"]
        {
            assert!(ns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn integers_are_not_rounded() {
        let read = |text| serde_json::from_str::<Json<'_>>(text).unwrap();
        assert_eq!(read("9007199254740993"), Json::Int(9_007_199_254_740_993));
        assert_eq!(read("18446744073709551615"), Json::Large("18446744073709551615".to_owned()));
        assert_eq!(serde_json::from_str::<Num>("-7").unwrap().0, Number::Int(-7));
        assert!(serde_json::from_str::<Num>("18446744073709551615").is_err());
        assert!(serde_json::from_str::<Num>("\"7\"").is_err());
    }

    #[test]
    fn repeated_keys_and_deep_values_are_refused() {
        let read = |text: &str| serde_json::from_str::<Pairs<'_>>(text).map(|pairs| pairs.0.len());
        assert_eq!(read(r#"{"a":1,"b":{"c":[1,2,{"d":null}]}}"#).unwrap(), 2);
        assert!(read(r#"{"a":1,"a":2}"#).unwrap_err().to_string().contains("\"a\" stands twice"));
        assert!(read(r#"{"b":{"a":1,"a":2}}"#).is_err());
        let many: Vec<String> = (0..100).map(|n| format!("\"k{n}\":1")).collect();
        assert_eq!(read(&format!("{{{}}}", many.join(","))).unwrap(), 100);
        assert!(read(&format!("{{{},\"k3\":1}}", many.join(","))).unwrap_err().to_string().contains("k3"));
        let deep = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&deep(15)).is_ok());
        assert!(read(&deep(17)).is_err() && read(&deep(1000)).is_err());
        assert!(read("[1]").is_err());
    }

    #[test]
    fn ids_are_hexadecimal_of_their_length_and_not_zero() {
        assert_eq!(id::<8>("span_id", "00F067aa0ba902b7").unwrap()[1], 0xf0);
        for wrong in ["", "0000000000000000", "00f067aa0ba902b", "00f067aa0ba902bg", "00f067aa0ba902b7a"] {
            assert!(id::<8>("span_id", wrong).unwrap_err().contains("span_id must be 16"), "{wrong}");
        }
    }
}
