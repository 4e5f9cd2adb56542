//! Requests of metrics.
//!
//! ```text
//! Metric: 1 name, 2 description, 3 unit, 5 Gauge | 7 Sum | 9 Histogram
//! Gauge: 1 points    Sum: 1 points, 2 temporality, 3 monotonic    Histogram: 1 points, 2 temporality
//! NumberDataPoint: 2 start (fixed64), 3 time (fixed64), 4 double | 6 sfixed64, 7 attributes
//! HistogramDataPoint: 2 start, 3 time, 4 count (fixed64), 5 sum, 6 buckets (packed fixed64),
//!                     7 bounds (packed double), 9 attributes, 11 min, 12 max
//! ```

use super::attributes::Attributes;
use super::buffer::{close_medium, fixed64, message, open_medium, put_fixed64, put_text, put_varint, varint};
use super::envelope::{Envelope, Level};
use super::metric::{Data, Histogram, HistogramPoint, Metric, Number, Temporality};
use super::scope::Scope;

/// The fields of `Metric` that hold its data.
const GAUGE: u8 = 5;
const SUM: u8 = 7;
const HISTOGRAM: u8 = 9;

/// A metrics export request in the making.
///
/// ```
/// use whimbrel_otlp::write::{Attributes, Metric, Metrics, Scope};
/// const IO: Metric = Metric::counter("system.disk.io", "By", "Bytes transferred.");
/// let read = Attributes::new().with("disk.io.direction", "read");
///
/// let mut request = Metrics::new();
/// request.resource(&Attributes::new().with("host.name", "sandpiper"));
/// request.scope(&Scope { name: "host", version: "0.1.0", ..Scope::default() });
/// request.metric(&IO).point(&read, 1_700_000_000_000_000_000, 1_700_000_060_000_000_000, 4096u64);
/// assert_eq!(request.points(), 1);
/// let bytes: &[u8] = request.finish();
/// # assert!(bytes.len() > 60);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    envelope: Envelope,
    metric: Option<OpenMetric>,
}

#[derive(Clone, Copy, Debug)]
struct OpenMetric {
    metric: Level,
    data: Level,
    takes_numbers: bool,
    /// `None` for a gauge.
    temporality: Option<Temporality>,
    monotonic: bool,
}

impl Metrics {
    /// An empty request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a resource: what is measured. Without attributes it is the agent's own.
    pub fn resource(&mut self, attributes: &Attributes) {
        self.end_metric();
        self.envelope.begin_resource(attributes);
    }

    /// Begins a scope within the current resource (within one without attributes, if there is none).
    pub fn scope(&mut self, scope: &Scope<'_>) {
        self.end_metric();
        self.envelope.begin_scope(scope);
    }

    /// Begins a metric within the current scope (within a nameless one, if there is none). What is returned takes
    /// its points.
    pub fn metric(&mut self, metric: &Metric<'_>) -> Numbers<'_> {
        let (field, temporality, monotonic) = match metric.data {
            Data::Gauge => (GAUGE, None, false),
            Data::Sum { temporality, monotonic } => (SUM, Some(temporality), monotonic),
        };
        self.begin_metric(metric.name, metric.description, metric.unit, field, temporality, monotonic);
        Numbers { envelope: &mut self.envelope }
    }

    /// Goes on with the metric that is open, if it is one of numbers, or else begins `metric`. For callers that end
    /// a request between two points of one metric.
    pub fn resume(&mut self, metric: &Metric<'_>) -> Numbers<'_> {
        match self.metric {
            Some(open) if open.takes_numbers => Numbers { envelope: &mut self.envelope },
            _ => self.metric(metric),
        }
    }

    /// Begins a metric of histograms, as [`metric`](Self::metric) does.
    pub fn histogram(&mut self, metric: &Histogram<'_>) -> Histograms<'_> {
        self.begin_metric(
            metric.name,
            metric.description,
            metric.unit,
            HISTOGRAM,
            Some(metric.temporality),
            false,
        );
        Histograms { envelope: &mut self.envelope }
    }

    /// As [`resume`](Self::resume), for histograms.
    pub fn resume_histogram(&mut self, metric: &Histogram<'_>) -> Histograms<'_> {
        match self.metric {
            Some(open) if !open.takes_numbers => Histograms { envelope: &mut self.envelope },
            _ => self.histogram(metric),
        }
    }

    /// How many points were written since the beginning or the last [`clear`](Self::clear).
    #[must_use]
    pub fn points(&self) -> u32 {
        self.envelope.items
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.envelope.out.len()
    }

    /// Ends what is open, and shows the request. What is written next begins another resource.
    pub fn finish(&mut self) -> &[u8] {
        self.end();
        &self.envelope.out
    }

    /// Ends what is open, and takes the request out; what is left is an empty one.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.end();
        let bytes = std::mem::take(&mut self.envelope.out);
        self.clear();
        bytes
    }

    /// Takes a buffer to write into, so that its memory serves again. It is emptied, and what was written is gone.
    pub fn reuse(&mut self, buffer: Vec<u8>) {
        self.envelope.out = buffer;
        self.clear();
    }

    /// Back to an empty request; the buffer's memory stays.
    pub fn clear(&mut self) {
        self.metric = None;
        self.envelope.clear();
    }

    fn begin_metric(
        &mut self,
        name: &str,
        description: &str,
        unit: &str,
        field: u8,
        temporality: Option<Temporality>,
        monotonic: bool,
    ) {
        self.end_metric();
        self.envelope.need_scope();
        let metric = self.envelope.open(2);
        let out = &mut self.envelope.out;
        put_text(out, message(1), name);
        put_text(out, message(2), description);
        put_text(out, message(3), unit);
        let data = self.envelope.open(field);
        self.metric =
            Some(OpenMetric { metric, data, takes_numbers: field != HISTOGRAM, temporality, monotonic });
    }

    fn end_metric(&mut self) {
        let Some(open) = self.metric.take() else { return };
        if let Some(temporality) = open.temporality {
            self.envelope.out.extend_from_slice(&[varint(2), temporality.number()]);
        }
        if open.monotonic {
            self.envelope.out.extend_from_slice(&[varint(3), 1]);
        }
        self.envelope.close(open.data);
        self.envelope.close(open.metric);
    }

    fn end(&mut self) {
        self.end_metric();
        self.envelope.end();
    }
}

/// Takes the points of one metric of numbers.
#[derive(Debug)]
pub struct Numbers<'a> {
    envelope: &'a mut Envelope,
}

impl Numbers<'_> {
    /// Writes a point. Times are nanoseconds since the Unix epoch; `start_ns` 0: not known.
    #[inline]
    pub fn point(&mut self, series: &Attributes, start_ns: u64, time_ns: u64, value: impl Into<Number>) {
        append_point(&mut self.envelope.out, series, start_ns, time_ns, value.into());
        self.envelope.items += 1;
    }
}

/// Takes the points of one metric of histograms.
#[derive(Debug)]
pub struct Histograms<'a> {
    envelope: &'a mut Envelope,
}

impl Histograms<'_> {
    /// Writes a point.
    pub fn point(&mut self, series: &Attributes, point: &HistogramPoint<'_>) {
        append_histogram_point(&mut self.envelope.out, series, point);
        self.envelope.items += 1;
    }
}

/// Appends a metric with one point as the field of `ScopeMetrics` that it is: tag, length, message. Times are
/// nanoseconds since the Unix epoch; `start_ns` 0: not known.
pub fn append_number(
    out: &mut Vec<u8>,
    metric: &Metric<'_>,
    series: &Attributes,
    start_ns: u64,
    time_ns: u64,
    value: impl Into<Number>,
) {
    let (field, temporality, monotonic) = match metric.data {
        Data::Gauge => (GAUGE, None, false),
        Data::Sum { temporality, monotonic } => (SUM, Some(temporality), monotonic),
    };
    let whole = open_metric(out, metric.name, metric.description, metric.unit);
    let data = open_medium(out, message(field));
    append_point(out, series, start_ns, time_ns, value.into());
    close_data(out, data, temporality, monotonic);
    close_medium(out, whole);
}

/// Appends a metric with one histogram point, as [`append_number`] does.
pub fn append_histogram(
    out: &mut Vec<u8>,
    metric: &Histogram<'_>,
    series: &Attributes,
    point: &HistogramPoint<'_>,
) {
    let whole = open_metric(out, metric.name, metric.description, metric.unit);
    let data = open_medium(out, message(HISTOGRAM));
    append_histogram_point(out, series, point);
    close_data(out, data, Some(metric.temporality), false);
    close_medium(out, whole);
}

fn open_metric(out: &mut Vec<u8>, name: &str, description: &str, unit: &str) -> usize {
    let whole = open_medium(out, message(2));
    put_text(out, message(1), name);
    put_text(out, message(2), description);
    put_text(out, message(3), unit);
    whole
}

fn close_data(out: &mut Vec<u8>, data: usize, temporality: Option<Temporality>, monotonic: bool) {
    if let Some(temporality) = temporality {
        out.extend_from_slice(&[varint(2), temporality.number()]);
    }
    if monotonic {
        out.extend_from_slice(&[varint(3), 1]);
    }
    close_medium(out, data);
}

#[inline]
fn append_point(out: &mut Vec<u8>, series: &Attributes, start_ns: u64, time_ns: u64, value: Number) {
    let (value_tag, bits) = match value {
        Number::Double(value) => (fixed64(4), value.to_bits()),
        Number::Int(value) => (fixed64(6), value as u64),
    };
    let attributes = series.as_point_field();
    let start_len = if start_ns == 0 { 0 } else { 9 };
    let content = start_len + 18 + attributes.len();
    // One reservation for tag, length (at most 10 bytes) and content.
    out.reserve(11 + content);
    out.push(message(1));
    put_varint(out, content as u64);
    let mut fields = [0u8; 27];
    fields[0] = fixed64(2);
    fields[1..9].copy_from_slice(&start_ns.to_le_bytes());
    fields[9] = fixed64(3);
    fields[10..18].copy_from_slice(&time_ns.to_le_bytes());
    fields[18] = value_tag;
    fields[19..].copy_from_slice(&bits.to_le_bytes());
    // Of constant lengths, which are written as words and need no copying function.
    if start_ns == 0 {
        out.extend_from_slice(&fields[9..]);
    } else {
        out.extend_from_slice(&fields);
    }
    out.extend_from_slice(attributes);
}

fn append_histogram_point(out: &mut Vec<u8>, series: &Attributes, point: &HistogramPoint<'_>) {
    let start = open_medium(out, message(1));
    put_histogram_fields(out, series, point, |_| {});
    close_medium(out, start);
}

/// The fields of a histogram point; `between` adds what stands between bounds and attributes.
pub(super) fn put_histogram_fields(
    out: &mut Vec<u8>,
    series: &Attributes,
    point: &HistogramPoint<'_>,
    between: impl FnOnce(&mut Vec<u8>),
) {
    if point.start_ns != 0 {
        put_fixed64(out, fixed64(2), point.start_ns);
    }
    put_fixed64(out, fixed64(3), point.time_ns);
    put_fixed64(out, fixed64(4), point.count);
    put_double(out, 5, point.sum);
    put_packed(out, 6, point.buckets.iter().copied());
    put_packed(out, 7, point.bounds.iter().map(|bound| bound.to_bits()));
    between(out);
    series.append_as(message(9), out);
    put_double(out, 11, point.min);
    put_double(out, 12, point.max);
}

fn put_double(out: &mut Vec<u8>, field: u8, value: Option<f64>) {
    if let Some(value) = value {
        put_fixed64(out, fixed64(field), value.to_bits());
    }
}

fn put_packed(out: &mut Vec<u8>, field: u8, values: impl ExactSizeIterator<Item = u64>) {
    if values.len() > 0 {
        out.push(message(field));
        put_varint(out, 8 * values.len() as u64);
        for bits in values {
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }
}
