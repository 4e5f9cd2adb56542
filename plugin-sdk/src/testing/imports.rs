//! The contract's imports, answered by the test's own host.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use whimbrel_otlp::Signal;

use super::harness::{Line, Push, Running};
use crate::certificates::Certificate;
use crate::log::Level;
use crate::system::Entity;
use crate::{Collector, Described, Error, export};

/// The host of a plugin under test. Its clock stands still until it is moved; every push succeeds until one is told
/// not to; what is not given is denied.
#[derive(Clone, Debug)]
pub struct Host {
    pub(super) instance: String,
    pub(super) config: String,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) interval: Duration,
    pub(super) deadline: Duration,
    pub(super) now_ns: u64,
    pub(super) monotonic_ns: u64,
    pub(super) random: u64,
    pub(super) snapshots: BTreeMap<String, Result<Vec<Entity>, Error>>,
    pub(super) selected: BTreeMap<String, Vec<(String, String)>>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) certificates: BTreeMap<String, Result<Certificate, Error>>,
    #[cfg(feature = "http")]
    pub(super) network: super::http::Network,
    pub(super) answers: VecDeque<Result<(), Error>>,
    pub(super) pushes: Vec<Push>,
    pub(super) lines: Vec<Line>,
    #[cfg(feature = "files")]
    pub(super) files: super::Files,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            instance: "test".to_owned(),
            config: "{}".to_owned(),
            checkpoint: None,
            interval: Duration::from_secs(10),
            deadline: Duration::from_secs(5),
            // 2026-01-01T00:00:00Z
            now_ns: 1_767_225_600_000_000_000,
            monotonic_ns: 0,
            random: 0,
            snapshots: BTreeMap::new(),
            selected: BTreeMap::new(),
            secrets: BTreeMap::new(),
            certificates: BTreeMap::new(),
            #[cfg(feature = "http")]
            network: super::http::Network::default(),
            answers: VecDeque::new(),
            pushes: Vec::new(),
            lines: Vec::new(),
            #[cfg(feature = "files")]
            files: super::Files::default(),
        }
    }
}

impl Host {
    /// A host at 2026-01-01T00:00:00Z with nothing granted, for a collector named `test` every 10 s.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The collector's name in the agent's configuration.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = name.into();
        self
    }

    /// The plugin's configuration, as JSON.
    #[must_use]
    pub fn config(mut self, json: impl Into<String>) -> Self {
        self.config = json.into();
        self
    }

    /// The checkpoint that the plugin starts with.
    #[must_use]
    pub fn checkpoint(mut self, checkpoint: impl Into<Vec<u8>>) -> Self {
        self.checkpoint = Some(checkpoint.into());
        self
    }

    /// How often it is asked.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The time, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_ns(mut self, now_ns: u64) -> Self {
        self.now_ns = now_ns;
        self
    }

    /// Grants a part of the host's figures, and says what they are.
    #[must_use]
    pub fn snapshot(mut self, part: impl Into<String>, entities: Vec<Entity>) -> Self {
        self.snapshots.insert(part.into(), Ok(entities));
        self
    }

    /// Lets a part of the host's figures answer with an error, as one does that this host lacks.
    #[must_use]
    pub fn no_snapshot(mut self, part: impl Into<String>, error: Error) -> Self {
        self.snapshots.insert(part.into(), Err(error));
        self
    }

    /// Grants a secret.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.secrets.insert(name.into(), value.into());
        self
    }

    /// Grants folders, and says what is in them.
    #[cfg(feature = "files")]
    #[must_use]
    pub fn files(mut self, files: &super::Files) -> Self {
        self.files = files.clone();
        self
    }

    /// Grants an origin, and says what certificate it shows, or why none.
    #[must_use]
    pub fn certificate(mut self, origin: &str, certificate: Result<Certificate, Error>) -> Self {
        self.certificates.insert(origin.to_owned(), certificate);
        self
    }

    /// Grants a URL, and says what it answers; called again for the same, what it answers after that.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http(mut self, url: &str, reply: super::http::Reply) -> Self {
        self.network.put(url, reply);
        self
    }

    /// All that was asked of the network.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn requests(&self) -> &[crate::http::Request] {
        &self.network.requests
    }

    /// The URL answers no more.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn no_http(mut self, url: &str) -> Self {
        self.network.forget(url);
        self
    }

    /// How long a collect may take; the plugin sees it in [`Emit::remaining`](crate::Emit::remaining).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// All that was pushed to it.
    #[must_use]
    pub fn pushes(&self) -> &[Push] {
        &self.pushes
    }

    /// Without what was pushed so far, for long tests.
    #[must_use]
    pub fn forget_pushes(mut self) -> Self {
        self.pushes.clear();
        self
    }

    /// All that was logged to it.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Starts a plugin on this host.
    ///
    /// # Errors
    /// What the agent would be told.
    pub fn start<C: Collector + Described>(self) -> Result<Running<C>, Error> {
        let (host, started) = enter(self, || {
            let (name, config, checkpoint, interval) = with(|host| {
                (host.instance.clone(), host.config.clone(), host.checkpoint.clone(), host.interval)
            });
            export::Instance::start(C::PLUGIN, name, &config, checkpoint, interval)
        });
        Ok(Running::new(host, started?))
    }
}

thread_local! {
    static CURRENT: RefCell<Host> = RefCell::new(Host::new());
}

pub(super) fn with<T>(use_it: impl FnOnce(&mut Host) -> T) -> T {
    CURRENT.with(|current| use_it(&mut current.borrow_mut()))
}

/// Makes `host` the one that answers on this thread while `call` runs.
pub(crate) fn enter<T>(host: Host, call: impl FnOnce() -> T) -> (Host, T) {
    let outer = CURRENT.replace(host);
    let result = call();
    (CURRENT.replace(outer), result)
}

pub(crate) fn now_ns() -> u64 {
    with(|host| host.now_ns)
}

pub(crate) fn monotonic_ns() -> u64 {
    with(|host| host.monotonic_ns)
}

/// Repeatable: splitmix64 from zero.
pub(crate) fn random(len: u32) -> Vec<u8> {
    with(|host| {
        let mut bytes = Vec::with_capacity(len as usize + 8);
        while bytes.len() < len as usize {
            host.random = host.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = host.random;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
        bytes.truncate(len as usize);
        bytes
    })
}

pub(crate) fn log(level: Level, message: &str, fields: &[(&str, String)]) {
    let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    with(|host| host.lines.push(Line { level, message: message.to_owned(), fields }));
}

pub(crate) fn reveal(name: &str) -> Result<String, Error> {
    with(|host| {
        host.secrets.get(name).cloned().ok_or_else(|| {
            Error::Denied(format!("the secret {name} is not granted; add it under grants: secrets"))
        })
    })
}

pub(crate) fn certificate(origin: &str, _: u32) -> Result<Certificate, Error> {
    with(|host| {
        host.certificates.get(origin).cloned().unwrap_or_else(|| {
            Err(Error::Denied(format!("{origin} is not granted; add it under grants: http")))
        })
    })
}

/// Selects nothing: a test says itself what a part gives, and looks at what was asked for.
pub(crate) fn snapshot(part: &str, select: &[(String, String)]) -> Result<Vec<Entity>, Error> {
    with(|host| {
        host.selected.insert(part.to_owned(), select.to_vec());
        host.snapshots.get(part).cloned().unwrap_or_else(|| {
            Err(Error::Denied(format!("the system part {part} is not granted; add it under grants: system")))
        })
    })
}

#[cfg(feature = "files")]
pub(crate) fn files() -> super::Files {
    with(|host| host.files.clone())
}

pub(crate) fn push(
    signal: Signal,
    bytes: Vec<u8>,
    checkpoint: Option<Vec<u8>>,
) -> (Vec<u8>, Result<(), Error>) {
    let answer = with(|host| {
        let answer = host.answers.pop_front().unwrap_or(Ok(()));
        if answer.is_ok() {
            if checkpoint.is_some() {
                host.checkpoint.clone_from(&checkpoint);
            }
            host.pushes.push(Push { signal, bytes: bytes.clone(), checkpoint });
        }
        answer
    });
    (bytes, answer)
}
