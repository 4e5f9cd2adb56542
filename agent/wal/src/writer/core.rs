//! The commit: what waits is framed into one buffer, written at once, synced as the policy says, made visible, answered.
//!
//! Invariants: a record is visible only once it is synced (under `never`: written); its id is final then; what is not
//! yet visible stays in memory in plain and is written again, to another segment, when a write or a sync fails.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    active::Active,
    ahead::Spare,
    names::Names,
    queue::{Pending, Work},
    room::Usage,
    segments::Previous,
};
use crate::{
    error::{AppendError, CloseError},
    mutants::{Mutant, is_on},
    options::{LANES, SyncPolicy},
    record::{Prepared, RecordId, WhenFull},
    segment::{
        encrypt::TAG_LEN,
        frame::{self, Kind, RecordHeader},
        state,
    },
    shared::{Shared, lock},
    storage::is_no_room,
};

/// A buffer above this is written before more is framed, and given back afterwards.
const BIG_BUFFER: usize = 512 * 1024;

/// Most bytes of all checkpoints together.
const MAX_CHECKPOINTS: u64 = 16 * 1024 * 1024;

/// How often an append that waits for a disk without room is tried again.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// A record that is framed and not yet visible.
pub(crate) struct Framed {
    pub(crate) pending: Pending,
    pub(crate) id: RecordId,
}

/// Why a record could not be placed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No room within the cap, or (`disk`) on the disk.
    NoRoom {
        disk: bool,
    },
    Io {
        action: &'static str,
        cause: io::Error,
    },
    TooManyNames,
}

impl Refusal {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| if is_no_room(&cause) { Self::NoRoom { disk: true } } else { Self::Io { action, cause } }
    }
}

/// See the module. Owned by one thread.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) active: Option<Active>,
    pub(crate) names: Names,
    pub(crate) usage: Usage,
    pub(crate) spare: Option<Spare>,
    pub(crate) previous: Previous,
    pub(crate) next_segment: u64,
    pub(crate) next_spare: u64,
    /// Of the next record to be framed: ahead of the visible tail by what is in `unseen`.
    pub(crate) next_sequence: u64,
    pub(crate) next_ordinal: [u64; LANES],
    /// Framed bytes that are not yet written; they belong at the active segment's tail.
    pub(crate) buffer: Vec<u8>,
    /// Framed and not yet visible, in order.
    pub(crate) unseen: Vec<Framed>,
    /// Answered (under `interval`) and waiting for a segment that can be written.
    pub(crate) carry: Vec<Pending>,
    /// Waiting for room, in order.
    pub(crate) parked: VecDeque<Pending>,
    pub(crate) parked_on_disk: bool,
    pub(crate) sync_due: Option<Instant>,
    pub(crate) unsynced_bytes: u64,
    pub(crate) cursors_due: Option<Instant>,
    /// When the writer's thread looks again.
    told_due: Option<Instant>,
}

impl Core {
    pub(crate) fn new(
        shared: Arc<Shared>,
        names: Names,
        usage: Usage,
        previous: Previous,
        next_segment: u64,
    ) -> Self {
        let tail = shared.tail();
        Self {
            shared,
            active: None,
            names,
            usage,
            spare: None,
            previous,
            next_segment,
            next_spare: 0,
            next_sequence: tail.next_sequence,
            next_ordinal: tail.lane_end,
            buffer: Vec::new(),
            unseen: Vec::new(),
            carry: Vec::new(),
            parked: VecDeque::new(),
            parked_on_disk: false,
            sync_due: None,
            unsynced_bytes: 0,
            cursors_due: None,
            told_due: None,
        }
    }

    /// Does all there is to do.
    pub(crate) fn run(&mut self, appends: Vec<Pending>, reclaim: bool, now: Instant) {
        if reclaim || !self.parked.is_empty() || self.retention_left() == Some(Duration::ZERO) {
            self.reclaim();
        }
        let parked = std::mem::take(&mut self.parked);
        for pending in parked.into_iter().chain(appends) {
            self.append(pending, now);
        }
        self.commit(now);
        if self.sync_due.is_some_and(|due| due <= now) {
            self.sync_now();
        }
        if self.cursors_due.is_some_and(|due| due <= now) {
            self.cursors_due = None;
            if !self.sync_cursors() {
                self.cursors_due = Some(now + self.shared.options.cursor_sync);
            }
        }
    }

    /// Takes hints into account, before `run`.
    pub(crate) fn note(&mut self, work: &Work, now: Instant) {
        if work.cursor_dirty && self.cursors_due.is_none() {
            self.cursors_due = Some(now + self.shared.options.cursor_sync);
        }
    }

    /// When `run` must be called again even without work.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let parked = self.parked.iter().filter_map(|pending| match pending.record.when_full {
            WhenFull::Block { up_to } => pending.since.checked_add(up_to),
            _ => None,
        });
        let retry = (self.parked_on_disk && !self.parked.is_empty()).then(|| now + DISK_RETRY);
        // Not at once again where a segment could not be deleted.
        let retained = self.retention_left().map(|left| now + left.max(DISK_RETRY));
        parked.chain(retry).chain(self.sync_due).chain(self.cursors_due).chain(retained).min()
    }

    /// As `next_due`, for the writer's thread, which then knows it.
    pub(crate) fn note_due(&mut self) -> Option<Instant> {
        self.told_due = self.next_due();
        self.told_due
    }

    /// Whether something is due before the writer's thread looks again.
    pub(crate) fn is_due_earlier(&self) -> bool {
        match (self.next_due(), self.told_due) {
            (Some(due), Some(told)) => due < told,
            (due, _) => due.is_some(),
        }
    }

    /// Places and frames one record, or answers it with a refusal, or parks it.
    fn append(&mut self, mut pending: Pending, now: Instant) {
        let blocks = match pending.record.when_full {
            WhenFull::Block { up_to } => Some(now.saturating_duration_since(pending.since) < up_to),
            _ => None,
        };
        // Those that wait keep their order.
        if blocks == Some(true) && !self.parked.is_empty() {
            self.parked.push_back(pending);
            return;
        }
        if let Err(error) = self.check_checkpoints(&pending.record) {
            self.answer(&mut pending, Err(error));
            return;
        }
        match self.place(&pending.record) {
            Ok(()) => {
                self.frame(pending);
                if self.buffer.len() >= BIG_BUFFER {
                    self.flush();
                }
            }
            Err(Refusal::NoRoom { disk }) => {
                if blocks == Some(true) {
                    self.parked_on_disk = disk;
                    self.parked.push_back(pending);
                    return;
                }
                lock(&self.shared.figures).counters.refused_full += 1;
                let (used, max_size) = (self.usage.total(), self.shared.options.max_size);
                self.answer(&mut pending, Err(AppendError::Full { used, max_size, disk }));
            }
            Err(Refusal::Io { action, cause }) => {
                lock(&self.shared.figures).counters.failed += 1;
                self.answer(&mut pending, Err(AppendError::Io { action, cause: Arc::new(cause) }));
            }
            Err(Refusal::TooManyNames) => {
                let limit = crate::options::MAX_NAMES;
                self.answer(&mut pending, Err(AppendError::TooManyNames { limit }));
            }
        }
    }

    /// All checkpoints together stand at the head of each segment, and must leave room in it.
    fn check_checkpoints(&self, record: &Prepared) -> Result<(), AppendError> {
        let Some(checkpoint) = &record.checkpoint else { return Ok(()) };
        let limit = (self.shared.options.effective_segment_size() / 4).min(MAX_CHECKPOINTS) as usize;
        let checkpoints = self.shared.checkpoints.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let others = checkpoints.iter().filter(|(source, _)| ***source != *record.source);
        let len = checkpoint.len() + others.map(|(_, checkpoint)| checkpoint.len()).sum::<usize>();
        if len > limit { Err(AppendError::CheckpointTooLarge { len, limit }) } else { Ok(()) }
    }

    pub(crate) fn answer(&self, pending: &mut Pending, result: Result<RecordId, AppendError>) {
        if !pending.is_answered() {
            self.shared.queue.release(pending.record.footprint());
            pending.answer(result);
        }
    }

    /// Bytes a record takes on disk.
    pub(crate) fn size_of(&self, record: &Prepared) -> u64 {
        let overhead = self.active.as_ref().map_or(TAG_LEN, |active| active.open.cipher.overhead());
        let section =
            record.checkpoint.as_ref().map_or(0, |checkpoint| 4 + state::checkpoint_len(checkpoint));
        frame::stride(section + record.stored.len() + overhead)
    }

    /// Frames a record for which there is room, and whose names are known, into the active segment.
    pub(crate) fn frame(&mut self, pending: Pending) {
        let Some(active) = &mut self.active else { return };
        let record = &pending.record;
        let segment = active.segment.header.segment;
        let [source, label] =
            [&record.source, &record.label].map(|name| self.names.get(name, segment).unwrap_or(0));
        let lane = record.lane;
        let mut section = Vec::new();
        if let Some(checkpoint) = &record.checkpoint {
            state::put_checkpoint(&mut section, source, checkpoint);
        }
        let lane_index = (self.next_ordinal[lane.index()] - active.lane_base[lane.index()]) as u32;
        let header = RecordHeader {
            codec: record.codec as u8,
            items: record.items,
            uncompressed_len: record.uncompressed_len,
            ingest_ns: record.ingest_ns,
            source,
            label,
            ..active.header(self.next_sequence, lane_index, lane)
        };
        let id = RecordId::from_parts(
            active.segment.header.uid(),
            segment,
            header.index,
            self.next_sequence,
            self.next_ordinal[lane.index()],
        );
        if record.state_only {
            active.write(&mut self.buffer, Kind::State, header, None, &section);
        } else {
            let section = record.checkpoint.is_some().then_some(section.as_slice());
            active.write(&mut self.buffer, Kind::Data, header, section, &record.stored);
            active.lane_items[lane.index()] += u64::from(record.items);
            self.next_sequence += 1;
            self.next_ordinal[lane.index()] += 1;
        }
        self.unseen.push(Framed { pending, id });
    }

    /// Writes what is framed and does what the policy asks for.
    fn commit(&mut self, now: Instant) {
        self.flush();
        if self.unseen.is_empty() {
            return;
        }
        match self.shared.options.sync {
            SyncPolicy::Always => {
                if is_on(Mutant::AnswerBeforeSync) {
                    self.answer_unseen();
                }
                self.sync_now();
            }
            SyncPolicy::Never => self.publish(),
            SyncPolicy::Interval { every, bytes } => {
                self.answer_unseen();
                if self.unsynced_bytes >= bytes {
                    self.sync_now();
                } else if self.sync_due.is_none() {
                    self.sync_due = Some(now + every);
                }
            }
        }
    }

    fn answer_unseen(&mut self) {
        let mut unseen = std::mem::take(&mut self.unseen);
        for framed in &mut unseen {
            self.answer(&mut framed.pending, Ok(framed.id));
        }
        self.unseen = unseen;
    }

    /// Writes the buffer. When that fails, what is not visible goes to another segment.
    pub(crate) fn flush(&mut self) {
        let Some(active) = &mut self.active else { return };
        if self.buffer.is_empty() {
            return;
        }
        match active.append(&self.buffer) {
            Ok(()) => {
                self.unsynced_bytes += self.buffer.len() as u64;
                self.clear_buffer();
                lock(&self.shared.figures).counters.commits += 1;
                if self.shared.options.sync == SyncPolicy::Never {
                    self.publish();
                }
            }
            Err(cause) => self.fail_over("writing a segment", cause),
        }
    }

    pub(crate) fn clear_buffer(&mut self) {
        self.buffer.clear();
        if self.buffer.capacity() > BIG_BUFFER {
            self.buffer = Vec::new();
        }
    }

    /// Syncs what is written and makes it visible.
    pub(crate) fn sync_now(&mut self) {
        self.sync_due = None;
        self.flush();
        if self.active.is_none() && !self.carry.is_empty() {
            // An earlier attempt to write this failed.
            self.fail_over("writing a segment", io::ErrorKind::Other.into());
            return;
        }
        let Some(active) = &mut self.active else { return };
        match active.sync(&self.shared) {
            Ok(()) => self.publish(),
            Err(cause) => self.fail_over("syncing a segment", cause),
        }
    }

    /// Makes what is written visible, answers it and wakes the consumers.
    pub(crate) fn publish(&mut self) {
        self.sync_due = None;
        self.unsynced_bytes = 0;
        let Some(active) = &self.active else { return };
        active.publish(self.next_ordinal);
        {
            let mut tail = lock(&self.shared.tail);
            tail.next_sequence = self.next_sequence;
            tail.lane_end = self.next_ordinal;
        }
        let mut unseen = std::mem::take(&mut self.unseen);
        if unseen.is_empty() {
            return;
        }
        self.take_checkpoints(&unseen);
        let mut figures = lock(&self.shared.figures);
        for Framed { pending, .. } in unseen.iter().filter(|framed| !framed.pending.record.state_only) {
            figures.counters.appended_records += 1;
            figures.counters.appended_items += u64::from(pending.record.items);
            figures.counters.appended_bytes += pending.record.stored.len() as u64;
        }
        (figures.full, figures.failing) = (false, false);
        drop(figures);
        for framed in &mut unseen {
            self.answer(&mut framed.pending, Ok(framed.id));
        }
        for consumer in self.shared.consumers().iter() {
            consumer.wake();
        }
        unseen.clear();
        // The allocation is used again, unless a burst made it big.
        if unseen.capacity() <= 256 {
            self.unseen = unseen;
        }
    }

    fn take_checkpoints(&self, unseen: &[Framed]) {
        if unseen.iter().all(|framed| framed.pending.record.checkpoint.is_none()) {
            return;
        }
        let mut checkpoints =
            self.shared.checkpoints.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for Framed { pending, .. } in unseen {
            if let Some(checkpoint) = &pending.record.checkpoint {
                let source: Arc<str> = checkpoints
                    .get_key_value(&*pending.record.source)
                    .map_or_else(|| (&*pending.record.source).into(), |(source, _)| source.clone());
                checkpoints.insert(source, (&**checkpoint).into());
            }
        }
    }

    /// Ends: answers what waits, seals, syncs.
    pub(crate) fn close(&mut self) -> Result<(), CloseError> {
        for mut pending in std::mem::take(&mut self.parked) {
            self.answer(&mut pending, Err(AppendError::Closed));
        }
        self.flush();
        let failed = |action, cause: io::Error| CloseError { action, cause: Arc::new(cause) };
        let mut sealed = Ok(());
        if !self.carry.is_empty()
            && self.active.is_none()
            && let Err(refusal) = self.begin_segment()
        {
            sealed = Err(match refusal {
                Refusal::Io { action, cause } => failed(action, cause),
                _ => failed("writing what was answered", io::ErrorKind::StorageFull.into()),
            });
        }
        if self.active.is_some()
            && let Err((action, cause)) = self.seal()
        {
            // What was not visible is written to a fresh segment, which stays unsealed.
            let kind = cause.kind();
            self.fail_over(action, cause);
            sealed = Err(failed(action, kind.into()));
        }
        let synced = self.sync_cursors();
        for consumer in self.shared.consumers().iter() {
            consumer.close();
        }
        sealed?;
        if synced { Ok(()) } else { Err(failed("syncing a cursor", io::ErrorKind::Other.into())) }
    }
}
