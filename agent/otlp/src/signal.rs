//! The three signals that Whimbrel carries.

use std::fmt;

/// What a batch consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
    /// Spans.
    Traces,
}

impl Signal {
    /// All signals, in the order of their declaration.
    pub const ALL: [Signal; 3] = [Signal::Metrics, Signal::Logs, Signal::Traces];

    /// The signal's name in configuration, metrics and messages: `metrics`, `logs`, `traces`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
            Signal::Traces => "traces",
        }
    }

    /// The default path of an OTLP/HTTP request, such as `/v1/metrics` (OTLP specification, "OTLP/HTTP Request").
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Signal::Metrics => "/v1/metrics",
            Signal::Logs => "/v1/logs",
            Signal::Traces => "/v1/traces",
        }
    }

    /// The path of the gRPC method `Export`.
    #[must_use]
    pub const fn grpc_path(self) -> &'static str {
        match self {
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        }
    }

    /// What one item of the signal is called: `data point`, `log record`, `span`.
    #[must_use]
    pub const fn item(self) -> &'static str {
        match self {
            Signal::Metrics => "data point",
            Signal::Logs => "log record",
            Signal::Traces => "span",
        }
    }

    /// The signal of a name, as [`Signal::name`] gives it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.name() == name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_signal() {
        for signal in Signal::ALL {
            assert_eq!(Signal::from_name(signal.name()), Some(signal));
            assert_eq!(signal.path(), format!("/v1/{signal}"));
        }
        assert_eq!(Signal::from_name("profiles"), None);
    }
}
