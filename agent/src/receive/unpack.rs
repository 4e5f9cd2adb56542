//! Encodings of bodies: identity, gzip and zstd, each bounded in what it may unpack to.
//!
//! What a zstd body says of itself is believed only as far as it can be checked: memory is taken for the size that is
//! announced, and zstd compares it with what comes out.

use std::{cell::RefCell, io::Read};

use flate2::bufread::MultiGzDecoder;
use zstd::{bulk::Decompressor, stream, zstd_safe};

/// The largest window of a zstd frame (RFC 9659, section 3).
const MOST_WINDOW: u64 = 8 << 20;
const MOST_WINDOW_LOG: u32 = 23;
/// How much larger telemetry commonly is than packed; for bodies that don't say.
const GUESS: usize = 8;
/// The smallest gzip member: header, empty block, checksum and size (RFC 1952).
const LEAST_GZIP: usize = 20;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Why a body was not unpacked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnpackError {
    /// It is more than the given bound.
    #[error("longer than the bound")]
    Longer,
    /// It is not what its encoding says.
    #[error("the body is not {encoding}: {problem}")]
    Malformed { encoding: &'static str, problem: String },
}

impl Encoding {
    /// What can be asked for, as headers name it.
    pub(crate) const NAMES: &'static str = "identity, gzip, zstd";

    /// The encoding of a name, in any case (RFC 9110, section 8.4.1); none is identity.
    pub(crate) fn of(name: Option<&[u8]>) -> Option<Self> {
        let name = name.unwrap_or_default().trim_ascii();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if name.is_empty() || is("identity") => Some(Self::Identity),
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    /// How many bytes a body unpacks to, as it says itself, or as is likely. Not to be relied on.
    pub(crate) fn unpacked_len(self, packed: &[u8]) -> usize {
        let guess = packed.len().saturating_mul(GUESS);
        match self {
            Self::Identity => packed.len(),
            // The last member's size, modulo 2^32.
            Self::Gzip => match packed.last_chunk() {
                Some(size) if packed.len() >= LEAST_GZIP => u32::from_le_bytes(*size) as usize,
                _ => guess,
            },
            Self::Zstd => Frames::of(packed).and_then(|frames| frames.content).unwrap_or(guess),
        }
    }

    /// What a body unpacks to, at most `bound` bytes of it, and whether it can be stored as it is: one zstd frame
    /// with its content size, without dictionary, a window of at most 8 MiB, and nothing before or behind it. Several
    /// frames or members are read on (RFC 8878, section 3; RFC 1952, section 2.2).
    ///
    /// # Errors
    /// [`UnpackError`].
    pub(crate) fn unpack(self, packed: &[u8], bound: usize) -> Result<(Vec<u8>, bool), UnpackError> {
        match self {
            Self::Identity if packed.len() > bound => Err(UnpackError::Longer),
            Self::Identity => Ok((packed.to_vec(), false)),
            // Zero frames are zero bytes; the readers would miss a header.
            _ if packed.is_empty() => Ok((Vec::new(), false)),
            Self::Gzip => {
                // One more than is announced, so that the end is seen without growing.
                let room = self.unpacked_len(packed).min(bound) + 1;
                let read = read(MultiGzDecoder::new(packed), room, bound);
                read.map(|unpacked| (unpacked, false)).map_err(|error| error.of("gzip"))
            }
            Self::Zstd => unzstd(packed, bound).map_err(|error| error.of("zstd")),
        }
    }
}

enum ReadError {
    Longer,
    Malformed(String),
}

impl ReadError {
    fn of(self, encoding: &'static str) -> UnpackError {
        match self {
            Self::Longer => UnpackError::Longer,
            Self::Malformed(problem) => UnpackError::Malformed { encoding, problem },
        }
    }
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

fn read(reader: impl Read, room: usize, bound: usize) -> Result<Vec<u8>, ReadError> {
    let mut unpacked = Vec::with_capacity(room);
    reader.take(bound as u64 + 1).read_to_end(&mut unpacked)?;
    match unpacked.len() > bound {
        true => Err(ReadError::Longer),
        false => Ok(unpacked),
    }
}

thread_local! {
    /// A context is 100 KiB and more, and not made anew for each body.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn unzstd(packed: &[u8], bound: usize) -> Result<(Vec<u8>, bool), ReadError> {
    if let Some(Frames { content: Some(content), storable }) = Frames::of(packed) {
        if content > bound {
            return Err(ReadError::Longer);
        }
        let mut unpacked = Vec::with_capacity(content);
        DECOMPRESSOR.with_borrow_mut(|kept| {
            let decompressor = match kept {
                Some(kept) => kept,
                None => kept.insert(Decompressor::new()?),
            };
            decompressor.decompress_to_buffer(packed, &mut unpacked)
        })?;
        return Ok((unpacked, storable));
    }
    let mut decoder = stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(MOST_WINDOW_LOG)?;
    read(decoder, packed.len().saturating_mul(GUESS).min(bound) + 1, bound).map(|unpacked| (unpacked, false))
}

/// What a sequence of zstd frames says of itself.
struct Frames {
    /// Bytes that all of them hold; `None` where one does not say.
    content: Option<usize>,
    /// Whether it is one that can be stored as it is.
    storable: bool,
}

impl Frames {
    /// `None` where it is no such sequence.
    fn of(packed: &[u8]) -> Option<Self> {
        let (mut rest, mut count) = (packed, 0u32);
        let mut frames = Self { content: Some(0), storable: true };
        while !rest.is_empty() {
            let length = zstd_safe::find_frame_compressed_size(rest).ok().filter(|length| *length > 0)?;
            let frame = rest.get(..length)?;
            // Of a skippable frame this is 0, and it has no window.
            let size = zstd_safe::get_frame_content_size(frame).ok()?;
            let size = size.and_then(|size| usize::try_from(size).ok());
            frames.content = frames.content.zip(size).and_then(|(content, size)| content.checked_add(size));
            frames.storable &= zstd_safe::get_dict_id_from_frame(frame).is_none()
                && window(frame).is_some_and(|window| window <= MOST_WINDOW);
            rest = &rest[length..];
            count += 1;
        }
        frames.storable &= count == 1 && frames.content.is_some();
        Some(frames)
    }
}

/// The window that a frame asks for, bytes (RFC 8878, section 3.1.1.1); `None` where it is no frame of data.
fn window(frame: &[u8]) -> Option<u64> {
    let rest = frame.strip_prefix(&zstd_safe::MAGICNUMBER.to_le_bytes())?;
    if rest.first()? & 0x20 != 0 {
        // Single segment: the window is the content.
        return zstd_safe::get_frame_content_size(frame).ok()?;
    }
    let (exponent, mantissa) = (rest.get(1)? >> 3, rest.get(1)? & 7);
    let base = 1u64 << (10 + u32::from(exponent));
    Some(base + base / 8 * u64::from(mantissa))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BOUND: usize = 1 << 20;

    fn unzstd(packed: &[u8]) -> Result<(Vec<u8>, bool), UnpackError> {
        Encoding::Zstd.unpack(packed, BOUND)
    }

    fn gunzip(packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
        Encoding::Gzip.unpack(packed, BOUND).map(|(unpacked, storable)| {
            assert!(!storable);
            unpacked
        })
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 3).unwrap()
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// A frame without content size, and a window of this logarithm.
    fn streamed(data: &[u8], window_log: u32) -> Vec<u8> {
        let mut encoder = stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Four bytes that say nothing (RFC 8878, section 3.1.2).
    const SKIPPABLE: [u8; 12] = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];

    #[test]
    fn names_are_known_in_any_case() {
        for (name, encoding) in [
            (None, Some(Encoding::Identity)),
            (Some(&b"identity"[..]), Some(Encoding::Identity)),
            (Some(b" GZip "), Some(Encoding::Gzip)),
            (Some(b"x-gzip"), Some(Encoding::Gzip)),
            (Some(b"ZSTD"), Some(Encoding::Zstd)),
            (Some(b"br"), None),
            (Some(b"gzip, zstd"), None),
        ] {
            assert_eq!(Encoding::of(name), encoding, "{name:?}");
        }
    }

    #[test]
    fn one_sound_frame_is_stored_as_it_came() {
        let payload = b"telemetry ".repeat(1000);
        assert_eq!(unzstd(&zstd(&payload)), Ok((payload, true)));
        assert_eq!(unzstd(&zstd(b"")), Ok((Vec::new(), true)));
    }

    #[test]
    fn what_is_not_one_such_frame_is_read_and_not_stored_as_it_came() {
        let payload = b"telemetry ".repeat(1000);
        let frame = zstd(&payload);
        assert_eq!(unzstd(&frame.repeat(2)), Ok((payload.repeat(2), false)));
        assert_eq!(unzstd(&streamed(&payload, 19)), Ok((payload.clone(), false)));
        assert_eq!(unzstd(&[streamed(&payload, 19), frame.clone()].concat()), Ok((payload.repeat(2), false)));
        for skipping in [[&SKIPPABLE[..], &frame].concat(), [&frame[..], &SKIPPABLE].concat()] {
            assert_eq!(unzstd(&skipping), Ok((payload.clone(), false)));
        }
        assert_eq!(unzstd(&SKIPPABLE), Ok((Vec::new(), false)));
        assert_eq!(unzstd(b""), Ok((Vec::new(), false)));
    }

    #[test]
    fn members_of_gzip_are_read_on() {
        let two = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(gunzip(&two).unwrap(), b"one two");
        assert_eq!(gunzip(b"").unwrap(), b"");
    }

    #[test]
    fn a_window_of_more_than_8_mib_is_refused_where_it_would_take_memory() {
        let payload = b"telemetry ".repeat(1000);
        assert!(unzstd(&streamed(&payload, 23)).is_ok());
        assert!(matches!(unzstd(&streamed(&payload, 24)), Err(UnpackError::Malformed { .. })));
        let head = |descriptor: u8| [0x28, 0xb5, 0x2f, 0xfd, 0x00, descriptor];
        assert_eq!(window(&head(13 << 3)), Some(MOST_WINDOW));
        assert_eq!(window(&head((13 << 3) | 1)), Some(MOST_WINDOW + (1 << 20)));
        assert_eq!(window(&head(0)[..4]), None);
        assert_eq!(window(&SKIPPABLE), None);
    }

    #[test]
    fn a_frame_that_needs_a_dictionary_is_refused() {
        // One segment, dictionary 5, one byte of content, one raw block that is the last (RFC 8878, section 3.1.1).
        let frame = |descriptor: u8, dictionary: &[u8]| {
            [&zstd_safe::MAGICNUMBER.to_le_bytes(), &[descriptor][..], dictionary, &[1, 9, 0, 0, b'x']]
                .concat()
        };
        assert_eq!(unzstd(&frame(0x20, &[])), Ok((b"x".to_vec(), true)));
        let frame = frame(0x21, &[5]);
        assert!(matches!(unzstd(&frame), Err(UnpackError::Malformed { .. })));
    }

    #[test]
    fn bombs_end_at_the_bound() {
        let bomb = vec![0u8; 64 << 20];
        for (encoding, packed) in [
            (Encoding::Zstd, zstd(&bomb)),
            (Encoding::Zstd, streamed(&bomb, 19)),
            (Encoding::Zstd, zstd(&bomb[..BOUND / 2 + 1]).repeat(2)),
            (Encoding::Zstd, streamed(&bomb[..BOUND / 2 + 1], 19).repeat(2)),
            (Encoding::Gzip, gzip(&bomb)),
            (Encoding::Gzip, gzip(&bomb[..BOUND / 2 + 1]).repeat(2)),
        ] {
            assert_eq!(encoding.unpack(&packed, BOUND), Err(UnpackError::Longer));
        }
        for (encoding, packed) in
            [(Encoding::Zstd, zstd(&bomb[..BOUND])), (Encoding::Gzip, gzip(&bomb[..BOUND]))]
        {
            assert_eq!(encoding.unpack(&packed, BOUND).unwrap().0.len(), BOUND);
            assert_eq!(encoding.unpack(&packed, BOUND - 1), Err(UnpackError::Longer));
        }
    }

    #[test]
    fn truncated_and_altered_bodies_are_refused() {
        let payload: Vec<u8> =
            (0..2000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for (encoding, packed) in [
            (Encoding::Zstd, zstd(&payload)),
            (Encoding::Zstd, streamed(&payload, 19)),
            (Encoding::Gzip, gzip(&payload)),
        ] {
            for length in 1..packed.len() {
                let cut = encoding.unpack(&packed[..length], BOUND);
                assert!(matches!(cut, Err(UnpackError::Malformed { .. })), "{encoding:?} cut at {length}");
            }
            let trailing = encoding.unpack(&[&packed[..], b"rest"].concat(), BOUND);
            assert!(trailing.is_err(), "{encoding:?} with something behind it");
            assert!(encoding.unpack(b"nothing of that kind", BOUND).is_err(), "{encoding:?}");
        }
        // A content size that is not true.
        let mut lying = zstd(&payload);
        let size = payload.len() as u16 - 256;
        let at = lying.windows(2).position(|two| two == size.to_le_bytes()).expect("the content size");
        lying[at] ^= 1;
        assert!(matches!(unzstd(&lying), Err(UnpackError::Malformed { .. })));
    }

    #[test]
    fn a_body_says_how_long_it_is_unpacked() {
        let payload = b"telemetry ".repeat(1000);
        assert_eq!(Encoding::Identity.unpacked_len(&payload), payload.len());
        assert_eq!(Encoding::Gzip.unpacked_len(&gzip(&payload)), payload.len());
        assert_eq!(Encoding::Zstd.unpacked_len(&zstd(&payload).repeat(3)), 3 * payload.len());
        let silent = streamed(&payload, 19);
        assert_eq!(Encoding::Zstd.unpacked_len(&silent), silent.len() * GUESS);
        assert_eq!(Encoding::Zstd.unpacked_len(b"what is this"), 12 * GUESS);
        assert_eq!(Encoding::Gzip.unpacked_len(b"short"), 5 * GUESS);
    }
}
