//! Metrics one by one, with what only translators of other formats need: summaries, exemplars, metadata.
//!
//! [`Metrics`](super::Metrics) stays without them: it is the fast way of plugins, and measures nothing of the kind.
//!
//! ```text
//! Metric: 1 name, 2 description, 3 unit, 5 Gauge | 7 Sum | 9 Histogram | 11 Summary, 12 metadata
//! NumberDataPoint: ... 5 exemplars    HistogramDataPoint: ... 8 exemplars
//! Exemplar: 2 time (fixed64), 3 double, 4 span id, 5 trace id, 7 attributes
//! SummaryDataPoint: 2 start, 3 time, 4 count (fixed64), 5 sum, 6 ValueAtQuantile*, 7 attributes
//! ValueAtQuantile: 1 quantile, 2 value
//! ```

use super::attributes::Attributes;
use super::buffer::{
    close_medium, close_short, close_wide, fixed64, message, open_medium, open_short, open_wide, put_bytes,
    put_fixed64, put_text, varint,
};
use super::metric::{HistogramPoint, Number, Temporality};
use super::metrics::put_histogram_fields;

/// What kind of points a [`MetricWriter`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Numbers; each is a reading of its own.
    Gauge,
    /// Numbers that count from a start.
    CumulativeSum {
        /// Whether it can only grow.
        monotonic: bool,
    },
    /// Histograms that count from a start.
    CumulativeHistogram,
    /// Summaries: quantiles that someone else has worked out.
    Summary,
}

impl Kind {
    const fn field(self) -> u8 {
        match self {
            Kind::Gauge => 5,
            Kind::CumulativeSum { .. } => 7,
            Kind::CumulativeHistogram => 9,
            Kind::Summary => 11,
        }
    }
}

/// One measured value beside a point, usually with the trace that it was measured in.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Exemplar {
    /// Nanoseconds since the Unix epoch; 0: not known.
    pub time_ns: u64,
    /// What was measured.
    pub value: f64,
    /// The trace within which it was measured.
    pub trace_id: Option<[u8; 16]>,
    /// The span within which it was measured.
    pub span_id: Option<[u8; 8]>,
    /// Attributes that the point does not have.
    pub attributes: Attributes,
}

/// One summary point. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct SummaryPoint<'a> {
    /// When counting began; 0: not known.
    pub start_ns: u64,
    /// When it was read.
    pub time_ns: u64,
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Quantile (0 to 1) and value.
    pub quantiles: &'a [(f64, f64)],
}

/// Writes one metric as the field of `ScopeMetrics` that it is: tag, length, message.
///
/// ```
/// use whimbrel_otlp::write::{Attributes, Kind, MetricWriter};
/// let mut item = Vec::new();
/// let mut metric = MetricWriter::begin(&mut item, "queue.length", "", "{job}", Kind::Gauge);
/// metric.number(&Attributes::new(), 0, 1_700_000_000_000_000_000, 4i64, &[]);
/// metric.end(&Attributes::new());
/// assert!(!item.is_empty());
/// ```
#[derive(Debug)]
pub struct MetricWriter<'a> {
    out: &'a mut Vec<u8>,
    kind: Kind,
    whole: usize,
    data: usize,
}

impl<'a> MetricWriter<'a> {
    /// Begins a metric at the end of `out`. Only points of its kind are to follow; others are left out.
    pub fn begin(out: &'a mut Vec<u8>, name: &str, description: &str, unit: &str, kind: Kind) -> Self {
        let whole = open_wide(out, message(2));
        put_text(out, message(1), name);
        put_text(out, message(2), description);
        put_text(out, message(3), unit);
        let data = open_wide(out, message(kind.field()));
        Self { out, kind, whole, data }
    }

    /// A point of a gauge or a sum.
    pub fn number(
        &mut self,
        series: &Attributes,
        start_ns: u64,
        time_ns: u64,
        value: impl Into<Number>,
        exemplars: &[Exemplar],
    ) {
        if !matches!(self.kind, Kind::Gauge | Kind::CumulativeSum { .. }) {
            return;
        }
        let point = open_medium(self.out, message(1));
        put_times(self.out, start_ns, time_ns);
        match value.into() {
            Number::Double(value) => put_fixed64(self.out, fixed64(4), value.to_bits()),
            Number::Int(value) => put_fixed64(self.out, fixed64(6), value as u64),
        }
        put_exemplars(self.out, 5, exemplars);
        series.append_as(message(7), self.out);
        close_medium(self.out, point);
    }

    /// A point of a histogram.
    pub fn histogram(&mut self, series: &Attributes, point: &HistogramPoint<'_>, exemplars: &[Exemplar]) {
        if self.kind != Kind::CumulativeHistogram {
            return;
        }
        let start = open_medium(self.out, message(1));
        put_histogram_fields(self.out, series, point, |out| put_exemplars(out, 8, exemplars));
        close_medium(self.out, start);
    }

    /// A point of a summary.
    pub fn summary(&mut self, series: &Attributes, point: &SummaryPoint<'_>) {
        if self.kind != Kind::Summary {
            return;
        }
        let start = open_medium(self.out, message(1));
        put_times(self.out, point.start_ns, point.time_ns);
        put_fixed64(self.out, fixed64(4), point.count);
        put_fixed64(self.out, fixed64(5), point.sum.to_bits());
        for (quantile, value) in point.quantiles {
            let at = open_short(self.out, message(6));
            put_fixed64(self.out, fixed64(1), quantile.to_bits());
            put_fixed64(self.out, fixed64(2), value.to_bits());
            close_short(self.out, at);
        }
        series.append_as(message(7), self.out);
        close_medium(self.out, start);
    }

    /// A point of any kind that says that the series has no value any more: the flag `NO_RECORDED_VALUE`.
    pub fn no_value(&mut self, series: &Attributes, start_ns: u64, time_ns: u64) {
        let (attributes, flags) = match self.kind {
            Kind::CumulativeHistogram => (9, 10),
            Kind::Gauge | Kind::CumulativeSum { .. } | Kind::Summary => (7, 8),
        };
        let start = open_medium(self.out, message(1));
        put_times(self.out, start_ns, time_ns);
        series.append_as(message(attributes), self.out);
        self.out.extend_from_slice(&[varint(flags), 1]);
        close_medium(self.out, start);
    }

    /// Ends the metric, with what is known about it besides.
    pub fn end(self, metadata: &Attributes) {
        if let Kind::CumulativeSum { .. } | Kind::CumulativeHistogram = self.kind {
            self.out.extend_from_slice(&[varint(2), Temporality::Cumulative.number()]);
        }
        if let Kind::CumulativeSum { monotonic: true } = self.kind {
            self.out.extend_from_slice(&[varint(3), 1]);
        }
        close_wide(self.out, self.data);
        metadata.append_as(message(12), self.out);
        close_wide(self.out, self.whole);
    }
}

fn put_times(out: &mut Vec<u8>, start_ns: u64, time_ns: u64) {
    if start_ns != 0 {
        put_fixed64(out, fixed64(2), start_ns);
    }
    put_fixed64(out, fixed64(3), time_ns);
}

fn put_exemplars(out: &mut Vec<u8>, field: u8, exemplars: &[Exemplar]) {
    for exemplar in exemplars {
        let start = open_medium(out, message(field));
        put_fixed64(out, fixed64(2), exemplar.time_ns);
        put_fixed64(out, fixed64(3), exemplar.value.to_bits());
        if let Some(id) = &exemplar.span_id {
            put_bytes(out, message(4), id);
        }
        if let Some(id) = &exemplar.trace_id {
            put_bytes(out, message(5), id);
        }
        exemplar.attributes.append_as(message(7), out);
        close_medium(out, start);
    }
}
