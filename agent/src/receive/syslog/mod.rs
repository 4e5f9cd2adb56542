//! The receiver `syslog`: messages of RFC 5424 and RFC 3164, over TCP, UDP and a Unix socket.
//!
//! ```text
//! TCP: octet counting or lines (RFC 6587) --> one message --> map: fields -> a log record --> gather
//! UDP, Unix: a datagram is a message ---------^
//! ```
//!
//! Described in `agent/docs/syslog.md`, whose examples are tested. What can't be parsed is a log record of its whole text,
//! as syslog's readers have it. Over TCP nothing is read while there is no room; a datagram that finds none is counted as
//! lost.

mod map;
mod stream;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use whimbrel_otlp::write::{Attributes, Envelope, Scope};

use super::{Ground, ListenError, Listener, Started, datagrams::Datagrams, pieces::Pieces};
use crate::{clock, config::SyslogReceiver};

/// Pairs of host and application whose envelopes are kept.
const MOST_SOURCES: usize = 1000;

struct Receiver {
    ground: Ground,
    zone: jiff::tz::TimeZone,
    envelopes: Mutex<HashMap<(String, String), Arc<Envelope>>>,
}

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(config: &SyslogReceiver, ground: Ground) -> Result<Started, ListenError> {
    let mut started = Started::default();
    let zone = match config.time_zone.as_str() {
        "local" => jiff::tz::TimeZone::system(),
        // The configuration was checked.
        name => jiff::tz::TimeZone::get(name).unwrap_or(jiff::tz::TimeZone::UTC),
    };
    let receiver = Arc::new(Receiver { ground: ground.clone(), zone, envelopes: Mutex::default() });
    if let Some(endpoint) = &config.tcp {
        let listener = Listener::bind("tcp", endpoint, false, &ground).await?;
        started.listening.push(format!("tcp {}", listener.address()));
        let receiver = receiver.clone();
        started.tasks.spawn(listener.serve(move |stream, connection| {
            let receiver = receiver.clone();
            async move { stream::serve(stream, connection, &receiver).await }
        }));
    }
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
        started
            .tasks
            .spawn(async move { socket.serve(ground, |datagram| receiver.datagram(datagram)).await });
    }
    Ok(started)
}

impl Receiver {
    fn datagram(&self, message: &[u8]) {
        let mut pieces = Pieces::default();
        self.put(message, &mut pieces);
        if !pieces.is_empty() && self.ground.gather.add(pieces.parts()).is_err() {
            self.ground.counts.lost("buffer_full", 1);
        }
    }

    /// Encodes a message.
    fn put(&self, message: &[u8], pieces: &mut Pieces) {
        let text = String::from_utf8_lossy(message);
        let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r', '\0']);
        if !text.trim().is_empty() {
            map::put(text, &self.zone, clock::unix_ns(&*self.ground.clock), pieces, |host, app| {
                self.envelope(host, app)
            });
        }
    }

    /// The resource of a message: its host and application, and what the agent says of this host where they say none.
    fn envelope(&self, host: &str, app: &str) -> Arc<Envelope> {
        let key = (host.to_owned(), app.to_owned());
        let mut envelopes = self.envelopes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(envelope) = envelopes.get(&key) {
            return envelope.clone();
        }
        if envelopes.len() >= MOST_SOURCES {
            // They can be made again.
            envelopes.clear();
        }
        let mut attributes = Attributes::new();
        attributes.push("service.name", if app.is_empty() { "unknown_service" } else { app });
        if !host.is_empty() {
            attributes.push("host.name", host);
        }
        for (key, value) in self.ground.agent_resource.iter() {
            // Of another host nothing else is known.
            let of_host = key.starts_with("host.") || key.starts_with("os.");
            if key != "service.name" && (host.is_empty() || !of_host) {
                attributes.push(key, value);
            }
        }
        let scope = Scope { name: "whimbrel/syslog", ..Scope::default() };
        let envelope = Arc::new(Envelope::new(&attributes, &scope));
        envelopes.insert(key, envelope.clone());
        envelope
    }
}
