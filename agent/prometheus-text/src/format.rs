//! Which format, which bounds, which types there are.

/// Which of the two text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Prometheus' own, `text/plain; version=0.0.4` (and 1.0.0, which adds quoted names).
    #[default]
    Text,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Format {
    /// By the `Content-Type` of an answer; what says nothing is [`Text`](Self::Text), as Prometheus has it for
    /// `text/plain`. `None` for what is neither.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => Some(Self::OpenMetrics),
            "text/plain" | "" => Some(Self::Text),
            _ => None,
        }
    }

    /// What a program's output is, where nobody says: OpenMetrics ends with `# EOF`, and must.
    #[must_use]
    pub fn of_text(text: &[u8]) -> Self {
        if text.trim_ascii_end().ends_with(b"# EOF") { Self::OpenMetrics } else { Self::Text }
    }
}

/// What a text may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a line. Default 64 KiB.
    pub line: usize,
    /// Labels of a sample, and of an exemplar. Default 128.
    pub labels: usize,
    /// Samples of a text. Default 1,000,000.
    pub samples: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { line: 64 << 10, labels: 128, samples: 1_000_000 }
    }
}

/// What a family of metrics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Type {
    /// Counts from a start.
    Counter,
    /// A reading.
    Gauge,
    /// Cumulative buckets, sum and count.
    Histogram,
    /// Buckets of readings; OTLP has nothing like it.
    GaugeHistogram,
    /// Quantiles, sum and count.
    Summary,
    /// Always 1; what matters stands in its labels.
    Info,
    /// For each state, whether it is that.
    StateSet,
    /// Nobody said (`untyped` in Prometheus' own format).
    #[default]
    Unknown,
}

impl Type {
    /// As `# TYPE` has it.
    pub(crate) fn of(name: &str, format: Format) -> Option<Self> {
        Some(match (name, format) {
            ("counter", _) => Self::Counter,
            ("gauge", _) => Self::Gauge,
            ("histogram", _) => Self::Histogram,
            ("summary", _) => Self::Summary,
            ("untyped", Format::Text) | ("unknown", _) => Self::Unknown,
            // Prometheus reads these in either format.
            ("gaugehistogram", _) => Self::GaugeHistogram,
            ("info", _) => Self::Info,
            ("stateset", _) => Self::StateSet,
            _ => return None,
        })
    }

    /// As OTLP's metadata `prometheus.type` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// Whether its points count from a start.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Counter | Self::Histogram | Self::Summary)
    }

    /// Whether a sample of a family of this type may be called the family's name and `suffix`. Programs that write
    /// Prometheus' own format with OpenMetrics' names are understood too.
    pub(crate) fn has_suffix(self, suffix: &str) -> bool {
        let suffixes: &[&str] = match self {
            Self::Counter => &["_total", "_created"],
            Self::Histogram => &["_bucket", "_count", "_sum", "_created"],
            Self::Summary => &["_count", "_sum", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            Self::Info => &["_info"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[],
        };
        suffixes.contains(&suffix)
    }
}
