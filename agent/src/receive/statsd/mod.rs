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

use tokio::net::{UdpSocket, UnixDatagram};
use whimbrel_otlp::{
    Signal,
    write::{Attributes, Envelope, LogRecord, Scope, Severity, Value, append_log_record},
};

use super::{Ground, ListenError, Peer, Started, listen::bind_private_datagrams, pieces::Pieces};
use crate::{
    clock,
    config::{Address, StatsdReceiver},
};
use parse::{Event, Line, parse};
use table::Table;

/// The largest datagram: UDP's own limit.
const LARGEST: usize = 65_536;

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
    let failed = |what, address: Address| {
        move |source| ListenError::Bind { what, address: address.to_string(), source }
    };
    if let Some(address) = config.udp {
        let socket = UdpSocket::bind(address).await.map_err(failed("udp", Address::Tcp(address)))?;
        let bound = socket.local_addr().map_or(address, |bound| bound);
        started.listening.push(format!("udp {bound}"));
        started.tasks.spawn(receiver.clone().over_udp(socket));
    }
    if let Some(path) = &config.unix {
        let socket = bind_private_datagrams(path).map_err(failed("unix", Address::Unix(path.clone())))?;
        started.listening.push(format!("unix unix:{}", path.display()));
        started.tasks.spawn(receiver.clone().over_unix(socket, path.clone()));
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
    async fn over_udp(self: Arc<Self>, socket: UdpSocket) {
        let mut buffer = vec![0; LARGEST];
        loop {
            let received = tokio::select! {
                () = self.ground.stop.wait() => return,
                received = socket.recv_from(&mut buffer) => received,
            };
            match received {
                Ok((length, from)) => self.take(&buffer[..length], Peer::Ip(from.ip().to_canonical())),
                // One that could not be received is no reason to stop.
                Err(error) => {
                    tracing::debug!(%error, "statsd: a datagram could not be received");
                    self.ground.counts.refused("receive");
                }
            }
        }
    }

    async fn over_unix(self: Arc<Self>, socket: UnixDatagram, path: std::path::PathBuf) {
        let mut buffer = vec![0; LARGEST];
        loop {
            let received = tokio::select! {
                () = self.ground.stop.wait() => break,
                received = socket.recv(&mut buffer) => received,
            };
            match received {
                Ok(length) => self.take(&buffer[..length], Peer::Local),
                Err(_) => self.ground.counts.refused("receive"),
            }
        }
        // Nobody is left to tell; the next start removes a stale socket.
        let _ = std::fs::remove_file(path);
    }

    /// Takes a datagram.
    fn take(&self, datagram: &[u8], peer: Peer) {
        if self.ground.pace.may(peer).is_err() {
            self.ground.counts.refused("rate");
            return;
        }
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
        let now = clock::unix_ns(&*self.ground.clock);
        let mut attributes = Attributes::new();
        event.tags.iter().for_each(|(key, value)| attributes.push(key, *value));
        if !event.title.is_empty() {
            attributes.push(event.title_key, event.title);
        }
        let text = event.text.replace("\\n", "\n");
        let mut pieces = Pieces::default();
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
        append_log_record(pieces.out(Signal::Logs, &self.envelope), &record);
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
