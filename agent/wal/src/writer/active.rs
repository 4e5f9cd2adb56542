//! The segment that is written: a tail in a file of zeros.

use std::{io, sync::Arc, time::Instant};

use crate::{
    mutants::{Mutant, is_on},
    options::LANES,
    record::Lane,
    segment::{
        encrypt::TAG_LEN,
        frame::{self, Kind, RecordHeader},
    },
    shared::{OpenSegment, Segment, Shared, Visible, lock},
    storage::{StoredFile, write_all_at},
};

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
        let synced = timed_sync(self.open.file.as_ref(), shared);
        if synced.is_err() && is_on(Mutant::RetryFailedSync) {
            timed_sync(self.open.file.as_ref(), shared)?;
        } else {
            synced?;
        }
        self.synced = self.next_index;
        Ok(())
    }

    /// Lets readers see up to the tail.
    pub(crate) fn publish(&self, lane_end: [u64; LANES]) {
        *lock(&self.segment.visible) =
            Visible { end: self.tail, index_end: self.next_index, lane_end, file_len: self.filled };
    }

    /// Cuts the file off there, if that can be: how many bytes that freed.
    pub(super) fn cut(&mut self, end: u64) -> u64 {
        let is_cut = self.filled > end && self.open.file.set_len(end).is_ok();
        let freed = if is_cut { self.filled - end } else { 0 };
        self.filled -= freed;
        lock(&self.segment.visible).file_len = self.filled;
        freed
    }

    /// Bytes of records, the head left out.
    pub(crate) fn used(&self) -> u64 {
        self.tail - self.head_end
    }
}

pub(super) fn timed_sync(file: &dyn StoredFile, shared: &Shared) -> io::Result<()> {
    let begin = Instant::now();
    let result = file.sync_data();
    let took = begin.elapsed();
    let counters = &mut lock(&shared.figures).counters;
    counters.syncs += 1;
    counters.sync_time += took;
    counters.sync_longest = counters.sync_longest.max(took);
    result
}
