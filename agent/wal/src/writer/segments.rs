//! The active segment: begun, filled, sealed, and abandoned when a write or a sync failed.
//!
//! Order on disk. Begin: header pages, head (twice) and, after a failure, the records to be carried over are written
//! and synced under a spare's name; then rename, then the directory's sync. Seal: the seal record, then sync; only
//! then is the next one begun. A file whose write or sync failed is never written or synced again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::core::{Core, Refusal};
use crate::{
    options::{LANES, MAX_NAMES, SyncPolicy},
    record::{Lane, Prepared},
    segment::{
        encrypt::{SegmentCipher, TAG_LEN},
        frame::{self, Kind, RecordHeader, SealBody},
        header::{HEADER_PAGE, RECORDS_START, SegmentHeader},
        state,
    },
    shared::{OpenSegment, SPARE_PREFIX, Segment, Shared, Visible, lock, segment_name},
    storage::{Access, StoredFile, is_no_room, write_all_at, write_zeros},
};

/// Zeros written ahead: at first, and at most. It follows what has been written to the segment, so that an idle agent
/// or one that restarts in a loop writes little.
const AHEAD_MIN: u64 = 64 * 1024;
const AHEAD_MAX: u64 = 1024 * 1024;

/// How many fresh segments are tried when writing fails.
const ATTEMPTS: usize = 3;

/// What the next segment's header says about the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Previous {
    pub(crate) count: u32,
    pub(crate) tag: [u8; TAG_LEN],
}

/// A file prepared for the next segment.
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn StoredFile>,
    pub(crate) len: u64,
}

/// The segment that is written.
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    pub(crate) open: Arc<OpenSegment>,
    /// Where the next write goes.
    pub(crate) tail: u64,
    /// The file's length: zeros from `tail` on.
    pub(crate) filled: u64,
    /// Where its first record after the head begins.
    pub(crate) head_end: u64,
    pub(crate) next_index: u32,
    /// Indexes known to be durable.
    pub(crate) synced: u32,
    pub(crate) lane_base: [u64; LANES],
    pub(crate) lane_items: [u64; LANES],
}

impl Active {
    /// A record header for the next index.
    pub(crate) fn header(&self, sequence: u64, lane_index: u32, lane: Lane) -> RecordHeader {
        RecordHeader {
            sequence,
            index: self.next_index,
            lane: lane.number(),
            synced: self.synced,
            lane_index,
            ..RecordHeader::default()
        }
    }

    /// Frames a record into the buffer.
    pub(crate) fn write(
        &mut self,
        buffer: &mut Vec<u8>,
        kind: Kind,
        header: RecordHeader,
        section: Option<&[u8]>,
        payload: &[u8],
    ) -> [u8; TAG_LEN] {
        let header = RecordHeader { index: self.next_index, ..header };
        self.next_index += 1;
        frame::write_record(buffer, &self.open.cipher, self.open.crc_seed, kind, header, section, payload)
    }

    /// Writes framed bytes at the tail.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_all_at(self.open.file.as_ref(), bytes, self.tail)?;
        self.tail += bytes.len() as u64;
        self.filled = self.filled.max(self.tail);
        Ok(())
    }

    pub(crate) fn sync(&mut self, shared: &Shared) -> io::Result<()> {
        timed_sync(self.open.file.as_ref(), shared)?;
        self.synced = self.next_index;
        Ok(())
    }

    /// Lets readers see up to the tail.
    pub(crate) fn publish(&self, lane_end: [u64; LANES]) {
        *lock(&self.segment.visible) =
            Visible { end: self.tail, index_end: self.next_index, lane_end, file_len: self.filled };
    }

    /// Bytes of records, the head left out.
    pub(crate) fn used(&self) -> u64 {
        self.tail - self.head_end
    }
}

fn timed_sync(file: &dyn StoredFile, shared: &Shared) -> io::Result<()> {
    let begin = Instant::now();
    let result = file.sync_data();
    let took = begin.elapsed();
    let counters = &mut lock(&shared.figures).counters;
    counters.syncs += 1;
    counters.sync_time += took;
    counters.sync_longest = counters.sync_longest.max(took);
    result
}

impl Core {
    /// Begins a segment and makes it the active one. What is carried over is written to it and made visible with it.
    pub(crate) fn begin_segment(&mut self) -> Result<(), Refusal> {
        let (header, cipher) = self.new_header().map_err(Refusal::io("making a segment header"))?;
        let crc_seed = header.crc_seed();
        let mut carried_bytes = 0;
        let carry = std::mem::take(&mut self.carry);
        for pending in &carry {
            carried_bytes += self.size_of(&pending.record);
            // Their names stand in the head.
            for name in [&pending.record.source, &pending.record.label] {
                if self.names.get(name, header.segment).is_none() {
                    self.names.add(name, header.segment);
                }
            }
        }
        self.carry = carry;
        self.names.prune(header.segment.saturating_sub(1), |name| {
            self.shared.checkpoints.read().is_ok_and(|checkpoints| checkpoints.contains_key(name))
        });

        let mut bytes = vec![0; RECORDS_START as usize];
        let encoded = header.encode();
        for page in [0, HEADER_PAGE as usize] {
            bytes[page..page + encoded.len()].copy_from_slice(&encoded);
        }
        let next_index = self.write_head(&mut bytes, &cipher, crc_seed);
        let head_end = bytes.len() as u64;
        let filled = head_end + carried_bytes + AHEAD_MIN;

        let spare = self.spare(filled)?;
        let path = self.shared.dir.join(segment_name(header.segment));
        let lane_base = header.lane_first;
        let open = Arc::new(OpenSegment { file: spare.file.clone(), cipher, crc_seed });
        let visible =
            Visible { end: head_end, index_end: next_index, lane_end: lane_base, file_len: spare.len };
        let segment = Arc::new(Segment::new(header, path.clone(), visible));
        segment.share(&open);
        let active = Active {
            segment,
            open,
            tail: head_end,
            filled: spare.len,
            head_end,
            next_index,
            synced: 0,
            lane_base,
            lane_items: [0; LANES],
        };
        self.buffer.clear();
        self.active = Some(active);
        let tail = self.shared.tail();
        self.next_sequence = tail.next_sequence;
        self.next_ordinal = tail.lane_end;
        for pending in std::mem::take(&mut self.carry) {
            self.frame(pending);
        }
        bytes.append(&mut self.buffer);
        self.put_in_place(&spare, &bytes, &path).inspect_err(|_| {
            self.forget_active();
            // Whatever became of it, its number is not used again: the next header says that none of it counts.
            self.next_segment += 1;
            self.previous = Previous::default();
            self.discard_names(vec![spare.path.clone(), path.clone()], spare.len);
        })
    }

    /// Writes, syncs and names a new segment.
    fn put_in_place(&mut self, spare: &Spare, bytes: &[u8], path: &Path) -> Result<(), Refusal> {
        let storage = self.shared.env.storage.clone();
        write_all_at(spare.file.as_ref(), bytes, 0).map_err(Refusal::io("writing a segment's head"))?;
        timed_sync(spare.file.as_ref(), &self.shared).map_err(Refusal::io("syncing a segment's head"))?;
        storage.rename(&spare.path, path).map_err(Refusal::io("naming a segment"))?;
        storage.sync_dir(&self.shared.dir).map_err(Refusal::io("syncing the directory of"))?;
        let Some(active) = &mut self.active else { return Ok(()) };
        active.tail = bytes.len() as u64;
        active.synced = active.next_index;
        self.next_segment += 1;
        let segment = active.segment.clone();
        self.shared.segments.write().unwrap_or_else(std::sync::PoisonError::into_inner).push_back(segment);
        lock(&self.shared.figures).counters.segments_created += 1;
        self.publish();
        Ok(())
    }

    fn new_header(&self) -> io::Result<(SegmentHeader, SegmentCipher)> {
        let shared = &self.shared;
        let tail = shared.tail();
        let key_id = shared.masters.current_id();
        let mut salt = [0; 32];
        (shared.env.random)(&mut salt)?;
        let mut header = SegmentHeader {
            encrypted: shared.masters.encrypts(),
            store_uuid: shared.store_uuid,
            segment: self.next_segment,
            first_sequence: tail.next_sequence,
            created_ns: (shared.env.wall_ns)(),
            key_id,
            previous_count: self.previous.count,
            salt,
            commitment: [0; 32],
            previous_tag: self.previous.tag,
            lane_first: tail.lane_end,
        };
        let master = shared
            .masters
            .get(key_id, &shared.store_uuid)
            .ok_or_else(|| io::Error::other("the current key is not in the ring"))?;
        let cipher = SegmentCipher::create(&master, &mut header);
        Ok((header, cipher))
    }

    /// The head: names, checkpoints and the next number, twice, the second copy on another page than the first.
    /// Returns the next index.
    fn write_head(&mut self, bytes: &mut Vec<u8>, cipher: &SegmentCipher, crc_seed: u32) -> u32 {
        let checkpoints = self.shared.checkpoints.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut positions = Vec::new();
        for (source, checkpoint) in checkpoints.iter() {
            let segment = self.next_segment;
            let known = self.names.get(source, segment);
            let number = known.or_else(|| self.names.add(source, segment).map(|(number, _)| number));
            positions.extend(number.map(|number| (number, checkpoint.clone())));
        }
        drop(checkpoints);
        positions.sort_unstable();
        let mut body = Vec::new();
        state::put_next_number(&mut body, self.names.next());
        for (number, name) in self.names.iter() {
            state::put_name(&mut body, number, name);
            self.shared.add_name(number, name);
        }
        for (number, checkpoint) in positions {
            state::put_checkpoint(&mut body, number, &checkpoint);
        }
        let whole = frame::stride(body.len() + cipher.overhead()).next_multiple_of(HEADER_PAGE);
        body.resize(whole as usize - frame::RECORD_HEADER_LEN - cipher.overhead(), 0);
        for index in [0, 1] {
            let header = RecordHeader { index, sequence: self.next_sequence, ..RecordHeader::default() };
            frame::write_record(bytes, cipher, crc_seed, Kind::State, header, None, &body);
        }
        2
    }

    /// A file of at least this length, zeros from the header pages on: the spare, or a new one.
    fn spare(&mut self, len: u64) -> Result<Spare, Refusal> {
        if let Some(spare) = self.spare.take() {
            if spare.len >= len {
                return Ok(spare);
            }
            return self.lengthen(spare, len);
        }
        let shared = self.shared.clone();
        // A name of its own each time: an earlier one may wait to be removed.
        self.next_spare += 1;
        let path = shared.dir.join(format!("{SPARE_PREFIX}{:x}-{:x}", self.next_segment, self.next_spare));
        if !self.usage.fits(len, &shared) {
            return Err(Refusal::NoRoom { disk: false });
        }
        match shared.env.storage.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Refusal::io("removing a spare")(e)),
            _ => {}
        }
        let file =
            shared.env.storage.open(&path, Access::Create).map_err(Refusal::io("creating a segment"))?;
        self.lengthen(Spare { path, file, len: 0 }, len)
    }

    fn lengthen(&mut self, spare: Spare, len: u64) -> Result<Spare, Refusal> {
        let growth = len - spare.len;
        if !self.usage.fits(growth, &self.shared) {
            self.spare = Some(spare);
            return Err(Refusal::NoRoom { disk: false });
        }
        self.usage.segments += growth;
        let lengthened = Spare { len, ..spare };
        match write_zeros(lengthened.file.as_ref(), spare.len, len) {
            Ok(()) => Ok(lengthened),
            Err(cause) => {
                self.discard(&lengthened);
                Err(Refusal::io("filling a segment ahead")(cause))
            }
        }
    }

    /// Removes a file that will not be used. What can't be removed now is tried again when room is needed.
    pub(crate) fn discard(&mut self, spare: &Spare) {
        self.discard_names(vec![spare.path.clone()], spare.len);
    }

    /// Removes a file that may have any of these names, none of which is ever used again.
    fn discard_names(&mut self, names: Vec<PathBuf>, len: u64) {
        self.usage.segments = self.usage.segments.saturating_sub(len);
        self.usage.leftovers.push((names, len));
        self.remove_leftovers();
    }

    /// Gives up the active segment as an object; what was framed and is not visible is carried over.
    fn forget_active(&mut self) {
        self.active = None;
        self.clear_buffer();
        self.carry.extend(std::mem::take(&mut self.unseen).into_iter().map(|framed| framed.pending));
        let tail = self.shared.tail();
        self.next_sequence = tail.next_sequence;
        self.next_ordinal = tail.lane_end;
        self.sync_due = None;
        self.unsynced_bytes = 0;
    }

    /// After a failed write or sync: abandons the segment and writes what is not visible to a fresh one. What can't be
    /// written is answered so; what was answered before (under `interval`) is kept for the next attempt.
    pub(crate) fn fail_over(&mut self, action: &'static str, cause: io::Error) {
        self.note_error(action, &cause);
        if let Some(active) = self.active.take() {
            let visible = active.segment.visible();
            self.previous = Previous { count: visible.index_end, tag: [0; TAG_LEN] };
            lock(&self.shared.figures).counters.rewritten += 1;
            // What is behind the visible end does not count: the next header says so. Cutting it off only saves space.
            self.cut(&active, visible.end);
        }
        self.forget_active();
        if self.carry.is_empty() {
            return;
        }
        let mut last = Refusal::io(action)(cause);
        for _ in 0..ATTEMPTS {
            match self.begin_segment() {
                Ok(()) => return,
                Err(refusal) => {
                    if let Refusal::Io { action, cause } = &refusal {
                        self.note_error(action, cause);
                    }
                    let hopeless = matches!(refusal, Refusal::NoRoom { .. }) && !self.reclaim();
                    last = refusal;
                    if hopeless {
                        break;
                    }
                }
            }
        }
        let (used, max_size) = (self.usage.total(), self.shared.options.max_size);
        let error = match last {
            Refusal::NoRoom { disk } => crate::AppendError::Full { used, max_size, disk },
            Refusal::Io { action, cause } => crate::AppendError::Io { action, cause: Arc::new(cause) },
            Refusal::TooManyNames => crate::AppendError::TooManyNames { limit: MAX_NAMES },
        };
        let mut kept = Vec::new();
        for mut pending in std::mem::take(&mut self.carry) {
            if pending.is_answered() {
                kept.push(pending);
            } else {
                lock(&self.shared.figures).counters.failed += 1;
                self.answer(&mut pending, Err(error.clone()));
            }
        }
        self.carry = kept;
        if !self.carry.is_empty()
            && let SyncPolicy::Interval { every, .. } = self.shared.options.sync
        {
            self.sync_due = Some(Instant::now() + every);
        }
    }

    pub(crate) fn note_error(&self, action: &str, cause: &io::Error) {
        let mut figures = lock(&self.shared.figures);
        figures.full |= is_no_room(cause);
        figures.failing = true;
        figures.last_error = Some(format!("{action}: {cause}"));
    }

    /// Cuts a segment that is not written any more; it costs only space if that fails.
    fn cut(&mut self, active: &Active, end: u64) {
        let cut = active.filled > end && active.open.file.set_len(end).is_ok();
        if cut {
            self.usage.segments = self.usage.segments.saturating_sub(active.filled - end);
        }
        lock(&active.segment.visible).file_len = if cut { end } else { active.filled };
    }

    /// Seals and syncs the active segment, makes what is in it visible, and leaves none active.
    pub(crate) fn seal(&mut self) -> Result<(), (&'static str, io::Error)> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let count = active.next_index;
        let end = active.tail + self.buffer.len() as u64;
        let body = SealBody {
            next_sequence: self.next_sequence,
            bytes: end,
            records: count,
            lane_records: std::array::from_fn(|lane| self.next_ordinal[lane] - active.lane_base[lane]),
            lane_items: active.lane_items,
        };
        let header = active.header(self.next_sequence, 0, Lane::ALL[0]);
        let tag = active.write(&mut self.buffer, Kind::Seal, header, None, &body.encode());
        active.append(&self.buffer).map_err(|cause| ("writing a seal", cause))?;
        self.buffer.clear();
        active.sync(&self.shared).map_err(|cause| ("syncing a sealed segment", cause))?;
        self.publish();
        if let Some(active) = self.active.take() {
            let tail = active.tail;
            self.cut(&active, tail);
        }
        self.previous = Previous { count, tag };
        Ok(())
    }

    /// Zero-fills ahead of the writer, and makes a spare when the segment is half full. Only speeds up what follows:
    /// called when nothing waits.
    pub(crate) fn prepare_ahead(&mut self) {
        let shared = self.shared.clone();
        let target_len = shared.options.effective_segment_size();
        let Some(active) = &mut self.active else { return };
        let ahead = active.used().clamp(AHEAD_MIN, AHEAD_MAX);
        if active.filled - active.tail < ahead / 2 && active.filled < target_len {
            let to = (active.tail + ahead).min(target_len).max(active.filled);
            let growth = to - active.filled;
            if self.usage.fits(growth, &shared) {
                let from = active.filled;
                match write_zeros(active.open.file.as_ref(), from, to) {
                    Ok(()) => {
                        self.usage.segments += growth;
                        active.filled = to;
                        lock(&active.segment.visible).file_len = to;
                        // So that the next commit need not.
                        if shared.options.sync != SyncPolicy::Never
                            && let Err(cause) = active.open.file.sync_data()
                        {
                            self.fail_over("syncing a segment", cause);
                            return;
                        }
                    }
                    // The next append that needs the room will say so.
                    Err(_) => {
                        if active.open.file.set_len(from).is_err() {
                            self.usage.segments += growth;
                            active.filled = to;
                        }
                    }
                }
            }
        }
        let Some(active) = &self.active else { return };
        if self.spare.is_none() && active.tail > target_len / 2 && self.carry.is_empty() {
            // An error here will come again when the segment is needed, and be told then.
            if let Ok(spare) = self.spare(RECORDS_START + AHEAD_MIN) {
                match spare.file.sync_data() {
                    Ok(()) => self.spare = Some(spare),
                    Err(_) => self.discard(&spare),
                }
            }
        }
    }

    /// Makes sure that a record can be framed: an active segment with zeros enough before it.
    pub(crate) fn try_place(&mut self, record: &Prepared) -> Result<(), Refusal> {
        if self.active.is_none() {
            self.begin_segment()?;
        }
        let need = self.size_of(record);
        let limit = self.shared.options.effective_segment_size();
        if let Some(active) = &self.active {
            let seal = SealBody::stride(&active.open.cipher);
            let full = active.tail + self.buffer.len() as u64 + need + seal > limit
                && active.used() + self.buffer.len() as u64 > 0;
            if full || active.next_index >= u32::MAX - 8 {
                self.flush();
                if self.active.is_some()
                    && let Err((action, cause)) = self.seal()
                {
                    self.fail_over(action, cause);
                }
                self.enforce_max_lag();
                self.reclaim();
                if self.active.is_none() {
                    self.begin_segment()?;
                }
            }
        }
        self.introduce_names(record)?;
        self.grow_for(need)
    }

    /// Makes sure that the active segment has zeros enough before its tail for so many bytes and a seal.
    fn grow_for(&mut self, need: u64) -> Result<(), Refusal> {
        let limit = self.shared.options.effective_segment_size();
        let Some(active) = &mut self.active else { return Err(Refusal::NoRoom { disk: false }) };
        let end = active.tail + self.buffer.len() as u64 + need + SealBody::stride(&active.open.cipher);
        if end <= active.filled {
            return Ok(());
        }
        let to = end.max((end + AHEAD_MIN).min(limit));
        let growth = to - active.filled;
        if !self.usage.fits(growth, &self.shared) {
            return Err(Refusal::NoRoom { disk: false });
        }
        match write_zeros(active.open.file.as_ref(), active.filled, to) {
            Ok(()) => {
                self.usage.segments += growth;
                active.filled = to;
                Ok(())
            }
            Err(cause) => {
                // Zeros behind the tail harm nobody, but they take room.
                if active.open.file.set_len(active.filled).is_err() {
                    self.usage.segments += growth;
                    active.filled = to;
                }
                self.note_error("growing a segment", &cause);
                Err(Refusal::io("growing a segment")(cause))
            }
        }
    }

    /// Writes the names of a record that the active segment does not know, and syncs them, whatever the policy: else
    /// records could survive a power loss whose source nobody can tell any more. New names are rare.
    fn introduce_names(&mut self, record: &Prepared) -> Result<(), Refusal> {
        // When the sync fails, a new segment is begun whose head has the names in use; these may not be among them.
        for _ in 0..=ATTEMPTS {
            let Some(active) = &self.active else { return Err(Refusal::NoRoom { disk: false }) };
            let (segment, overhead) = (active.segment.header.segment, active.open.cipher.overhead());
            let mut new: Vec<&str> = [&*record.source, &*record.label].into();
            new.dedup();
            new.retain(|name| self.names.get(name, segment).is_none());
            if new.is_empty() {
                return Ok(());
            }
            if self.names.len() + new.len() > MAX_NAMES {
                return Err(Refusal::TooManyNames);
            }
            let len: usize = new.iter().map(|name| state::name_len(name)).sum();
            self.grow_for(frame::stride(len + overhead))?;
            let mut entries = Vec::with_capacity(len);
            for name in new {
                if let Some((number, name)) = self.names.add(name, segment) {
                    state::put_name(&mut entries, number, &name);
                    self.shared.add_name(number, &name);
                }
            }
            if let Some(active) = &mut self.active {
                let header = active.header(self.next_sequence, 0, Lane::ALL[0]);
                active.write(&mut self.buffer, Kind::State, header, None, &entries);
            }
            self.sync_now();
            if self.active.is_none() {
                self.begin_segment()?;
            }
        }
        Err(Refusal::Io { action: "writing a new name", cause: io::ErrorKind::Other.into() })
    }

    /// Counts a segment as gone.
    pub(crate) fn forget_segment(&mut self, segment: &Segment) {
        let file_len = segment.visible().file_len;
        self.usage.segments = self.usage.segments.saturating_sub(file_len);
        let mut segments = self.shared.segments.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        segments.retain(|other| other.header.segment != segment.header.segment);
        drop(segments);
        lock(&self.shared.figures).counters.segments_deleted += 1;
        segment.damaged.store(false, Ordering::Relaxed);
    }
}
