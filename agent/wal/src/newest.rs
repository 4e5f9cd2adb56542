//! The newest record as it lies on the disk: for showing what the WAL stores, beside what is stored in it.
//!
//! Reads only, and moves no cursor: what is acknowledged is shown as long as its segment is there. The headers of the
//! newest segment are walked once and remembered, so that asking again costs what was appended in between.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use crate::{
    compress::Codec,
    error::ReadError,
    record::{Lane, Record, RecordId},
    segment::{
        frame::{self, Kind, RECORD_HEADER_LEN, RecordHeader},
        header::RECORDS_START,
        walk::{Step, Walker},
    },
    shared::{OpenSegment, Segment, Shared, lock},
    storage::read_around_damage,
};

/// A record as it lies on the disk, and opened.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    /// As a consumer reads it: authenticated and decrypted.
    pub record: Record,
    /// The segment's file.
    pub path: PathBuf,
    /// Where in it the record begins, bytes.
    pub offset: u64,
    /// Header and body as they stand there, tag included, without the padding.
    pub bytes: Bytes,
    /// Bytes of [`bytes`](Self::bytes) that are the header, which is never encrypted.
    pub header_len: usize,
    /// The header's fields, in the order of their bytes.
    pub fields: Vec<HeaderField>,
    /// Whether the body is sealed.
    pub encrypted: bool,
}

/// A field of a record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderField {
    /// What it is.
    pub name: &'static str,
    /// Where in the record its bytes begin.
    pub offset: usize,
    /// How many they are; little endian.
    pub len: usize,
    /// What they say.
    pub value: u64,
}

/// What was walked of the newest segment.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    segment: u64,
    /// Everything before this offset was looked at.
    to: u64,
    /// The last record of each lane and source.
    last: Latest,
}

/// By lane and number of the source: where the last record begins, and its header.
type Latest = HashMap<(u8, u32), (u64, RecordHeader)>;

/// The newest visible record that is wanted by its lane and source, and whole; `None` where there is none.
pub(crate) fn newest(
    shared: &Shared,
    walked: &Mutex<Walked>,
    wanted: &dyn Fn(Lane, &str) -> bool,
) -> Result<Option<StoredRecord>, ReadError> {
    let mut is_last = true;
    for segment in shared.segments().iter().rev() {
        let found = in_segment(shared, segment, is_last.then_some(walked), wanted);
        match found {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(cause) if shared.was_unlinked(segment, &cause) => {}
            Err(cause) => {
                return Err(ReadError::Io { path: segment.path.clone(), offset: 0, cause: Arc::new(cause) });
            }
        }
        is_last = false;
    }
    Ok(None)
}

fn in_segment(
    shared: &Shared,
    segment: &Segment,
    walked: Option<&Mutex<Walked>>,
    wanted: &dyn Fn(Lane, &str) -> bool,
) -> io::Result<Option<StoredRecord>> {
    let visible = segment.visible();
    if visible.lane_end == segment.header.lane_first {
        return Ok(None);
    }
    let open = segment.open(shared)?;
    segment.learn_names(shared, &open)?;
    let number = segment.header.segment;
    let latest = match walked {
        Some(walked) => {
            // Not held over the reading below, only over that of headers: one who asks waits for another.
            let mut walked = lock(walked);
            if walked.segment != number {
                *walked = Walked { segment: number, to: RECORDS_START, last: Latest::new() };
            }
            let Walked { to, last, .. } = &mut *walked;
            walk(shared, segment, &open, to, last)?;
            last.clone()
        }
        None => {
            let mut last = Latest::new();
            walk(shared, segment, &open, &mut RECORDS_START.clone(), &mut last)?;
            last
        }
    };
    let mut latest: Vec<_> = latest.into_values().collect();
    latest.sort_unstable_by_key(|(offset, _)| std::cmp::Reverse(*offset));
    for (offset, header) in latest {
        let Some(lane) = Lane::new(header.lane) else { continue };
        if wanted(lane, &shared.name(header.source, number))
            && let Some(found) = stored(shared, segment, &open, offset, &header, lane)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Goes on over the headers from `to` to the visible end.
fn walk(
    shared: &Shared,
    segment: &Segment,
    open: &OpenSegment,
    to: &mut u64,
    last: &mut Latest,
) -> io::Result<()> {
    let visible = segment.visible();
    let mut walker = Walker::new(open.file.as_ref(), open.crc_seed, *to, visible.end, visible.index_end);
    while let Some(step) = walker.step()? {
        if let Step::Record { offset, header } = step {
            match header.kind() {
                Some(Kind::Data) => drop(last.insert((header.lane, header.source), (offset, header))),
                // Names that were new in the middle of the segment.
                Some(Kind::State) if header.index > 1 => {
                    if let Ok(body) = walker.body(offset, &header, &open.cipher)? {
                        shared.learn(&body);
                    }
                }
                _ => {}
            }
        }
        *to = walker.offset();
    }
    Ok(())
}

/// The record at this place; `None` where it is damaged, which consumers find and count.
fn stored(
    shared: &Shared,
    segment: &Segment,
    open: &OpenSegment,
    offset: u64,
    header: &RecordHeader,
    lane: Lane,
) -> io::Result<Option<StoredRecord>> {
    let visible = segment.visible();
    let mut walker = Walker::new(open.file.as_ref(), open.crc_seed, offset, visible.end, visible.index_end);
    let Some(codec) = Codec::from_number(header.codec) else { return Ok(None) };
    let Ok(body) = walker.body(offset, header, &open.cipher)? else { return Ok(None) };
    let Some((_, start)) = frame::part_body(header, &body) else { return Ok(None) };
    let mut bytes = vec![0; RECORD_HEADER_LEN + header.body_len as usize];
    if read_around_damage(open.file.as_ref(), &mut bytes, offset)? != bytes.len() {
        return Ok(None);
    }
    let number = segment.header.segment;
    let ordinal = segment.header.lane_first[lane.index()] + u64::from(header.lane_index);
    Ok(Some(StoredRecord {
        record: Record {
            id: RecordId::from_parts(segment.header.uid(), number, header.index, header.sequence, ordinal),
            lane,
            source: shared.name(header.source, number),
            label: shared.name(header.label, number),
            items: header.items,
            ingest_ns: header.ingest_ns,
            uncompressed_len: header.uncompressed_len,
            codec,
            stored: Bytes::from(body).slice(start..),
        },
        path: segment.path.clone(),
        offset,
        fields: fields(&bytes),
        bytes: bytes.into(),
        header_len: RECORD_HEADER_LEN,
        encrypted: segment.header.encrypted,
    }))
}

/// The header's fields, as `segment::frame` describes them.
fn fields(bytes: &[u8]) -> Vec<HeaderField> {
    frame::FIELDS
        .iter()
        .map(|(name, offset, len)| {
            let own = bytes.get(*offset..offset + len).unwrap_or_default();
            let value = own.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            HeaderField { name, offset: *offset, len: *len, value }
        })
        .collect()
}
