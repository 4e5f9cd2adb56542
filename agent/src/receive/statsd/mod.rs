//! The receiver `statsd`: datagrams of StatsD and DogStatsD, over UDP or a Unix socket.
//!
//! ```text
//! datagram --> parse: lines --> table: values of a series put together --> every `flush` --> gather
//!                          `--> events and service checks, at once ------------------------^
//! ```
//!
//! Described in `agent/docs/statsd.md`, whose examples are tested. A datagram has no answer: what is put together when the
//! process dies is lost, at most what came within `flush`; a stop sends it. Invariants: the table is bounded; what finds
//! no room is counted as lost.

mod parse;
mod table;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use whimbrel_otlp::{
    Signal,
    write::{Attributes, Envelope, LogRecord, Scope, Severity, Value, append_log_record},
};

use super::{Ground, ListenError, Started, datagrams::Datagrams, pieces::Pieces};
use crate::{clock, config::StatsdReceiver};
use parse::{Event, Line, parse};
use table::Table;

struct Receiver {
    ground: Ground,
    envelope: Arc<Envelope>,
    table: Mutex<Table>,
}

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(config: &StatsdReceiver, ground: Ground) -> Result<Started, ListenError> {
    let mut started = Started::default();
    let attributes = Attributes::from_iter(ground.agent_resource.iter().map(|(k, v)| (k, v.as_str())));
    let receiver = Arc::new(Receiver {
        envelope: Arc::new(Envelope::new(
            &attributes,
            &Scope { name: "whimbrel/statsd", ..Scope::default() },
        )),
        table: Mutex::new(Table::new(config.series, clock::unix_ns(&*ground.clock))),
        ground: ground.clone(),
    });
    let mut sockets = Vec::new();
    if let Some(address) = config.udp {
        sockets.push(Datagrams::over_udp(address).await?);
    }
    if let Some(path) = &config.unix {
        sockets.push(Datagrams::over_unix(path)?);
    }
    for socket in sockets {
        started.listening.push(socket.shown());
        let (receiver, ground) = (receiver.clone(), ground.clone());
        started.tasks.spawn(async move { socket.serve(ground, |datagram| receiver.take(datagram)).await });
    }
    let every = config.flush;
    started.tasks.spawn(async move {
        loop {
            let stopping = tokio::select! {
                () = ground.stop.wait() => true,
                () = ground.clock.sleep(every) => false,
            };
            receiver.flush().await;
            if stopping {
                return;
            }
        }
    });
    Ok(started)
}

impl Receiver {
    /// Takes a datagram.
    fn take(&self, datagram: &[u8]) {
        for line in datagram.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            match parse(line) {
                Ok(Line::Metric(metric)) => {
                    let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
                    if table.add(&metric).is_err() {
                        self.ground.counts.lost("series", 1);
                    }
                }
                Ok(Line::Event(event)) => self.event(&event),
                Err(problem) => self.ground.counts.refused(problem.cause()),
            }
        }
    }

    /// An event or a service check becomes a log record at once.
    fn event(&self, event: &Event<'_>) {
        let mut pieces = Pieces::default();
        put_event(event, clock::unix_ns(&*self.ground.clock), &self.envelope, &mut pieces);
        if self.ground.gather.add(pieces.parts()).is_err() {
            self.ground.counts.lost("buffer_full", 1);
        }
    }

    /// Sends what was put together.
    async fn flush(&self) {
        let now = clock::unix_ns(&*self.ground.clock);
        let mut pieces = Pieces::default();
        let count = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.drain(now, pieces.counted(Signal::Metrics, &self.envelope, 0))
        };
        pieces.counted(Signal::Metrics, &self.envelope, count);
        if count == 0 {
            return;
        }
        while self.ground.gather.add(pieces.parts()).is_err() {
            let needed = pieces.parts().map(|piece| piece.encoded.len()).sum();
            tokio::select! {
                () = self.ground.gather.room(needed) => {}
                () = self.ground.stop.wait() => {
                    self.ground.counts.lost("stopping", count.into());
                    return;
                }
            }
        }
    }
}

/// Encodes an event or a service check.
fn put_event(event: &Event<'_>, now: u64, envelope: &Arc<Envelope>, pieces: &mut Pieces) {
    let mut attributes = Attributes::new();
    event.tags.iter().for_each(|(key, value)| attributes.push(key, *value));
    if !event.title.is_empty() {
        attributes.push(event.title_key, event.title);
    }
    let text = event.text.replace("\\n", "\n");
    let record = LogRecord {
        time_ns: event.time_s.and_then(|s| s.checked_mul(1_000_000_000)).unwrap_or(now),
        observed_ns: now,
        severity: match event.level {
            parse::Level::Info => Severity::INFO,
            parse::Level::Warning => Severity::WARN,
            parse::Level::Error => Severity::ERROR,
        },
        event_name: event.kind,
        body: Value::Text(&text),
        attributes: Some(&attributes),
        ..LogRecord::default()
    };
    append_log_record(pieces.out(Signal::Logs, envelope), &record);
}

/// What a datagram becomes; for fuzzing.
#[cfg(fuzzing)]
pub(super) fn map_all(datagram: &[u8]) -> Pieces {
    let (mut pieces, mut table) = (Pieces::default(), Table::new(100, 1));
    let envelope = Arc::new(Envelope::default());
    for line in datagram.split(|byte| *byte == b'\n') {
        match parse(line) {
            // Full is counted by the receiver.
            Ok(Line::Metric(metric)) => drop(table.add(&metric)),
            Ok(Line::Event(event)) => put_event(&event, 1, &envelope, &mut pieces),
            Err(_) => {}
        }
    }
    let count = table.drain(2, pieces.counted(Signal::Metrics, &envelope, 0));
    pieces.counted(Signal::Metrics, &envelope, count);
    pieces
}
