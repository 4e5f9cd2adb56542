//! Bodies of HTTP requests: read and unpacked within bounds.
//!
//! A body waits for room in the receiver's `limits.memory` before it is read, and again before it is unpacked; neither
//! form is longer than `limits.request`. It must have come in within `limits.request_time`, and never be slower than a
//! least pace, so that who announces much and sends nothing does not keep the room from others.
//!
//! Who waits for more room while holding some could wait for another that does the same: such waits are short, and end
//! with "try again".

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

pub(crate) use super::unpack::Encoding;
use super::unpack::UnpackError;
use crate::config::ReceiverLimits;

/// Bytes a permit stands for.
const UNIT: usize = 1 << 10;
/// How much room is asked for at a time for a body that does not say how long it is.
const STEP: usize = 256 << 10;
/// How long a body waits for room.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The least pace of a body, bytes a second.
const LEAST_PACE: f64 = 1024.0;
/// Over how long the pace is looked at; less, where `request_time` is short.
const PACE_WINDOW: Duration = Duration::from_secs(10);
/// What is read and thrown away of a refused body, at most, so that a sender who writes all of it before it reads finds
/// the answer and no broken connection.
const DISCARDED: usize = 32 << 20;
/// And for how long.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Longer than it may be.
    #[error("the body is longer than {limit} bytes{}", if *.unpacked { ", unpacked" } else { "" })]
    TooLarge { limit: usize, unpacked: bool },
    /// Too much is being received at once: try again.
    #[error("too much is being received at once; try again")]
    NoRoom,
    /// It took too long.
    #[error("the body did not arrive within {0:?}")]
    Late(Duration),
    /// It came too slowly.
    #[error("the body came at less than {LEAST_PACE} bytes a second")]
    Slow,
    /// The sender broke off.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// It is not what its encoding says.
    #[error(transparent)]
    Malformed(UnpackError),
}

impl BodyError {
    /// Where it is counted.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NoRoom => "overloaded",
            Self::Late(_) | Self::Slow => "slow",
            Self::Broken(_) => "broken",
            Self::Malformed(_) => "encoding",
        }
    }
}

/// Room for bodies, over all connections of a receiver. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    total: u32,
    limit: usize,
    time: Duration,
}

/// A body and the room that it takes until it is dropped.
pub(crate) struct Held {
    /// What goes before the body, as long as was asked for, or shorter where there was less.
    pub(crate) head: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(crate) fn new(limits: &ReceiverLimits) -> Self {
        let total = units(limits.memory).clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            units: Arc::new(Semaphore::new(total as usize)),
            total,
            limit: limits.request,
            time: limits.request_time,
        }
    }

    /// Reads a body. The first `head` bytes are kept apart; `ahead` says, where no header does, how many follow them.
    ///
    /// # Errors
    /// [`BodyError`]; over HTTP/1.1 what is left of it may have to be [`discard`]ed.
    pub(crate) async fn read(
        &self,
        body: &mut Incoming,
        head: usize,
        ahead: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Held, BodyError> {
        match timeout(self.time, self.read_all(body, head, ahead)).await {
            Ok(read) => read,
            Err(_) => Err(BodyError::Late(self.time)),
        }
    }

    async fn read_all(
        &self,
        body: &mut Incoming,
        head: usize,
        ahead: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Held, BodyError> {
        let too_large = BodyError::TooLarge { limit: self.limit, unpacked: false };
        let mut held = Held { head: Vec::new(), bytes: Vec::new(), room: None };
        let exact = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let mut known = exact.map(|length| length.saturating_sub(head));
        let mut reserved = 0;
        let mut pace = Pace::new(self.time);
        loop {
            if known.is_some_and(|length| length > self.limit) {
                return Err(too_large);
            }
            if let Some(length) = known.filter(|length| *length > reserved) {
                self.take(&mut held, length).await?;
                held.bytes.reserve_exact(length - held.bytes.len());
                reserved = length;
                pace = Pace::new(self.time);
            }
            let Some(mut data) = pace.next(body).await? else { return Ok(held) };
            if held.head.len() < head {
                let part = data.split_to(data.len().min(head - held.head.len()));
                held.head.extend_from_slice(&part);
                if held.head.len() == head && known.is_none() {
                    known = ahead(&held.head);
                }
                if data.is_empty() {
                    continue;
                }
            }
            let length = held.bytes.len() + data.len();
            if length > self.limit {
                return Err(too_large);
            }
            if length > reserved {
                // It does not say how long it is, or, as gRPC may, not truly; whoever reads the head will see that.
                let wanted = known.filter(|known| (length..=self.limit).contains(known));
                reserved = wanted.unwrap_or((length + STEP).min(self.limit));
                self.take(&mut held, reserved).await?;
                held.bytes.reserve_exact(reserved - held.bytes.len());
                pace = Pace::new(self.time);
            }
            held.bytes.extend_from_slice(&data);
        }
    }

    /// Waits until a body has room for so many bytes in all; what it may have at most where they are more than there is.
    ///
    /// # Errors
    /// [`BodyError::NoRoom`].
    async fn take(&self, held: &mut Held, bytes: usize) -> Result<(), BodyError> {
        let more = units(bytes).min(self.total).saturating_sub(held.units());
        let room = timeout(LONGEST_WAIT, self.units.clone().acquire_many_owned(more)).await;
        let Ok(Ok(room)) = room else { return Err(BodyError::NoRoom) };
        match &mut held.room {
            Some(held) => held.merge(room),
            none => *none = Some(room),
        }
        Ok(())
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
    ) -> Result<(Held, Option<Vec<u8>>), BodyError> {
        if encoding == Encoding::Identity {
            return Ok((held, None));
        }
        let packed = held.bytes.len();
        let mut bound = encoding.unpacked_len(&held.bytes).clamp(packed.min(self.limit), self.limit);
        loop {
            self.take(&mut held, packed + bound).await?;
            match encoding.unpack(&held.bytes, bound) {
                Ok((unpacked, storable)) => {
                    let packed = std::mem::replace(&mut held.bytes, unpacked);
                    let frame = storable.then_some(packed);
                    held.keep(held.bytes.len() + frame.as_ref().map_or(0, Vec::len));
                    return Ok((held, frame));
                }
                // It did not say how long it would be, or not truly: again with more. All tries together read at most
                // a third more than the last.
                Err(UnpackError::Longer) if bound < self.limit => {
                    bound = bound.saturating_mul(4).min(self.limit)
                }
                Err(UnpackError::Longer) => {
                    return Err(BodyError::TooLarge { limit: self.limit, unpacked: true });
                }
                Err(malformed) => return Err(BodyError::Malformed(malformed)),
            }
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Held {
    fn units(&self) -> u32 {
        self.room.as_ref().map_or(0, |room| u32::try_from(room.num_permits()).unwrap_or(u32::MAX))
    }

    /// Gives back the room beyond so many bytes.
    fn keep(&mut self, bytes: usize) {
        let surplus = self.units().saturating_sub(units(bytes));
        if let Some(room) = &mut self.room {
            drop(room.split(surplus as usize));
        }
    }
}

/// How fast a body comes.
struct Pace {
    window: Duration,
    until: Instant,
    bytes: usize,
}

impl Pace {
    fn new(time: Duration) -> Self {
        let window = PACE_WINDOW.min(time / 3);
        Self { window, until: Instant::now() + window, bytes: 0 }
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
        loop {
            let Ok(frame) = timeout_at(self.until, body.frame()).await else {
                if (self.bytes as f64) < self.window.as_secs_f64() * LEAST_PACE {
                    return Err(BodyError::Slow);
                }
                (self.until, self.bytes) = (Instant::now() + self.window, 0);
                continue;
            };
            let frame = frame.transpose().map_err(|error| BodyError::Broken(error.to_string()))?;
            match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    self.bytes += data.len();
                    return Ok(Some(data));
                }
                // Trailers say nothing to us.
                Some(Err(_)) => {}
                None => return Ok(None),
            }
        }
    }
}

/// Reads on for a while, and drops what it reads. For HTTP/1.1, where a sender that still writes when the connection is
/// closed may never see the answer; a stream of HTTP/2 is answered and ended beside the others.
pub(crate) async fn discard(body: &mut Incoming) {
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
    let _ = timeout(DISCARD_TIME, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: usize = 1 << 20;

    fn room(memory: usize) -> Room {
        Room::new(&ReceiverLimits { request: REQUEST, memory, ..ReceiverLimits::of("otlp") })
    }

    /// A body that is there, with the room it was read into.
    async fn held(room: &Room, bytes: Vec<u8>) -> Held {
        let mut held = Held { head: Vec::new(), bytes, room: None };
        let length = held.bytes.len();
        room.take(&mut held, length).await.unwrap();
        held
    }

    fn streamed(data: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(data, 1).unwrap()
    }

    #[tokio::test]
    async fn a_body_takes_the_room_of_what_it_holds_and_gives_it_back() {
        let room = room(2 * REQUEST);
        let payload = b"telemetry ".repeat(50_000);
        let frame = zstd::bulk::compress(&payload, 1).unwrap();
        let body = held(&room, frame.clone()).await;
        let (body, kept) = room.unpack(body, Encoding::Zstd).await.unwrap();
        assert_eq!((&body.bytes, kept.as_ref()), (&payload, Some(&frame)));
        assert_eq!(body.units(), units(payload.len() + frame.len()));
        drop(body);
        let body = held(&room, streamed(&payload)).await;
        let (body, kept) = room.unpack(body, Encoding::Zstd).await.unwrap();
        assert_eq!((&body.bytes, kept), (&payload, None), "it unpacks to more than was guessed");
        assert_eq!(body.units(), units(payload.len()));
        drop(body);
        assert_eq!(room.units.available_permits(), room.total as usize);
    }

    #[tokio::test]
    async fn the_largest_request_is_taken_however_it_is_packed_even_if_packed_and_unpacked_are_more_than_there_is()
     {
        let room = room(REQUEST);
        let noise: Vec<u8> =
            (0..REQUEST as u32 / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for packed in [zstd::bulk::compress(&noise, 1).unwrap(), streamed(&noise)] {
            let body = held(&room, packed).await;
            let (body, _) = room.unpack(body, Encoding::Zstd).await.unwrap();
            assert_eq!(body.bytes.len(), REQUEST);
        }
    }

    #[tokio::test]
    async fn nothing_is_unpacked_without_room_and_who_waits_in_vain_is_told_to_try_again() {
        let room = room(REQUEST);
        let other = held(&room, vec![0; REQUEST / 2]).await;
        let packed = zstd::bulk::compress(&vec![0; REQUEST], 1).unwrap();
        let body = held(&room, packed).await;
        assert!(matches!(room.unpack(body, Encoding::Zstd).await, Err(BodyError::NoRoom)));
        drop(other);
        assert_eq!(room.units.available_permits(), room.total as usize);
    }

    #[tokio::test]
    async fn bombs_end_at_the_limit() {
        let room = room(2 * REQUEST);
        let bomb = vec![0u8; 64 << 20];
        for packed in [zstd::bulk::compress(&bomb, 1).unwrap(), streamed(&bomb)] {
            let body = held(&room, packed).await;
            let refused = room.unpack(body, Encoding::Zstd).await.map(drop);
            assert!(
                matches!(refused, Err(BodyError::TooLarge { limit: REQUEST, unpacked: true })),
                "{refused:?}"
            );
        }
    }
}
