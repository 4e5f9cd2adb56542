//! The three OTLP signals, as the stub names and stores them.

use std::{fmt, str::FromStr};

/// One of OTLP's three signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Counted in data points.
    Metrics,
    /// Counted in log records.
    Logs,
    /// Counted in spans.
    Traces,
}

impl From<Signal> for whimbrel_otlp::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Metrics => Self::Metrics,
            Signal::Logs => Self::Logs,
            Signal::Traces => Self::Traces,
        }
    }
}

impl Signal {
    /// In the order in which they are declared.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Traces];

    /// `metrics`, `logs` or `traces`, as in paths, in keys and in the answers of `/api`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    /// Where OTLP/HTTP receives it (OTLP specification, "OTLP/HTTP Request").
    pub fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
            Self::Traces => "/v1/traces",
        }
    }

    /// The signal that is received at `path`.
    pub(crate) fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.path() == path)
    }

    /// The gRPC service that receives it, by its method `Export` (opentelemetry-proto, `collector`).
    pub fn service(self) -> &'static str {
        match self {
            Self::Metrics => "opentelemetry.proto.collector.metrics.v1.MetricsService",
            Self::Logs => "opentelemetry.proto.collector.logs.v1.LogsService",
            Self::Traces => "opentelemetry.proto.collector.trace.v1.TraceService",
        }
    }

    /// Its place in [`Signal::ALL`], which is also how the database spells it.
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The field of a partial success that counts what was refused, in OTLP's JSON.
    pub(crate) fn rejected_field(self) -> &'static str {
        match self {
            Self::Metrics => "rejectedDataPoints",
            Self::Logs => "rejectedLogRecords",
            Self::Traces => "rejectedSpans",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        Self::ALL
            .into_iter()
            .find(|signal| signal.name() == text)
            .ok_or_else(|| UnknownSignal(text.to_owned()))
    }
}

/// The text names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no signal: metrics, logs or traces")]
pub struct UnknownSignal(String);
