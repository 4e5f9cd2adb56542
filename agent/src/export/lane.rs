//! One signal of one exporter: keeps requests in flight, and what they share.
//!
//! The lane reads only when it may send: nothing is held in memory but what is in flight and what waits, at most
//! `max_delay`, for others to join it. Up to `concurrency` requests run as tasks of their own ([`super::deliver`]).
//!
//! Before the cursor is set back, the lane *settles*: requests on the wire are answered and acknowledged, those that wait
//! for their next try are left as they are planned, and the lane begins anew, as after a restart of the process.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use whimbrel_otlp::Signal;

use super::{
    age::Toll,
    deliver::{Ended, deliver},
    dialect::Dialect,
    gate::{Gate, Passage},
    orders::{Listener, Orders, Phase, Progress},
    reader::Reader,
    retry,
    source::{DeadLetters, Record, RecordId, Settled, Source, SourceError},
    status::{LaneStatus, State},
    transport::Transport,
};
use crate::{
    clock::{Clock, unix_ms},
    config,
};

/// Requests in flight at most: what a cursor keeps plans for.
pub(super) const MAX_CONCURRENCY: usize = 8;

/// Everything that one signal's loop and its requests share.
pub(super) struct Lane {
    pub(super) exporter: Arc<str>,
    pub(super) signal: Signal,
    pub(super) config: Settings,
    pub(super) source: Arc<dyn Source>,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: Arc<dyn Clock>,
    /// Before the receiver.
    pub(super) gate: Gate,
    /// Before the WAL and the dead letters: their failure is another one.
    pub(super) store_gate: Gate,
    /// Records became visible.
    pub(super) wake: Notify,
    /// Whoever pauses should try now.
    pub(super) resume: Notify,
    pub(super) orders: Listener,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) toll: Toll,
    /// How many records of the lane have been set back so far: part of every request's key.
    rewound: AtomicU64,
    dialect: Mutex<Dialect>,
    status: Mutex<LaneStatus>,
}

/// A lane's part of the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) compression: config::Compression,
    pub(super) concurrency: usize,
    pub(super) max_request: usize,
    pub(super) max_delay: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) retry: config::Retry,
}

/// The exporter was told to stop, or to settle; what was under way stays planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped;

/// Why nothing goes on for now.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// Try again after this long.
    Wait(Duration, String),
    /// See after this long whether it is mended.
    Hold(Duration, String),
}

impl Lane {
    #[allow(clippy::too_many_arguments, reason = "a struct of the same fields would only rename them")]
    pub(super) fn new(
        exporter: Arc<str>,
        signal: Signal,
        config: Settings,
        source: Arc<dyn Source>,
        dead_letters: Arc<dyn DeadLetters>,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        orders: watch::Receiver<Orders>,
    ) -> Self {
        Self {
            exporter,
            signal,
            config,
            source,
            dead_letters,
            transport,
            clock,
            gate: Gate::new(),
            store_gate: Gate::new(),
            wake: Notify::new(),
            resume: Notify::new(),
            orders: Listener::new(orders),
            progress: watch::Sender::new(Progress::Busy),
            toll: Toll::default(),
            rewound: AtomicU64::new(0),
            dialect: Mutex::new(Dialect::new(config.compression)),
            status: Mutex::new(LaneStatus::new(signal)),
        }
    }

    /// Runs until the exporter stops.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let mut reader = Reader::new(&self);
            let mut in_flight = JoinSet::new();
            if reader.remember().await.is_ok() {
                while self.step(&mut reader, &mut in_flight).await.is_ok() {}
            }
            // They see the orders too, and end once what they had already sent is settled.
            while let Some(ended) = in_flight.join_next().await {
                reader.reap(Some(ended));
            }
            if self.orders.settle().await.is_err() {
                return;
            }
        }
    }

    async fn step(
        self: &Arc<Self>,
        reader: &mut Reader<'_>,
        in_flight: &mut JoinSet<Ended>,
    ) -> Result<(), Stopped> {
        while in_flight.len() >= self.config.concurrency || (reader.lost_track && !in_flight.is_empty()) {
            tokio::select! {
                ended = in_flight.join_next() => reader.reap(ended),
                () = self.stopped() => return Err(Stopped),
            }
        }
        let mut orders = self.orders.watch();
        // Seen before reading: what is read after a drain was asked for is all there is to drain.
        let seen = *orders.borrow_and_update();
        if seen.ends() {
            return Err(Stopped);
        }
        if seen.paused.is_some() {
            return self.rest(reader, in_flight, orders).await;
        }
        let records = reader.next_request().await?;
        if !records.is_empty() {
            self.progress.send_replace(Progress::Busy);
            self.count(|status| {
                status.in_flight += 1;
                if status.state == State::Idle {
                    status.state = State::Sending;
                }
            });
            let lane = Arc::clone(self);
            in_flight.spawn(async move { deliver(&lane, records).await });
            return Ok(());
        }
        // Other orders may be why nothing was read.
        if orders.has_changed().map_err(|_| Stopped)? {
            return Ok(());
        }
        if in_flight.is_empty() {
            self.idle();
            if seen.phase == Phase::Draining {
                self.progress.send_replace(Progress::Drained);
            }
        }
        tokio::select! {
            () = self.wake.notified() => Ok(()),
            ended = in_flight.join_next(), if !in_flight.is_empty() => {
                reader.reap(ended);
                Ok(())
            }
            () = self.stopped() => Err(Stopped),
            changed = orders.changed() => changed.map_err(|_| Stopped),
        }
    }

    /// The exporter is paused: reads nothing, lets what is under way end.
    async fn rest(
        self: &Arc<Self>,
        reader: &mut Reader<'_>,
        in_flight: &mut JoinSet<Ended>,
        mut orders: watch::Receiver<Orders>,
    ) -> Result<(), Stopped> {
        if in_flight.is_empty() {
            self.idle();
            self.progress.send_replace(Progress::Stuck(Duration::MAX));
        }
        let rested = tokio::select! {
            ended = in_flight.join_next(), if !in_flight.is_empty() => {
                reader.reap(ended);
                Ok(())
            }
            () = self.stopped() => Err(Stopped),
            changed = orders.changed() => changed.map_err(|_| Stopped),
        };
        if !self.is_paused() {
            self.progress.send_replace(Progress::Busy);
        }
        rested
    }

    /// Waits until a request may be tried: nobody else probes, and the exporter is not paused.
    pub(super) async fn turn(&self, passage: &Passage<'_>) -> Result<(), Stopped> {
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => return Err(Stopped),
                () = passage.enter() => {}
            }
            if !self.is_paused() {
                return Ok(());
            }
            self.progress.send_replace(Progress::Stuck(Duration::MAX));
            tokio::select! {
                biased;
                () = self.stopped() => return Err(Stopped),
                () = self.orders.unpaused() => {}
            }
            self.progress.send_replace(Progress::Busy);
        }
    }

    /// Ends when the exporter is told to stop, or the lane to settle. Cancel safe.
    pub(super) async fn stopped(&self) {
        self.orders.ended().await;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.orders.now().paused.is_some()
    }

    /// The lane begins, or begins anew, with so many records set back so far.
    pub(super) fn begins(&self, rewound: u64) {
        self.rewound.store(rewound, Ordering::Relaxed);
    }

    /// The key under which a request goes out: the same for the same records, until the cursor is set back. From then on
    /// it is another one, because a receiver that knows the old key would drop what is to be sent again.
    pub(super) fn key(&self, records: &[Record]) -> Arc<str> {
        let (first, last) = (records[0].id, records[records.len() - 1].id);
        let again = match self.rewound.load(Ordering::Relaxed) {
            0 => String::new(),
            rewound => format!("@{rewound}"),
        };
        format!("{}{again}/{}/{first}..{last}/{}", self.exporter, self.signal, records.len()).into()
    }

    /// What is known of the receiver.
    pub(super) fn dialect(&self) -> MutexGuard<'_, Dialect> {
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the counters.
    pub(super) fn count(&self, change: impl FnOnce(&mut LaneStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A snapshot.
    pub(super) fn status(&self) -> LaneStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let dialect = self.dialect();
        status.encoding = dialect.encoding().name();
        status.frames = dialect.frames().name();
        if let Some(since_unix_ms) = self.orders.now().paused {
            status.state = State::Paused { since_unix_ms };
        }
        status
    }

    /// Calls the source or the dead letters where blocking is allowed.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Lane) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let lane = Arc::clone(self);
        match tokio::task::spawn_blocking(move || call(&lane)).await {
            Ok(result) => result,
            Err(error) => Err(SourceError::new(format_args!("interrupted: {error}"))),
        }
    }

    /// Does a step in the WAL until it succeeds, with the lane's backoff between the tries. `Ok(None)`: the
    /// records it is about are no longer there.
    pub(super) async fn persist<T: Send + 'static>(
        self: &Arc<Self>,
        what: &str,
        call: impl Fn(&Lane) -> Result<T, SourceError> + Clone + Send + 'static,
    ) -> Result<Option<T>, Stopped> {
        let mut passage = self.store_gate.passage();
        loop {
            match self.blocking(call.clone()).await {
                Err(error) if !error.is_gone() => {
                    let delay = retry::backoff(passage.failures(), &self.config.retry, self.clock.random());
                    self.pause(&mut passage, Trouble::Wait(delay, format!("{what}: {error}"))).await?;
                }
                ended => {
                    if passage.passed() {
                        self.goes_on();
                    }
                    return Ok(ended.ok());
                }
            }
        }
    }

    /// Acknowledges records, and counts them.
    pub(super) async fn settle(
        self: &Arc<Self>,
        records: &[Record],
        settled: Settled,
    ) -> Result<(), Stopped> {
        let ids: Arc<[RecordId]> = records.iter().map(|record| record.id).collect();
        self.persist("acknowledging in the WAL", move |lane| {
            lane.source.acknowledge(lane.signal, &ids, settled)
        })
        .await?;
        self.count(|status| status.settled(records, settled));
        Ok(())
    }

    /// Says what is wrong, and waits: for the time, for `resume`, or for the request that already probes.
    pub(super) async fn pause(&self, passage: &mut Passage<'_>, trouble: Trouble) -> Result<(), Stopped> {
        // From here on, so that whoever sees the state can resume.
        let resumed = self.resume.notified();
        let (Trouble::Wait(delay, reason) | Trouble::Hold(delay, reason)) = &trouble;
        let now = unix_ms(&*self.clock);
        self.count(|status| status.failed(reason, now));
        if !passage.failed() {
            return tokio::select! {
                () = passage.enter() => Ok(()),
                () = self.stopped() => Err(Stopped),
            };
        }
        let delay = *delay;
        self.report(trouble, now);
        self.progress.send_replace(Progress::Stuck(self.clock.monotonic().saturating_add(delay)));
        let ended = tokio::select! {
            () = self.clock.sleep(delay) => Ok(()),
            () = resumed => Ok(()),
            () = self.stopped() => Err(Stopped),
        };
        self.progress.send_replace(Progress::Busy);
        ended
    }

    /// The receiver answers: nothing more is wrong, unless another request still has to find that out.
    pub(super) fn mended(&self, passage: &mut Passage<'_>) {
        if passage.passed() {
            self.goes_on();
        } else if passage.is_open() {
            self.count(|status| status.state = State::Sending);
        }
    }

    pub(super) fn goes_on(&self) {
        tracing::info!(exporter = %self.exporter, signal = %self.signal, "the exporter goes on");
        self.count(|status| status.state = State::Sending);
    }

    fn report(&self, trouble: Trouble, now: u64) {
        let (exporter, signal) = (&*self.exporter, self.signal.name());
        self.count(|status| {
            let (since, was_waiting, was_held) = match &status.state {
                State::Waiting { since_unix_ms, .. } => (*since_unix_ms, true, false),
                State::Held { since_unix_ms, .. } => (*since_unix_ms, false, true),
                State::Idle | State::Sending | State::Paused { .. } => (now, false, false),
            };
            status.state = match trouble {
                Trouble::Wait(delay, reason) => {
                    if !was_waiting {
                        tracing::warn!(exporter, signal, reason, "the exporter waits and tries again");
                    }
                    State::Waiting { since_unix_ms: since, until_unix_ms: later(now, delay), reason }
                }
                Trouble::Hold(delay, reason) => {
                    if !was_held {
                        tracing::error!(
                            exporter,
                            signal,
                            reason,
                            "the exporter is held, nothing is lost; tried again once a minute and on `resume`"
                        );
                    }
                    State::Held { since_unix_ms: since, until_unix_ms: later(now, delay), reason }
                }
            };
        });
    }

    /// Nothing is in flight, and nothing is left to read.
    fn idle(&self) {
        self.count(|status| status.state = State::Idle);
    }
}

fn later(now: u64, delay: Duration) -> u64 {
    now.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
}
