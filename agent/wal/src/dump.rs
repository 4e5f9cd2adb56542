//! Every record of a WAL, opened, in order, without opening the WAL: no lock is taken and nothing is changed, so it may
//! be in use.
//!
//! Each segment is read twice: first to know where it ends and what is damaged in it, as verifying does, then record
//! by record. Memory is bounded by the largest record. Of a WAL in use, a record may be given that is written and not
//! yet durable.

use std::{collections::HashMap, io, ops::ControlFlow, path::Path, sync::Arc};

use bytes::Bytes;

use crate::{
    compress::Codec,
    cursor::slot::Slot,
    error::DumpError,
    judge::{Finding, Judged, Usable, judge_all, usable},
    key::KeyRing,
    record::{Lane, Record, RecordId},
    recover::bounds_of,
    scan::Bounds,
    segment::{
        encrypt::{Masters, SegmentCipher},
        frame::{Kind, RecordHeader, part_body},
        header::RECORDS_START,
        state::{self, Entry},
        walk::{Step, Walker},
    },
    storage::{Access, Storage, StoredFile, environment},
    survey::{CursorEntry, Survey},
    verify::{Damage, Progress, authentic_slot, fail, look},
};

/// Which records are wanted: all that fit everything that is given.
#[derive(Debug, Clone, Default)]
pub struct DumpFilter {
    /// Sequence numbers from this one on.
    pub from: Option<u64>,
    /// Sequence numbers up to this one, itself included.
    pub to: Option<u64>,
    /// Of this lane.
    pub lane: Option<Lane>,
    /// Of this source.
    pub source: Option<String>,
    /// Of the segment of this number.
    pub segment: Option<u64>,
    /// Those that this consumer has not acknowledged, by its cursor on the disk.
    pub pending: Option<String>,
    /// At most so many.
    pub limit: Option<u64>,
}

/// What a dump comes by.
#[derive(Debug)]
pub enum Dumped {
    /// A record that is wanted, and its payload.
    Record(Record, Bytes),
    /// Something damaged, which was passed over. It is not filtered but by segment: nobody knows what it was.
    Damage(Damage),
    /// How far it is.
    Progress(Progress),
}

/// What a dump came by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DumpReport {
    /// Records given.
    pub records: u64,
    /// Damages passed over.
    pub damages: u64,
}

/// Gives the wanted records to `visit`, in order, until it breaks.
///
/// # Errors
/// [`DumpError`]; before the first record is given unless a file cannot be read.
pub fn dump(
    dir: &Path,
    keys: Option<&KeyRing>,
    filter: &DumpFilter,
    visit: &mut dyn FnMut(Dumped) -> ControlFlow<()>,
) -> Result<DumpReport, DumpError> {
    dump_in(environment().storage.as_ref(), dir, &Masters::of_ring(keys), filter, visit)
}

pub(crate) fn dump_in(
    storage: &dyn Storage,
    dir: &Path,
    masters: &Masters,
    filter: &DumpFilter,
    visit: &mut dyn FnMut(Dumped) -> ControlFlow<()>,
) -> Result<DumpReport, DumpError> {
    let found = look(storage, dir)?;
    let uuid = found.store_uuid().unwrap_or_default();
    let cursor = match &filter.pending {
        Some(name) => Some(cursor_of(storage, &found, name, masters, &uuid)?),
        None => None,
    };
    let mut dump =
        Dump { storage, filter, cursor, names: HashMap::new(), report: DumpReport::default(), visit };
    let mut segments = Vec::new();
    for file in &found.segments {
        match usable(file, &uuid, masters) {
            Ok(segment) => segments.push(segment),
            Err(what) if filter.segment.is_none_or(|only| only == file.number) => {
                let damage = Damage { path: file.path.clone(), offset: 0, what };
                if dump.damage(damage).is_break() {
                    return Ok(dump.report);
                }
            }
            Err(_) => {}
        }
    }
    let wanted: Vec<usize> = (0..segments.len()).filter(|at| dump.may_hold(&segments, *at)).collect();
    if let Some(segment) = filter.segment
        && !found.segments.iter().any(|file| file.number == segment)
    {
        return Err(DumpError::NoSegment { segment });
    }
    for at in &wanted {
        let Usable { file, header, cipher } = &segments[*at];
        if cipher.is_none() {
            return Err(DumpError::NoKey {
                segment: file.path.clone(),
                needed: header.key_id,
                given: masters.ids(),
            });
        }
    }
    let total = wanted.iter().map(|at| segments[*at].file.len).sum();
    let mut done = 0;
    for at in wanted {
        if dump.is_full() || dump.segment(&segments, at)?.is_break() {
            break;
        }
        done += segments[at].file.len;
        if (dump.visit)(Dumped::Progress(Progress { done, total })).is_break() {
            break;
        }
    }
    Ok(dump.report)
}

/// The consumer's cursor, as opening would take it.
fn cursor_of(
    storage: &dyn Storage,
    found: &Survey,
    name: &str,
    masters: &Masters,
    uuid: &[u8; 16],
) -> Result<Slot, DumpError> {
    let entry: Option<&CursorEntry> = found.cursors.iter().find(|entry| entry.consumer == name);
    let slot = entry.and_then(|entry| authentic_slot(storage, entry, masters, uuid));
    slot.ok_or_else(|| DumpError::NoCursor {
        consumer: name.to_owned(),
        known: found.cursors.iter().map(|entry| entry.consumer.clone()).collect(),
    })
}

struct Dump<'a> {
    storage: &'a dyn Storage,
    filter: &'a DumpFilter,
    cursor: Option<Slot>,
    names: HashMap<u32, Arc<str>>,
    report: DumpReport,
    visit: &'a mut dyn FnMut(Dumped) -> ControlFlow<()>,
}

impl Dump<'_> {
    fn is_full(&self) -> bool {
        self.filter.limit.is_some_and(|limit| self.report.records >= limit)
    }

    fn damage(&mut self, damage: Damage) -> ControlFlow<()> {
        self.report.damages += 1;
        (self.visit)(Dumped::Damage(damage))
    }

    /// Whether a segment may hold wanted records, as far as headers say.
    fn may_hold(&self, segments: &[Usable<'_>], at: usize) -> bool {
        let header = segments[at].header;
        let next = segments.get(at + 1).map(|next| next.header);
        self.filter.segment.is_none_or(|only| only == header.segment)
            && self.filter.to.is_none_or(|to| header.first_sequence <= to)
            && self.filter.from.is_none_or(|from| next.is_none_or(|next| next.first_sequence > from))
            && self.cursor.as_ref().is_none_or(|cursor| {
                next.is_none_or(|next| cursor.lanes.iter().zip(next.lane_first).any(|(l, end)| l.low < end))
            })
    }

    /// Gives the records and damages of one segment.
    fn segment(&mut self, segments: &[Usable<'_>], at: usize) -> Result<ControlFlow<()>, DumpError> {
        let segment = &segments[at];
        let path = &segment.file.path;
        let Some(cipher) = &segment.cipher else { return Ok(ControlFlow::Continue(())) };
        let mut judged = None;
        // With the next one, which says what counts.
        let pair = &segments[at..segments.len().min(at + 2)];
        judge_first(self.storage, pair, &mut judged)?;
        // Passed by everybody and deleted while we looked.
        let Some(Judged { scanned, findings, .. }) = judged else { return Ok(ControlFlow::Continue(())) };
        let names = scanned.names.into_iter().map(|(number, name)| (number, name.into()));
        if scanned.head {
            // A head names all that are in use.
            self.names = names.collect();
        } else {
            self.names.extend(names);
            if let Some(Usable { file, header, cipher: Some(cipher) }) = segments.get(at + 1) {
                let head = read_head(self.storage, &file.path, header.crc_seed(), file.len, cipher);
                for (number, name) in head.unwrap_or_default() {
                    self.names.entry(number).or_insert(name);
                }
            }
        }
        let file = match self.storage.open(path, Access::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(ControlFlow::Continue(())),
            file => file.map_err(fail("reading", path))?,
        };
        let bounds = pair.get(1).map_or(Bounds::NONE, |next| bounds_of(segment.header, next.header));
        let walked = self.walk(segment, cipher, file.as_ref(), (scanned.end, bounds), findings);
        Ok(walked.map_err(fail("reading", path))?)
    }

    fn walk(
        &mut self,
        segment: &Usable<'_>,
        cipher: &SegmentCipher,
        file: &dyn StoredFile,
        (end, bounds): (u64, Bounds),
        findings: Vec<Finding>,
    ) -> io::Result<ControlFlow<()>> {
        let header = segment.header;
        let mut findings = findings.into_iter().peekable();
        let mut walker = Walker::new(file, header.crc_seed(), RECORDS_START, end, bounds.index);
        while let Some(step) = walker.step()? {
            let Step::Record { offset, header: record } = step else { continue };
            while let Some(finding) = findings.next_if(|finding| finding.offset <= offset) {
                if self.damage(finding.into()).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if record.kind() != Some(Kind::Data) {
                continue;
            }
            let lane = usize::from(record.lane);
            let ordinal = header.lane_first[lane].saturating_add(record.lane_index.into());
            if ordinal >= bounds.lanes[lane] {
                break;
            }
            if self.is_full() {
                return Ok(ControlFlow::Break(()));
            }
            if !self.wants(&record, ordinal) {
                continue;
            }
            // A damaged one is among the findings, or was never durable.
            let Ok(body) = walker.body(offset, &record, cipher)? else { continue };
            let given = match self.open(segment, &record, ordinal, body) {
                Ok((record, payload)) => {
                    self.report.records += 1;
                    (self.visit)(Dumped::Record(record, payload))
                }
                Err(what) => self.damage(Damage { path: segment.file.path.clone(), offset, what }),
            };
            if given.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        for finding in findings {
            if self.damage(finding.into()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn wants(&self, record: &RecordHeader, ordinal: u64) -> bool {
        let filter = self.filter;
        filter.from.is_none_or(|from| record.sequence >= from)
            && filter.to.is_none_or(|to| record.sequence <= to)
            && filter.lane.is_none_or(|lane| lane.number() == record.lane)
            && filter.source.as_ref().is_none_or(|source| *self.name(record.source) == **source)
            && self
                .cursor
                .as_ref()
                .is_none_or(|cursor| !cursor.lanes[usize::from(record.lane)].is_taken(ordinal))
    }

    /// The name behind a number. One that no state record tells any more is shown as `?NUMBER`.
    fn name(&self, number: u32) -> Arc<str> {
        self.names.get(&number).cloned().unwrap_or_else(|| format!("?{number}").into())
    }

    fn open(
        &self,
        segment: &Usable<'_>,
        header: &RecordHeader,
        ordinal: u64,
        body: Vec<u8>,
    ) -> Result<(Record, Bytes), String> {
        let of = |what: &str| format!("record {}: {what}", header.index);
        let (_, start) =
            part_body(header, &body).ok_or_else(|| of("its section does not fit into its body"))?;
        let codec =
            Codec::from_number(header.codec).ok_or_else(|| of("it is compressed in an unknown way"))?;
        let lane = Lane::new(header.lane).ok_or_else(|| of("its lane does not exist"))?;
        let (uid, number) = (segment.header.uid(), segment.header.segment);
        let record = Record {
            id: RecordId::from_parts(uid, number, header.index, header.sequence, ordinal),
            lane,
            source: self.name(header.source),
            label: self.name(header.label),
            items: header.items,
            ingest_ns: header.ingest_ns,
            uncompressed_len: header.uncompressed_len,
            codec,
            stored: Bytes::from(body).slice(start..),
        };
        let payload = record.payload().map_err(|error| error.to_string())?;
        Ok((record, payload))
    }
}

impl From<Finding> for Damage {
    fn from(Finding { path, offset, what, .. }: Finding) -> Self {
        Self { path, offset, what }
    }
}

/// Reads through the first of one or two segments.
fn judge_first<'a>(
    storage: &dyn Storage,
    pair: &'a [Usable<'a>],
    judged: &mut Option<Judged<'a>>,
) -> Result<(), DumpError> {
    judge_all(storage, pair, 1, &mut |_| {}, &mut |first| *judged = Some(first))?;
    Ok(())
}

/// The names at the head of a segment, from the first of its two copies that is whole.
fn read_head(
    storage: &dyn Storage,
    path: &Path,
    crc_seed: u32,
    len: u64,
    cipher: &SegmentCipher,
) -> io::Result<HashMap<u32, Arc<str>>> {
    let file = storage.open(path, Access::Read)?;
    let mut walker = Walker::new(file.as_ref(), crc_seed, RECORDS_START, len, 2);
    while let Some(step) = walker.step()? {
        let Step::Record { offset, header } = step else { continue };
        if header.kind() == Some(Kind::State)
            && let Ok(body) = walker.body(offset, &header, cipher)?
        {
            let names = state::entries(&body).filter_map(|entry| match entry {
                Entry::Name { number, name } => Some((number, name.into())),
                _ => None,
            });
            return Ok(names.collect());
        }
    }
    Ok(HashMap::new())
}
