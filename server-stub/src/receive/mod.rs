//! OTLP: from a connection's request to a stored batch and an answer.
//!
//! `handle` is the way that both protocols share; `http` and `grpc` are what differs: paths, framing, statuses.

mod answer;
mod batch;
mod code;
mod decode;
mod encoding;
mod flatten;
mod frame;
mod grpc;
mod handle;
mod health;
mod http;
mod key;

pub(crate) use answer::{Answer, AnswerBytes, with_body, with_stream};
#[cfg(test)]
pub(crate) use batch::SeriesRows;
pub(crate) use batch::{Batch, Group, LogRow, Point, PointValue, Resource, Rows, Scope, Series, SpanRow};
pub(crate) use code::Code;
pub(crate) use flatten::double;
pub(crate) use handle::{Receiver, lock, now_ns};
pub(crate) use key::{Key, Parts};
