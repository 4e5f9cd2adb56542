//! Bodies of HTTP requests: read and unpacked within bounds.
//!
//! A body waits for room in the receiver's `limits.memory` before it is read, must have come in within
//! `limits.request_time`, and neither travels as nor unpacks to more than `limits.request`.

use std::{io::Read, sync::Arc, time::Duration};

use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zstd::zstd_safe;

use crate::config::ReceiverLimits;

/// Bytes a permit stands for.
const UNIT: usize = 1 << 10;
/// How much room is asked for at a time for a body that does not say how long it is.
const STEP: usize = 256 << 10;
/// How long a body waits for room.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// What is read and thrown away of a refused body, so that its sender finds the answer and no broken connection.
const DISCARDED: usize = 64 << 20;
/// The largest window of a zstd frame (RFC 9659, section 3).
const MOST_WINDOW: u64 = 8 << 20;
const MOST_WINDOW_LOG: u32 = 23;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// What can be asked for, as headers name it.
    pub(crate) const NAMES: &'static str = "identity, gzip, zstd";

    /// The encoding of a name; none is identity.
    pub(crate) fn of(name: Option<&[u8]>) -> Option<Self> {
        match name.map(<[u8]>::trim_ascii) {
            None | Some(b"" | b"identity") => Some(Self::Identity),
            Some(b"gzip" | b"x-gzip") => Some(Self::Gzip),
            Some(b"zstd") => Some(Self::Zstd),
            Some(_) => None,
        }
    }
}

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Longer than it may be.
    #[error("the body is longer than {limit} bytes{}", if *.unpacked { ", unpacked" } else { "" })]
    TooLarge { limit: usize, unpacked: bool },
    /// Too much is being received at once: try again.
    #[error("too much is being received at once; try again")]
    NoRoom,
    /// It came too slowly.
    #[error("the body did not arrive within {0:?}")]
    Slow(Duration),
    /// The sender broke off.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// It is not what its encoding says.
    #[error("the body is not {encoding}: {problem}")]
    Malformed { encoding: &'static str, problem: String },
}

impl BodyError {
    /// Where it is counted.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NoRoom => "overloaded",
            Self::Slow(_) => "slow",
            Self::Broken(_) => "broken",
            Self::Malformed { .. } => "encoding",
        }
    }
}

/// Room for bodies, over all connections of a receiver. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    limit: usize,
    time: Duration,
}

/// A body and the room that it takes until it is dropped.
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    room: Vec<OwnedSemaphorePermit>,
}

impl Room {
    pub(crate) fn new(limits: &ReceiverLimits) -> Self {
        Self {
            units: Arc::new(Semaphore::new(limits.memory / UNIT)),
            limit: limits.request,
            time: limits.request_time,
        }
    }

    /// The longest request, bytes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Reads a body. `ahead`: how many bytes it is known to be from its first ones, where no header says so; `more`
    /// than the limit that framing may add.
    ///
    /// # Errors
    /// [`BodyError`]; a part of what is left is read and thrown away.
    pub(crate) async fn read(
        &self,
        body: Incoming,
        more: usize,
        ahead: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Held, BodyError> {
        match tokio::time::timeout(self.time, self.read_all(body, more, ahead)).await {
            Ok(read) => read,
            Err(_) => Err(BodyError::Slow(self.time)),
        }
    }

    async fn read_all(
        &self,
        mut body: Incoming,
        more: usize,
        ahead: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Held, BodyError> {
        let most = self.limit + more;
        let too_large = BodyError::TooLarge { limit: self.limit, unpacked: false };
        let exact = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if exact.is_some_and(|length| length > most) {
            discard(body).await;
            return Err(too_large);
        }
        let mut held = Held { bytes: Vec::new(), room: Vec::new() };
        let mut known = exact;
        let mut reserved = 0;
        if let Some(length) = exact {
            held.room.push(self.take(length).await?);
            held.bytes.reserve_exact(length);
            reserved = length;
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = held.bytes.len() + data.len();
            if length > most {
                discard(body).await;
                return Err(too_large);
            }
            if length > reserved {
                // The first bytes of a gRPC message say how many follow.
                if known.is_none() {
                    known = if held.bytes.is_empty() { ahead(&data) } else { None };
                }
                let wanted =
                    known.filter(|known| *known >= length).unwrap_or(length + STEP).min(most.max(length));
                held.room.push(self.take(wanted - reserved).await?);
                held.bytes.reserve_exact(wanted - held.bytes.len());
                reserved = wanted;
            }
            held.bytes.extend_from_slice(&data);
        }
        Ok(held)
    }

    /// Waits for room.
    ///
    /// # Errors
    /// [`BodyError::NoRoom`].
    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = self.units.clone().acquire_many_owned(units);
        match tokio::time::timeout(LONGEST_WAIT, room).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(BodyError::NoRoom),
        }
    }

    /// Unpacks a body, within the limit and the room there is. What comes back as the frame is the body itself, where
    /// it is one that can be stored as it is.
    ///
    /// # Errors
    /// [`BodyError`].
    pub(crate) async fn unpack(
        &self,
        mut held: Held,
        encoding: Encoding,
        skip: usize,
    ) -> Result<(Held, Option<Vec<u8>>), BodyError> {
        match encoding {
            Encoding::Identity => {
                held.bytes.drain(..skip);
                Ok((held, None))
            }
            Encoding::Gzip => {
                let unpacked = gunzip(&held.bytes[skip..], self.limit)?;
                held.room.push(self.take(unpacked.len().saturating_sub(held.bytes.len())).await?);
                held.bytes = unpacked;
                Ok((held, None))
            }
            Encoding::Zstd => {
                let (unpacked, whole) = unzstd(&held.bytes[skip..], self.limit)?;
                held.room.push(self.take(unpacked.len()).await?);
                let mut frame = std::mem::replace(&mut held.bytes, unpacked);
                frame.drain(..skip);
                Ok((held, whole.then_some(frame)))
            }
        }
    }
}

/// Reads on for a while, and drops what it reads.
pub(crate) async fn discard(mut body: Incoming) {
    let rest = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > DISCARDED {
                break;
            }
        }
    };
    // Whether it ended, broke or took too long: the answer is the same.
    let _ = tokio::time::timeout(LONGEST_WAIT, rest).await;
}

fn gunzip(packed: &[u8], limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut unpacked = Vec::with_capacity((packed.len() * 4).min(limit));
    let read = MultiGzDecoder::new(packed).take(limit as u64 + 1).read_to_end(&mut unpacked);
    match read {
        Err(error) => Err(BodyError::Malformed { encoding: "gzip", problem: error.to_string() }),
        Ok(_) if unpacked.len() > limit => Err(BodyError::TooLarge { limit, unpacked: true }),
        Ok(_) => Ok(unpacked),
    }
}

/// What frames hold, and whether it is one that can be stored as it is: with its content size, without dictionary, a
/// window of at most 8 MiB, and nothing behind it.
fn unzstd(packed: &[u8], limit: usize) -> Result<(Vec<u8>, bool), BodyError> {
    let malformed = |problem: String| BodyError::Malformed { encoding: "zstd", problem };
    if let Some(size) = storable(packed) {
        if size > limit {
            return Err(BodyError::TooLarge { limit, unpacked: true });
        }
        let mut unpacked = Vec::with_capacity(size);
        let mut decoder = zstd::bulk::Decompressor::new().map_err(|e| malformed(e.to_string()))?;
        decoder.decompress_to_buffer(packed, &mut unpacked).map_err(|e| malformed(e.to_string()))?;
        // zstd itself has compared it with the content size.
        return Ok((unpacked, true));
    }
    let mut unpacked = Vec::new();
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(packed).map_err(|e| malformed(e.to_string()))?;
    decoder.window_log_max(MOST_WINDOW_LOG).map_err(|e| malformed(e.to_string()))?;
    let read = decoder.take(limit as u64 + 1).read_to_end(&mut unpacked);
    match read {
        Err(error) => Err(malformed(error.to_string())),
        Ok(_) if unpacked.len() > limit => Err(BodyError::TooLarge { limit, unpacked: true }),
        Ok(_) => Ok((unpacked, false)),
    }
}

/// The content size of a body that can be stored as it is.
fn storable(packed: &[u8]) -> Option<usize> {
    let size = zstd_safe::get_frame_content_size(packed).ok()??;
    let whole = zstd_safe::find_frame_compressed_size(packed).ok()? == packed.len();
    let plain = zstd_safe::get_dict_id_from_frame(packed).is_none();
    (whole && plain && window(packed)? <= MOST_WINDOW).then_some(usize::try_from(size).ok()?)
}

/// The window that a frame asks for, bytes (RFC 8878, section 3.1.1.1).
fn window(frame: &[u8]) -> Option<u64> {
    let descriptor = *frame.get(4)?;
    if descriptor & 0x20 != 0 {
        // Single segment: the window is the content.
        return zstd_safe::get_frame_content_size(frame).ok()?;
    }
    let (exponent, mantissa) = (frame.get(5)? >> 3, frame.get(5)? & 7);
    let base = 1u64 << (10 + u32::from(exponent));
    Some(base + base / 8 * u64::from(mantissa))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn unpacked(packed: &[u8]) -> Result<(Vec<u8>, bool), BodyError> {
        unzstd(packed, LIMIT)
    }

    #[test]
    fn one_sound_frame_is_stored_as_it_came() {
        let payload = b"telemetry ".repeat(1000);
        let frame = zstd::bulk::compress(&payload, 3).unwrap();
        assert_eq!(unpacked(&frame).unwrap(), (payload.clone(), true));
        let empty = zstd::bulk::compress(b"", 3).unwrap();
        assert_eq!(unpacked(&empty).unwrap(), (Vec::new(), true));
    }

    #[test]
    fn what_is_not_one_such_frame_is_read_and_not_stored_as_it_came() {
        let payload = b"telemetry ".repeat(1000);
        let frame = zstd::bulk::compress(&payload, 3).unwrap();
        let two = [frame.clone(), frame.clone()].concat();
        assert_eq!(unpacked(&two).unwrap(), (payload.repeat(2), false));
        let streamed = zstd::stream::encode_all(&payload[..], 1).unwrap();
        assert_eq!(unpacked(&streamed).unwrap(), (payload.clone(), false));
        // A skippable frame of 4 bytes (RFC 8878, section 3.1.2).
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &frame].concat();
        assert_eq!(unpacked(&skippable).unwrap(), (payload, false));
    }

    #[test]
    fn a_window_of_more_than_8_mib_is_not_stored_as_it_came() {
        let payload = vec![7u8; 9 << 20];
        let frame = zstd::bulk::compress(&payload, 1).unwrap();
        assert!(storable(&frame).is_none_or(|_| window(&frame).unwrap() <= MOST_WINDOW));
        assert_eq!(window(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, (13 << 3) | 1]), Some((8 << 20) + (1 << 20)));
        assert_eq!(window(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3]), Some(8 << 20));
        assert_eq!(window(&[0x28, 0xb5]), None);
    }

    #[test]
    fn bombs_end_at_the_limit() {
        let bomb = vec![0u8; 200 << 20];
        let frame = zstd::bulk::compress(&bomb, 1).unwrap();
        let streamed = zstd::stream::encode_all(&bomb[..], 1).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &bomb).unwrap();
        let gzip = gzip.finish().unwrap();
        for result in
            [unpacked(&frame).map(drop), unpacked(&streamed).map(drop), gunzip(&gzip, LIMIT).map(drop)]
        {
            assert!(
                matches!(result, Err(BodyError::TooLarge { limit: LIMIT, unpacked: true })),
                "{result:?}"
            );
        }
    }

    #[test]
    fn truncated_and_altered_bodies_are_refused() {
        let payload: Vec<u8> =
            (0..5000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let frame = zstd::bulk::compress(&payload, 1).unwrap();
        for length in 1..frame.len() {
            assert!(unpacked(&frame[..length]).is_err(), "{length} of {}", frame.len());
        }
        assert!(unpacked(b"no zstd at all").is_err());
        assert!(gunzip(b"no gzip at all", LIMIT).is_err());
        assert!(unpacked(&[&frame[..], b"rest"].concat()).is_err(), "trailing bytes");
    }
}
