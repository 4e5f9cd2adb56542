//! What stands between JSON's brackets: names, texts, numbers, bytes.

use std::fmt::Write as _;

use crate::schema::Number;

/// `start_time_unix_nano` as `"startTimeUnixNano":`.
pub(super) fn name(out: &mut String, snake: &str) {
    out.push('"');
    let mut upper = false;
    for character in snake.chars() {
        match character {
            '_' => upper = true,
            _ if std::mem::take(&mut upper) => out.push(character.to_ascii_uppercase()),
            _ => out.push(character),
        }
    }
    out.push_str("\":");
}

/// A text, quoted. What JSON in a page or a terminal must not hold raw is escaped, too.
pub(super) fn text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Controls, and what JavaScript takes for the end of a line.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                put(out, format_args!("\\u{:04x}", u32::from(character)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A number as its field means it. 64-bit integers are strings, so that no reader rounds them.
pub(super) fn number(out: &mut String, number: Number, bits: u64) {
    match number {
        Number::Unsigned32 => put(out, format_args!("{}", bits as u32)),
        Number::Signed32 => put(out, format_args!("{}", bits as i32)),
        Number::Zigzag32 => {
            let bits = bits as u32;
            put(out, format_args!("{}", (bits >> 1) as i32 ^ -((bits & 1) as i32)));
        }
        Number::Unsigned64 => put(out, format_args!("\"{bits}\"")),
        Number::Signed64 => put(out, format_args!("\"{}\"", bits as i64)),
        Number::Bool => out.push_str(if bits == 0 { "false" } else { "true" }),
        Number::Double => double(out, f64::from_bits(bits)),
    }
}

fn double(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("\"NaN\"");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else {
        // Shortest text that reads back as the same number; very large and very small ones with an exponent.
        put(out, format_args!("{value:?}"));
        if out.ends_with(".0") {
            out.truncate(out.len() - 2);
        }
    }
}

/// Trace and span ids: lower-case hexadecimal, quoted.
pub(super) fn hexadecimal(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for byte in bytes {
        put(out, format_args!("{byte:02x}"));
    }
    out.push('"');
}

/// Base64 of RFC 4648 with padding, quoted.
pub(super) fn base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push('"');
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            // One byte fills two digits, two fill three.
            if digit <= three.len() {
                out.push(char::from(DIGITS[(group >> (18 - 6 * digit) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out.push('"');
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string does not fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn numbers_are_written_as_their_fields_mean_them() {
        for (kind, bits, shown) in [
            (Number::Unsigned32, u64::MAX, "4294967295"),
            (Number::Signed32, u64::MAX, "-1"),
            (Number::Zigzag32, 1, "-1"),
            (Number::Zigzag32, 4_294_967_295, "-2147483648"),
            (Number::Zigzag32, 4_294_967_294, "2147483647"),
            (Number::Unsigned64, u64::MAX, "\"18446744073709551615\""),
            (Number::Signed64, 1 << 63, "\"-9223372036854775808\""),
            (Number::Bool, 2, "true"),
            (Number::Double, 1.0f64.to_bits(), "1"),
            (Number::Double, (-0.0f64).to_bits(), "-0"),
            (Number::Double, 0.1f64.to_bits(), "0.1"),
            (Number::Double, 1e300f64.to_bits(), "1e300"),
            (Number::Double, f64::NAN.to_bits(), "\"NaN\""),
            (Number::Double, f64::NEG_INFINITY.to_bits(), "\"-Infinity\""),
        ] {
            assert_eq!(written(|out| number(out, kind, bits)), shown, "{kind:?} of {bits}");
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, shown) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(written(|out| base64(out, bytes.as_bytes())), format!("\"{shown}\""));
        }
        assert_eq!(written(|out| base64(out, &[0xff, 0xfe])), "\"//4=\"");
    }

    #[test]
    fn texts_hold_nothing_raw_that_a_page_or_a_terminal_would_obey() {
        assert_eq!(
            written(|out| text(out, "a\"\\\n\u{1b}[2J\u{2028}\u{9b}ü鳥")),
            "\"a\\\"\\\\\\n\\u001b[2J\\u2028\\u009bü鳥\""
        );
        assert_eq!(written(|out| name(out, "start_time_unix_nano")), "\"startTimeUnixNano\":");
    }
}
