//! Short cuts of the walk: shapes that nearly all data has, recognised in one go.
//!
//! Each answers "this is certainly well-formed" or "look closer". What is not plain goes the long way, which alone
//! knows what is wrong; so a short cut saves time and decides nothing.

/// Goes over `NumberDataPoint`s under tag 0x0a (field 1 of `Gauge` and `Sum`) as long as they are plain. Returns how
/// many there were, and what follows.
#[inline]
pub(crate) fn skip_number_points(mut fields: &[u8]) -> (u32, &[u8]) {
    let mut points = 0;
    while let [0x0a, after_tag @ ..] = fields {
        let Some((point, after)) = short(after_tag) else { break };
        if !is_number_point(point) {
            break;
        }
        points += 1;
        fields = after;
    }
    (points, fields)
}

/// Whether this is a `NumberDataPoint` of start, time, value and plain attributes.
#[inline]
fn is_number_point(content: &[u8]) -> bool {
    let mut rest = content;
    loop {
        match rest {
            // start_time_unix_nano, time_unix_nano, as_double, as_int
            [0x11 | 0x19 | 0x21 | 0x31, _, _, _, _, _, _, _, _, after @ ..] => rest = after,
            _ => return are_attributes::<0x3a>(rest),
        }
    }
}

/// Whether this is a `LogRecord` with fields in their usual lengths, whose body is a string.
#[inline]
pub(crate) fn is_log_record(content: &[u8]) -> bool {
    let mut rest = content;
    while !rest.is_empty() {
        rest = match rest {
            // attributes
            [0x32, len @ 0..0x80, after @ ..] => match after.split_at_checked(usize::from(*len)) {
                Some((pair, after)) if is_attribute(pair) => after,
                _ => return false,
            },
            // time_unix_nano, observed_time_unix_nano
            [0x09 | 0x59, _, _, _, _, _, _, _, _, after @ ..] => after,
            // severity_number
            [0x10, 0..0x80, after @ ..] => after,
            // severity_text, event_name
            [0x1a | 0x62, after @ ..] => match short(after) {
                Some((text, after)) if is_text(text) => after,
                _ => return false,
            },
            // body: an AnyValue of one string
            [0x2a, after @ ..] => match short(after) {
                Some(([0x0a, text @ ..], after))
                    if short(text).is_some_and(|(text, end)| end.is_empty() && is_text(text)) =>
                {
                    after
                }
                _ => return false,
            },
            // flags
            [0x45, _, _, _, _, after @ ..] => after,
            // trace_id
            [0x4a, 16, after @ ..] if after.len() >= 16 => &after[16..],
            // span_id
            [0x52, 8, after @ ..] if after.len() >= 8 => &after[8..],
            _ => return false,
        };
    }
    true
}

/// Whether these are attributes under that tag and nothing else, all plain.
#[inline]
fn are_attributes<const TAG: u8>(fields: &[u8]) -> bool {
    // All below 128: every length is one byte, and every string is UTF-8.
    let ascii = is_ascii(fields);
    let mut rest = fields;
    while let [tag, len @ 0..0x80, after @ ..] = rest {
        let Some((pair, after)) = after.split_at_checked(usize::from(*len)) else { return false };
        if *tag != TAG || !(if ascii { is_ascii_attribute(pair) } else { is_attribute(pair) }) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// Whether this is a `KeyValue` of a key and then a string, an integer, a number or a truth value, every length in
/// one byte.
#[inline]
pub(crate) fn is_attribute(pair: &[u8]) -> bool {
    if is_ascii(pair) {
        return is_ascii_attribute(pair);
    }
    let [0x0a, key_len @ 0..0x80, rest @ ..] = pair else { return false };
    let Some((key, [0x12, value_len @ 0..0x80, value @ ..])) = rest.split_at_checked(usize::from(*key_len))
    else {
        return false;
    };
    if usize::from(*value_len) != value.len() || !is_text(key) {
        return false;
    }
    match value {
        [0x0a, text_len @ 0..0x80, text @ ..] => usize::from(*text_len) == text.len() && is_text(text),
        [0x18, more @ .., 0..0x80] => more.len() < 9 && more.iter().all(|byte| *byte >= 0x80),
        [0x21, number @ ..] => number.len() == 8,
        _ => false,
    }
}

/// As [`is_attribute`], for what is known to be ASCII.
#[inline]
fn is_ascii_attribute(pair: &[u8]) -> bool {
    let [0x0a, key_len, rest @ ..] = pair else { return false };
    let Some([0x12, value_len, value @ ..]) = rest.get(usize::from(*key_len)..) else { return false };
    if usize::from(*value_len) != value.len() {
        return false;
    }
    match value {
        [0x0a, text_len, text @ ..] => usize::from(*text_len) == text.len(),
        [0x10 | 0x18, _] => true,
        [0x21, number @ ..] => number.len() == 8,
        _ => false,
    }
}

/// Takes the content of a length-delimited field of less than 16 KiB.
#[inline]
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [len @ 0..0x80, rest @ ..] => rest.split_at_checked(usize::from(*len)),
        [low, high @ 0..0x80, rest @ ..] => {
            rest.split_at_checked(usize::from(low & 0x7f) | usize::from(*high) << 7)
        }
        _ => None,
    }
}

/// Whether these bytes are UTF-8.
#[inline]
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()
}

/// As `[u8]::is_ascii`, and quicker for the short strings that telemetry consists of: eight bytes at once, the last
/// eight overlapping.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<8>() {
        let (chunks, _) = bytes.as_chunks::<8>();
        let seen =
            chunks.iter().fold(u64::from_ne_bytes(*last), |seen, chunk| seen | u64::from_ne_bytes(*chunk));
        seen & 0x8080_8080_8080_8080 == 0
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (u32::from_ne_bytes(*first) | u32::from_ne_bytes(*last)) & 0x8080_8080 == 0
    } else {
        bytes.iter().fold(0, |seen, byte| seen | byte) < 0x80
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ascii_agrees_with_the_standard_library_at_every_length_and_place() {
        for len in 0..70 {
            let mut bytes = vec![b'a'; len];
            assert!(is_ascii(&bytes), "{len}");
            for i in 0..len {
                bytes[i] = 0x80;
                assert!(!is_ascii(&bytes), "{len}, {i}");
                bytes[i] = 0x7f;
            }
        }
    }
}
