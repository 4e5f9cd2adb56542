//! What state records hold: the names behind source and label numbers, and checkpoints.
//!
//! ```text
//! entry: tag u8, length u32le, value
//!   0                end; what follows is padding
//!   1  name          number u32le, text
//!   2  checkpoint    number of the source's name u32le, bytes
//!   3  next number   u32le: the first number not yet given
//! ```
//!
//! Numbers are never given twice in the life of a WAL, so that a name found in any segment holds for all. Entries of
//! other tags are passed over.

use crate::options::{MAX_CHECKPOINT, MAX_NAME};

/// Numbers from here on are not believed, so that there are always some left to give.
pub(crate) const NUMBERS_END: u32 = 1 << 31;
const END: u8 = 0;
const NAME: u8 = 1;
const CHECKPOINT: u8 = 2;
const NEXT_NUMBER: u8 = 3;
/// Tag, length, number.
const ENTRY_OVERHEAD: usize = 9;

/// An entry, as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Name { number: u32, name: &'a str },
    Checkpoint { source: u32, bytes: &'a [u8] },
    NextNumber(u32),
}

pub(crate) fn put_name(out: &mut Vec<u8>, number: u32, name: &str) {
    put(out, NAME, &number.to_le_bytes(), name.as_bytes());
}

pub(crate) fn put_checkpoint(out: &mut Vec<u8>, source: u32, bytes: &[u8]) {
    put(out, CHECKPOINT, &source.to_le_bytes(), bytes);
}

pub(crate) fn put_next_number(out: &mut Vec<u8>, number: u32) {
    put(out, NEXT_NUMBER, &number.to_le_bytes(), &[]);
}

/// Bytes of a name's entry.
pub(crate) fn name_len(name: &str) -> usize {
    ENTRY_OVERHEAD + name.len()
}

/// Bytes of a checkpoint's entry.
pub(crate) fn checkpoint_len(bytes: &[u8]) -> usize {
    ENTRY_OVERHEAD + bytes.len()
}

fn put(out: &mut Vec<u8>, tag: u8, first: &[u8], second: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&((first.len() + second.len()) as u32).to_le_bytes());
    out.extend_from_slice(first);
    out.extend_from_slice(second);
}

/// The entries of a state record's body or of a section, up to its end or to the first that makes no sense.
pub(crate) fn entries(mut rest: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        loop {
            let (&tag, after) = rest.split_first()?;
            if tag == END {
                return None;
            }
            let (len, after) = after.split_first_chunk()?;
            let value = after.get(..u32::from_le_bytes(*len) as usize)?;
            rest = &after[value.len()..];
            let Some((number, value)) = value.split_first_chunk() else { continue };
            let number = u32::from_le_bytes(*number);
            match tag {
                NAME | NEXT_NUMBER if number >= NUMBERS_END => {}
                NAME if value.len() <= MAX_NAME => {
                    if let Ok(name) = std::str::from_utf8(value) {
                        return Some(Entry::Name { number, name });
                    }
                }
                CHECKPOINT if value.len() <= MAX_CHECKPOINT => {
                    return Some(Entry::Checkpoint { source: number, bytes: value });
                }
                NEXT_NUMBER => return Some(Entry::NextNumber(number)),
                _ => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<u8> {
        let mut bytes = Vec::new();
        put_name(&mut bytes, 1, "host");
        put_checkpoint(&mut bytes, 1, b"at 7");
        put_next_number(&mut bytes, 2);
        bytes
    }

    #[test]
    fn the_bytes_of_format_version_1_stay() {
        let golden = b"\x01\x08\0\0\0\x01\0\0\0host\x02\x08\0\0\0\x01\0\0\0at 7\x03\x04\0\0\0\x02\0\0\0";
        assert_eq!(example(), golden);
    }

    #[test]
    fn padding_ends_and_unknown_entries_are_passed_over() {
        let mut bytes = b"\x09\x05\0\0\0later\x08\0\0\0\0".to_vec();
        bytes.extend(example());
        bytes.extend([0; 100]);
        bytes.extend(example());
        let read: Vec<_> = entries(&bytes).collect();
        assert_eq!(
            read,
            [
                Entry::Name { number: 1, name: "host" },
                Entry::Checkpoint { source: 1, bytes: b"at 7" },
                Entry::NextNumber(2)
            ]
        );
    }

    #[test]
    fn a_cut_or_altered_body_yields_a_prefix_and_never_more() {
        let whole = example();
        for len in 0..whole.len() {
            assert!(entries(&whole[..len]).count() < 3, "cut at {len}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(entries(&bad).count() <= 3, "bit {bit}");
        }
    }
}
