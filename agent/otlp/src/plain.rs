//! Short cuts of the walk: shapes that nearly all data has, recognised in one go.
//!
//! Each answers "this is certainly well-formed" or "look closer". What is not plain goes the long way, which alone
//! knows what is wrong; so a short cut saves time and decides nothing.

/// Whether this is a `NumberDataPoint` of start, time, value and plain attributes.
#[inline]
pub(crate) fn is_number_point(content: &[u8]) -> bool {
    let mut rest = content;
    loop {
        match rest {
            // start_time_unix_nano, time_unix_nano, as_double, as_int
            [0x11 | 0x19 | 0x21 | 0x31, _, _, _, _, _, _, _, _, after @ ..] => rest = after,
            _ => return are_attributes::<0x3a>(rest),
        }
    }
}

/// Whether these are attributes under that tag and nothing else, each a key and then a string, a small integer or a
/// truth value, all in ASCII.
#[inline]
fn are_attributes<const TAG: u8>(fields: &[u8]) -> bool {
    // All below 128: every length is one byte, and every string is UTF-8.
    if !fields.is_ascii() {
        return false;
    }
    let mut rest = fields;
    while let [tag, len, after @ ..] = rest {
        let Some((pair, after)) = after.split_at_checked(usize::from(*len)) else { return false };
        if *tag != TAG || !is_ascii_attribute(pair) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// Whether this is a plain attribute, for what is known to be ASCII.
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
        _ => false,
    }
}

/// Whether this is a `KeyValue` of a key in ASCII and then a string in ASCII, an integer, a number or a truth value,
/// with every length in one byte.
#[inline]
pub(crate) fn is_attribute(pair: &[u8]) -> bool {
    if pair.is_ascii() {
        return is_ascii_attribute(pair);
    }
    let [0x0a, key_len @ 0..0x80, rest @ ..] = pair else { return false };
    let Some((key, [0x12, value_len @ 0..0x80, value @ ..])) = rest.split_at_checked(usize::from(*key_len))
    else {
        return false;
    };
    if usize::from(*value_len) != value.len() || !key.is_ascii() {
        return false;
    }
    match value {
        [0x18, more @ .., 0..0x80] => more.len() < 9 && more.iter().all(|byte| *byte >= 0x80),
        [0x21, number @ ..] => number.len() == 8,
        _ => false,
    }
}
