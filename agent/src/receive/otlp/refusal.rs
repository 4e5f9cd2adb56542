//! Why a request is refused, and how that is said over HTTP and over gRPC.

use std::time::Duration;

use http::StatusCode;
use whimbrel_otlp::JsonError;

use crate::receive::{IntakeError, body::BodyError};

/// What is wrong, as both protocols can say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The data itself: never to be sent again.
    Invalid,
    /// More than is taken.
    TooLarge,
    /// In a form that is not understood.
    MediaType,
    /// Not now: to be sent again after a while.
    Unavailable,
    /// Too often.
    TooMany,
    /// Too slow, over the time that the caller gave.
    Late,
    /// Not known.
    Unauthenticated,
    /// There is no such thing here.
    NotFound,
    /// Only POST.
    Method,
}

impl Kind {
    pub(super) fn http(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The number of a gRPC status (grpc.io, "Status codes and their use in gRPC").
    pub(super) fn grpc(self) -> u8 {
        match self {
            Self::Invalid => 3,
            Self::Late => 4,
            Self::TooLarge | Self::TooMany => 8,
            Self::MediaType | Self::NotFound | Self::Method => 12,
            Self::Unavailable => 14,
            Self::Unauthenticated => 16,
        }
    }
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) kind: Kind,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    /// Where it is counted.
    pub(super) cause: &'static str,
}

impl Refusal {
    pub(super) fn new(kind: Kind, cause: &'static str, message: impl Into<String>) -> Self {
        Self { kind, cause, message: message.into(), retry_after: None }
    }

    /// To be tried again after a while.
    pub(super) fn later(
        kind: Kind,
        cause: &'static str,
        message: impl Into<String>,
        after: Duration,
    ) -> Self {
        Self { retry_after: Some(after), ..Self::new(kind, cause, message) }
    }

    /// `google.rpc.Status`: 1 code, 2 message, 3 details; with `RetryInfo` where it is to be tried again.
    pub(super) fn status(&self) -> Vec<u8> {
        let mut status = vec![0x08, self.kind.grpc()];
        put(&mut status, 2, self.message.as_bytes());
        if let Some(after) = self.retry_after {
            // RetryInfo: 1 Duration {1 seconds, 2 nanoseconds}.
            let mut duration = Vec::new();
            put_number(&mut duration, 1, after.as_secs());
            put_number(&mut duration, 2, after.subsec_nanos().into());
            let mut info = Vec::new();
            put(&mut info, 1, &duration);
            let mut any = Vec::new();
            put(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
            put(&mut any, 2, &info);
            put(&mut status, 3, &any);
        }
        status
    }
}

fn put(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    if value > 0 {
        out.push(field << 3);
        put_varint(out, value);
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl From<IntakeError> for Refusal {
    fn from(error: IntakeError) -> Self {
        let (cause, message) = (error.cause(), error.to_string());
        match error {
            IntakeError::Invalid(_) | IntakeError::TooLarge { .. } => {
                Self::new(Kind::Invalid, cause, message)
            }
            IntakeError::Unavailable { retry_after, .. } => {
                Self::later(Kind::Unavailable, cause, message, retry_after)
            }
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge { .. } => Kind::TooLarge,
            BodyError::NoRoom => {
                let after = Duration::from_secs(1);
                return Self::later(Kind::Unavailable, error.cause(), error.to_string(), after);
            }
            BodyError::Late(_) | BodyError::Slow => Kind::Late,
            BodyError::Broken(_) | BodyError::Malformed(_) => Kind::Invalid,
        };
        Self::new(kind, error.cause(), error.to_string())
    }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        Self::new(Kind::Invalid, "invalid", error.to_string())
    }
}
