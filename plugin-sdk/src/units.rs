//! Durations and sizes of a configuration, written as everywhere in the agent's: `10s`, `1h30m`, `64MiB`.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     #[serde(deserialize_with = "whimbrel_sdk::units::duration")]
//!     timeout: std::time::Duration,
//!     #[serde(deserialize_with = "whimbrel_sdk::units::size")]
//!     max_body: u64,
//! }
//! let config: Config = serde_json::from_str(r#"{"timeout": "1m30s", "max_body": "4MiB"}"#)?;
//! assert_eq!((config.timeout.as_secs(), config.max_body), (90, 4 << 20));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

/// In nanoseconds.
const TIMES: &[(&str, u64)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// In bytes.
const SIZES: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Whole numbers with units that go down, each once; together, as a multiple of the smallest.
fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (mut total, mut rest, mut units) = (0_u64, text, units);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let unit = &after[..after.bytes().position(|byte| byte.is_ascii_digit()).unwrap_or(after.len())];
        let at = units.iter().position(|(name, _)| *name == unit)?;
        total = number.parse::<u64>().ok()?.checked_mul(units[at].1)?.checked_add(total)?;
        units = &units[at + 1..];
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

/// Reads `500ms`, `10s`, `1h30m`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    read(text, TIMES).map(Duration::from_nanos)
}

/// Reads `512KiB`, `64MiB`, `10MB`, in bytes.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    read(text, SIZES)
}

/// For `#[serde(deserialize_with)]`.
///
/// # Errors
/// If it is none; says how to write one.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text)
        .ok_or_else(|| D::Error::custom(format!("`{text}` is not a duration: write 500ms, 10s, 5m or 1h30m")))
}

/// For `#[serde(default, deserialize_with)]` of what may be left out.
///
/// # Errors
/// If it is none; says how to write one.
pub fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

/// For `#[serde(deserialize_with)]`.
///
/// # Errors
/// If it is none; says how to write one.
pub fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    parse_size(&text)
        .ok_or_else(|| D::Error::custom(format!("`{text}` is not a size: write 512KiB, 64MiB or 1GB")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_units_is_read_and_nothing_else() {
        for (text, ms) in
            [("10s", 10_000), ("1h30m", 5_400_000), ("500ms", 500), ("1m30s", 90_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "10", "s", "10x", "1s1h", "1s1s", "-1s", "1.5h", "99999999999999d", "10 s", "1\u{e9}"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(parse_size("64MiB"), Some(64 << 20));
        assert_eq!(parse_size("10MB"), Some(10_000_000));
        assert_eq!((parse_size("64"), parse_size("64mib")), (None, None));
    }
}
