//! OTLP/HTTP: from a connection's request to a stored batch and an answer.

mod answer;
mod batch;
mod decode;
mod encoding;
mod fields;
mod flatten;
mod handle;
mod json;
mod key;

pub(crate) use answer::{Answer, AnswerBytes, with_body, with_stream};
#[cfg(test)]
pub(crate) use batch::SeriesRows;
pub(crate) use batch::{Batch, Group, LogRow, Point, PointValue, Resource, Rows, Scope, Series, SpanRow};
pub(crate) use flatten::double;
pub(crate) use handle::{Receiver, lock, now_ns};
pub(crate) use key::{Key, Parts};
