//! Encodings of bodies: identity, gzip and zstd, each bounded in what it may unpack to.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::{GzDecoder, MultiGzDecoder};
use http::{HeaderMap, HeaderName};

/// The largest window a zstd frame may ask for, as a power of two: 8 MiB (RFC 9659, section 3).
const ZSTD_WINDOW_LOG: u32 = 23;

/// What a body is packed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// How much of a packed body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frames {
    /// All frames or members, as RFC 8878 and RFC 1952 ask.
    All,
    /// The first only, as careless receivers do; what follows is ignored.
    First,
}

/// The body could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("the encoding \"{0}\" is not known here; identity, gzip and zstd are")]
    Unknown(String),
    #[error("the body is no valid {encoding}: {source}")]
    Malformed { encoding: &'static str, source: io::Error },
    #[error("the body unpacks to more than {limit} bytes")]
    TooLarge { limit: usize },
}

impl Encoding {
    /// As `Content-Encoding` or `grpc-encoding` says, in lower case; one encoding at most.
    pub(crate) fn named(text: &str) -> Result<Self, UnpackError> {
        match text {
            "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(UnpackError::Unknown(text.to_owned())),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The body as it was before it was packed, at most `limit` bytes of it.
    pub(crate) fn unpack(self, body: &Bytes, frames: Frames, limit: usize) -> Result<Bytes, UnpackError> {
        let malformed = |source| UnpackError::Malformed { encoding: self.name(), source };
        let unpacked = match (self, frames) {
            // Zero frames are zero bytes; the gzip reader would miss a header.
            (_, _) if body.is_empty() => return Ok(Bytes::new()),
            (Self::Identity, _) => return Ok(body.clone()),
            (Self::Gzip, Frames::All) => read(MultiGzDecoder::new(&body[..]), limit),
            (Self::Gzip, Frames::First) => read(GzDecoder::new(&body[..]), limit),
            (Self::Zstd, _) => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&body[..]).map_err(malformed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(malformed)?;
                if frames == Frames::First {
                    read(decoder.single_frame(), limit)
                } else {
                    read(decoder, limit)
                }
            }
        };
        unpacked.map_err(malformed)?.ok_or(UnpackError::TooLarge { limit })
    }
}

/// What a header names as the encoding, in lower case; `identity` where there is none.
pub(crate) fn encoding_text(headers: &HeaderMap, name: HeaderName) -> String {
    let values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase())
        .collect();
    if values.is_empty() { "identity".to_owned() } else { values.join(", ") }
}

/// How many zstd frames a body holds, which was unpacked already.
pub(crate) fn zstd_frames(body: &[u8]) -> u64 {
    let (mut left, mut frames) = (body, 0);
    while !left.is_empty() {
        match zstd::zstd_safe::find_frame_compressed_size(left) {
            Ok(length @ 1..) if length <= left.len() => left = &left[length..],
            // Of what is ignored on command, nothing is known.
            _ => break,
        }
        frames += 1;
    }
    frames
}

/// All of `reader`; `None` if that is more than `limit` bytes.
fn read(reader: impl Read, limit: usize) -> io::Result<Option<Bytes>> {
    let mut unpacked = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut unpacked)?;
    Ok((unpacked.len() <= limit).then(|| unpacked.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 1).unwrap()
    }

    #[test]
    fn frames_and_members_are_read_one_after_the_other() {
        for (encoding, pack) in [(Encoding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Encoding::Zstd, zstd)] {
            let body = Bytes::from([pack(b"one "), pack(b""), pack(b"two")].concat());
            assert_eq!(encoding.unpack(&body, Frames::All, 7).unwrap(), "one two");
            assert_eq!(encoding.unpack(&body, Frames::First, 7).unwrap(), "one ");
        }
        assert_eq!(zstd_frames(&[zstd(b"one "), zstd(b""), zstd(b"two")].concat()), 3);
        assert_eq!(zstd_frames(&[zstd(b"one "), b"junk".to_vec()].concat()), 1);
    }

    #[test]
    fn the_limit_holds_over_all_frames_together() {
        for (encoding, pack) in [(Encoding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Encoding::Zstd, zstd)] {
            let body = Bytes::from([pack(&[7; 600]), pack(&[7; 600])].concat());
            assert!(encoding.unpack(&body, Frames::All, 1200).is_ok());
            let error = encoding.unpack(&body, Frames::All, 1199).unwrap_err();
            assert!(matches!(error, UnpackError::TooLarge { limit: 1199 }), "{error}");
        }
    }

    #[test]
    fn a_body_cut_at_any_byte_is_malformed() {
        for (encoding, pack) in [(Encoding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Encoding::Zstd, zstd)] {
            let whole = pack(b"whimbrel whimbrel whimbrel");
            for end in 1..whole.len() {
                let cut = Bytes::copy_from_slice(&whole[..end]);
                let error = encoding.unpack(&cut, Frames::All, 1000).unwrap_err();
                assert!(matches!(error, UnpackError::Malformed { .. }), "{} cut at {end}", encoding.name());
            }
        }
    }

    #[test]
    fn what_follows_the_last_frame_is_not_ignored() {
        for (encoding, pack) in [(Encoding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Encoding::Zstd, zstd)] {
            let body = Bytes::from([pack(b"whimbrel"), b"junk".to_vec()].concat());
            assert!(encoding.unpack(&body, Frames::All, 1000).is_err(), "{}", encoding.name());
        }
    }

    #[test]
    fn a_window_beyond_8_mib_is_refused() {
        let pack = |log| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&[1; 100]).unwrap();
            Bytes::from(encoder.finish().unwrap())
        };
        assert!(Encoding::Zstd.unpack(&pack(23), Frames::All, 1000).is_ok());
        assert!(Encoding::Zstd.unpack(&pack(24), Frames::All, 1000).is_err());
    }
}
