//! What is to be done, decided from what was found, before anything is changed.

use std::path::PathBuf;

use crate::{
    cursor::{
        file::{CURSOR_FILE_LEN, FoundSlot, file_name},
        lane::{Fate, LaneCursor},
        slot::{Slot, is_authentic},
    },
    error::OpenError,
    options::{ConsumerOptions, LANES, MAX_CONSUMERS, Options, Start},
    scan::{Bounds, Depth, Scan, scan},
    segment::{
        encrypt::{Masters, SegmentCipher},
        header::SegmentHeader,
    },
    shared::{Segment, Tail, Visible},
    status::OpenReport,
    storage::{Access, Environment, Storage},
    survey::{SegmentFile, Survey},
};

/// What is to be done, before anything is done.
pub(super) struct Decided {
    pub(super) store_uuid: [u8; 16],
    /// Segments that are kept, in order.
    pub(super) segments: Vec<Segment>,
    pub(super) quarantine: Vec<(PathBuf, u64, String)>,
    /// Of the last segment, and of those before it whose state was needed; the last one last.
    pub(super) scans: Vec<Scan>,
    pub(super) tail: Tail,
    pub(super) consumers: Vec<Known>,
    /// Records that consumers had not seen and that are gone with their segments.
    pub(super) missing: u64,
    pub(super) next_segment: u64,
}

/// A consumer, with the slot it begins with.
pub(super) struct Known {
    pub(super) slot: Slot,
    /// Where the newest slot lies, and where and of which generation the one that is durable; `None`: there is no usable
    /// file, one is made.
    pub(super) places: Option<(usize, (usize, u64))>,
    pub(super) configured: bool,
}

impl Decided {
    pub(super) fn from(
        found: &Survey,
        masters: &Masters,
        options: &Options,
        env: &Environment,
        report: &mut OpenReport,
    ) -> Result<Self, OpenError> {
        let known = found.store_uuid();
        report.created = known.is_none();
        let store_uuid = match known {
            Some(uuid) => uuid,
            None => {
                let mut uuid = [0; 16];
                (env.random)(&mut uuid)
                    .map_err(|e| OpenError::Options(format!("no random numbers for a new WAL: {e}")))?;
                uuid
            }
        };
        let mut quarantine = Vec::new();
        let mut kept: Vec<(&SegmentFile, &SegmentHeader, SegmentCipher)> = Vec::new();
        for file in &found.segments {
            match usable(file, &store_uuid, masters, options) {
                Ok((header, cipher)) => kept.push((file, header, cipher)),
                Err(reason) => quarantine.push((file.path.clone(), file.len, reason)),
            }
        }
        let scans = read_end(&kept, env.storage.as_ref())?;
        let segments = visible_segments(&kept, scans.last());
        let mut tail = match scans.last() {
            Some(last) => Tail { next_sequence: last.next_sequence, lane_end: last.lane_end },
            None => Tail { next_sequence: 1, lane_end: [1; LANES] },
        };
        if let Some(last) = scans.last() {
            report.torn_bytes = last.torn_bytes;
            report.recovered = usize::from(last.seal.is_none());
            report.recovered_records = if last.seal.is_none() { last.records.iter().sum() } else { 0 };
            if last.is_damaged() {
                report.lost_records += last.missing();
            }
        }
        report.segments = segments.len();

        let mut consumers = read_cursors(found, masters, &store_uuid, options, report, &mut quarantine);
        // A cursor that says more than the WAL holds (the end of it was lost): ordinals go on behind it, and what is
        // in between is missing for everybody who had not seen it.
        for Known { slot, .. } in &consumers {
            for lane in 0..LANES {
                let ahead = slot.lanes[lane].reach().saturating_sub(tail.lane_end[lane]);
                tail.lane_end[lane] += ahead;
                tail.next_sequence += ahead;
                report.lost_records += ahead;
            }
        }
        let oldest = segments.first().map_or(tail.lane_end, |segment| segment.header.lane_first);
        for ConsumerOptions { name, start, .. } in &options.consumers {
            if !consumers.iter().any(|known| known.slot.name == *name) {
                let is_lost = report.cursors_reset.contains(name) || is_set_aside(found, name);
                let resets = u32::from(is_lost);
                if resets == 0 {
                    report.consumers_added.push(name.clone());
                }
                // One whose cursor was lost may have had anything still to deliver.
                let first = if *start == Start::Now && resets == 0 { tail.lane_end } else { oldest };
                let lanes = first.map(LaneCursor::starting_at);
                let slot = Slot { store_uuid, name: name.clone(), resets, lanes, ..Slot::default() };
                consumers.push(Known { slot, places: None, configured: true });
            }
        }
        // Segments that are gone and that not everybody had passed.
        let mut missing = 0;
        for Known { slot, .. } in &mut consumers {
            let lanes = slot.lanes.iter_mut().zip(oldest);
            let lost: u64 = lanes.map(|(lane, oldest)| lane.give_up_below(oldest, Fate::Missing)).sum();
            report.lost_records = report.lost_records.max(lost);
            missing += lost;
        }
        let order = |name: &str| options.consumers.iter().position(|other| other.name == name);
        consumers
            .sort_by_key(|known| (order(&known.slot.name).unwrap_or(usize::MAX), known.slot.name.clone()));
        let next_segment = kept.last().map_or(1, |(file, _, _)| file.number + 1);
        Ok(Self { store_uuid, segments, quarantine, scans, tail, consumers, missing, next_segment })
    }
}

/// Whether a cursor of this consumer lies in the quarantine: a repair put it there, or an opening that a crash
/// interrupted before it had made another.
fn is_set_aside(found: &Survey, consumer: &str) -> bool {
    let own = file_name(consumer);
    found.quarantine.iter().any(|(path, _)| {
        let name = path.file_name().and_then(|name| name.to_str());
        let rest = name.and_then(|name| name.strip_prefix(own.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The header and keys of a segment of this WAL, or why it is to be put away.
fn usable<'a>(
    file: &'a SegmentFile,
    store_uuid: &[u8; 16],
    masters: &Masters,
    options: &Options,
) -> Result<(&'a SegmentHeader, SegmentCipher), String> {
    let header = file.header.as_ref().map_err(Clone::clone)?;
    if header.store_uuid != *store_uuid {
        return Err("it belongs to another WAL".to_owned());
    }
    if !header.encrypted && masters.encrypts() && !options.accept_plain {
        return Err("it is in the clear, and a key is configured (see accept_plain)".to_owned());
    }
    if file.number >= u64::MAX / 2 {
        return Err("its number is out of bounds".to_owned());
    }
    let master = masters.get(header.master_id(), store_uuid).ok_or("its key is not in the ring")?;
    let cipher =
        SegmentCipher::of(&master, header).ok_or("its header was altered: it does not commit to its key")?;
    Ok((header, cipher))
}

/// Scans the last segment, and those before it as long as no head could be read.
fn read_end(
    kept: &[(&SegmentFile, &SegmentHeader, SegmentCipher)],
    storage: &dyn Storage,
) -> Result<Vec<Scan>, OpenError> {
    let mut scans = Vec::new();
    for (at, (file, header, cipher)) in kept.iter().enumerate().rev() {
        let bounds = kept.get(at + 1).map_or(Bounds::NONE, |(_, next, _)| bounds_of(header, next));
        let scanned = storage
            .open(&file.path, Access::Read)
            .and_then(|open| scan(open.as_ref(), header, Depth::State(cipher), file.len, bounds, &mut |_| {}))
            .map_err(OpenError::io("reading", &file.path))?;
        let head = scanned.head;
        scans.insert(0, scanned);
        if head {
            break;
        }
    }
    Ok(scans)
}

/// What counts of a segment, as the next one there says.
pub(crate) fn bounds_of(header: &SegmentHeader, next: &SegmentHeader) -> Bounds {
    let index = if next.segment == header.segment + 1 { next.previous_count } else { u32::MAX };
    Bounds { index, lanes: next.lane_first }
}

fn visible_segments(
    kept: &[(&SegmentFile, &SegmentHeader, SegmentCipher)],
    last: Option<&Scan>,
) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(kept.len());
    for (at, (file, header, _)) in kept.iter().enumerate() {
        let visible = match (kept.get(at + 1), last) {
            (Some((_, next, _)), _) => {
                let Bounds { index, lanes } = bounds_of(header, next);
                // Never backwards, whatever a header says.
                let lane_end = std::array::from_fn(|lane| lanes[lane].max(header.lane_first[lane]));
                Visible { end: file.len, index_end: index, lane_end, file_len: file.len }
            }
            (None, Some(scan)) => Visible {
                end: scan.end,
                index_end: scan.index_end,
                lane_end: scan.lane_end,
                file_len: file.len.min(scan.end),
            },
            (None, None) => Visible::default(),
        };
        segments.push(Segment::new((*header).clone(), file.path.clone(), visible));
    }
    segments
}

/// The newest authentic slot of each cursor.
fn read_cursors(
    found: &Survey,
    masters: &Masters,
    store_uuid: &[u8; 16],
    options: &Options,
    report: &mut OpenReport,
    quarantine: &mut Vec<(PathBuf, u64, String)>,
) -> Vec<Known> {
    let mut consumers = Vec::new();
    for entry in &found.cursors {
        let configured = options.consumer(&entry.consumer).is_some();
        let valid = entry.found.slots.iter().find(|FoundSlot { slot, bytes, .. }| {
            let key = masters.cursor_key(slot.key_id, &slot.store_uuid);
            slot.store_uuid == *store_uuid
                && slot.name == entry.consumer
                && key.is_some_and(|key| is_authentic(bytes, &key))
        });
        match valid {
            Some(FoundSlot { at, slot, .. }) if consumers.len() < MAX_CONSUMERS => {
                let said = slot.synced_generation;
                let synced = entry.found.slots.iter().find(|found| found.slot.generation == said);
                let synced = synced.map_or((*at, slot.generation), |found| (found.at, said));
                let places = (!entry.found.broken).then_some((*at, synced));
                consumers.push(Known { slot: slot.clone(), places, configured });
            }
            Some(_) => quarantine.push((
                entry.path.clone(),
                CURSOR_FILE_LEN,
                "there are too many consumers".to_owned(),
            )),
            None => {
                let reason = "no slot of this cursor is whole and authentic".to_owned();
                quarantine.push((entry.path.clone(), CURSOR_FILE_LEN, reason));
                report.cursors_reset.push(entry.consumer.clone());
            }
        }
    }
    consumers
}
