//! The segments of a WAL with what is in them and who still needs it: from headers and cursors alone, so that no key is
//! needed and the WAL may be in use.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    cursor::slot::Slot,
    error::VerifyError,
    judge::{Usable, is_sealed, usable},
    options::LANES,
    recover::bounds_of,
    scan::Bounds,
    segment::{
        encrypt::Masters,
        frame::Kind,
        header::{RECORDS_START, SegmentHeader},
        walk::{Step, Walker},
    },
    shared::LOCK,
    storage::{Access, Storage, environment, is_locked},
    verify::{SegmentReport, describe, fail, look},
};

/// A WAL's segments.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Whether an agent has it open.
    pub in_use: bool,
    /// In order. Records and items are those whose headers are whole; their bodies are not looked at.
    pub segments: Vec<Listed>,
    /// Files named as segments that none of this WAL is in, and why.
    pub unusable: Vec<(PathBuf, String)>,
}

/// A segment, and who holds it.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// What is in it.
    pub report: SegmentReport,
    /// Consumers that have not passed it; the file stays for them. Empty: it is only there because it is the last one,
    /// or is about to go.
    pub holders: Vec<Holder>,
}

/// A consumer that a segment is kept for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub consumer: String,
    /// Records of the segment that it has not acknowledged. Zero when it only has not passed one before.
    pub pending: u64,
}

/// Reads the headers of all segments and records, and the cursors. A WAL that does not exist has no segments.
///
/// # Errors
/// [`VerifyError`] when the directory or a file in it cannot be read at all.
pub fn list(dir: &Path) -> Result<Listing, VerifyError> {
    let mut listing = list_in(environment().storage.as_ref(), dir)?;
    listing.in_use = is_locked(&dir.join(LOCK));
    Ok(listing)
}

pub(crate) fn list_in(storage: &dyn Storage, dir: &Path) -> Result<Listing, VerifyError> {
    let found = look(storage, dir)?;
    let uuid = found.store_uuid().unwrap_or_default();
    let masters = Masters::of_ring(None);
    let mut listing = Listing::default();
    let mut segments = Vec::new();
    for file in &found.segments {
        match usable(file, &uuid, &masters) {
            Ok(segment) => segments.push(segment),
            Err(reason) => listing.unusable.push((file.path.clone(), reason)),
        }
    }
    let own = |entry: &crate::survey::CursorEntry| {
        entry
            .found
            .slots
            .iter()
            .find(|slot| slot.is_of(&entry.consumer, &uuid))
            .map(|found| found.slot.clone())
    };
    let cursors: Vec<Slot> = found.cursors.iter().filter_map(own).collect();
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map(|next| next.header);
        match listed(storage, segment, next, &cursors) {
            // Passed by everybody and deleted while we looked.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            listed => listing.segments.push(listed.map_err(fail("reading", &segment.file.path))?),
        }
    }
    Ok(listing)
}

fn listed(
    storage: &dyn Storage,
    segment: &Usable<'_>,
    next: Option<&SegmentHeader>,
    cursors: &[Slot],
) -> io::Result<Listed> {
    let header = segment.header;
    let bounds = next.map_or(Bounds::NONE, |next| bounds_of(header, next));
    let mut report = describe(segment.file, header);
    report.sealed = next.is_some_and(|next| is_sealed(header, next));
    let mut ends = header.lane_first;
    let file = storage.open(&segment.file.path, Access::Read)?;
    let seed = header.crc_seed();
    let mut walker = Walker::new(file.as_ref(), seed, RECORDS_START, segment.file.len, bounds.index);
    while let Some(step) = walker.step()? {
        let Step::Record { header: record, .. } = step else { continue };
        match record.kind() {
            Some(Kind::Data) => {
                let lane = usize::from(record.lane);
                let ordinal = header.lane_first[lane].saturating_add(record.lane_index.into());
                if ordinal >= bounds.lanes[lane] {
                    // Written again in the next segment.
                    break;
                }
                ends[lane] = ends[lane].max(ordinal + 1);
                report.records[lane] += 1;
                report.items[lane] += u64::from(record.items);
            }
            Some(Kind::Seal) => {
                report.sealed = true;
                break;
            }
            _ => {}
        }
    }
    let holders = cursors.iter().filter_map(|cursor| holder(cursor, &header.lane_first, &ends)).collect();
    Ok(Listed { report, holders })
}

fn holder(cursor: &Slot, first: &[u64; LANES], ends: &[u64; LANES]) -> Option<Holder> {
    let holds = cursor.lanes.iter().zip(ends).any(|(lane, end)| lane.low < *end);
    let lanes = cursor.lanes.iter().zip(first.iter().zip(ends));
    let pending = lanes.map(|(lane, (first, end))| lane.pending(*end) - lane.pending(*first)).sum();
    holds.then(|| Holder { consumer: cursor.name.clone(), pending })
}
