//! Builders that write OTLP protobuf straight into one buffer.
//!
//! Nothing is collected into structures first: a call appends bytes. What repeats from batch to batch, the
//! attributes of a series, is encoded once ([`Attributes`]) and copied from then on. What OTLP can't hold can't be
//! said: points only go into a metric of their kind, and a metric, scope or resource that stayed empty leaves no
//! trace.
//!
//! Wire format: as any protobuf encoder's, fields in ascending order, with one liberty. The lengths of the
//! messages that enclose many others (resource, scope, metric and data) are written after the fact into four
//! reserved bytes, as a varint that is padded with continuation bits (`0x85 0x80 0x80 0x00` for 5), which every
//! protobuf parser must accept. Moving a batch to close such gaps would cost more than writing its points.

mod attributes;
pub(crate) mod buffer;
mod enclosed;
mod envelope;
mod logs;
mod metric;
mod metrics;
mod scope;
mod spans;
mod value;
mod whole;
pub use enclosed::{Envelope, append_enclosed};

pub use attributes::Attributes;
pub use logs::{LogRecord, Logs, Severity, append_log_record};
pub use metric::{Data, Histogram, HistogramPoint, Metric, Number, Temporality};
pub use metrics::{Histograms, Metrics, Numbers, append_histogram, append_number};
pub use scope::Scope;
pub use spans::{Span, SpanKind, SpanStatus, append_span};
pub use value::Value;
pub use whole::{Exemplar, Kind, MetricWriter, SummaryPoint};
