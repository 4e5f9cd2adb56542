//! Protobuf's scalars and lengths, appended to a `Vec<u8>`.
//!
//! Tags are bytes here: all fields that this crate writes have numbers below 16.

/// The wire type of 64-bit fixed-width fields.
const FIXED64: u8 = 1;
/// The wire type of everything with a length.
const LENGTH: u8 = 2;
/// The wire type of 32-bit fixed-width fields.
const FIXED32: u8 = 5;

/// Bytes reserved for the length of a message that encloses many others: enough for 256 MiB less one.
const WIDE: usize = 4;

/// The tag of a length-delimited field.
pub(crate) const fn message(field: u8) -> u8 {
    field << 3 | LENGTH
}

/// The tag of a varint field.
pub(crate) const fn varint(field: u8) -> u8 {
    field << 3
}

/// The tag of a fixed64, sfixed64 or double field.
pub(crate) const fn fixed64(field: u8) -> u8 {
    field << 3 | FIXED64
}

/// The tag of a fixed32 field.
pub(crate) const fn fixed32(field: u8) -> u8 {
    field << 3 | FIXED32
}

/// How many bytes a varint takes.
pub(crate) const fn varint_len(value: u64) -> usize {
    // 7 bits a byte; `| 1` because zero takes a byte too.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    put_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// A string that is left out when empty, as proto3 does with fields without presence.
#[inline]
pub(crate) fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    if !text.is_empty() {
        put_bytes(out, tag, text.as_bytes());
    }
}

#[inline]
pub(crate) fn put_fixed64(out: &mut Vec<u8>, tag: u8, bits: u64) {
    let mut field = [tag; 9];
    field[1..].copy_from_slice(&bits.to_le_bytes());
    out.extend_from_slice(&field);
}

#[inline]
pub(crate) fn put_fixed32(out: &mut Vec<u8>, tag: u8, bits: u32) {
    let mut field = [tag; 5];
    field[1..].copy_from_slice(&bits.to_le_bytes());
    out.extend_from_slice(&field);
}

/// Begins a short message, which usually stays below 128 bytes; returns where its content begins.
#[inline]
pub(crate) fn open_short(out: &mut Vec<u8>, tag: u8) -> usize {
    out.extend_from_slice(&[tag, 0]);
    out.len()
}

/// Ends what [`open_short`] began. The length is as short as it can be; a content of 128 bytes and more moves.
#[inline]
pub(crate) fn close_short(out: &mut Vec<u8>, content: usize) {
    close(out, content, 1);
}

/// Begins a message of usually 128 bytes to 16 KiB.
#[inline]
pub(crate) fn open_medium(out: &mut Vec<u8>, tag: u8) -> usize {
    out.extend_from_slice(&[tag, 0, 0]);
    out.len()
}

/// Ends what [`open_medium`] began. The length is as short as it can be.
#[inline]
pub(crate) fn close_medium(out: &mut Vec<u8>, content: usize) {
    close(out, content, 2);
}

/// Begins a message that encloses many others; see the module `write` about its length.
#[inline]
pub(crate) fn open_wide(out: &mut Vec<u8>, tag: u8) -> usize {
    out.extend_from_slice(&[tag, 0, 0, 0, 0]);
    out.len()
}

/// Ends what [`open_wide`] began.
#[inline]
pub(crate) fn close_wide(out: &mut Vec<u8>, content: usize) {
    let mut len = out.len() - content;
    if varint_len(len as u64) > WIDE {
        return close(out, content, WIDE);
    }
    for (i, byte) in out[content - WIDE..content].iter_mut().enumerate() {
        let more = if i + 1 < WIDE { 0x80 } else { 0 };
        *byte = (len & 0x7f) as u8 | more;
        len >>= 7;
    }
}

/// Takes back what `open_wide` began, and everything after it.
#[inline]
pub(crate) fn abandon_wide(out: &mut Vec<u8>, content: usize) {
    out.truncate(content - WIDE - 1);
}

/// Writes the length of `out[content..]` before it, where `reserved` bytes stand free.
fn close(out: &mut Vec<u8>, content: usize, reserved: usize) {
    let len = out.len() - content;
    let width = varint_len(len as u64);
    let start = content - reserved;
    if width < reserved {
        out.copy_within(content.., start + width);
        out.truncate(start + width + len);
    } else if width > reserved {
        out.resize(out.len() + width - reserved, 0);
        out.copy_within(content..content + len, start + width);
    }
    let mut rest = len;
    for byte in &mut out[start..start + width - 1] {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    out[start + width - 1] = rest as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_len_is_what_put_varint_writes() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, (1u64 << shift) + 1, u64::MAX] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
            }
        }
    }

    #[test]
    fn lengths_are_right_whatever_was_reserved() {
        for len in [0, 1, 127, 128, 129, 16383, 16384, 2_097_151, 2_097_152] {
            let content: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut expected = vec![9];
            put_bytes(&mut expected, message(1), &content);
            let mut short = vec![9];
            let start = open_short(&mut short, message(1));
            short.extend_from_slice(&content);
            close_short(&mut short, start);
            assert!(short == expected, "{len}");
            let mut medium = vec![9];
            let start = open_medium(&mut medium, message(1));
            medium.extend_from_slice(&content);
            close_medium(&mut medium, start);
            assert!(medium == expected, "{len}");
            let mut out = vec![9];
            let start = open_wide(&mut out, message(1));
            out.extend_from_slice(&content);
            close_wide(&mut out, start);
            let mut rest = &out[2..];
            assert_eq!(prost::encoding::decode_varint(&mut rest), Ok(len as u64));
            assert_eq!(rest, content);
            abandon_wide(&mut out, start);
            assert_eq!(out, [9]);
        }
    }
}
