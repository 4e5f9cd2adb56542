//! Times as logs write them.

use jiff::{Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};
use serde::Deserialize;

/// How a time is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) enum TimeFormat {
    /// RFC 3339, with or without an offset; or a number since 1970, whose unit follows from its size.
    #[default]
    Auto,
    /// As `strptime` has it: `%d/%b/%Y:%H:%M:%S %z`.
    Pattern(String),
}

impl From<String> for TimeFormat {
    fn from(text: String) -> Self {
        if text == "auto" { TimeFormat::Auto } else { TimeFormat::Pattern(text) }
    }
}

impl TimeFormat {
    /// Nanoseconds since the Unix epoch; without an offset it is UTC. `None`: it can't be read, or is before 1970.
    pub(crate) fn read(&self, text: &str) -> Option<u64> {
        let text = text.trim();
        let time = match self {
            TimeFormat::Auto => return number(text).or_else(|| ns(rfc3339(text)?)),
            TimeFormat::Pattern(pattern) => {
                let parsed = strtime::parse(pattern, text).ok()?;
                parsed.to_timestamp().or_else(|_| in_utc(parsed.to_datetime()?)).ok()?
            }
        };
        ns(time)
    }
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    // Some write the fraction behind a comma, as ISO 8601 allows.
    text.parse::<Timestamp>().or_else(|_| in_utc(text.parse::<DateTime>()?)).ok()
}

fn in_utc(time: DateTime) -> Result<Timestamp, jiff::Error> {
    TimeZone::UTC.to_timestamp(time)
}

fn ns(time: Timestamp) -> Option<u64> {
    u64::try_from(time.as_nanosecond()).ok()
}

/// Seconds, milliseconds, microseconds or nanoseconds: each is told from the others from 1973 to 5138.
fn number(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let value: u64 = whole.parse().ok()?;
    let unit: u64 = match value {
        0..100_000_000 => return None,
        100_000_000..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1000,
        _ => 1,
    };
    let (mut part, mut scale) = (0, unit);
    for digit in fraction.chars() {
        scale /= 10;
        part += u64::from(digit.to_digit(10)?) * scale;
    }
    value.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_times_are_read() {
        let moment = 1_767_225_600_250_000_000;
        for text in [
            "2026-01-01T00:00:00.250Z",
            "2026-01-01T01:00:00.25+01:00",
            "2026-01-01 00:00:00.250",
            "2026-01-01T00:00:00,250",
            "1767225600.25",
            "1767225600250",
            "1767225600250000",
            "1767225600250000000",
        ] {
            assert_eq!(TimeFormat::Auto.read(text), Some(moment), "{text}");
        }
        let nginx = TimeFormat::from("%d/%b/%Y:%H:%M:%S %z".to_owned());
        assert_eq!(nginx.read("01/Jan/2026:01:00:00 +0100"), Some(1_767_225_600_000_000_000));
        let without = TimeFormat::from("%Y/%m/%d %H:%M:%S".to_owned());
        assert_eq!(without.read("2026/01/01 00:00:00"), Some(1_767_225_600_000_000_000));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "yesterday", "12", "1767225600.x", "99999999999999999999", "1960-01-01T00:00:00Z"] {
            assert_eq!(TimeFormat::Auto.read(text), None, "{text}");
        }
        assert_eq!(TimeFormat::from("%Q".to_owned()).read("x"), None);
    }
}
