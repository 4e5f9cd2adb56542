//! One misbehaviour and the requests it is for.

use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};

use crate::{
    receive::{Batch, Code},
    signal::Signal,
};

/// A point of a request's way at which rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The headers are here, the body was not read.
    Headers,
    /// The body is here, nobody looked into it.
    Body,
    /// It is decoded and its names are known; nothing is stored yet.
    Decoded,
    /// It is stored and committed; only the answer is missing.
    Stored,
}

/// What is known of a request when rules are asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) signal: Signal,
    /// `Content-Encoding` or `grpc-encoding` in lower case; `identity` where there is none.
    pub(crate) encoding: &'a str,
    /// `Authorization`, if it is text.
    pub(crate) authorization: Option<&'a str>,
    /// From [`Stage::Decoded`] on.
    pub(crate) batch: Option<&'a Batch>,
}

/// A misbehaviour, its conditions, and how often it struck.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The request to `/control` that made it: verb and query.
    pub(crate) text: String,
    pub(crate) stage: Stage,
    pub(crate) condition: Condition,
    pub(crate) effect: Effect,
    /// The share of matching requests that it strikes, 0 to 1.
    pub(crate) rate: f64,
    pub(crate) until: Option<Instant>,
    /// How many more requests it strikes; `None`: no end.
    pub(crate) left: Option<u64>,
    pub(crate) struck: u64,
}

/// Which requests a rule is for. All must hold; the default holds for all.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    pub(crate) signal: Option<Signal>,
    pub(crate) encoding: Option<String>,
    /// The request carries no `Authorization: Bearer TOKEN`.
    pub(crate) lacks_token: Option<String>,
    /// The request contains a metric, a span, or a log event or body of this name.
    pub(crate) contains: Option<String>,
}

impl Condition {
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        self.signal.is_none_or(|signal| signal == facts.signal)
            && self.encoding.as_deref().is_none_or(|encoding| encoding == facts.encoding)
            && self.lacks_token.as_deref().is_none_or(|token| !bears(facts.authorization, token))
            && self.contains.as_deref().is_none_or(|name| facts.batch.is_some_and(|b| b.contains(name)))
    }
}

fn bears(authorization: Option<&str>, token: &str) -> bool {
    // The scheme's name is case-insensitive (RFC 9110, 11.1), the token is not.
    authorization
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("bearer") && given.trim_start() == token)
}

/// What a rule does.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// Waits before the request goes on.
    Delay(Duration),
    /// Answers 200, but with so many items refused, which are not stored.
    Partial { rejected: u64, message: String },
    /// A compressed body is read up to the end of its first frame or member only; the rest is ignored.
    FirstFrameOnly,
    /// Ends the request here.
    End(Terminal),
}

/// How a rule ends a request.
#[derive(Debug, Clone)]
pub(crate) enum Terminal {
    Refuse(Refusal),
    /// The connection is closed without an answer; over HTTP/2 with all that is under way on it.
    Close,
    /// There is no answer as long as the client waits (at most 10 minutes).
    Hang,
}

/// An answer that a rule gives.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// Over gRPC in place of what fits the status.
    pub(crate) code: Option<Code>,
    /// Seconds or an HTTP date, as given.
    pub(crate) retry_after: Option<HeaderValue>,
    pub(crate) location: Option<HeaderValue>,
    pub(crate) body: AnswerBody,
    pub(crate) message: String,
}

/// What the body of a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerBody {
    /// A `google.rpc.Status` in the encoding of the request, as OTLP asks.
    Status,
    /// Bytes that are neither protobuf nor JSON, under the content type of the request.
    Garbage,
    Empty,
    /// A page, as proxies send it.
    Html,
    /// Half of a body, then the connection is closed.
    Cut,
    /// 8 MiB, more than a sender should read.
    Huge,
}
