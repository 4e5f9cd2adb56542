//! A message on a gRPC stream:
//!
//! ```text
//! offset  0            1               5
//!         +------------+---------------+---------...
//!         | compressed | length, big   | message
//!         | 0 or 1     | endian, u32   |
//!         +------------+---------------+---------...
//! ```

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::export::client::MAX_ANSWER;

const PREFIX: usize = 5;

/// What goes before a message of `length` bytes; `None` if no message can be as long.
pub(super) fn prefix(compressed: bool, length: u64) -> Option<Bytes> {
    let [a, b, c, d] = u32::try_from(length).ok()?.to_be_bytes();
    Some(Bytes::copy_from_slice(&[u8::from(compressed), a, b, c, d]))
}

/// The one message of an answer, unpacked. `None` if it is not exactly one, if it unpacks to more than is read of
/// an answer, or if it is compressed in another way than was offered.
pub(super) fn message(body: &Bytes, encoding: Option<&str>) -> Option<Bytes> {
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    let [compressed, length @ ..] = prefix else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if usize::try_from(length).ok()? != message.len() {
        return None;
    }
    match (compressed, encoding) {
        (0, _) => Some(body.slice(PREFIX..)),
        (1, Some("gzip")) => {
            let mut unpacked = Vec::new();
            let limit = MAX_ANSWER as u64 + 1;
            MultiGzDecoder::new(message).take(limit).read_to_end(&mut unpacked).ok()?;
            (unpacked.len() <= MAX_ANSWER).then(|| unpacked.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn framed(compressed: bool, message: &[u8]) -> Vec<u8> {
        [&prefix(compressed, message.len() as u64).unwrap()[..], message].concat()
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_prefix_is_the_flag_and_the_length() {
        assert_eq!(prefix(true, 0x0102_0304).unwrap(), [1, 1, 2, 3, 4][..]);
        assert_eq!(prefix(false, 0).unwrap(), [0; 5][..]);
        assert_eq!(prefix(true, 1 << 32), None);
    }

    #[test]
    fn one_message_is_read_plain_or_as_gzip() {
        assert_eq!(message(&framed(false, b"one").into(), None).unwrap(), "one");
        assert_eq!(message(&framed(false, b"").into(), Some("gzip")).unwrap(), "");
        assert_eq!(message(&framed(true, &gzip(b"one")).into(), Some("gzip")).unwrap(), "one");
    }

    #[test]
    fn what_is_not_one_message_is_none() {
        let whole = framed(false, b"one");
        for end in 0..whole.len() {
            assert_eq!(message(&whole[..end].to_vec().into(), None), None, "cut at {end}");
        }
        let bomb = gzip(&vec![0; MAX_ANSWER + 1]);
        for (body, encoding) in [
            ([framed(false, b"one"), framed(false, b"two")].concat(), None),
            (framed(true, b"one"), None),
            (framed(true, b"one"), Some("gzip")),
            (framed(true, &zstd::bulk::compress(b"one", 1).unwrap()), Some("zstd")),
            ([&[2][..], &whole[1..]].concat(), None),
            (framed(true, &bomb), Some("gzip")),
        ] {
            assert_eq!(message(&body.into(), encoding), None);
        }
        let largest = gzip(&vec![0; MAX_ANSWER]);
        assert_eq!(message(&framed(true, &largest).into(), Some("gzip")).unwrap().len(), MAX_ANSWER);
    }
}
