//! The way of one request, whichever protocol it came by.
//!
//! headers -> body (bounded) -> unpack (bounded) -> decode -> store -> answer, and between any two of these
//! whatever rules of `/control` say. Paths, framing and statuses are `http`'s and `grpc`'s. Nothing is held in memory for a request that waits for its turn but
//! what `Limits::bodies` allows.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{AUTHORIZATION, CONTENT_ENCODING},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, watch};

use super::{
    answer::Failure,
    batch::Batch,
    decode::{DecodeError, Format},
    encoding::{Encoding, Frames, UnpackError, encoding_text, zstd_frames},
    frame::{self, FrameError},
    key::Key,
};
use crate::{
    faults::{Book, Facts, Refusal, Stage, Terminal, Verdict},
    figures::Figures,
    listen::Closed,
    options::Limits,
    signal::Signal,
    store::{Arrival, Store, StoreError, Stored},
};

/// Bodies that are unpacked and decoded at one time: more would not be faster and would need memory.
const DECODERS: usize = 4;
/// Bodies are admitted in units of this many bytes.
const ADMISSION_UNIT: usize = 1024;
/// How long a request waits to be admitted before it is told to come back.
const ADMISSION_TIME: Duration = Duration::from_secs(10);
/// The longest that a request is left without an answer on command.
const LONGEST_HANG: Duration = Duration::from_secs(600);

/// Everything a request needs on its way.
#[derive(Debug)]
pub(crate) struct Receiver {
    limits: Limits,
    store: Store,
    faults: Arc<Mutex<Book>>,
    figures: Arc<Mutex<Figures>>,
    /// Changes when requests that hang on command are let go.
    released: watch::Receiver<u64>,
    /// Turns true when the stub stops.
    pub(super) stopped: watch::Receiver<bool>,
    bodies: Arc<Semaphore>,
    bodies_total: u32,
    decoders: Semaphore,
}

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

impl Protocol {
    /// As `/api/requests` shows it.
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }

    /// The header that names the body's encoding.
    fn encoding_header(self) -> HeaderName {
        match self {
            Self::Http => CONTENT_ENCODING,
            Self::Grpc => HeaderName::from_static("grpc-encoding"),
        }
    }

    /// Bytes of a body beside its message.
    fn framing(self) -> usize {
        match self {
            Self::Http => 0,
            Self::Grpc => frame::PREFIX,
        }
    }
}

/// How many items are not kept, and why; `None`: all are.
pub(super) type Rejected = Option<(u64, String)>;

/// What is to be said to a request that ended before its end.
pub(super) enum Told {
    Failed(Failure),
    Refused(Refusal),
}

impl Told {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Failed(failure) => failure.status,
            Self::Refused(refusal) => refusal.status,
        }
    }
}

/// Why a request ended before its end.
pub(super) enum Ended {
    Failed(Failure),
    ByRule(Terminal),
}

impl<T: Into<Failure>> From<T> for Ended {
    fn from(failure: T) -> Self {
        Self::Failed(failure.into())
    }
}

impl Receiver {
    pub(crate) fn new(
        limits: Limits,
        store: Store,
        faults: Arc<Mutex<Book>>,
        figures: Arc<Mutex<Figures>>,
        released: watch::Receiver<u64>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let units = (limits.bodies / ADMISSION_UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self {
            limits,
            store,
            faults,
            figures,
            released,
            stopped,
            bodies: Arc::new(Semaphore::new(units)),
            bodies_total: units as u32,
            decoders: Semaphore::new(DECODERS),
        }
    }

    /// One request on its way: what it says that it does not store (with the reason), or why it ended before its end.
    ///
    /// `format` is what the body must be; a request that the protocol itself refuses comes with its failure.
    pub(super) async fn receive(
        &self,
        protocol: Protocol,
        signal: Signal,
        format: Result<Format, Failure>,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Rejected, Ended> {
        let encoding_text = encoding_text(headers, protocol.encoding_header());
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let facts = Facts { signal, encoding: &encoding_text, authorization, batch: None };

        let checked = async {
            let format = format?;
            self.ask(Stage::Headers, &facts).await?;
            let encoding = Encoding::named(&encoding_text)?;
            let key = Key::from_headers(headers, signal)
                .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error))?;
            Ok::<_, Ended>((format, encoding, key))
        };
        let (format, encoding, key) = match checked.await {
            Ok(checked) => checked,
            Err(ended @ Ended::ByRule(Terminal::Close | Terminal::Hang)) => return Err(ended),
            Err(ended) => {
                // A client that is still sending would find the connection reset instead of the answer.
                self.discard(body).await;
                return Err(ended);
            }
        };

        let admitted = self.admit(&body).await?;
        let body = self.read(body, self.limits.body + protocol.framing()).await?;
        let arrived_ns = now_ns();
        let verdict = self.ask(Stage::Body, &facts).await?;
        let (encoding, body) = match protocol {
            Protocol::Http => (encoding, body),
            Protocol::Grpc => frame::message(&body, encoding)?,
        };
        let frames = if verdict.first_frame_only { Frames::First } else { Frames::All };
        let wire_bytes = body.len() as u64;
        let (batch, zstd_frames) = self.decode(signal, format, encoding, frames, body).await?;
        drop(admitted);

        let decoded = Facts { batch: Some(&batch), ..facts };
        let (reject, message) = self.ask(Stage::Decoded, &decoded).await?.partial.unwrap_or_default();
        let latencies = batch.latencies(arrived_ns);
        let arrival = Arrival {
            batch,
            key,
            protocol: protocol.name(),
            encoding: encoding.name(),
            zstd_frames,
            wire_bytes,
            arrived_ns,
            reject,
            message,
        };
        let rejected = match self.store.append(arrival).await? {
            Stored::New { rejected } => {
                lock(&self.figures).arrived(signal, &latencies, Instant::now());
                rejected
            }
            Stored::Repeat { rejected } => rejected,
            Stored::Conflict { stored, given } => {
                let message = format!(
                    "the idempotency-key was used before, for a request of {stored} items; this one has {given}"
                );
                return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message).into());
            }
        };
        self.ask(Stage::Stored, &facts).await?;
        Ok(rejected)
    }

    /// Counts a request that ended before its end, under the name that its protocol has for that. What there is to
    /// answer; where that is nothing, the connection is to be closed, at once or when hanging requests are let go.
    pub(super) async fn ended(
        &self,
        signal: Signal,
        ended: Ended,
        name: impl FnOnce(&Told) -> String,
    ) -> Result<Told, Closed> {
        let told = match ended {
            Ended::Failed(failure) => Told::Failed(failure),
            Ended::ByRule(Terminal::Refuse(refusal)) => Told::Refused(refusal),
            Ended::ByRule(Terminal::Close) => {
                lock(&self.figures).closed(signal);
                return Err(Closed);
            }
            Ended::ByRule(Terminal::Hang) => {
                lock(&self.figures).hung(signal);
                let mut released = self.released.clone();
                let released = async move {
                    released.mark_unchanged();
                    // An error means that the stub stops, which ends the waiting as well.
                    let _ = released.changed().await;
                };
                let _ = tokio::time::timeout(LONGEST_HANG, released).await;
                return Err(Closed);
            }
        };
        let name = name(&told);
        if let Told::Failed(failure) = &told {
            tracing::debug!(%signal, status = name, "refused: {}", failure.message);
        }
        lock(&self.figures).refused(signal, name);
        Ok(told)
    }

    /// Asks the rules of a stage, and waits as long as they say.
    async fn ask(&self, stage: Stage, facts: &Facts<'_>) -> Result<Verdict, Ended> {
        let mut verdict = lock(&self.faults).ask(stage, facts, Instant::now());
        if !verdict.delay.is_zero() {
            tokio::time::sleep(verdict.delay).await;
        }
        match verdict.end.take() {
            Some(terminal) => Err(Ended::ByRule(terminal)),
            None => Ok(verdict),
        }
    }

    /// Waits for room for a body of the announced size, or of the largest one if its size is not announced.
    async fn admit(&self, body: &Incoming) -> Result<tokio::sync::OwnedSemaphorePermit, Ended> {
        let bytes = body.size_hint().upper().map_or(self.limits.body, |upper| {
            usize::try_from(upper).unwrap_or(usize::MAX).min(self.limits.body)
        });
        let units = u32::try_from(bytes.div_ceil(ADMISSION_UNIT)).unwrap_or(u32::MAX).min(self.bodies_total);
        let room = Arc::clone(&self.bodies).acquire_many_owned(units);
        match tokio::time::timeout(ADMISSION_TIME, room).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Failure::later("too much is being received at once", Duration::from_secs(1)).into()),
        }
    }

    /// The body, at most `limit` bytes of it.
    pub(super) async fn read(&self, mut body: Incoming, limit: usize) -> Result<Bytes, Failure> {
        let too_large =
            || Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes"));
        if body.size_hint().lower() > limit as u64 {
            self.discard(body).await;
            return Err(too_large());
        }
        match tokio::time::timeout(self.limits.body_time, Limited::new(&mut body, limit).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                self.discard(body).await;
                Err(too_large())
            }
            Ok(Err(error)) => {
                Err(Failure::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}")))
            }
            Err(_) => {
                let message = format!("the body did not arrive within {:?}", self.limits.body_time);
                Err(Failure::new(StatusCode::REQUEST_TIMEOUT, message))
            }
        }
    }

    /// Reads on, as far as a body may go, and drops what it reads.
    pub(super) async fn discard(&self, body: Incoming) {
        let mut body = Limited::new(body, self.limits.body);
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        // Whether it ended, broke or took too long: the answer is the same.
        let _ = tokio::time::timeout(self.limits.body_time, rest).await;
    }

    async fn decode(
        &self,
        signal: Signal,
        format: Format,
        encoding: Encoding,
        frames: Frames,
        body: Bytes,
    ) -> Result<(Batch, Option<u64>), Ended> {
        let _turn = self.decoders.acquire().await.map_err(|_| StoreError::Stopped)?;
        let limit = self.limits.body;
        let decoded = tokio::task::spawn_blocking(move || {
            let unpacked = encoding.unpack(&body, frames, limit)?;
            let zstd_frames = (encoding == Encoding::Zstd).then(|| zstd_frames(&body));
            drop(body);
            Ok::<_, Ended>((format.decode(signal, unpacked)?, zstd_frames))
        });
        decoded.await.map_err(|error| {
            tracing::error!(%error, "decoding a request failed");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "decoding the request failed")
        })?
    }
}

impl From<UnpackError> for Failure {
    fn from(error: UnpackError) -> Self {
        let status = match error {
            UnpackError::Unknown(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            UnpackError::Malformed { .. } => StatusCode::BAD_REQUEST,
            UnpackError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error)
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        let status = match error {
            DecodeError::UnknownType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let mut source = error.source();
        let mut message = error.to_string();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::later(message, Duration::from_secs(1))
    }
}

/// Nothing is left half done by a panic elsewhere: each lock guards one short, whole change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nanoseconds since 1970 by the system's clock.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
