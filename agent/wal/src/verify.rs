//! Looking at a WAL without opening it: no lock is taken and nothing is changed, so it may be in use.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    cursor::{
        file::FoundSlot,
        slot::{Slot, is_authentic},
    },
    error::VerifyError,
    key::KeyRing,
    options::LANES,
    recover::bounds_of,
    scan::{Bounds, Depth, FaultKind, Scan, scan},
    segment::{
        encrypt::{Masters, SegmentCipher},
        header::SegmentHeader,
        walk::BodyFault,
    },
    shared::LOCK,
    status::{ConsumerStatus, LaneStatus},
    storage::{Access, Storage, environment, is_locked},
    survey::{SegmentFile, Survey, survey},
};

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it, bytes.
    pub offset: u64,
    /// What, and what it costs.
    pub what: String,
}

/// One segment.
#[derive(Debug, Clone, Default)]
pub struct SegmentReport {
    /// Its file.
    pub path: PathBuf,
    /// Its number.
    pub segment: u64,
    /// Its uid.
    pub uid: [u8; 16],
    /// Id of the key it is sealed with; 0 in the clear.
    pub key_id: u32,
    /// When it was begun, nanoseconds since the epoch.
    pub created_ns: u64,
    /// File length, bytes.
    pub bytes: u64,
    /// First sequence number.
    pub first_sequence: u64,
    /// Data records, by lane; damaged ones included where only headers were read.
    pub records: [u64; LANES],
    /// Items in them, by lane; zero where only headers were read.
    pub items: [u64; LANES],
    /// Whether it was sealed. The last one is not while the WAL is open, nor after a crash.
    pub sealed: bool,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done: u64,
    /// Bytes there are.
    pub total: u64,
}

/// What a verification found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Segments, in order.
    pub segments: Vec<SegmentReport>,
    /// What is wrong with durable data.
    pub damages: Vec<Damage>,
    /// Bytes after the last good record of the last segment: normal after a crash and in a WAL that is in use.
    pub torn_bytes: u64,
    /// Whether every tag was checked too: all keys were given.
    pub authenticated: bool,
    /// Files that are none of ours.
    pub foreign: Vec<PathBuf>,
    /// Files in quarantine.
    pub quarantined: Vec<PathBuf>,
}

impl VerifyReport {
    /// Nothing durable is damaged.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }
}

/// A WAL as it lies on disk.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// Names the WAL; `None` where there is none.
    pub store_uuid: Option<[u8; 16]>,
    /// Whether an agent has it open.
    pub in_use: bool,
    /// Disk use, bytes.
    pub disk_bytes: u64,
    /// Segments, in order.
    pub segments: Vec<SegmentReport>,
    /// Consumers that have a cursor; none of them counts as configured. Their ingest times and lags are not known.
    pub consumers: Vec<ConsumerStatus>,
    /// Files in quarantine.
    pub quarantined: Vec<PathBuf>,
    /// Files that are none of ours.
    pub foreign: Vec<PathBuf>,
}

/// Reads every segment and cursor: CRCs always, tags and the chain of seals where the keys are given.
///
/// # Errors
/// [`VerifyError`] when the directory or a file in it cannot be read at all.
pub fn verify(
    dir: &Path,
    keys: Option<&KeyRing>,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, VerifyError> {
    verify_in(environment().storage.as_ref(), dir, &Masters::of_ring(keys), progress)
}

/// Reads headers, cursors and the last segment's records, without key. A WAL that does not exist is an empty one.
///
/// # Errors
/// [`VerifyError`] when the directory or a file in it cannot be read at all.
pub fn inspect(dir: &Path) -> Result<Inspection, VerifyError> {
    let mut found = inspect_in(environment().storage.as_ref(), dir)?;
    found.in_use = is_locked(&dir.join(LOCK));
    Ok(found)
}

/// The segments, in order.
///
/// # Errors
/// [`VerifyError`] when the directory or a file in it cannot be read at all.
pub fn list(dir: &Path) -> Result<Vec<SegmentReport>, VerifyError> {
    inspect(dir).map(|found| found.segments)
}

fn fail(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VerifyError {
    let path = path.to_owned();
    move |cause| VerifyError { action, path, cause }
}

fn look(storage: &dyn Storage, dir: &Path) -> Result<Survey, VerifyError> {
    match survey(storage, dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Survey::default()),
        found => found.map_err(fail("reading", dir)),
    }
}

pub(crate) fn verify_in(
    storage: &dyn Storage,
    dir: &Path,
    masters: &Masters,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, VerifyError> {
    let found = look(storage, dir)?;
    let uuid = found.store_uuid().unwrap_or_default();
    let mut report = VerifyReport {
        authenticated: true,
        quarantined: found.quarantine.iter().map(|(path, _)| path.clone()).collect(),
        foreign: found.foreign.clone(),
        ..VerifyReport::default()
    };
    check_cursors(&found, masters, &uuid, &mut report);
    let total = found.segments.iter().map(|file| file.len).sum();
    let mut done = 0;
    let mut previous: Option<(u64, Scan)> = None;
    for (at, file) in found.segments.iter().enumerate() {
        let header = match &file.header {
            Ok(header) if header.store_uuid == uuid => header,
            Ok(_) => {
                report.damage(&file.path, 0, "it belongs to another WAL");
                continue;
            }
            Err(reason) => {
                report.damage(&file.path, 0, reason);
                continue;
            }
        };
        let master = masters.get(header.master_id(), &uuid);
        let cipher = master.as_ref().and_then(|master| SegmentCipher::of(master, header));
        if master.is_some() && cipher.is_none() {
            report.damage(&file.path, 0, "its header was altered: it does not commit to its key");
        }
        report.authenticated &= cipher.is_some();
        let depth = cipher.as_ref().map_or(Depth::Crc, Depth::Tags);
        let next = next_header(&found, at, &uuid);
        let bounds = next.map_or(Bounds::NONE, |next| bounds_of(header, next));
        let mut show = |offset| progress(Progress { done: done + offset, total });
        let scanned = storage
            .open(&file.path, Access::Read)
            .and_then(|open| scan(open.as_ref(), header, depth, file.len, bounds, &mut show));
        let scanned = match scanned {
            // Passed by everybody and deleted while we looked.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            scanned => scanned.map_err(fail("reading", &file.path))?,
        };
        done += file.len;
        progress(Progress { done, total });
        report.take(file, header, &scanned, next);
        if let Some((number, before)) = &previous
            && *number + 1 == header.segment
            && let Some((_, tag)) = before.seal
            && cipher.is_some()
            && header.previous_tag != [0; 16]
            && header.previous_tag != tag
        {
            report.damage(&file.path, 128, "the segment before it is not the one that was sealed");
        }
        previous = Some((header.segment, scanned));
    }
    Ok(report)
}

impl VerifyReport {
    fn damage(&mut self, path: &Path, offset: u64, what: &str) {
        self.damages.push(Damage { path: path.to_owned(), offset, what: what.to_owned() });
    }

    fn take(
        &mut self,
        file: &SegmentFile,
        header: &SegmentHeader,
        scanned: &Scan,
        next: Option<&SegmentHeader>,
    ) {
        for fault in scanned.faults.iter().filter(|fault| fault.was_durable || next.is_some()) {
            let what = match fault.what {
                FaultKind::Gap { len } => format!("{len} bytes in which no record is"),
                FaultKind::Body { index, fault: BodyFault::Crc } => {
                    format!("record {index}: its CRC is wrong")
                }
                FaultKind::Body { index, .. } => format!("record {index}: it was altered, its tag is wrong"),
            };
            self.damage(&file.path, fault.offset, &what);
        }
        match next {
            Some(next) => {
                let numbered: u64 = next
                    .lane_first
                    .iter()
                    .zip(header.lane_first)
                    .map(|(end, first)| end.saturating_sub(first))
                    .sum();
                let records: u64 = scanned.records.iter().sum();
                if records < numbered && scanned.faults.is_empty() {
                    let what =
                        format!("it ends early: {} of its {numbered} records are gone", numbered - records);
                    self.damage(&file.path, scanned.end, &what);
                }
                if next.segment != header.segment + 1 {
                    let what = format!("segment {:016x} does not follow", header.segment + 1);
                    self.damage(&file.path, file.len, &what);
                }
            }
            None => self.torn_bytes = scanned.torn_bytes,
        }
        self.segments.push(SegmentReport {
            records: scanned.records,
            items: scanned.items,
            sealed: scanned.seal.is_some(),
            ..describe(file, header)
        });
    }
}

fn describe(file: &SegmentFile, header: &SegmentHeader) -> SegmentReport {
    SegmentReport {
        path: file.path.clone(),
        segment: header.segment,
        uid: header.uid(),
        key_id: header.key_id,
        created_ns: header.created_ns,
        bytes: file.len,
        first_sequence: header.first_sequence,
        ..SegmentReport::default()
    }
}

fn next_header<'a>(found: &'a Survey, at: usize, uuid: &[u8; 16]) -> Option<&'a SegmentHeader> {
    found.segments[at + 1..]
        .iter()
        .filter_map(|file| file.header.as_ref().ok())
        .find(|header| header.store_uuid == *uuid)
}

fn check_cursors(found: &Survey, masters: &Masters, uuid: &[u8; 16], report: &mut VerifyReport) {
    for cursor in &found.cursors {
        let is_own =
            |found: &&FoundSlot| found.slot.store_uuid == *uuid && found.slot.name == cursor.consumer;
        let Some(FoundSlot { slot, bytes, .. }) = cursor.slots.iter().find(is_own) else {
            report.damage(&cursor.path, 0, "no slot of this cursor is whole");
            continue;
        };
        match masters.cursor_key(slot.key_id, uuid) {
            Some(key) if !is_authentic(bytes, &key) => {
                report.damage(&cursor.path, 0, "this cursor was altered, its HMAC is wrong");
            }
            Some(_) => {}
            None => report.authenticated = false,
        }
    }
}

pub(crate) fn inspect_in(storage: &dyn Storage, dir: &Path) -> Result<Inspection, VerifyError> {
    let found = look(storage, dir)?;
    let Some(uuid) = found.store_uuid() else {
        return Ok(Inspection { foreign: found.foreign, ..Inspection::default() });
    };
    let mut inspection = Inspection { store_uuid: Some(uuid), ..Inspection::default() };
    let mut lane_end = [1; LANES];
    for (at, file) in found.segments.iter().enumerate() {
        inspection.disk_bytes += file.len;
        let Ok(header) = &file.header else { continue };
        if header.store_uuid != uuid {
            continue;
        }
        let mut segment = describe(file, header);
        match next_header(&found, at, &uuid) {
            Some(next) => {
                lane_end = next.lane_first;
                segment.sealed = next.previous_tag != [0; 16] && next.segment == header.segment + 1;
            }
            None => {
                let open = storage.open(&file.path, Access::Read).map_err(fail("reading", &file.path))?;
                let scanned = scan(open.as_ref(), header, Depth::Crc, file.len, Bounds::NONE, &mut |_| {})
                    .map_err(fail("reading", &file.path))?;
                lane_end = scanned.lane_end;
                segment.sealed = scanned.seal.is_some();
                segment.items = scanned.items;
            }
        }
        segment.records = std::array::from_fn(|lane| lane_end[lane].saturating_sub(header.lane_first[lane]));
        inspection.segments.push(segment);
    }
    for cursor in found.cursors {
        let own = cursor.slots.into_iter().find(|found| found.slot.store_uuid == uuid);
        let Some(FoundSlot { slot, .. }) = own else { continue };
        let lanes = std::array::from_fn(|lane| {
            let cursor = &slot.lanes[lane];
            let end = lane_end[lane].max(cursor.reach());
            let tally = cursor.tally();
            LaneStatus {
                seen: end - cursor.first,
                delivered: tally.delivered,
                skipped: tally.skipped,
                dead_lettered: tally.dead_lettered,
                dropped: tally.dropped,
                corrupt: tally.corrupt,
                pending: cursor.pending(end),
                oldest_pending_ns: None,
            }
        });
        let Slot { name, resets, key_id, .. } = slot;
        let status = ConsumerStatus { name, resets, key_id, lanes, ..ConsumerStatus::default() };
        inspection.consumers.push(status);
    }
    let other = found.leftovers.iter().chain(&found.quarantine).map(|(_, len)| len).sum::<u64>();
    inspection.disk_bytes += other;
    inspection.quarantined = found.quarantine.into_iter().map(|(path, _)| path).collect();
    inspection.foreign = found.foreign;
    Ok(inspection)
}
