//! A message on a gRPC stream:
//!
//! ```text
//! offset  0            1               5
//!         +------------+---------------+---------...
//!         | compressed | length, big   | message
//!         | 0 or 1     | endian, u32   |
//!         +------------+---------------+---------...
//! ```

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::export::client::MAX_ANSWER;

const PREFIX: usize = 5;

/// How an answer may be compressed. grpc-go answers in the request's own compression, whatever is offered.
pub(super) const OFFERED: &str = "identity,gzip,zstd";

/// The largest window of a zstd answer, as a power of two: 8 MiB (RFC 9659, section 3).
const ZSTD_WINDOW_LOG: u32 = 23;

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
        (1, Some("gzip")) => unpack(MultiGzDecoder::new(message)).ok()?,
        (1, Some("zstd")) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(message).ok()?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).ok()?;
            unpack(decoder).ok()?
        }
        _ => None,
    }
}

/// All of it; `None` if that is more than is read of an answer.
fn unpack(reader: impl Read) -> io::Result<Option<Bytes>> {
    let mut unpacked = Vec::new();
    reader.take(MAX_ANSWER as u64 + 1).read_to_end(&mut unpacked)?;
    Ok((unpacked.len() <= MAX_ANSWER).then(|| unpacked.into()))
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

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 1).unwrap()
    }

    #[test]
    fn the_prefix_is_the_flag_and_the_length() {
        assert_eq!(prefix(true, 0x0102_0304).unwrap(), [1, 1, 2, 3, 4][..]);
        assert_eq!(prefix(false, 0).unwrap(), [0; 5][..]);
        assert_eq!(prefix(true, 1 << 32), None);
    }

    #[test]
    fn one_message_is_read_plain_and_compressed() {
        assert_eq!(message(&framed(false, b"one").into(), None).unwrap(), "one");
        assert_eq!(message(&framed(false, b"").into(), Some("gzip")).unwrap(), "");
        assert_eq!(message(&framed(true, &gzip(b"one")).into(), Some("gzip")).unwrap(), "one");
        assert_eq!(message(&framed(true, &zstd(b"one")).into(), Some("zstd")).unwrap(), "one");
        let frames = [zstd(b"on"), zstd(b"e")].concat();
        assert_eq!(message(&framed(true, &frames).into(), Some("zstd")).unwrap(), "one");
    }

    #[test]
    fn what_is_not_one_message_is_none() {
        let whole = framed(false, b"one");
        for end in 0..whole.len() {
            assert_eq!(message(&whole[..end].to_vec().into(), None), None, "cut at {end}");
        }
        let bombs = [gzip, zstd].map(|pack| framed(true, &pack(&vec![0; MAX_ANSWER + 1])));
        let wide = {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(24).unwrap();
            encoder.write_all(b"one").unwrap();
            framed(true, &encoder.finish().unwrap())
        };
        for (body, encoding) in [
            ([framed(false, b"one"), framed(false, b"two")].concat(), None),
            (framed(true, b"one"), None),
            (framed(true, b"one"), Some("gzip")),
            (framed(true, b"one"), Some("zstd")),
            (framed(true, b"one"), Some("br")),
            (wide, Some("zstd")),
            ([&[2][..], &whole[1..]].concat(), None),
            (bombs[0].clone(), Some("gzip")),
            (bombs[1].clone(), Some("zstd")),
        ] {
            assert_eq!(message(&body.into(), encoding), None);
        }
        let largest = gzip(&vec![0; MAX_ANSWER]);
        assert_eq!(message(&framed(true, &largest).into(), Some("gzip")).unwrap().len(), MAX_ANSWER);
    }
}
