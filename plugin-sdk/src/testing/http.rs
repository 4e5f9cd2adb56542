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

    /// So much time goes by until it answers.
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
    after: Duration,
}

impl Pending {
    pub(crate) fn begin(request: &Request, url: &Url) -> Result<Self, Error> {
        let reply = with(|host| {
            host.network.requests.push(request.clone());
            host.network.take(&url.to_string())
        });
        let reply = reply.ok_or_else(|| Error::denied(&url.origin()))?;
        let Reply { result, chunks, after } = reply;
        Ok(Self { head: Some(result), chunks: chunks.into(), after })
    }

    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        let after = std::mem::take(&mut self.after);
        with(|host| {
            let ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            host.now_ns = host.now_ns.saturating_add(ns);
            host.monotonic_ns = host.monotonic_ns.saturating_add(ns);
        });
        if let Some(head) = self.head.take() {
            return head.map(|(status, headers)| Step::Head(status, headers));
        }
        Ok(self.chunks.pop_front().map_or(Step::End, Step::Chunk))
    }
}

/// Whatever is asked for has been answered.
pub(crate) fn wait(_: &[&Pending], _: Duration) {}
