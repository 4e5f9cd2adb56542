//! The network of a plugin under test: answers by URL, without a connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::imports::with;
use crate::http::{Error, Headers, Request, Step, Url};

/// What a URL answers.
#[derive(Clone, Debug)]
pub struct Reply {
    result: Result<(u16, Headers), Error>,
    chunks: Vec<Vec<u8>>,
    after: Duration,
}

impl Reply {
    /// An answer of this status and body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let chunks = if body.is_empty() { Vec::new() } else { vec![body] };
        Self { result: Ok((status, Headers::new())), chunks, after: Duration::ZERO }
    }

    /// No answer.
    #[must_use]
    pub fn error(error: Error) -> Self {
        Self { result: Err(error), chunks: Vec::new(), after: Duration::ZERO }
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Ok((_, headers)) = &mut self.result {
            headers.push(name, value);
        }
        self
    }

    /// And this piece of the body.
    #[must_use]
    pub fn chunk(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.chunks.push(bytes.into());
        self
    }

    /// So much time goes by until it answers, for all that wait at once.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.after = time;
        self
    }
}

/// What is answered, and what was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    replies: BTreeMap<String, VecDeque<Reply>>,
    pub(crate) requests: Vec<Request>,
}

impl Network {
    /// Each URL gives one reply after the other, and keeps its last.
    pub(crate) fn put(&mut self, url: &str, reply: Reply) {
        self.replies.entry(url.to_owned()).or_default().push_back(reply);
    }

    pub(crate) fn forget(&mut self, url: &str) {
        self.replies.remove(url);
    }

    fn take(&mut self, url: &str) -> Option<Reply> {
        let replies = self.replies.get_mut(url)?;
        if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Pending {
    head: Option<Result<(u16, Headers), Error>>,
    chunks: VecDeque<Vec<u8>>,
    /// On the test's own clock.
    ready_ns: u64,
}

impl Pending {
    pub(crate) fn begin(request: &Request, url: &Url) -> Result<Self, Error> {
        let (reply, now_ns) = with(|host| {
            host.network.requests.push(request.clone());
            (host.network.take(&url.to_string()), host.monotonic_ns)
        });
        let reply = reply.ok_or_else(|| Error::denied(&url.origin()))?;
        let Reply { result, chunks, after } = reply;
        let ready_ns = now_ns.saturating_add(nanoseconds(after));
        Ok(Self { head: Some(result), chunks: chunks.into(), ready_ns })
    }

    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        if with(|host| host.monotonic_ns) < self.ready_ns {
            return Ok(Step::Waiting);
        }
        if let Some(head) = self.head.take() {
            return head.map(|(status, headers)| Step::Head(status, headers));
        }
        Ok(self.chunks.pop_front().map_or(Step::End, Step::Chunk))
    }
}

/// Moves the clock on, to when the first of them answers or the time is over.
pub(crate) fn wait(pending: &[&Pending], most: Duration) {
    with(|host| {
        let first = pending.iter().map(|one| one.ready_ns).min().unwrap_or(u64::MAX);
        let by = first.saturating_sub(host.monotonic_ns).min(nanoseconds(most));
        host.now_ns = host.now_ns.saturating_add(by);
        host.monotonic_ns = host.monotonic_ns.saturating_add(by);
    });
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
