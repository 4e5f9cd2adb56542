//! A request's way: from its head to its answer.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Version, header};
use hyper::body::Incoming;
use whimbrel_otlp::{Signal, from_json};

use super::{
    answer::{Answer, AnswerBody, Format, refused, taken},
    refusal::{Kind, Refusal},
    services::Services,
};
use crate::receive::{
    Connection, Counts, Ground, Guard, Intake, Sent, Stop,
    aside::aside,
    body::{Encoding, Held, Room, discard},
    guard::Pace,
};

/// What goes before a gRPC message: whether it is compressed, and its length (big endian, 32 bits).
const PREFIX: usize = 5;
/// While the agent stops.
const STOPPING: &str = "the agent is stopping; try again";
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Takes requests. Cheap to clone.
#[derive(Clone)]
pub(super) struct Receiver {
    intake: Intake,
    counts: Arc<Counts>,
    pace: Arc<Pace>,
    room: Room,
    stop: Stop,
    add_resource: bool,
    pub(super) services: Services,
}

/// What a request wants.
enum Wanted {
    Export(Signal, Format),
    Service,
}

impl Receiver {
    pub(super) fn new(ground: &Ground, add_resource: bool) -> Self {
        Self {
            intake: ground.intake.clone(),
            counts: ground.counts.clone(),
            pace: ground.pace.clone(),
            room: Room::new(&ground.limits),
            stop: ground.stop.clone(),
            add_resource,
            services: Services::new(),
        }
    }

    /// Takes a request, and answers when it is durable, or says why it is not taken.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
        guard: &Guard,
    ) -> Answer {
        // What can't be answered in its own form is answered in the one that people read; so is gRPC over HTTP/1.1,
        // where a status has no place.
        let format = format_of(request.headers())
            .filter(|format| *format != Format::Grpc || request.version() == Version::HTTP_2)
            .unwrap_or(Format::Json);
        let wanted = match self.check(&request, connection, guard) {
            Ok(Wanted::Service) => return self.serve(request).await,
            Ok(Wanted::Export(signal, format)) => Ok((signal, format)),
            Err(refusal) => Err(refusal),
        };
        let (head, mut body) = request.into_parts();
        let result = match wanted {
            Ok((signal, Format::Grpc)) => self.grpc(signal, &head.headers, &mut body).await,
            Ok((signal, format)) => self.http(signal, format, &head.headers, &mut body).await,
            Err(refusal) => Err(refusal),
        };
        match result {
            Ok(()) => taken(format),
            Err(refusal) => {
                self.counts.refused(refusal.cause);
                tracing::debug!(cause = refusal.cause, "refused: {}", refusal.message);
                // Whoever is late is not waited for once more.
                if head.version != Version::HTTP_2 && refusal.kind != Kind::Late {
                    discard(&mut body).await;
                }
                refused(&refusal, format)
            }
        }
    }

    /// What can be said from the head alone.
    fn check(
        &self,
        request: &Request<Incoming>,
        connection: &Connection,
        guard: &Guard,
    ) -> Result<Wanted, Refusal> {
        if !guard.opens_for(request.headers()) {
            let message = "this endpoint wants a token: send the header `Authorization: Bearer TOKEN`";
            return Err(Refusal::new(Kind::Unauthenticated, "unauthenticated", message));
        }
        let wanted = route(request)?;
        if self.stop.is_told() {
            return Err(Refusal::later(Kind::Unavailable, "stopping", STOPPING, RETRY_AFTER));
        }
        self.pace.may(connection.peer).map_err(|after| {
            let message = "more requests a second than `limits.rate` allows; try again later";
            Refusal::later(Kind::TooMany, "rate", message, after)
        })?;
        Ok(wanted)
    }

    async fn serve(&self, request: Request<Incoming>) -> Answer {
        match self.services.answer(request).await {
            Some(answer) => answer.map(AnswerBody::Service),
            // `route` has found it there.
            None => refused(&not_found(), Format::Grpc),
        }
    }

    async fn http(
        &self,
        signal: Signal,
        format: Format,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<(), Refusal> {
        let encoding = encoding(headers, header::CONTENT_ENCODING)?;
        let body = self.room.read(body, 0, |_| None).await?;
        self.take(signal, format, encoding, body).await
    }

    async fn grpc(&self, signal: Signal, headers: &HeaderMap, body: &mut Incoming) -> Result<(), Refusal> {
        let encoding = encoding(headers, GRPC_ENCODING)?;
        let work = async {
            let body = self.room.read(body, PREFIX, message_length).await?;
            let encoding = framing(&body.head, body.bytes.len(), encoding)?;
            self.take(signal, Format::Grpc, encoding, body).await
        };
        match header_bytes(headers, GRPC_TIMEOUT).and_then(timeout) {
            None => work.await,
            Some(time) => tokio::time::timeout(time, work).await.unwrap_or_else(|_| {
                let message = "not done within the call's grpc-timeout; it may be stored all the same";
                Err(Refusal::new(Kind::Late, "late", message))
            }),
        }
    }

    /// Unpacks a body, and stores it.
    async fn take(
        &self,
        signal: Signal,
        format: Format,
        encoding: Encoding,
        body: Held,
    ) -> Result<(), Refusal> {
        aside(encoding.unpacked_len(&body.bytes), async {
            let (mut body, mut frame) = self.room.unpack(body, encoding).await?;
            if format == Format::Json {
                body.bytes = from_json(signal, &body.bytes)?;
                frame = None;
            }
            let sent = Sent { signal, request: &body.bytes, frame, add_resource: self.add_resource };
            self.intake.append(sent).await?;
            Ok(())
        })
        .await
    }
}

const GRPC_ENCODING: header::HeaderName = header::HeaderName::from_static("grpc-encoding");
const GRPC_TIMEOUT: header::HeaderName = header::HeaderName::from_static("grpc-timeout");

fn header_bytes(headers: &HeaderMap, name: header::HeaderName) -> Option<&[u8]> {
    headers.get(name).map(|value| value.as_bytes())
}

fn encoding(headers: &HeaderMap, name: header::HeaderName) -> Result<Encoding, Refusal> {
    let known = Encoding::of(header_bytes(headers, name.clone()));
    known.ok_or_else(|| {
        let message = format!("the {name} is not known here; known: {}", Encoding::NAMES);
        Refusal::new(Kind::MediaType, "encoding", message)
    })
}

/// The form of a body by its content type, parameters left out; `None` where it is none of OTLP's.
fn format_of(headers: &HeaderMap) -> Option<Format> {
    let given = header_bytes(headers, header::CONTENT_TYPE)?;
    let essence = given.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("application/x-protobuf") || is("application/protobuf") => Some(Format::Protobuf),
        () if is("application/json") => Some(Format::Json),
        () if is("application/grpc") || is("application/grpc+proto") => Some(Format::Grpc),
        () => None,
    }
}

fn route(request: &Request<Incoming>) -> Result<Wanted, Refusal> {
    let path = request.uri().path();
    let format = format_of(request.headers());
    if let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.path() == path) {
        if request.method() != Method::POST {
            return Err(Refusal::new(Kind::Method, "method", "send telemetry with POST"));
        }
        return match format {
            Some(format @ (Format::Protobuf | Format::Json)) => Ok(Wanted::Export(signal, format)),
            _ => {
                let message = "the content-type must be application/x-protobuf or application/json";
                Err(Refusal::new(Kind::MediaType, "content_type", message))
            }
        };
    }
    if format == Some(Format::Grpc) {
        if request.version() != Version::HTTP_2 {
            let message = "gRPC needs HTTP/2; over HTTP/1.1 send application/x-protobuf or application/json";
            return Err(Refusal::new(Kind::MediaType, "content_type", message));
        }
        if let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.grpc_path() == path) {
            return Ok(Wanted::Export(signal, Format::Grpc));
        }
        let services = ["/grpc.health.v1.Health/", "/grpc.reflection.v1.", "/grpc.reflection.v1alpha."];
        if services.iter().any(|service| path.starts_with(service)) {
            return Ok(Wanted::Service);
        }
    }
    Err(not_found())
}

fn not_found() -> Refusal {
    let message = "there are POST /v1/metrics, /v1/logs and /v1/traces, and the gRPC services of OTLP, \
                   grpc.health.v1.Health and grpc.reflection";
    Refusal::new(Kind::NotFound, "path", message)
}

/// The length that a message says it has.
fn message_length(body: &[u8]) -> Option<usize> {
    let length: [u8; 4] = body.get(1..PREFIX)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(length)).ok()
}

/// How the one message of a call is packed: `there` bytes behind what goes before it.
fn framing(prefix: &[u8], there: usize, encoding: Encoding) -> Result<Encoding, Refusal> {
    let wrong = |message: String| Err(Refusal::new(Kind::Invalid, "framing", message));
    let (Some(length), Some(flag)) = (message_length(prefix), prefix.first()) else {
        return wrong(format!("a gRPC message begins with {PREFIX} bytes, and there are {}", prefix.len()));
    };
    if there != length {
        return wrong(format!("the gRPC message says that it has {length} bytes, and there are {there}"));
    }
    match (flag, encoding) {
        (0, _) => Ok(Encoding::Identity),
        (1, Encoding::Identity) => {
            wrong("the message is compressed, and no grpc-encoding says how".to_owned())
        }
        (1, encoding) => Ok(encoding),
        (flag, _) => wrong(format!("the message's flag for compression is {flag}, not 0 or 1")),
    }
}

/// `grpc-timeout`: at most 8 digits and a unit (gRPC over HTTP/2, "Requests").
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}
