//! A request's way: from its head to its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use whimbrel_otlp::write::{Attributes, Envelope, Scope};

use super::event::read;
use crate::{
    clock,
    config::{Answer, IngestOnFull, IngestReceiver},
    receive::{
        Connection, Ground, Guard, IntakeError, Ticket,
        body::{BodyError, Encoding, Room, discard},
        event::Text,
        pieces::Pieces,
    },
};

/// Sources whose envelopes are kept.
const MOST_SOURCES: usize = 1000;
/// A source that says no name (OpenTelemetry semantic conventions, `service.name`).
const NAMELESS: &str = "unknown_service";
/// Buffers kept to be used again.
const KEPT: usize = 16;
/// What a browser may keep of a preflight's answer, seconds.
const PREFLIGHT_AGE: &str = "600";

/// Takes requests.
pub(super) struct Receiver {
    config: IngestReceiver,
    ground: Ground,
    guard: Guard,
    room: Room,
    nameless: Arc<Envelope>,
    envelopes: Mutex<HashMap<String, Arc<Envelope>>>,
    pieces: Mutex<Vec<Pieces>>,
}

/// Why a request is not taken.
struct Refusal {
    status: StatusCode,
    cause: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, cause: &'static str, message: impl Into<String>) -> Self {
        Self { status, cause, message: message.into() }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            BodyError::Late(_) | BodyError::Slow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken(_) | BodyError::Malformed { .. } => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.cause(), error.to_string())
    }
}

impl From<IntakeError> for Refusal {
    fn from(error: IntakeError) -> Self {
        let status = match error {
            IntakeError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.cause(), error.to_string())
    }
}

/// An answer, in JSON.
type Answered = Response<Full<Bytes>>;

impl Receiver {
    pub(super) fn new(config: &IngestReceiver, ground: &Ground, guard: Guard) -> Self {
        Self {
            config: config.clone(),
            guard,
            room: Room::new(&ground.limits),
            nameless: envelope(ground, NAMELESS),
            envelopes: Mutex::default(),
            pieces: Mutex::default(),
            ground: ground.clone(),
        }
    }

    /// Takes a request, and answers as `answer` says.
    pub(super) async fn answer(&self, request: Request<Incoming>, connection: &Connection) -> Answered {
        let (head, mut body) = request.into_parts();
        let origin = head.headers.get(header::ORIGIN).cloned();
        let result = match self.check(&head, connection) {
            Ok(false) => self.take(&head.headers, &mut body).await,
            Ok(true) => return allow(preflight(), origin),
            Err(refusal) => Err(refusal),
        };
        match result {
            Ok(count) => allow(accepted(count), origin),
            Err(refusal) => {
                self.ground.counts.refused(refusal.cause);
                // Whoever is late is not waited for once more.
                if head.version != Version::HTTP_2 && refusal.cause != "slow" {
                    discard(&mut body).await;
                }
                let known = refusal.cause != "origin";
                allow(refused(&refusal), origin.filter(|_| known))
            }
        }
    }

    /// What can be said from the head alone; true for a preflight.
    fn check(&self, head: &Parts, connection: &Connection) -> Result<bool, Refusal> {
        if !matches!(head.uri.path(), "/ingest" | "/ingest/batch") {
            let message = "there are POST /ingest and POST /ingest/batch";
            return Err(Refusal::new(StatusCode::NOT_FOUND, "path", message));
        }
        if let Some(origin) = head.headers.get(header::ORIGIN) {
            let allowed =
                self.config.cors.iter().any(|one| one == "*" || one.as_bytes() == origin.as_bytes());
            if !allowed {
                let message = "pages of this origin may not send: list it under `cors`";
                return Err(Refusal::new(StatusCode::FORBIDDEN, "origin", message));
            }
            if head.method == Method::OPTIONS {
                return Ok(true);
            }
        }
        if head.method != Method::POST {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "send events with POST"));
        }
        if !self.guard.opens_for(&head.headers) {
            let message = "this endpoint wants a token: send the header `Authorization: Bearer TOKEN`";
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthenticated", message));
        }
        if !is_json(&head.headers) {
            let message = "the content-type must be application/json or application/x-ndjson";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message));
        }
        if self.ground.stop.is_told() {
            let message = "the agent is stopping; try again";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message));
        }
        self.ground.pace.may(connection.peer).map_err(|_| {
            let message = "more requests a second than `limits.rate` allows; try again later";
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate", message)
        })?;
        Ok(false)
    }

    async fn take(&self, headers: &HeaderMap, body: &mut Incoming) -> Result<u32, Refusal> {
        let given = headers.get(header::CONTENT_ENCODING);
        let Some(encoding) = Encoding::of(given.map(HeaderValue::as_bytes)) else {
            let message = format!("the content-encoding is not known here; known: {}", Encoding::NAMES);
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message));
        };
        let body = self.room.read(body, 0, |_| None).await?;
        let (body, _) = self.room.unpack(body, encoding).await?;
        let (count, tickets) = self.add(&body.bytes)?;
        drop(body);
        if self.config.answer == Answer::Durable {
            for ticket in tickets.iter().flatten() {
                ticket.durable().await?;
            }
        }
        Ok(count)
    }

    /// Adds all events of a body to the buffer, or none.
    fn add(&self, body: &[u8]) -> Result<(u32, [Option<Ticket>; 3]), Refusal> {
        let mut pieces = lock(&self.pieces).pop().unwrap_or_default();
        let added = self.add_by(body, &mut pieces);
        pieces.clear();
        let mut kept = lock(&self.pieces);
        if kept.len() < KEPT {
            kept.push(pieces);
        }
        added
    }

    fn add_by(&self, body: &[u8], pieces: &mut Pieces) -> Result<(u32, [Option<Ticket>; 3]), Refusal> {
        let now = clock::unix_ns(&*self.ground.clock);
        let mut count = 0;
        read(body, |event| {
            let envelope = self.envelope(event.source.as_ref().map_or("", Text::as_str));
            event.put(pieces, &envelope, &self.config.metrics, now)?;
            count += 1;
            Ok(())
        })
        .map_err(|message| Refusal::new(StatusCode::BAD_REQUEST, "invalid", message))?;
        match self.ground.gather.add(pieces.parts()) {
            Ok(tickets) => Ok((count, tickets)),
            Err(_) if self.config.answer == Answer::Accepted && self.config.on_full == IngestOnFull::Drop => {
                self.ground.counts.lost("buffer_full", count.into());
                Ok((count, [None, None, None]))
            }
            Err(_) => {
                let message = "the buffer is full; try again";
                Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "buffer_full", message))
            }
        }
    }

    fn envelope(&self, source: &str) -> Arc<Envelope> {
        if source.is_empty() {
            return self.nameless.clone();
        }
        let mut envelopes = lock(&self.envelopes);
        if let Some(envelope) = envelopes.get(source) {
            return envelope.clone();
        }
        if envelopes.len() >= MOST_SOURCES {
            // They can be made again.
            envelopes.clear();
        }
        let envelope = envelope(&self.ground, source);
        envelopes.insert(source.to_owned(), envelope.clone());
        envelope
    }
}

fn envelope(ground: &Ground, source: &str) -> Arc<Envelope> {
    let mut attributes = Attributes::new().with("service.name", source);
    for (key, value) in ground.agent_resource.iter().filter(|(key, _)| *key != "service.name") {
        attributes.push(key, value);
    }
    Arc::new(Envelope::new(&attributes, &Scope { name: "whimbrel/ingest", ..Scope::default() }))
}

/// What tools send without being asked is fine, curl's form included; what is surely no JSON is not.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = given.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let taken = [
        "application/json",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/plain",
    ];
    taken.iter().any(|one| essence.eq_ignore_ascii_case(one.as_bytes()))
}

fn accepted(count: u32) -> Answered {
    let body = match count {
        1 => Bytes::from_static(b"{\"accepted\":1}"),
        _ => Bytes::from(format!("{{\"accepted\":{count}}}")),
    };
    json(StatusCode::ACCEPTED, body)
}

fn refused(refusal: &Refusal) -> Answered {
    let body = serde_json::json!({"error": refusal.cause, "message": refusal.message}).to_string();
    let mut answer = json(refusal.status, body.into());
    let headers = answer.headers_mut();
    match refusal.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    answer
}

fn json(status: StatusCode, body: Bytes) -> Answered {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// What a browser asks before a page may send (Fetch standard, "CORS-preflight request").
fn preflight() -> Answered {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    let allowed = HeaderValue::from_static("content-type, content-encoding, authorization");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE));
    answer
}

/// Says to a browser that the page may read the answer.
fn allow(mut answer: Answered, origin: Option<HeaderValue>) -> Answered {
    if let Some(origin) = origin {
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("origin"));
    }
    answer
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each lock guards one short, whole change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
