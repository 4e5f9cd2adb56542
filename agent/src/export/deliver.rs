//! One request to its end: plan -> send -> decide -> acknowledge.
//!
//! A request that the receiver refuses for its data is halved until the guilty record stands alone; the halves are
//! planned and sent like any request. Nothing but [`Stopped`] ends a delivery before each record is settled.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    dialect::{CONTROL, Frames, PROBE, judge_probe, stumbles},
    encode::{self, Unreadable},
    lane::{Lane, Stopped, Trouble},
    retry::{self, Attempt, Decision},
    source::{Plan, Record, Settled, Stored},
    transport::{Answer, Encoding, Outcome, Request},
};
use crate::clock::unix_ms;

/// The generation of the routes that a plan names: there are none yet, so every plan was made under the same.
const ROUTES: u32 = 0;

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Every record is acknowledged.
    Settled,
    /// Some records left the WAL meanwhile (it was full); what is left must be read again.
    Gone,
    /// The exporter stops.
    Stopped,
}

/// Delivers records that make one request, in order.
pub(super) async fn deliver(lane: &Arc<Lane>, records: Vec<Record>) -> Ended {
    let mut pieces = vec![records];
    // Once the receiver has refused both encodings of a request, its halves need not be tried in both.
    let mut pinned = None;
    while let Some(mut piece) = pieces.pop() {
        if piece.is_empty() {
            continue;
        }
        match deliver_piece(lane, &piece, pinned).await {
            Err(Stopped) => return Ended::Stopped,
            Ok(End::Gone) => return Ended::Gone,
            Ok(End::Settled) => {}
            Ok(End::Refused(encoding)) => {
                pinned = Some(encoding);
                let tail = piece.split_off(piece.len() / 2);
                pieces.extend([tail, piece]);
            }
            Ok(End::Unreadable(Unreadable { index, reason })) => {
                let tail = piece.split_off(index + 1);
                let mut guilty: Vec<Record> = piece.drain(index..).collect();
                for record in &mut guilty {
                    // Bytes are all it is; the dead letters could not unpack it either.
                    if let Stored::Frame(bytes) = &record.stored {
                        record.uncompressed_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                        record.stored = Stored::Plain(bytes.clone());
                    }
                }
                pieces.extend([tail, piece]);
                if bury(lane, guilty, reason).await.is_err() {
                    return Ended::Stopped;
                }
            }
        }
    }
    Ended::Settled
}

/// How one piece of a request ended.
enum End {
    Settled,
    Gone,
    /// Its data is refused in this encoding, and it holds more than one record.
    Refused(Encoding),
    Unreadable(Unreadable),
}

async fn deliver_piece(lane: &Arc<Lane>, piece: &[Record], pinned: Option<Encoding>) -> Result<End, Stopped> {
    let (first, last) = (piece[0].id, piece[piece.len() - 1].id);
    let key = lane.key(piece);
    let plan = Plan { first, last, count: piece.len() as u32, generation: ROUTES };
    let planned = lane.persist("planning a request", move |lane| lane.source.plan(lane.signal, plan));
    if planned.await?.is_none() {
        return Ok(End::Gone);
    }

    let mut sending = Sending { lane, piece, key, recoded: None };
    let mut passage = lane.gate.passage();
    let mut chosen = pinned;
    let mut unavailable_since: Option<Duration> = None;
    loop {
        lane.turn(&passage).await?;
        if lane.are_too_old(piece) {
            lane.give_up(piece).await?;
            return Ok(End::Settled);
        }
        let encoding = chosen.unwrap_or_else(|| lane.dialect().encoding());
        let outcome = match sending.attempt(encoding).await? {
            Ok(outcome) => outcome,
            Err(unreadable) => return Ok(End::Unreadable(unreadable)),
        };
        let now = lane.clock.monotonic();
        if matches!(outcome, Outcome::Unavailable { .. }) {
            unavailable_since.get_or_insert(now);
        } else {
            unavailable_since = None;
        }
        let attempt = Attempt {
            records: piece.len(),
            encoding,
            compression: lane.config.compression,
            failures: passage.failures(),
            unavailable_for: unavailable_since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
        };
        let decision = retry::decide(&outcome, &attempt, &lane.config.retry, lane.clock.random());
        match (decision, outcome) {
            (Decision::Deliver, outcome) => {
                lane.mended(&mut passage);
                if pinned.is_none() {
                    settle_encoding(lane, encoding);
                }
                note_partial(lane, outcome);
                lane.settle(piece, Settled::Delivered).await?;
                return Ok(End::Settled);
            }
            (Decision::Recode(encoding), outcome) => {
                if matches!(outcome, Outcome::EncodingRefused { .. }) {
                    settle_encoding(lane, encoding);
                }
                chosen = Some(encoding);
            }
            (Decision::Halve, _) => {
                lane.mended(&mut passage);
                return Ok(End::Refused(encoding));
            }
            (Decision::DeadLetter, outcome) => {
                lane.mended(&mut passage);
                bury(lane, piece.to_vec(), reason(outcome)).await?;
                return Ok(End::Settled);
            }
            (Decision::GiveUp, outcome) => {
                let reason = reason(outcome);
                tracing::warn!(exporter = %lane.exporter, signal = %lane.signal, records = piece.len(), reason,
                    "records are given up after retry.give_up_after");
                lane.settle(piece, Settled::Dropped).await?;
                return Ok(End::Settled);
            }
            (Decision::Wait(delay), outcome) => {
                lane.pause(&mut passage, Trouble::Wait(delay, reason(outcome))).await?;
            }
            (Decision::Hold(delay), outcome) => {
                lane.pause(&mut passage, Trouble::Hold(delay, reason(outcome))).await?;
            }
        }
    }
}

/// One piece and what was made of it.
struct Sending<'a> {
    lane: &'a Arc<Lane>,
    piece: &'a [Record],
    key: Arc<str>,
    /// The last body that had to be made, for the next try.
    recoded: Option<(Encoding, Bytes)>,
}

impl Sending<'_> {
    /// Sends the piece once; before that, the probe for joined frames where it would help.
    async fn attempt(&mut self, encoding: Encoding) -> Result<Result<Outcome, Unreadable>, Stopped> {
        let several = self.piece.len() > 1;
        if encoding == Encoding::Zstd
            && several
            && encode::untouched(self.piece, encoding, true).is_some()
            && self.lane.dialect().begin_probe()
            && let Some(outcome) = self.probe().await?
        {
            return Ok(Ok(outcome));
        }
        let many = self.lane.dialect().frames() == Frames::Many;
        let body = match encode::untouched(self.piece, encoding, many) {
            Some(body) => body,
            None => match self.recode(encoding).await? {
                Ok(body) => vec![body],
                Err(unreadable) => return Ok(Err(unreadable)),
            },
        };
        let request = Request { encoding, body, key: Some(Arc::clone(&self.key)) };
        let sent = request.len();
        let outcome = self.exchange(request).await?;
        if let Outcome::Accepted { .. } = outcome {
            self.lane.count(|status| status.sent_bytes += sent);
        }
        Ok(Ok(outcome))
    }

    /// Asks whether the receiver reads on after the first frame. An outcome if it can't be asked now.
    async fn probe(&self) -> Result<Option<Outcome>, Stopped> {
        let _unless_judged = ProbeGuard(self.lane);
        let of = |frames: [&'static [u8]; 2]| Request {
            encoding: Encoding::Zstd,
            body: frames.map(Bytes::from_static).to_vec(),
            key: None,
        };
        let mut probe = self.exchange(of(PROBE)).await?;
        let control = match stumbles(&probe) {
            true => Some(self.exchange(of(CONTROL)).await?),
            false => None,
        };
        if matches!((&probe, &control), (Outcome::Held { .. }, Some(Outcome::Accepted { .. }))) {
            // An error that may come of anything must come again to mean something.
            probe = self.exchange(of(PROBE)).await?;
        }
        match judge_probe(&probe, control.as_ref()) {
            Some(frames) => {
                self.lane.dialect().probed(frames);
                tracing::debug!(exporter = %self.lane.exporter, signal = %self.lane.signal,
                    frames = frames.name(), "asked whether the receiver reads several zstd frames");
                Ok(None)
            }
            None => Ok(Some(
                control.filter(|outcome| !matches!(outcome, Outcome::Accepted { .. })).unwrap_or(probe),
            )),
        }
    }

    async fn recode(&mut self, encoding: Encoding) -> Result<Result<Bytes, Unreadable>, Stopped> {
        if let Some((made, body)) = &self.recoded
            && *made == encoding
        {
            return Ok(Ok(body.clone()));
        }
        // Bytes are shared, so this copies a few words a record.
        let records = self.piece.to_vec();
        let made = tokio::task::spawn_blocking(move || encode::recode(&records, encoding)).await;
        let made = match made {
            Ok(made) => made,
            // It takes the delivery with it, whose records are then read again.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_the_runtime_ends) => return Err(Stopped),
        };
        if let Ok(body) = &made {
            self.recoded = Some((encoding, body.clone()));
        }
        Ok(made)
    }

    /// One request and its answer, counted.
    async fn exchange(&self, request: Request) -> Result<Outcome, Stopped> {
        let Answer { outcome, server } = tokio::select! {
            // An answer that has come is not thrown away.
            biased;
            answer = self.lane.transport.send(request) => answer,
            // Not on settling: what is on the wire is answered first.
            () = self.lane.orders.stopped() => return Err(Stopped),
        };
        let now = unix_ms(&*self.lane.clock);
        self.lane.count(|status| {
            let requests = &mut status.requests;
            match &outcome {
                Outcome::Accepted { readable, .. } => {
                    requests.accepted += 1;
                    requests.unreadable_answers += u64::from(!readable);
                    status.last_success_unix_ms = Some(now);
                }
                Outcome::EncodingRefused { .. } => requests.encoding_refused += 1,
                Outcome::DataRefused { .. } => requests.data_refused += 1,
                Outcome::Unavailable { .. } => requests.unavailable += 1,
                Outcome::Held { .. } => requests.held += 1,
            }
        });
        match &outcome {
            Outcome::Accepted { .. } => self.lane.dialect().heard(server.as_deref()),
            Outcome::Unavailable { disconnected: true, .. } => self.lane.dialect().disconnected(),
            _ => {}
        }
        Ok(outcome)
    }
}

/// A probe that was not judged was not made.
struct ProbeGuard<'a>(&'a Lane);

impl Drop for ProbeGuard<'_> {
    fn drop(&mut self) {
        let mut dialect = self.0.dialect();
        if dialect.frames() == Frames::Probing {
            dialect.probed(Frames::Unknown);
        }
    }
}

/// Gives records to the dead letters, durably, and only then acknowledges them.
async fn bury(lane: &Arc<Lane>, guilty: Vec<Record>, reason: String) -> Result<(), Stopped> {
    let mut passage = lane.store_gate.passage();
    let now = unix_ms(&*lane.clock);
    lane.count(|status| status.failed(&reason, now));
    for record in guilty {
        tracing::warn!(exporter = %lane.exporter, signal = %lane.signal, record = %record.id, reason,
            "a record goes to the dead letters");
        loop {
            let (copy, reason) = (record.clone(), reason.clone());
            let put =
                lane.blocking(move |lane| lane.dead_letters.put(&lane.exporter, lane.signal, &copy, &reason));
            let Err(error) = put.await else { break };
            let delay = retry::spread(retry::HOLD, lane.clock.random());
            let reason = format!("writing a dead letter: {error}");
            lane.pause(&mut passage, Trouble::Hold(delay, reason)).await?;
        }
        if passage.passed() {
            lane.goes_on();
        }
        lane.settle(&[record], Settled::DeadLettered).await?;
    }
    Ok(())
}

fn settle_encoding(lane: &Lane, encoding: Encoding) {
    if lane.dialect().settle(encoding) {
        tracing::info!(exporter = %lane.exporter, signal = %lane.signal, encoding = encoding.name(),
            "the receiver does not take what was tried before; this encoding from now on");
    }
}

fn note_partial(lane: &Lane, outcome: Outcome) {
    let Outcome::Accepted { rejected, message, .. } = outcome else { return };
    if rejected == 0 && message.is_none() {
        return;
    }
    lane.count(|status| {
        if status.last_partial != message {
            tracing::warn!(exporter = %lane.exporter, signal = %lane.signal, rejected,
                message = message.as_deref().unwrap_or(""), "the receiver did not keep everything");
        }
        status.rejected_items = status.rejected_items.saturating_add(rejected);
        status.last_partial = message.or_else(|| Some(format!("{rejected} rejected, without a reason")));
    });
}

fn reason(outcome: Outcome) -> String {
    match outcome {
        Outcome::EncodingRefused { reason }
        | Outcome::DataRefused { reason, .. }
        | Outcome::Unavailable { reason, .. }
        | Outcome::Held { reason, .. } => reason,
        Outcome::Accepted { .. } => String::new(),
    }
}
