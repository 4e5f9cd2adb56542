//! The way of one OTLP/HTTP request.
//!
//! headers -> body (bounded) -> unpack (bounded) -> decode -> store -> answer, and between any two of these
//! whatever rules of `/control` say. Nothing is held in memory for a request that waits for its turn but
//! what `Limits::bodies` allows.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, watch};

use super::{
    answer::{self, Answer, Failure},
    batch::Batch,
    decode::{DecodeError, Format},
    encoding::{Encoding, Frames, UnpackError, content_encoding},
    key::Key,
};
use crate::{
    faults::{Book, Facts, Stage, Terminal, Verdict},
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
    bodies: Arc<Semaphore>,
    bodies_total: u32,
    decoders: Semaphore,
}

/// Why a request ended before its end.
enum Ended {
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
    ) -> Self {
        let units = (limits.bodies / ADMISSION_UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self {
            limits,
            store,
            faults,
            figures,
            released,
            bodies: Arc::new(Semaphore::new(units)),
            bodies_total: units as u32,
            decoders: Semaphore::new(DECODERS),
        }
    }

    /// Answers a request, or closes its connection if a rule says so.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Result<Answer, Closed> {
        let format = Format::from_headers(request.headers());
        // What can't be answered in its own encoding is answered in the one that people read.
        let answer_format = format.as_ref().copied().unwrap_or(Format::Json);
        let Some(signal) = Signal::from_path(request.uri().path()) else {
            let known = Signal::ALL.map(Signal::path).join(", ");
            let message =
                format!("there is nothing at {}; OTLP is received at {known}", request.uri().path());
            self.discard(request.into_body()).await;
            return Ok(Failure::new(StatusCode::NOT_FOUND, message).to_answer(answer_format));
        };
        match self.receive(signal, format, request).await {
            Ok(answer) => Ok(answer),
            Err(Ended::Failed(failure)) => {
                lock(&self.figures).refused(signal, failure.status.as_u16());
                tracing::debug!(%signal, status = failure.status.as_u16(), "refused: {}", failure.message);
                Ok(failure.to_answer(answer_format))
            }
            Err(Ended::ByRule(Terminal::Refuse(refusal))) => {
                lock(&self.figures).refused(signal, refusal.status.as_u16());
                Ok(answer::refusal(&refusal, answer_format))
            }
            Err(Ended::ByRule(Terminal::Close)) => {
                lock(&self.figures).closed(signal);
                Err(Closed)
            }
            Err(Ended::ByRule(Terminal::Hang)) => {
                lock(&self.figures).hung(signal);
                let mut released = self.released.clone();
                let released = async move {
                    released.mark_unchanged();
                    // An error means that the stub stops, which ends the waiting as well.
                    let _ = released.changed().await;
                };
                let _ = tokio::time::timeout(LONGEST_HANG, released).await;
                Err(Closed)
            }
        }
    }

    async fn receive(
        &self,
        signal: Signal,
        format: Result<Format, DecodeError>,
        request: Request<Incoming>,
    ) -> Result<Answer, Ended> {
        let (head, body) = request.into_parts();
        let encoding_text = content_encoding(&head.headers);
        let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let facts = Facts { signal, encoding: &encoding_text, authorization, batch: None };

        let checked = async {
            if head.method != Method::POST {
                return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "OTLP is received by POST").into());
            }
            let format = format?;
            self.ask(Stage::Headers, &facts).await?;
            let encoding = Encoding::from_headers(&head.headers)?;
            let key = Key::from_headers(&head.headers, signal)
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
        let body = self.read(body).await?;
        let arrived_ns = now_ns();
        let verdict = self.ask(Stage::Body, &facts).await?;
        let frames = if verdict.first_frame_only { Frames::First } else { Frames::All };
        let wire_bytes = body.len() as u64;
        let batch = self.decode(signal, format, encoding, frames, body).await?;
        drop(admitted);

        let decoded = Facts { batch: Some(&batch), ..facts };
        let (reject, message) = self.ask(Stage::Decoded, &decoded).await?.partial.unwrap_or_default();
        let latencies = batch.latencies(arrived_ns);
        let arrival =
            Arrival { batch, key, encoding: encoding.name(), wire_bytes, arrived_ns, reject, message };
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
        Ok(answer::success(
            signal,
            format,
            rejected.as_ref().map(|(count, message)| (*count, message.as_str())),
        ))
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

    async fn read(&self, mut body: Incoming) -> Result<Bytes, Ended> {
        let limit = self.limits.body;
        let too_large = || {
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes"))
                .into()
        };
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
                Err(Failure::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}")).into())
            }
            Err(_) => {
                let message = format!("the body did not arrive within {:?}", self.limits.body_time);
                Err(Failure::new(StatusCode::REQUEST_TIMEOUT, message).into())
            }
        }
    }

    /// Reads on, as far as a body may go, and drops what it reads.
    async fn discard(&self, body: Incoming) {
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
    ) -> Result<Batch, Ended> {
        let _turn = self.decoders.acquire().await.map_err(|_| StoreError::Stopped)?;
        let limit = self.limits.body;
        let decoded = tokio::task::spawn_blocking(move || {
            let unpacked = encoding.unpack(&body, frames, limit)?;
            drop(body);
            Ok::<_, Ended>(format.decode(signal, unpacked)?)
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
