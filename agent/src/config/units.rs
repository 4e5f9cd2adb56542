//! `64MiB`, `1h30m` and `10%`: read and written.

use std::time::Duration;

use super::problem::Wrong;

const DURATION_UNITS: &[(&str, u128)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const SIZE_UNITS: &[(&str, u128)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads `10s`, `500ms`, `1.5h`, `1h30m`; the units go down, each once. Fractions below a nanosecond are refused.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Wrong> {
    let refuse = || Wrong::new("is not a duration", "write a number and a unit: 500ms, 10s, 5m, 1h30m, 1d");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::new("has no unit", format!("write {text}s for seconds, or use ms, m, h, d")));
    }
    let mut total: u128 = 0;
    let mut rest = text;
    let mut units = DURATION_UNITS;
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(refuse)?;
        let unit = &after[..after.find(|next: char| next.is_ascii_digit()).unwrap_or(after.len())];
        let index = units.iter().position(|(name, _)| *name == unit).ok_or_else(refuse)?;
        total = scale(number, units[index].1).and_then(|part| total.checked_add(part)).ok_or_else(refuse)?;
        units = &units[index + 1..];
        rest = &after[unit.len()..];
    }
    match text.is_empty() {
        true => Err(refuse()),
        false => u64::try_from(total)
            .map(Duration::from_nanos)
            .map_err(|_| Wrong::new("is too long a duration", "write at most 200000d")),
    }
}

/// Reads `64MiB`, `1.5GiB`, `10MB`, `512B`.
pub(super) fn parse_size(text: &str) -> Result<u64, Wrong> {
    let refuse =
        || Wrong::new("is not a size", "write a number and a unit: 512KiB, 64MiB, 2GiB (or kB, MB, GB)");
    let (number, unit) = split_number(text).ok_or_else(refuse)?;
    if unit.is_empty() {
        let remedy = format!("write {number}B for bytes, or use KiB, MiB, GiB");
        return Err(Wrong::new("has no unit", remedy));
    }
    let Some((_, bytes)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        let near = SIZE_UNITS.iter().find(|(name, _)| {
            let short = name.strip_suffix("iB").unwrap_or(name);
            name.eq_ignore_ascii_case(unit) || short.eq_ignore_ascii_case(unit)
        });
        return Err(match near {
            Some((name, _)) => Wrong::new("is not a size", format!("write {number}{name}")),
            None => refuse(),
        });
    };
    scale(number, *bytes).and_then(|size| u64::try_from(size).ok()).ok_or_else(refuse)
}

/// Reads `10%`, in millionths.
pub(super) fn parse_share(text: &str) -> Result<u64, Wrong> {
    let refuse = || Wrong::new("is not a share", "write a number and a percent sign: 10%");
    let number = text.strip_suffix('%').ok_or_else(refuse)?;
    let (digits, rest) = split_number(number).ok_or_else(refuse)?;
    let millionths = scale(digits, 10_000).filter(|_| rest.is_empty()).ok_or_else(refuse)?;
    u64::try_from(millionths).map_err(|_| refuse())
}

/// Reads a duration as the configuration writes it.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|wrong| format!("{}; {}", wrong.what, wrong.remedy))
}

/// A duration as the configuration writes it, in its largest units: `1h30m`.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanoseconds) in DURATION_UNITS {
        if rest >= *nanoseconds {
            text.push_str(&format!("{}{unit}", rest / nanoseconds));
            rest %= nanoseconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A size as the configuration writes it, in the largest unit that says it exactly: `64MiB`.
pub fn show_size(bytes: u64) -> String {
    let exact = |(_, size): &&(&str, u128)| u128::from(bytes).is_multiple_of(*size);
    let (unit, size) = SIZE_UNITS[..4].iter().find(exact).filter(|_| bytes > 0).unwrap_or(&("B", 1));
    format!("{}{unit}", u128::from(bytes) / size)
}

/// The number at the beginning, and what follows it.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|next: char| !next.is_ascii_digit() && next != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let good = number.starts_with(|first: char| first.is_ascii_digit())
        && number.ends_with(|last: char| last.is_ascii_digit())
        && number.matches('.').count() <= 1;
    good.then_some((number, rest))
}

/// A decimal number times `unit`, where that is a whole number.
fn scale(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let denominator = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let product = digits.checked_mul(unit)?;
    product.is_multiple_of(denominator).then(|| product / denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("10s", 10_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("1d", 86_400_000),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_duration_that_is_none_is_refused() {
        for text in [
            "",
            "s",
            "10",
            "10 s",
            "-1s",
            "1m1h",
            "1s1s",
            "1.s",
            ".5s",
            "1..5s",
            "10sec",
            "1e3s",
            "٣s",
            "1s ",
            "∞",
            "99999999999999999999d",
            "0.0000000001s",
            "1.0000000000000000000000000000000000000000000001s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration("10").unwrap_err().remedy, "write 10s for seconds, or use ms, m, h, d");
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("2GiB", 2 << 30),
            ("1.5KiB", 1536),
            ("10MB", 10_000_000),
            ("0B", 0),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_size_that_is_none_is_refused() {
        for text in ["", "MiB", "64", "64 MiB", "-1MiB", "1.3B", "64XiB", "99999999999TiB", "1e3MiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_size("64mb").unwrap_err().remedy, "write 64MB");
        assert_eq!(parse_size("64M").unwrap_err().remedy, "write 64MiB");
        assert_eq!(parse_size("64").unwrap_err().remedy, "write 64B for bytes, or use KiB, MiB, GiB");
    }

    #[test]
    fn shares_are_read_in_millionths() {
        assert_eq!(parse_share("10%"), Ok(100_000));
        assert_eq!(parse_share("0.5%"), Ok(5_000));
        for text in ["", "%", "10", "10%%", "-1%", "ten%", "1 %"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for nanoseconds in
            [0, 1, 999, 1_500, 200_000_000, 1_000_000_000, 5_400_000_000_000, 90_061_001_001_001]
        {
            let duration = Duration::from_nanos(nanoseconds);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 64 << 20, (64 << 20) + 1, 2 << 30, 10_000_000] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(show_duration(Duration::from_secs(5400)), "1h30m");
        assert_eq!(show_size(64 << 20), "64MiB");
    }
}
