//! The active segment: begun, filled, sealed, and abandoned when a write or a sync failed.
//!
//! Order on disk. Begin: header pages, head (twice) and, after a failure, the records to be carried over are written
//! and synced under a spare's name; then rename, then the directory's sync. Seal: the seal record, then sync; only
//! then is the next one begun. A file whose write or sync failed is never written or synced again.

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{
    active::{Active, timed_sync},
    ahead::{AHEAD_MIN, Spare},
    core::{Core, Refusal},
    failing::ATTEMPTS,
};
use crate::{
    mutants::{Mutant, is_on},
    options::{LANES, MAX_NAMES},
    record::{Lane, Prepared},
    segment::{
        encrypt::{SegmentCipher, TAG_LEN},
        frame::{self, Kind, RecordHeader, SealBody},
        header::{HEADER_PAGE, RECORDS_START, SegmentHeader},
        state,
    },
    shared::{OpenSegment, Segment, Visible, lock, segment_name},
    storage::write_all_at,
};

/// What the next segment's header says about the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Previous {
    pub(crate) count: u32,
    pub(crate) tag: [u8; TAG_LEN],
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
        if !is_on(Mutant::SkipDirectorySync) {
            storage.sync_dir(&self.shared.dir).map_err(Refusal::io("syncing the directory of"))?;
        }
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
        let masters = shared.masters();
        let key_id = masters.current_id();
        let mut salt = [0; 32];
        (shared.env.random)(&mut salt)?;
        let mut header = SegmentHeader {
            encrypted: masters.encrypts(),
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
        let master = masters
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
        // Before the sync, which makes that durable too: else a power loss could bring the rest back, over the cap.
        self.usage.segments = self.usage.segments.saturating_sub(active.cut(active.tail));
        active.sync(&self.shared).map_err(|cause| ("syncing a sealed segment", cause))?;
        self.publish();
        self.active = None;
        self.previous = Previous { count, tag };
        Ok(())
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
