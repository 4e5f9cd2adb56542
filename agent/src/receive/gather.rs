//! Small events share a record: they wait together for at most 2 ms or 256 KiB, and are answered together.
//!
//! One gather a receiver, so that batches never mix what a route must part. Events are encoded already; those of one
//! envelope (resource and scope) stand together in the request. What waits and what is on its way to the disk is
//! bounded; who finds no room waits, refuses or drops, as its protocol can.
//!
//! Order: batches of one signal are appended in the order in which they were gathered, and where they are kept, a batch
//! is told as durable only after those before it.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use whimbrel_otlp::{Signal, write::Envelope, write::append_enclosed};

use super::{
    Counts, Intake, IntakeError, Stop,
    pieces::{Piece, lane},
};

/// How long the first event waits for others. The timer adds up to a millisecond, compressing and syncing their own; with
/// 4 ms half of all events at 50,000 a second waited longer than 5 ms.
const LINGER: Duration = Duration::from_millis(2);
/// Bytes at which a batch goes at once.
const BATCH: usize = 256 << 10;

/// What happens to a batch that the WAL does not take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenUnavailable {
    /// It is told to those who wait for it, and forgotten: they will send it again.
    Tell,
    /// It is kept and tried again until it is taken or the agent stops: nobody else has it.
    Keep,
}

/// There is no room; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Gathers events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gather(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something began to wait, or a batch is full.
    due: Notify,
    /// A batch is on the disk.
    room: Notify,
    limit: usize,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct State {
    waiting: [Waiting; 3],
    /// Of what waits and what is on its way.
    bytes: usize,
}

impl State {
    /// One is always let in, or what is over the limit never could be.
    fn takes(&self, needed: usize, limit: usize) -> bool {
        self.bytes == 0 || self.bytes + needed <= limit
    }
}

/// Events of one signal that wait.
#[derive(Default)]
struct Waiting {
    parts: Vec<(Arc<Envelope>, Vec<u8>)>,
    /// Where in `parts` an envelope stands, by its address: `parts` keeps it alive.
    places: HashMap<usize, usize>,
    items: u32,
    bytes: usize,
    since: Option<Instant>,
    commit: Arc<Commit>,
    /// The batch before it, where that is still on its way: this one is told as durable after it only.
    after: Option<Ticket>,
}

impl Waiting {
    /// Whether it has just begun to wait, or become full.
    fn add(&mut self, piece: &Piece<'_>) -> bool {
        let place = match self.places.get(&address(piece.envelope)) {
            Some(place) => *place,
            None => {
                self.places.insert(address(piece.envelope), self.parts.len());
                self.parts.push((piece.envelope.clone(), Vec::new()));
                self.parts.len() - 1
            }
        };
        self.parts[place].1.extend_from_slice(piece.encoded);
        self.items += piece.items;
        let was_full = self.bytes >= BATCH;
        self.bytes += piece.encoded.len();
        let begins = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        begins || (self.bytes >= BATCH && !was_full)
    }
}

#[derive(Default)]
struct Commit {
    done: OnceLock<Result<(), IntakeError>>,
    told: Notify,
}

/// What was added, on its way. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ticket(Arc<Commit>);

impl Ticket {
    fn is_done(&self) -> bool {
        self.0.done.get().is_some()
    }

    /// Returns when what was added is durable, or why it is not. Cancel safe.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub(crate) async fn durable(&self) -> Result<(), IntakeError> {
        loop {
            let mut told = std::pin::pin!(self.0.told.notified());
            // Before the look, so that an answer between the two is not missed.
            told.as_mut().enable();
            if let Some(done) = self.0.done.get() {
                return done.clone();
            }
            told.await;
        }
    }
}

impl Gather {
    /// One that holds at most `limit` bytes, and the task that empties it. The task ends when the agent stops and all
    /// is on the disk or told.
    pub(crate) fn start(
        intake: Intake,
        counts: Arc<Counts>,
        limit: usize,
        when_unavailable: WhenUnavailable,
        stop: Stop,
    ) -> (Self, JoinHandle<()>) {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            due: Notify::new(),
            room: Notify::new(),
            limit,
            counts,
        });
        let task = tokio::spawn(empty(shared.clone(), intake, when_unavailable, stop));
        (Self(shared), task)
    }

    /// Adds all pieces, or none. The last ticket of each signal that is among them.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn add<'p>(
        &self,
        pieces: impl Iterator<Item = Piece<'p>> + Clone,
    ) -> Result<[Option<Ticket>; 3], Full> {
        let total: usize = pieces.clone().map(|piece| piece.encoded.len()).sum();
        let mut state = self.0.lock();
        if !state.takes(total, self.0.limit) {
            return Err(Full);
        }
        state.bytes += total;
        self.0.counts.waiting(state.bytes);
        let mut tickets = [None, None, None];
        let mut is_due = false;
        for piece in pieces {
            let waiting = &mut state.waiting[lane(piece.signal)];
            is_due |= waiting.add(&piece);
            tickets[lane(piece.signal)] = Some(Ticket(waiting.commit.clone()));
        }
        drop(state);
        if is_due {
            self.0.due.notify_one();
        }
        Ok(tickets)
    }

    /// Returns when there is room for so many bytes: when [`add`](Self::add) would take them now. Cancel safe.
    pub(crate) async fn room(&self, needed: usize) {
        loop {
            let mut room = std::pin::pin!(self.0.room.notified());
            room.as_mut().enable();
            if self.0.lock().takes(needed, self.0.limit) {
                return;
            }
            room.await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A change is whole when the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is due now; else when the next is.
    fn take(&self, all: bool) -> Result<(Signal, Waiting), Option<Instant>> {
        let mut state = self.lock();
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        for signal in Signal::ALL {
            let waiting = &mut state.waiting[lane(signal)];
            let Some(since) = waiting.since else { continue };
            let due = since + LINGER;
            if all || due <= now || waiting.bytes >= BATCH {
                let taken = std::mem::take(waiting);
                waiting.after = Some(Ticket(taken.commit.clone()));
                return Ok((signal, taken));
            }
            next = Some(next.map_or(due, |other| other.min(due)));
        }
        Err(next)
    }

    fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes -= bytes;
        self.counts.waiting(state.bytes);
        drop(state);
        self.room.notify_waiters();
    }
}

fn address(envelope: &Arc<Envelope>) -> usize {
    Arc::as_ptr(envelope) as usize
}

type Flight = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn empty(shared: Arc<Shared>, intake: Intake, when_unavailable: WhenUnavailable, stop: Stop) {
    let mut flights: FuturesUnordered<Flight> = FuturesUnordered::new();
    loop {
        let stopping = stop.is_told();
        let next = match shared.take(stopping) {
            Ok((signal, waiting)) => {
                let flight =
                    fly(shared.clone(), intake.clone(), signal, waiting, when_unavailable, stop.clone());
                flights.push(Box::pin(flight));
                // Polled once before anything else is taken: it compresses and is in the WAL's queue, in order.
                std::future::poll_fn(|context| {
                    let _ = flights.poll_next_unpin(context);
                    std::task::Poll::Ready(())
                })
                .await;
                continue;
            }
            Err(next) => next,
        };
        if stopping && flights.is_empty() {
            return;
        }
        let due = async {
            match next {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = shared.due.notified() => {}
            Some(()) = flights.next(), if !flights.is_empty() => {}
            () = stop.wait(), if !stopping => {}
        }
    }
}

/// Brings one batch to the disk, and tells those who wait for it.
async fn fly(
    shared: Arc<Shared>,
    intake: Intake,
    signal: Signal,
    waiting: Waiting,
    when_unavailable: WhenUnavailable,
    stop: Stop,
) {
    let Waiting { parts, items, bytes, commit, after, .. } = waiting;
    let envelopes: usize = parts.iter().map(|(envelope, _)| envelope.len() + 16).sum();
    let mut request = Vec::with_capacity(bytes + envelopes);
    for (envelope, encoded) in parts {
        append_enclosed(&mut request, &envelope, &encoded);
    }
    let result = loop {
        match intake.append_walked(signal, &request, items, None).await {
            Ok(_) => break Ok(()),
            Err(error @ IntakeError::Unavailable { retry_after, .. })
                if when_unavailable == WhenUnavailable::Keep && !stop.is_told() =>
            {
                tracing::debug!(%error, "a batch waits");
                tokio::select! {
                    () = tokio::time::sleep(retry_after) => {}
                    () = stop.wait() => {}
                }
            }
            Err(error) => {
                if when_unavailable == WhenUnavailable::Keep {
                    shared.counts.lost(error.cause(), u64::from(items));
                }
                break Err(error);
            }
        }
    };
    drop(request);
    shared.release(bytes);
    // A batch that was kept back by a full WAL may be overtaken; those who wait for the later one hear of both.
    let result = match (when_unavailable, after.filter(|after| !after.is_done())) {
        (WhenUnavailable::Keep, Some(after)) => result.and(after.durable().await),
        _ => result,
    };
    // Nobody else sets it.
    let _ = commit.done.set(result);
    commit.told.notify_waiters();
}
