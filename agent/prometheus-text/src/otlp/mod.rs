//! Samples into OTLP, by the OpenTelemetry specification "Prometheus and OpenMetrics Compatibility".
//!
//! | type | OTLP |
//! |---|---|
//! | counter | monotonic sum; `_created` is its start |
//! | gauge, unknown | gauge |
//! | histogram | histogram: cumulative buckets become explicit ones |
//! | summary | summary |
//! | info, stateset | sum that is not monotonic |
//! | gaugehistogram | dropped, counted |
//!
//! `target_info` becomes the resource's attributes, `otel_scope_*` labels and `otel_scope_info` the scope's. Names stay
//! as they are, unless suffixes are to be trimmed. The type is kept as metadata `prometheus.type`.

mod convert;
mod family;
mod scopes;
mod series;
mod starts;
mod units;

pub use convert::{Conversion, Converted, Dropped, Request, convert, convert_gone};
pub use series::Series;
pub use starts::Starts;
pub use units::unit;
