//! The receiver `ldjson`: scripts and small programs send one JSON object a line, over TCP or a Unix socket.
//!
//! ```text
//! connection: bytes -> lines --> line: text -> fields --> map: fields -> items of OTLP --> gather
//!      ^ answers: errors, acknowledgements                  |- spans: begun and not ended
//!                                                           `- watch: sources that promised a heartbeat
//! ```
//!
//! Protocol version 1, described with examples in `agent/docs/ldjson.md`, which is tested. Invariants: a bad line costs
//! nothing but itself; what was read and taken is kept until it is durable; a client that never reads its answers holds
//! up nobody but itself.

mod connection;
mod line;
mod map;
mod spans;
mod watch;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use whimbrel_otlp::write::{Attributes, Envelope, Scope};

use super::{Ground, Guard, ListenError, Listener, Started, Ticket};
use crate::{clock, config::LdjsonReceiver};
use map::Batch;
use spans::OpenSpans;
use watch::Watch;

/// How often silent sources and spans without end are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// What all connections share.
struct Shared {
    ground: Ground,
    spans: OpenSpans,
    watch: Watch,
}

impl Shared {
    /// The envelope of what a source sends.
    fn envelope(&self, source: &str, resource: Option<&Attributes>, own: &[String]) -> Arc<Envelope> {
        envelope(&self.ground.agent_resource, source, resource, own)
    }

    fn now_ns(&self) -> u64 {
        clock::unix_ns(&*self.ground.clock)
    }

    /// Brings a batch to the gather, waiting for room; the tickets of what it is made of.
    async fn add(&self, batch: &mut Batch) -> [Option<Ticket>; 3] {
        let tickets = loop {
            match self.ground.gather.add(batch.pieces.parts()) {
                Ok(tickets) => break tickets,
                Err(super::Full) => {
                    let needed = batch.pieces.parts().map(|piece| piece.encoded.len()).sum();
                    self.ground.gather.room(needed).await;
                }
            }
        };
        batch.pieces.clear();
        tickets
    }

    /// Looks for sources that fell silent and spans that never ended, until the agent stops.
    async fn look(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.ground.stop.wait() => return,
                () = self.ground.clock.sleep(LOOK) => {}
            }
            let mut batch = Batch::default();
            for silent in self.watch.look(self.ground.clock.monotonic()) {
                batch.silent(self.envelope(&silent.source, None, &[]), &silent, self.now_ns());
            }
            self.ground.counts.silent(self.watch.silent());
            for span in self.spans.expired(self.ground.clock.monotonic()) {
                batch.unfinished(&span, self.now_ns());
            }
            if !batch.pieces.is_empty() {
                self.add(&mut batch).await;
            }
        }
    }
}

/// A source's resource: the agent's host, its own name, and what it said about itself. `own`: the keys it said.
fn envelope(
    agent: &BTreeMap<String, String>,
    source: &str,
    resource: Option<&Attributes>,
    own: &[String],
) -> Arc<Envelope> {
    let is_own = |key: &str| key == "service.name" || own.iter().any(|other| other == key);
    let mut attributes = Attributes::new();
    if !own.iter().any(|key| key == "service.name") {
        attributes.push("service.name", source);
    }
    for (key, value) in agent.iter().filter(|(key, _)| !is_own(key)) {
        attributes.push(key, value);
    }
    if let Some(resource) = resource {
        attributes.extend_from(resource);
    }
    Arc::new(Envelope::new(&attributes, &Scope { name: "whimbrel/ldjson", ..Scope::default() }))
}

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(config: &LdjsonReceiver, ground: Ground) -> Result<Started, ListenError> {
    let shared = Arc::new(Shared {
        spans: OpenSpans::new(config.open_spans, config.span_timeout),
        watch: Watch::new(config.sources),
        ground: ground.clone(),
    });
    let mut started = Started::default();
    let endpoints = [("tcp", &config.tcp), ("unix", &config.unix)];
    for (what, endpoint) in endpoints.into_iter().filter_map(|(what, one)| Some((what, one.as_ref()?))) {
        let listener = Listener::bind(what, endpoint, false, &ground).await?;
        started.listening.push(format!("{what} {}", listener.address()));
        let (shared, guard) = (shared.clone(), Guard::of(endpoint));
        started.tasks.spawn(listener.serve(move |stream, connection| {
            connection::serve(stream, connection, shared.clone(), guard.clone())
        }));
    }
    started.tasks.spawn(shared.look());
    Ok(started)
}

/// What one line becomes, whatever it is; for fuzzing.
#[cfg(fuzzing)]
pub(super) fn map_one(text: &[u8]) -> super::pieces::Pieces {
    let mut batch = Batch::default();
    let envelope = Arc::new(Envelope::default());
    if let Ok(line) = line::parse(text) {
        // What is refused has left nothing behind.
        let _ = match line.kind.as_str() {
            "metric" => batch.metric(&envelope, &line, 1),
            "progress" => batch.progress(&envelope, &line, 1),
            "span" => batch.span(&envelope, &line),
            _ => batch.event(&envelope, &line, 1),
        };
    }
    batch.pieces
}
