//! What a guest writes to stdout and stderr: log lines, of levels info and warn.
//!
//! They share the rate of the guest's own log lines. A line has an end: what is longer goes out in pieces, and what has
//! no line feed when the call ends goes out then.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
};
use wasmtime_wasi_io::{
    poll::Pollable,
    streams::{OutputStream, StreamResult},
};

use crate::{
    guest::{LineRate, MAX_MESSAGE},
    services::{Level, LogLine, Services},
    text::clean,
};

/// What a guest may hand over in one write, in bytes.
const MAX_WRITE: usize = 64 << 10;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Out,
    Err,
}

/// Both streams of one instance.
pub(crate) struct Output {
    services: Arc<dyn Services>,
    rate: Arc<Mutex<LineRate>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    out: Vec<u8>,
    err: Vec<u8>,
    written: Written,
}

/// What came of a call's output.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Lines left out, because there were too many a second.
    pub(crate) dropped: u64,
    /// The last line on stderr: what a panic says.
    pub(crate) last_error: Option<String>,
}

impl Output {
    pub(crate) fn new(services: Arc<dyn Services>, rate: Arc<Mutex<LineRate>>) -> Output {
        Output { services, rate, state: Mutex::default() }
    }

    pub(crate) fn stream(self: &Arc<Output>, kind: Kind) -> Stream {
        Stream { output: Arc::clone(self), kind }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Bytes are whole whatever happened to another who held them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, kind: Kind, mut bytes: &[u8]) {
        let mut state = self.state();
        while !bytes.is_empty() {
            let room = MAX_MESSAGE - state.buffer(kind).len();
            let (piece, rest, ends) = match bytes.iter().position(|&byte| byte == b'\n') {
                Some(at) if at <= room => (&bytes[..at], &bytes[at + 1..], true),
                _ => {
                    let (piece, rest) = bytes.split_at(room.min(bytes.len()));
                    (piece, rest, piece.len() == room)
                }
            };
            state.buffer(kind).extend_from_slice(piece);
            bytes = rest;
            if ends {
                self.line(&mut state, kind);
            }
        }
    }

    fn line(&self, state: &mut State, kind: Kind) {
        let line = mem::take(state.buffer(kind));
        let message = clean(String::from_utf8_lossy(&line).trim_end().to_owned(), MAX_MESSAGE);
        if message.is_empty() {
            return;
        }
        if kind == Kind::Err {
            state.written.last_error = Some(message.clone());
        }
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if !rate.pass(Instant::now()) {
            state.written.dropped += 1;
            return;
        }
        let dropped_before = mem::take(&mut rate.dropped);
        drop(rate);
        let level = if kind == Kind::Out { Level::Info } else { Level::Warn };
        self.services.log(LogLine { level, message, fields: Vec::new(), dropped_before });
    }

    /// Ends the lines that were begun, and answers what came of all.
    pub(crate) fn settle(&self) -> Written {
        let mut state = self.state();
        self.line(&mut state, Kind::Out);
        self.line(&mut state, Kind::Err);
        mem::take(&mut state.written)
    }
}

impl State {
    fn buffer(&mut self, kind: Kind) -> &mut Vec<u8> {
        match kind {
            Kind::Out => &mut self.out,
            Kind::Err => &mut self.err,
        }
    }
}

/// One of both.
#[derive(Clone)]
pub(crate) struct Stream {
    output: Arc<Output>,
    kind: Kind,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    /// For WASI 0.3, which is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.write(self.kind, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}
