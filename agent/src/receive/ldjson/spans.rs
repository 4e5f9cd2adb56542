//! Spans that have begun and not ended: a bounded table, over all connections.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use whimbrel_otlp::write::{Attributes, Envelope, SpanKind};

use super::{
    line::{Line, LineError},
    map::{ids, kind, needed},
};

/// A span whose end has not come.
#[derive(Clone)]
pub(super) struct OpenSpan {
    pub(super) envelope: Arc<Envelope>,
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) parent_id: Option<[u8; 8]>,
    pub(super) name: String,
    pub(super) kind: SpanKind,
    pub(super) start_ns: u64,
    /// Of its start; those of its end are put before them.
    pub(super) attributes: Attributes,
}

impl OpenSpan {
    /// What a line says of a span that starts. The attributes of a whole span stay with the line.
    pub(super) fn begin(envelope: Arc<Envelope>, line: &Line<'_>, start_ns: u64) -> Result<Self, LineError> {
        let needs = |what| LineError::new("missing", format!("a span needs `{what}`"));
        Ok(Self {
            envelope,
            trace_id: ids(&line.trace_id, "trace_id")?.ok_or_else(|| needs("trace_id"))?,
            span_id: ids(&line.span_id, "span_id")?.ok_or_else(|| needs("span_id"))?,
            parent_id: ids(&line.parent_id, "parent_id")?,
            name: needed(&line.name, "a span", "name")?.to_owned(),
            kind: kind(line.of_kind.as_ref())?,
            start_ns,
            attributes: Attributes::new(),
        })
    }
}

type Key = ([u8; 16], [u8; 8]);

/// See the module.
pub(super) struct OpenSpans {
    limit: usize,
    timeout: Duration,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    spans: HashMap<Key, (Duration, OpenSpan)>,
    /// In the order in which they began; those that ended are still in it until their turn.
    order: VecDeque<(Duration, Key)>,
}

impl OpenSpans {
    pub(super) fn new(limit: usize, timeout: Duration) -> Self {
        Self { limit, timeout, table: Mutex::default() }
    }

    /// Keeps a span that began, `now` in monotonic time. Where there is no room, the oldest is given back: its end is
    /// waited for no longer. A span that begins twice counts from the second time on.
    pub(super) fn begin(&self, span: OpenSpan, now: Duration) -> Option<OpenSpan> {
        let mut table = self.lock();
        let key = (span.trace_id, span.span_id);
        table.spans.insert(key, (now, span));
        table.order.push_back((now, key));
        if table.spans.len() <= self.limit && table.order.len() <= 2 * self.limit + 16 {
            return None;
        }
        table.next_open(|_| true)
    }

    /// The start of a span that ends.
    pub(super) fn end(&self, trace_id: [u8; 16], span_id: [u8; 8]) -> Option<OpenSpan> {
        self.lock().spans.remove(&(trace_id, span_id)).map(|(_, span)| span)
    }

    /// Those that have been waited for too long, `now` in monotonic time.
    pub(super) fn expired(&self, now: Duration) -> Vec<OpenSpan> {
        let mut table = self.lock();
        let timeout = self.timeout;
        let mut expired = Vec::new();
        while let Some(span) = table.next_open(|since| now.saturating_sub(since) >= timeout) {
            expired.push(span);
        }
        expired
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        // A change is whole when the lock is given back.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Takes the oldest that is still open, where `due` says so of its age; forgets those before it that have ended.
    fn next_open(&mut self, due: impl Fn(Duration) -> bool) -> Option<OpenSpan> {
        while let Some((since, key)) = self.order.front().copied() {
            let is_it = self.spans.get(&key).is_some_and(|(began, _)| *began == since);
            if is_it && !due(since) {
                return None;
            }
            self.order.pop_front();
            if is_it {
                return self.spans.remove(&key).map(|(_, span)| span);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(number: u8) -> OpenSpan {
        OpenSpan {
            envelope: Arc::new(Envelope::default()),
            trace_id: [number; 16],
            span_id: [number; 8],
            parent_id: None,
            name: format!("{number}"),
            kind: SpanKind::Internal,
            start_ns: 0,
            attributes: Attributes::new(),
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_end_finds_its_start_once() {
        let spans = OpenSpans::new(10, SECOND);
        assert!(spans.begin(span(1), SECOND).is_none());
        assert_eq!(spans.end([1; 16], [1; 8]).unwrap().name, "1");
        assert!(spans.end([1; 16], [1; 8]).is_none());
    }

    #[test]
    fn over_the_limit_the_oldest_is_given_back() {
        let spans = OpenSpans::new(2, SECOND);
        assert!(spans.begin(span(1), SECOND).is_none() && spans.begin(span(2), SECOND).is_none());
        assert_eq!(spans.begin(span(3), SECOND).unwrap().name, "1");
        assert!(spans.end([2; 16], [2; 8]).is_some() && spans.end([3; 16], [3; 8]).is_some());
        for round in 0..10_000u32 {
            spans.begin(span(round as u8), SECOND);
            spans.end([round as u8; 16], [round as u8; 8]);
        }
        assert!(spans.lock().order.len() < 100, "those that ended are forgotten");
    }

    #[test]
    fn those_that_never_end_expire() {
        let spans = OpenSpans::new(10, 10 * SECOND);
        spans.begin(span(1), SECOND);
        spans.begin(span(2), 5 * SECOND);
        spans.begin(span(1), 6 * SECOND);
        assert!(spans.expired(10 * SECOND).is_empty());
        let names = |spans: Vec<OpenSpan>| spans.into_iter().map(|span| span.name).collect::<Vec<_>>();
        assert_eq!(names(spans.expired(15 * SECOND)), ["2"], "1 began again at 6");
        assert_eq!(names(spans.expired(16 * SECOND)), ["1"]);
    }
}
