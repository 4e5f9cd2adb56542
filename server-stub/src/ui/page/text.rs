//! Numbers, times and telemetry values as people read them.
//!
//! Everything here is plain text; what makes HTML of it (`maud`) escapes it.

use jiff::Timestamp;
use serde_json::Value;

/// Characters of one value on the page; what is cut says so.
const LONGEST: usize = 300;

/// What a number counts, by its UCUM unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    BytesPerSecond,
    Share,
    Seconds,
    Milliseconds,
    Hertz,
    Plain,
}

impl Unit {
    /// Of a metric's unit as it was sent.
    pub(super) fn of(ucum: &str) -> Self {
        match ucum {
            "By" => Self::Bytes,
            "By/s" => Self::BytesPerSecond,
            "1" => Self::Share,
            "s" => Self::Seconds,
            "ms" => Self::Milliseconds,
            "Hz" => Self::Hertz,
            _ => Self::Plain,
        }
    }

    /// A number with its unit: `1.5 GiB`, `12.5 %`, `3 d 4 h`.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            _ if !value.is_finite() => value.to_string(),
            Self::Bytes | Self::BytesPerSecond | Self::Hertz => {
                let (scale, suffix) = self.scale(value);
                format!("{}{suffix}", decimals(value / scale))
            }
            Self::Share => format!("{} %", decimals(value * 100.0)),
            Self::Seconds => seconds(value),
            Self::Milliseconds => {
                if value.abs() < 1000.0 {
                    format!("{} ms", decimals(value))
                } else {
                    seconds(value / 1000.0)
                }
            }
            Self::Plain => decimals(value),
        }
    }

    /// What numbers up to `largest` are best divided by, and what is then written behind them.
    pub(super) fn scale(self, largest: f64) -> (f64, &'static str) {
        let steps = |base: f64| {
            let mut steps = (1.0, 0);
            while largest.abs() / steps.0 >= base && steps.1 < 5 {
                steps = (steps.0 * base, steps.1 + 1);
            }
            steps
        };
        let (scale, step) = match self {
            Self::Bytes | Self::BytesPerSecond => steps(1024.0),
            Self::Hertz => steps(1000.0),
            Self::Share => (0.01, 0),
            Self::Milliseconds if largest.abs() >= 1000.0 => (1000.0, 1),
            _ => (1.0, 0),
        };
        let suffix = match self {
            Self::Bytes => [" B", " KiB", " MiB", " GiB", " TiB", " PiB"][step],
            Self::BytesPerSecond => [" B/s", " KiB/s", " MiB/s", " GiB/s", " TiB/s", " PiB/s"][step],
            Self::Hertz => [" Hz", " kHz", " MHz", " GHz", " THz", " PHz"][step],
            Self::Share => " %",
            Self::Seconds => " s",
            Self::Milliseconds => [" ms", " s"][step.min(1)],
            Self::Plain => "",
        };
        (scale, suffix)
    }
}

/// At most three digits behind the point, fewer the larger the number; thousands are parted.
pub(super) fn decimals(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let mut text = format!("{value:.places$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    if text == "-0" {
        text.remove(0);
    }
    parted(&text)
}

/// A count with its thousands parted by narrow spaces.
pub(super) fn count(value: u64) -> String {
    parted(&value.to_string())
}

fn parted(digits: &str) -> String {
    let (sign, rest) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let (whole, behind) = rest.split_once('.').map_or((rest, None), |(whole, behind)| (whole, Some(behind)));
    let mut out = String::from(sign);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if let Some(behind) = behind {
        out.push('.');
        out.push_str(behind);
    }
    out
}

fn seconds(value: f64) -> String {
    let whole = value.abs();
    if whole < 0.001 && whole > 0.0 {
        return format!("{} µs", decimals(value * 1e6));
    }
    if whole < 1.0 && whole > 0.0 {
        return format!("{} ms", decimals(value * 1000.0));
    }
    if whole < 120.0 {
        return format!("{} s", decimals(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = whole as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{sign}{minutes} min {} s", whole % 60),
        (0, _) => format!("{sign}{hours} h {minutes} min"),
        _ => format!("{sign}{} d {hours} h", count(days)),
    }
}

/// How long ago something was: `now`, `4 s ago`, `in the future`.
pub(super) fn ago(then_ns: i64, now_ns: i64) -> String {
    let passed = now_ns.saturating_sub(then_ns);
    match passed / 1_000_000_000 {
        ..-1 => "in the future".to_owned(),
        -1..2 => "now".to_owned(),
        passed => format!("{} ago", seconds(passed as f64)),
    }
}

/// A time of day, UTC: `17:03:09`.
pub(super) fn clock(time_ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(time_ns))
        .map_or_else(|_| "?".to_owned(), |time| time.strftime("%H:%M:%S").to_string())
}

/// A point's value, with its unit; a histogram as its count and mean.
pub(super) fn value(value: &Value, unit: &str) -> String {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            match (Unit::of(unit), unit) {
                // `{process}` says what is counted, which the name says too.
                (Unit::Plain, unit) if unit.is_empty() || unit.starts_with('{') => decimals(number),
                (Unit::Plain, unit) => cut(&format!("{} {unit}", decimals(number))),
                (unit, _) => unit.show(number),
            }
        }
        Value::Object(detail) if detail.contains_key("count") => {
            let items = detail["count"].as_u64().unwrap_or(0);
            match detail.get("sum").and_then(Value::as_f64) {
                Some(sum) if items > 0 => {
                    format!("{} values, mean {}", count(items), Unit::of(unit).show(sum / items as f64))
                }
                _ => format!("{} values", count(items)),
            }
        }
        Value::Null => "-".to_owned(),
        other => plain(other),
    }
}

/// Any JSON value in one line; strings without their quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        Value::Null => String::new(),
        other => cut(&other.to_string()),
    }
}

/// Attributes as `key=value key=value`.
pub(super) fn attributes(attributes: &Value) -> String {
    let Some(attributes) = attributes.as_object() else { return String::new() };
    let shown: Vec<String> =
        attributes.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
    cut(&shown.join(" "))
}

/// The values of attributes alone, where there is no room for their keys.
pub(super) fn values(attributes: &Value) -> String {
    let values = attributes.as_object().into_iter().flat_map(|of| of.values());
    let shown: Vec<String> = values.map(plain).collect();
    shown.join(", ").chars().take(40).collect()
}

/// Not longer than a line of the page can bear.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_short_and_keep_their_size() {
        assert_eq!(decimals(0.0), "0");
        assert_eq!(decimals(-0.0001), "0");
        assert_eq!(decimals(0.5), "0.5");
        assert_eq!(decimals(12.34), "12.3");
        assert_eq!(decimals(1234567.8), "1\u{202f}234\u{202f}568");
        assert_eq!(count(999), "999");
        assert_eq!(Unit::Bytes.show(1536.0), "1.5 KiB");
        assert_eq!(Unit::BytesPerSecond.show(0.0), "0 B/s");
        assert_eq!(Unit::Hertz.show(2_599_998_000.0), "2.6 GHz");
        assert_eq!(Unit::Share.show(0.125), "12.5 %");
        assert_eq!(Unit::Seconds.show(93_784.0), "1 d 2 h");
        assert_eq!(Unit::Seconds.show(0.0123), "12.3 ms");
        assert_eq!(Unit::Plain.show(f64::NAN), "NaN");
        assert_eq!(Unit::Bytes.show(f64::MAX), format!("{} PiB", decimals(f64::MAX / 1024f64.powi(5))));
    }

    #[test]
    fn times_survive_every_clock() {
        assert_eq!(ago(0, 0), "now");
        assert_eq!(ago(0, 5_000_000_000), "5 s ago");
        assert_eq!(ago(5_000_000_000, 0), "in the future");
        assert_eq!(ago(i64::MIN, i64::MAX), ago(0, i64::MAX));
        assert_eq!(clock(1_700_000_000_000_000_000), "22:13:20");
        assert_eq!(clock(i64::MIN), "00:12:43");
    }

    #[test]
    fn values_are_one_line_each_and_bounded() {
        assert_eq!(value(&json!(3), "{process}"), "3");
        assert_eq!(value(&json!(40.5), "Cel"), "40.5 Cel");
        assert_eq!(value(&json!({"count": 4, "sum": 2.0}), "s"), "4 values, mean 500 ms");
        assert_eq!(value(&Value::Null, "1"), "-");
        assert_eq!(attributes(&json!({"a": "x", "b": 2})), "a=x b=2");
        assert_eq!(plain(&json!("ä".repeat(LONGEST + 1))).chars().count(), LONGEST + 1);
    }
}
