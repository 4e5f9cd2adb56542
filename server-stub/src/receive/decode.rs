//! From the bytes of a body to a batch.

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

use super::{batch::Batch, flatten};
use crate::signal::Signal;

/// How OTLP is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

/// The body is not what it says it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the content type \"{0}\" is not known here; application/x-protobuf and application/json are")]
    UnknownType(String),
    #[error("the body is no valid protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("{0}")]
    Json(#[from] whimbrel_otlp::JsonError),
    #[error("{0}")]
    Id(#[from] flatten::BadId),
}

impl Format {
    /// As `Content-Type` says; its parameters don't matter.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, DecodeError> {
        let value =
            headers.get(CONTENT_TYPE).map_or_else(Default::default, |value| value.as_bytes().to_vec());
        let text = String::from_utf8_lossy(&value);
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/x-protobuf" | "application/protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(DecodeError::UnknownType(text.into_owned())),
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// Reads an export request.
    pub(crate) fn decode(self, signal: Signal, body: Bytes) -> Result<Batch, DecodeError> {
        let body = match self {
            Self::Protobuf => body,
            Self::Json => whimbrel_otlp::from_json(signal.into(), &body)?.into(),
        };
        match signal {
            Signal::Metrics => Ok(flatten::metrics(ExportMetricsServiceRequest::decode(body)?)),
            Signal::Logs => Ok(flatten::logs(ExportLogsServiceRequest::decode(body)?)?),
            Signal::Traces => Ok(flatten::traces(ExportTraceServiceRequest::decode(body)?)?),
        }
    }
}
