//! Reading a lane: from a place near the wanted ordinal, over headers, past damage, opening only what is wanted.
//!
//! Whatever ordinals are skipped over on the way (a damaged body, a header that is gone, a segment that is missing) are
//! acknowledged as corrupt and counted, once.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    handle::{Read, ReadLimit},
    state::{ConsumerState, Place},
};
use crate::{
    compress::Codec,
    cursor::lane::Fate,
    error::{CursorError, ReadError},
    record::{Lane, Record, RecordId},
    segment::{
        frame::{self, Kind, RecordHeader},
        header::RECORDS_START,
        walk::{BodyFault, Step, Walker},
    },
    shared::{OpenSegment, Segment, Shared},
};

/// A read in progress.
struct Reading<'a> {
    shared: &'a Shared,
    consumer: &'a ConsumerState,
    lane: Lane,
    limit: ReadLimit,
    wanted: &'a dyn Fn(&str, &str) -> bool,
    /// The next ordinal that has not been looked at.
    next: u64,
    /// Ordinals from here on are not asked for.
    end: u64,
    bytes: u64,
    read: Read,
    skipped: Vec<(u64, u64)>,
    lost: Vec<(u64, u64, Fate)>,
}

/// Reads pending records of a lane with ordinals in `from..to`.
pub(crate) fn read_lane(
    shared: &Shared,
    consumer: &ConsumerState,
    lane: Lane,
    (from, to): (u64, u64),
    limit: ReadLimit,
    wanted: &dyn Fn(&str, &str) -> bool,
) -> Result<Read, ReadError> {
    let visible_end = shared.tail().lane_end[lane.index()];
    let low = consumer.look(lane.index(), |cursor| cursor.low);
    let mut reading = Reading {
        shared,
        consumer,
        lane,
        limit,
        wanted,
        next: from.max(low),
        end: to.min(visible_end),
        bytes: 0,
        read: Read::default(),
        skipped: Vec::new(),
        lost: Vec::new(),
    };
    let result = reading.run();
    reading.settle();
    // What was read is given out even if what follows can't be read now.
    match result {
        Err(error) if reading.read.records.is_empty() => Err(error),
        _ => Ok(reading.read),
    }
}

impl Reading<'_> {
    fn is_full(&self) -> bool {
        let records = self.read.records.len();
        records >= self.limit.records.max(1) || (records > 0 && self.bytes >= self.limit.uncompressed_bytes)
    }

    fn run(&mut self) -> Result<(), ReadError> {
        while self.next < self.end && !self.is_full() {
            let Some(segment) = self.shared.segment_with(self.lane.index(), self.next) else { return Ok(()) };
            match self.segment(&segment) {
                Ok(()) => {}
                Err((_, cause)) if self.shared.was_unlinked(&segment, &cause) => {}
                Err((offset, cause)) => {
                    let path = segment.path.clone();
                    return Err(ReadError::Io { path, offset, cause: Arc::new(cause) });
                }
            }
            self.next = self.next.max(self.consumer.look(self.lane.index(), |cursor| cursor.low));
        }
        Ok(())
    }

    /// Reads on in one segment.
    fn segment(&mut self, segment: &Arc<Segment>) -> Result<(), (u64, io::Error)> {
        let lane = self.lane.index();
        let first = segment.header.lane_first[lane];
        // Between the last segment and this one there was another.
        self.lose(first, Fate::Missing, None);
        let visible = segment.visible();
        let open = segment.open(self.shared).map_err(|cause| (0, cause))?;
        segment.learn_names(self.shared, &open).map_err(|cause| (0, cause))?;
        let place = self.consumer.place(lane, self.next, segment.header.segment);
        let from = place.map_or(RECORDS_START, |place| place.offset);
        let mut walker = Walker::new(open.file.as_ref(), open.crc_seed, from, visible.end, visible.index_end);
        while !self.is_full() && self.next < self.end {
            let at = walker.offset();
            let Some(step) = walker.step().map_err(|cause| (at, cause))? else {
                self.lose(visible.lane_end[lane], Fate::Missing, Some(segment));
                return Ok(());
            };
            let Step::Record { offset, header } = step else { continue };
            match header.kind() {
                Some(Kind::State) => {
                    learn(self.shared, &mut walker, offset, &header, &open).map_err(|e| (at, e))?;
                }
                Some(Kind::Data) if usize::from(header.lane) == lane => {
                    let ordinal = first + u64::from(header.lane_index);
                    if ordinal < self.next || ordinal >= visible.lane_end[lane] {
                        continue;
                    }
                    self.lose(ordinal.min(self.end), Fate::Missing, Some(segment));
                    if ordinal >= self.end {
                        return Ok(());
                    }
                    let over = self.record(segment, &open, &mut walker, offset, &header, ordinal);
                    if over.map_err(|cause| (at, cause))? {
                        let place = Place { ordinal, segment: segment.header.segment, offset };
                        self.consumer.remember(lane, place);
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        let place = Place { ordinal: self.next, segment: segment.header.segment, offset: walker.offset() };
        self.consumer.remember(lane, place);
        Ok(())
    }

    /// Looks at one record; `true` when it is too much for this read.
    fn record(
        &mut self,
        segment: &Arc<Segment>,
        open: &OpenSegment,
        walker: &mut Walker<'_>,
        offset: u64,
        header: &RecordHeader,
        ordinal: u64,
    ) -> io::Result<bool> {
        let len = u64::from(header.uncompressed_len);
        if !self.read.records.is_empty() && self.bytes + len > self.limit.uncompressed_bytes {
            self.bytes = self.limit.uncompressed_bytes;
            return Ok(true);
        }
        self.next = ordinal + 1;
        if self.consumer.look(self.lane.index(), |cursor| cursor.is_taken(ordinal)) {
            return Ok(false);
        }
        let number = segment.header.segment;
        let id = RecordId::from_parts(segment.header.uid(), number, header.index, header.sequence, ordinal);
        let (source, label) =
            (self.shared.name(header.source, number), self.shared.name(header.label, number));
        if !(self.wanted)(&source, &label) {
            self.read.skipped += 1;
            self.read.last = Some(id);
            match self.skipped.last_mut() {
                Some((_, end)) if *end == ordinal => *end += 1,
                _ => self.skipped.push((ordinal, ordinal + 1)),
            }
            return Ok(false);
        }
        let stored = match walker.body(offset, header, &open.cipher)? {
            Ok(body) => payload(header, body),
            Err(fault) => Err(fault),
        };
        match (stored, Codec::from_number(header.codec)) {
            (Ok(stored), Some(codec)) => {
                self.bytes += len;
                self.read.last = Some(id);
                self.read.records.push(Record {
                    id,
                    lane: self.lane,
                    source,
                    label,
                    items: header.items,
                    ingest_ns: header.ingest_ns,
                    uncompressed_len: header.uncompressed_len,
                    codec,
                    stored,
                });
            }
            (Err(BodyFault::Tag), _) => self.lose_one(ordinal, Fate::NotAuthentic, segment),
            _ => self.lose_one(ordinal, Fate::BodyDamaged, segment),
        }
        Ok(false)
    }

    /// Everything from `next` below this ordinal is not there.
    fn lose(&mut self, to: u64, why: Fate, segment: Option<&Arc<Segment>>) {
        if to > self.next {
            self.lost.push((self.next, to, why));
            self.next = to;
            if let Some(segment) = segment {
                segment.mark_damaged();
            }
        }
    }

    fn lose_one(&mut self, ordinal: u64, why: Fate, segment: &Arc<Segment>) {
        self.lost.push((ordinal, ordinal + 1, why));
        segment.mark_damaged();
    }

    /// Notes in the cursor what was passed over. If that can't be written, it is found again by the next read.
    fn settle(&mut self) {
        let lane = self.lane.index();
        let note = |spans: Vec<(u64, u64)>, fate| {
            self.consumer.change(lane, self.shared, |cursor| {
                cursor
                    .acknowledge(spans, fate)
                    .map_err(|_| CursorError::TooManyRanges { limit: crate::cursor::lane::MAX_DEFERRED })
            })
        };
        if !self.skipped.is_empty() && note(std::mem::take(&mut self.skipped), Fate::Skipped).is_err() {
            self.read.skipped = 0;
        }
        for (start, end, why) in std::mem::take(&mut self.lost) {
            if let Ok(new) = note(vec![(start, end)], why) {
                self.shared.count_lost(why, new);
            }
        }
    }
}

/// Takes names that were new in the middle of a segment.
fn learn(
    shared: &Shared,
    walker: &mut Walker<'_>,
    offset: u64,
    header: &RecordHeader,
    open: &OpenSegment,
) -> io::Result<()> {
    // The head is known already, and may be big.
    if header.index > 1
        && let Ok(body) = walker.body(offset, header, &open.cipher)?
    {
        shared.learn(&body);
    }
    Ok(())
}

/// The payload of an opened body.
fn payload(header: &RecordHeader, body: Vec<u8>) -> Result<Bytes, BodyFault> {
    let (_, start) = frame::part_body(header, &body).ok_or(BodyFault::Shape)?;
    Ok(Bytes::from(body).slice(start..))
}

/// The id and ingest time of the record of an ordinal, without reading its body; `None` when it is not there.
pub(crate) fn find(
    shared: &Shared,
    consumer: &ConsumerState,
    lane: Lane,
    ordinal: u64,
) -> io::Result<Option<(RecordId, u64)>> {
    let Some(segment) = shared.segment_with(lane.index(), ordinal) else { return Ok(None) };
    match find_in(shared, consumer, &segment, lane, ordinal) {
        Err(cause) if shared.was_unlinked(&segment, &cause) => Ok(None),
        found => found,
    }
}

fn find_in(
    shared: &Shared,
    consumer: &ConsumerState,
    segment: &Segment,
    lane: Lane,
    ordinal: u64,
) -> io::Result<Option<(RecordId, u64)>> {
    let first = segment.header.lane_first[lane.index()];
    if ordinal < first {
        return Ok(None);
    }
    let visible = segment.visible();
    let open = segment.open(shared)?;
    let number = segment.header.segment;
    let place = consumer.place(lane.index(), ordinal, number);
    let from = place.map_or(RECORDS_START, |place| place.offset);
    let mut walker = Walker::new(open.file.as_ref(), open.crc_seed, from, visible.end, visible.index_end);
    while let Some(step) = walker.step()? {
        let Step::Record { offset, header } = step else { continue };
        if header.kind() == Some(Kind::State) {
            // The place that is remembered lies behind it.
            learn(shared, &mut walker, offset, &header, &open)?;
        }
        if header.kind() != Some(Kind::Data) || usize::from(header.lane) != lane.index() {
            continue;
        }
        let at = first + u64::from(header.lane_index);
        if at == ordinal {
            consumer.remember(lane.index(), Place { ordinal, segment: number, offset });
            let id =
                RecordId::from_parts(segment.header.uid(), number, header.index, header.sequence, ordinal);
            return Ok(Some((id, header.ingest_ns)));
        }
        if at > ordinal {
            break;
        }
    }
    Ok(None)
}
