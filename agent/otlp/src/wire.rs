//! Protobuf's wire format, read: varints, tags, lengths.
//!
//! A field is a tag (field number and wire type, as a varint) and its content:
//!
//! ```text
//! wire type 0: a varint, seven bits a byte, least first, at most ten bytes
//!           1: 8 bytes      5: 4 bytes      2: a length as a varint, and as many bytes
//!           3, 4: groups, which OTLP never had
//! ```

use crate::walk::Flaw;

/// A wire type that a field can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Varint,
    Fixed64,
    Length,
    Fixed32,
}

impl Wire {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Wire::Varint => "a varint",
            Wire::Fixed64 => "8 bytes",
            Wire::Length => "length-delimited",
            Wire::Fixed32 => "4 bytes",
        }
    }
}

/// Something is wrong: what, and at which byte, given as what was still to be read there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrong<'a> {
    pub(crate) rest: &'a [u8],
    pub(crate) flaw: Flaw,
}

#[cold]
pub(crate) fn wrong<T>(rest: &[u8], flaw: Flaw) -> Result<T, Wrong<'_>> {
    Err(Wrong { rest, flaw })
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) wire: Wire,
    /// Tag, length and content.
    pub(crate) whole: &'a [u8],
    /// What follows tag and length; of a varint, its bytes.
    pub(crate) content: &'a [u8],
}

impl Field<'_> {
    /// The number of a varint field.
    pub(crate) fn varint(&self) -> u64 {
        varint(self.content).map_or(0, |(value, _)| value)
    }

    /// The number of an 8-byte field.
    pub(crate) fn fixed64(&self) -> u64 {
        self.content.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The number of a 4-byte field.
    pub(crate) fn fixed32(&self) -> u32 {
        self.content.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }
}

/// Reads a varint; returns it and what follows.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Wrong<'_>> {
    match bytes {
        [byte, rest @ ..] if *byte < 0x80 => Ok((u64::from(*byte), rest)),
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &[u8]) -> Result<(u64, &[u8]), Wrong<'_>> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        // The tenth byte holds the 64th bit alone.
        if i == 9 && *byte > 1 {
            return wrong(bytes, Flaw::VarintTooLong);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Ok((value, &bytes[i + 1..]));
        }
    }
    wrong(bytes, if bytes.len() < 10 { Flaw::Truncated } else { Flaw::VarintTooLong })
}

/// Reads a tag; returns field number, wire type, and what follows.
#[inline]
pub(crate) fn tag(bytes: &[u8]) -> Result<(u32, Wire, &[u8]), Wrong<'_>> {
    let (tag, rest) = varint(bytes)?;
    let wire = match tag & 7 {
        0 => Wire::Varint,
        1 => Wire::Fixed64,
        2 => Wire::Length,
        5 => Wire::Fixed32,
        3 | 4 => return wrong(bytes, Flaw::Group),
        _ => return wrong(bytes, Flaw::UnknownWireType),
    };
    match u32::try_from(tag >> 3) {
        Ok(0) => wrong(bytes, Flaw::FieldZero),
        // The largest field number is 2^29 - 1: the tag fits 32 bits.
        Ok(number) if number < 1 << 29 => Ok((number, wire, rest)),
        _ => wrong(bytes, Flaw::FieldNumberTooLarge),
    }
}

/// Reads a length and takes as many bytes; returns them and what follows.
#[inline]
pub(crate) fn delimited(bytes: &[u8]) -> Result<(&[u8], &[u8]), Wrong<'_>> {
    let (len, rest) = varint(bytes)?;
    match usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)) {
        Some(split) => Ok(split),
        None => wrong(bytes, Flaw::PastTheEnd { len, left: rest.len() }),
    }
}

/// Takes `N` bytes.
#[inline]
pub(crate) fn fixed<const N: usize>(bytes: &[u8]) -> Result<(&[u8], &[u8]), Wrong<'_>> {
    bytes.split_at_checked(N).map_or_else(|| wrong(bytes, Flaw::Truncated), Ok)
}

/// The fields of a message, one after the other. Ends after the first error, which points to the field's tag.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&self) -> Result<(Field<'a>, &'a [u8]), Wrong<'a>> {
        let (number, wire, after_tag) = tag(self.rest)?;
        let (content, rest) = match wire {
            Wire::Varint => {
                varint(after_tag).map(|(_, rest)| (&after_tag[..after_tag.len() - rest.len()], rest))
            }
            Wire::Fixed64 => fixed::<8>(after_tag),
            Wire::Fixed32 => fixed::<4>(after_tag),
            Wire::Length => delimited(after_tag),
        }
        .map_err(|wrong| Wrong { rest: self.rest, ..wrong })?;
        let whole = &self.rest[..self.rest.len() - rest.len()];
        Ok((Field { number, wire, whole, content }, rest))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Wrong<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(match self.read() {
            Ok((field, rest)) => {
                self.rest = rest;
                Ok(field)
            }
            Err(wrong) => {
                self.rest = &[];
                Err(wrong)
            }
        })
    }
}
