//! Looking at a WAL without opening it: no lock is taken and nothing is changed, so it may be in use.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    cursor::{
        file::{FoundSlot, read_slots},
        slot::{Slot, is_authentic},
    },
    error::VerifyError,
    judge::{Judged, judge_all, usable},
    key::KeyRing,
    notes,
    options::LANES,
    scan::{Bounds, Depth, scan},
    segment::{encrypt::Masters, header::SegmentHeader},
    shared::LOCK,
    status::{ConsumerStatus, LaneStatus},
    storage::{Access, Storage, environment, is_locked},
    survey::{CursorEntry, SegmentFile, Survey, survey_in_use},
};

/// How often a cursor that looks damaged is read again: it may be being written.
const LOOKS_AT_A_CURSOR: usize = 8;

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
    /// What is wrong, was noted by [`repair`](crate::repair()), and has not changed since.
    pub known: Vec<Damage>,
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
    /// Nothing durable is damaged beyond what is known.
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

pub(crate) fn fail(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VerifyError {
    let path = path.to_owned();
    move |cause| VerifyError { action, path, cause }
}

pub(crate) fn look(storage: &dyn Storage, dir: &Path) -> Result<Survey, VerifyError> {
    match survey_in_use(storage, dir) {
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
    let noted = notes::read(storage, dir, masters, &uuid);
    let mut report = VerifyReport {
        authenticated: true,
        quarantined: found.quarantine.iter().map(|(path, _)| path.clone()).collect(),
        foreign: found.foreign.clone(),
        ..VerifyReport::default()
    };
    check_cursors(storage, &found, masters, &uuid, &mut report);
    let mut segments = Vec::new();
    for file in &found.segments {
        match usable(file, &uuid, masters) {
            Ok(segment) => segments.push(segment),
            Err(reason) => report.damage(&file.path, 0, &reason),
        }
    }
    judge_all(storage, &segments, usize::MAX, progress, &mut |judged| {
        let Judged { segment, scanned, findings, is_last } = judged;
        report.authenticated &= segment.cipher.is_some();
        if is_last {
            report.torn_bytes = scanned.torn_bytes;
        }
        report.segments.push(SegmentReport {
            records: scanned.records,
            items: scanned.items,
            sealed: scanned.seal.is_some(),
            ..describe(segment.file, segment.header)
        });
        let (known, new): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| noted.contains(&finding.mark));
        report.known.extend(known.into_iter().map(Damage::from));
        report.damages.extend(new.into_iter().map(Damage::from));
    })?;
    Ok(report)
}

impl VerifyReport {
    fn damage(&mut self, path: &Path, offset: u64, what: &str) {
        self.damages.push(Damage { path: path.to_owned(), offset, what: what.to_owned() });
    }
}

pub(crate) fn describe(file: &SegmentFile, header: &SegmentHeader) -> SegmentReport {
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

fn check_cursors(
    storage: &dyn Storage,
    found: &Survey,
    masters: &Masters,
    uuid: &[u8; 16],
    report: &mut VerifyReport,
) {
    for cursor in &found.cursors {
        let mut verdict = check_slots(&cursor.found.slots, &cursor.consumer, masters, uuid);
        // A slot that was being written is whole at another look; a damaged one never is.
        for _ in 0..LOOKS_AT_A_CURSOR {
            if verdict.is_ok() {
                break;
            }
            let again = storage.open(&cursor.path, Access::Read).and_then(|file| read_slots(file.as_ref()));
            match again {
                Ok(found) => verdict = check_slots(&found.slots, &cursor.consumer, masters, uuid),
                Err(e) if e.kind() == io::ErrorKind::NotFound => verdict = Ok(true),
                Err(_) => break,
            }
        }
        match verdict {
            Ok(authenticated) => report.authenticated &= authenticated,
            Err(what) => report.damage(&cursor.path, 0, what),
        }
    }
}

/// The newest slot of a cursor that can be believed, as opening takes it.
pub(crate) fn authentic_slot(
    storage: &dyn Storage,
    entry: &CursorEntry,
    masters: &Masters,
    uuid: &[u8; 16],
) -> Option<Slot> {
    let newest = |slots: &[FoundSlot]| {
        let authentic = |found: &&FoundSlot| {
            let key = masters.cursor_key(found.slot.key_id, uuid);
            found.is_of(&entry.consumer, uuid) && key.is_some_and(|key| is_authentic(&found.bytes, &key))
        };
        slots.iter().find(authentic).map(|found| found.slot.clone())
    };
    newest(&entry.found.slots).or_else(|| {
        // It may have been being written.
        (0..LOOKS_AT_A_CURSOR).find_map(|_| {
            let file = storage.open(&entry.path, Access::Read).ok()?;
            newest(&read_slots(file.as_ref()).ok()?.slots)
        })
    })
}

/// Whether the newest slot of a cursor could be authenticated, or what is wrong with it.
pub(crate) fn check_slots(
    slots: &[FoundSlot],
    consumer: &str,
    masters: &Masters,
    uuid: &[u8; 16],
) -> Result<bool, &'static str> {
    let newest = slots.iter().find(|found| found.is_of(consumer, uuid));
    let Some(FoundSlot { slot, bytes, .. }) = newest else {
        return Err("no slot of this cursor is whole");
    };
    match masters.cursor_key(slot.key_id, uuid) {
        Some(key) if !is_authentic(bytes, &key) => Err("this cursor was altered, its HMAC is wrong"),
        key => Ok(key.is_some()),
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
                let open = match storage.open(&file.path, Access::Read) {
                    // Others were begun since, and everybody has passed it.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    open => open.map_err(fail("reading", &file.path))?,
                };
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
        let own = cursor.found.slots.into_iter().find(|found| found.slot.store_uuid == uuid);
        let Some(FoundSlot { slot, .. }) = own else { continue };
        let lanes = std::array::from_fn(|lane| LaneStatus::of(&slot.lanes[lane], lane_end[lane]));
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
