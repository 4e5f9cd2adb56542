//! One signal of one exporter: reads records, puts requests together, and keeps what its requests share.
//!
//! The lane reads only when it may send: nothing is held in memory but what is in flight and what waits, at most
//! `max_delay`, for others to join it. Up to `concurrency` requests run as tasks of their own ([`super::deliver`]).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use whimbrel_otlp::Signal;

use super::{
    deliver::{Ended, deliver},
    dialect::Dialect,
    gate::{Gate, Passage},
    retry,
    source::{DeadLetters, Plan, ReadLimit, Record, RecordId, Settled, Source, SourceError},
    status::{LaneStatus, State},
    transport::Transport,
};
use crate::{
    clock::{Clock, unix_ms},
    config,
};

/// Records in one request at most: bounds what tiny records cost in memory and in halving.
const MAX_RECORDS: usize = 4096;

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
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) progress: watch::Sender<Progress>,
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
    pub(super) retry: config::Retry,
}

/// What the exporter is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Send what comes.
    Running,
    /// Send what there is, without waiting for more.
    Draining,
    /// End; requests in flight stay planned.
    Stopping,
}

/// How far a draining lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be something to send.
    Busy,
    /// Nothing will be tried before this monotonic time.
    Stuck(Duration),
    /// Everything visible is settled.
    Drained,
}

/// The exporter was told to stop; what was under way stays planned.
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
        phase: watch::Receiver<Phase>,
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
            phase,
            progress: watch::Sender::new(Progress::Busy),
            dialect: Mutex::new(Dialect::new(config.compression)),
            status: Mutex::new(LaneStatus::new(signal)),
        }
    }

    /// Runs until the exporter stops.
    pub(super) async fn run(self: Arc<Self>) {
        let mut reader = Reader::new(&self);
        let mut in_flight = JoinSet::new();
        if reader.remember().await.is_ok() {
            while self.step(&mut reader, &mut in_flight).await.is_ok() {}
        }
        // They see the phase too, and end once what they had already sent is settled.
        while in_flight.join_next().await.is_some() {}
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
        let mut phase = self.phase.clone();
        // Seen before reading: what is read after a drain was asked for is all there is to drain.
        let draining = *phase.borrow_and_update() == Phase::Draining;
        let records = reader.next_request().await?;
        if !records.is_empty() {
            self.progress.send_replace(Progress::Busy);
            self.count(|status| status.in_flight += 1);
            let lane = Arc::clone(self);
            in_flight.spawn(async move { deliver(&lane, records).await });
            return Ok(());
        }
        if in_flight.is_empty() {
            self.idle();
            if draining {
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
            changed = phase.changed() => changed.map_err(|_| Stopped),
        }
    }

    /// Ends when the exporter is told to stop. Cancel safe.
    pub(super) async fn stopped(&self) {
        // A sender that is gone is an exporter that was dropped without being stopped.
        let _ = self.phase.clone().wait_for(|phase| *phase == Phase::Stopping).await;
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
        let resumed = self.resume.notified();
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
                State::Idle | State::Sending => (now, false, false),
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

/// The lane's place in the WAL.
struct Reader<'a> {
    lane: &'a Arc<Lane>,
    /// Behind this record comes what was not taken yet.
    after: Option<RecordId>,
    /// What was in flight when the last process died, in order.
    plans: VecDeque<Plan>,
    /// A request ended without settling all its records: read again from the first, once no other is in flight.
    lost_track: bool,
}

impl<'a> Reader<'a> {
    fn new(lane: &'a Arc<Lane>) -> Self {
        Self { lane, after: None, plans: VecDeque::new(), lost_track: false }
    }

    async fn remember(&mut self) -> Result<(), Stopped> {
        let call = |lane: &Lane| Ok(lane.source.plans(lane.signal));
        let mut plans = self.lane.persist("reading the cursor", call).await?.unwrap_or_default();
        plans.sort_by_key(|plan| (plan.first, plan.last));
        self.plans = plans.into();
        Ok(())
    }

    fn reap(&mut self, ended: Option<Result<Ended, tokio::task::JoinError>>) {
        let lane = self.lane;
        match ended {
            None => return,
            Some(Ok(Ended::Settled | Ended::Stopped)) => {}
            Some(Ok(Ended::Gone)) => self.lost_track = true,
            Some(Err(error)) => {
                tracing::error!(exporter = %lane.exporter, signal = %lane.signal, %error,
                    "a request's task failed; its records are read again");
                self.lost_track = true;
            }
        }
        lane.count(|status| status.in_flight -= 1);
    }

    /// The records of the next request; none if there are none.
    async fn next_request(&mut self) -> Result<Vec<Record>, Stopped> {
        if std::mem::take(&mut self.lost_track) {
            self.after = None;
        }
        let max_request = self.lane.config.max_request;
        loop {
            let mut records = self.read(self.after, MAX_RECORDS, max_request).await?;
            let Some(first) = records.first() else { return Ok(records) };
            let (first, oldest_ns) = (first.id, first.ingest_ns);
            while self.plans.front().is_some_and(|plan| plan.last < first) {
                self.plans.pop_front();
            }
            if let Some(plan) = self.plans.front().copied() {
                if plan.first <= first {
                    self.plans.pop_front();
                    // As it was, whatever the limits say now: the same records make the same key.
                    let call = move |lane: &Lane| lane.source.read_plan(lane.signal, &plan);
                    records = self.lane.persist("reading the WAL", call).await?.unwrap_or_default();
                    if records.is_empty() {
                        continue;
                    }
                } else {
                    records.retain(|record| record.id < plan.first);
                }
            } else if !self.is_backlog(&records) && self.wait_for_more(oldest_ns).await? {
                let room = max_request.saturating_sub(bytes(&records));
                let after = records.last().map(|record| record.id);
                let more = self.read(after, MAX_RECORDS - records.len(), room).await?;
                let mut added = 0;
                // A read gives at least one record, even one that does not fit any more.
                records.extend(more.into_iter().take_while(|record| {
                    added += record.uncompressed_len as usize;
                    added <= room
                }));
            }
            self.after = records.last().map(|record| record.id).or(self.after);
            return Ok(records);
        }
    }

    async fn read(
        &self,
        after: Option<RecordId>,
        records: usize,
        uncompressed_bytes: usize,
    ) -> Result<Vec<Record>, Stopped> {
        let limit = ReadLimit { records, uncompressed_bytes: uncompressed_bytes as u64 };
        let call = move |lane: &Lane| lane.source.read(lane.signal, after, limit);
        Ok(self.lane.persist("reading the WAL", call).await?.unwrap_or_default())
    }

    /// So much that waiting for more would only delay it.
    fn is_backlog(&self, records: &[Record]) -> bool {
        records.len() >= MAX_RECORDS || bytes(records) >= self.lane.config.max_request / 2
    }

    /// Gives others the time to join the oldest record. Whether there was any left.
    async fn wait_for_more(&self, oldest_ns: u64) -> Result<bool, Stopped> {
        let lane = self.lane;
        let now = lane.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A record from the future (the clock was set back) is as good as new.
        let age = now.saturating_sub(Duration::from_nanos(oldest_ns));
        let left = lane.config.max_delay.saturating_sub(age);
        if left.is_zero() || *lane.phase.borrow() == Phase::Draining {
            return Ok(false);
        }
        let mut phase = lane.phase.clone();
        tokio::select! {
            () = lane.clock.sleep(left) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Running) => {}
        }
        if *phase.borrow() == Phase::Stopping { Err(Stopped) } else { Ok(true) }
    }
}

fn bytes(records: &[Record]) -> usize {
    records.iter().map(|record| record.uncompressed_len as usize).sum()
}
