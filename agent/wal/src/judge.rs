//! What is wrong with a segment, beside the one that follows it: the same words and marks for verifying, dumping and
//! repairing.

use std::{io, path::PathBuf};

use crate::{
    error::VerifyError,
    options::LANES,
    recover::bounds_of,
    scan::{Bounds, Depth, FaultKind, Scan, scan, scan_in_use},
    segment::{
        encrypt::{Masters, SegmentCipher, TAG_LEN},
        header::SegmentHeader,
        walk::BodyFault,
    },
    storage::{Access, Storage, StoredFile, read_around_damage},
    survey::SegmentFile,
    verify::Progress,
};

/// Where a segment header repeats the seal of the one before it.
const PREVIOUS_TAG_AT: u64 = 128;

/// Damage that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) what: String,
    pub(crate) mark: Mark,
}

/// What tells one damage from every other, however long it stays: for knowing it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    /// These bytes of the segment of this uid. Other damage at the same place has another CRC.
    Bytes { uid: [u8; 16], offset: u64, len: u64, crc: u32 },
    /// So many records are gone between these two segments.
    Between { before: [u8; 16], after: [u8; 16], records: u64 },
}

/// The words for a fault.
pub(crate) fn describe(what: FaultKind) -> String {
    match what {
        FaultKind::Gap { len } => format!("{len} bytes in which no record is"),
        FaultKind::Body { index, fault: BodyFault::Crc, .. } => format!("record {index}: its CRC is wrong"),
        FaultKind::Body { index, .. } => format!("record {index}: it was altered, its tag is wrong"),
    }
}

/// What is wrong within a segment that was read through, and between it and the next one there.
fn judge(
    open: &dyn StoredFile,
    file: &SegmentFile,
    header: &SegmentHeader,
    scanned: &Scan,
    next: Option<&SegmentHeader>,
) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let bytes = |offset, len, what: String| -> io::Result<Finding> {
        let mark = Mark::Bytes { uid: header.uid(), offset, len, crc: crc_of(open, offset, len)? };
        Ok(Finding { path: file.path.clone(), offset, what, mark })
    };
    for fault in scanned.faults.iter().filter(|fault| fault.was_durable || next.is_some()) {
        found.push(bytes(fault.offset, fault.len(), describe(fault.what))?);
    }
    let Some(next) = next else { return Ok(found) };
    let numbered = numbered(&header.lane_first, &next.lane_first);
    let ends: [u64; LANES] = std::array::from_fn(|lane| scanned.lane_end[lane].min(next.lane_first[lane]));
    let reached = self::numbered(&header.lane_first, &ends);
    if next.segment != header.segment + 1 {
        // A number may be left out where a segment could not be begun: then nothing is missing between its neighbours.
        let records = numbered - reached;
        if records > 0 || next.previous_tag != [0; TAG_LEN] {
            let what = format!(
                "segment {:016x} does not follow: {records} records before {:016x} are gone",
                header.segment + 1,
                next.segment
            );
            let mark = Mark::Between { before: header.uid(), after: next.uid(), records };
            found.push(Finding { path: file.path.clone(), offset: file.len, what, mark });
        }
        return Ok(found);
    }
    let short = match scanned.seal {
        None => numbered - reached,
        Some(_) if scanned.faults.is_empty() => numbered.saturating_sub(scanned.records.iter().sum()),
        Some(_) => 0,
    };
    let rest = file.len.saturating_sub(scanned.end);
    if short > 0 {
        let what = format!("it ends early: {short} of its {numbered} records are gone");
        found.push(bytes(scanned.end, rest, what)?);
    } else if scanned.seal.is_none() && next.previous_tag != [0; TAG_LEN] {
        found.push(bytes(scanned.end, rest, "its seal is gone; no record is".to_owned())?);
    }
    Ok(found)
}

/// The bounds that readers keep to end before the seal.
fn with_seal(bounds: Bounds, header: &SegmentHeader, next: &SegmentHeader) -> Bounds {
    let sealed = is_sealed(header, next);
    Bounds { index: bounds.index.saturating_add(sealed.into()), ..bounds }
}

/// Whether a segment was sealed, as the one after it says.
pub(crate) fn is_sealed(header: &SegmentHeader, next: &SegmentHeader) -> bool {
    next.segment == header.segment + 1 && next.previous_tag != [0; TAG_LEN]
}

/// Data records between two sets of ordinals.
fn numbered(first: &[u64; LANES], end: &[u64; LANES]) -> u64 {
    first.iter().zip(end).map(|(first, end)| end.saturating_sub(*first)).sum()
}

/// A segment of this WAL that can be read, with its cipher if its key is there.
pub(crate) struct Usable<'a> {
    pub(crate) file: &'a SegmentFile,
    pub(crate) header: &'a SegmentHeader,
    pub(crate) cipher: Option<SegmentCipher>,
}

/// The header and keys of a segment of this WAL, or why none can use it. A key that is not there is no reason.
pub(crate) fn usable<'a>(
    file: &'a SegmentFile,
    uuid: &[u8; 16],
    masters: &Masters,
) -> Result<Usable<'a>, String> {
    let header = file.header.as_ref().map_err(Clone::clone)?;
    if header.store_uuid != *uuid {
        return Err("it belongs to another WAL".to_owned());
    }
    if file.number >= u64::MAX / 2 {
        return Err("its number is out of bounds".to_owned());
    }
    let Some(master) = masters.get(header.master_id(), uuid) else {
        return Ok(Usable { file, header, cipher: None });
    };
    match SegmentCipher::of(&master, header) {
        Some(cipher) => Ok(Usable { file, header, cipher: Some(cipher) }),
        None => Err("its header was altered: it does not commit to its key".to_owned()),
    }
}

/// A segment that was read through.
pub(crate) struct Judged<'a> {
    pub(crate) segment: &'a Usable<'a>,
    pub(crate) scanned: Scan,
    pub(crate) findings: Vec<Finding>,
    pub(crate) is_last: bool,
}

/// Reads the first `count` of the segments through, in order, and says of each what is wrong. The WAL may be in use.
pub(crate) fn judge_all<'a>(
    storage: &dyn Storage,
    segments: &'a [Usable<'a>],
    count: usize,
    progress: &mut dyn FnMut(Progress),
    take: &mut dyn FnMut(Judged<'a>),
) -> Result<(), VerifyError> {
    let total = segments.iter().take(count).map(|segment| segment.file.len).sum();
    let mut done = 0;
    let mut sealed: Option<(u64, [u8; TAG_LEN])> = None;
    for (at, segment) in segments.iter().enumerate().take(count) {
        let Usable { file, header, cipher } = segment;
        let next = segments.get(at + 1).map(|next| next.header);
        let mut show = |offset| progress(Progress { done: done + offset, total });
        let judged = storage.open(&file.path, Access::Read).and_then(|open| {
            let depth = cipher.as_ref().map_or(Depth::Crc, Depth::Tags);
            let scanned = match next {
                Some(next) => {
                    let bounds = with_seal(bounds_of(header, next), header, next);
                    scan(open.as_ref(), header, depth, file.len, bounds, &mut show)?
                }
                None => scan_in_use(open.as_ref(), header, depth, file.len, &mut show)?,
            };
            let mut findings = judge(open.as_ref(), file, header, &scanned, next)?;
            if let Some((number, tag)) = sealed
                && number + 1 == header.segment
                && cipher.is_some()
                && header.previous_tag != [0; TAG_LEN]
                && header.previous_tag != tag
            {
                let crc = crc_of(open.as_ref(), PREVIOUS_TAG_AT, TAG_LEN as u64)?;
                let (offset, len) = (PREVIOUS_TAG_AT, TAG_LEN as u64);
                findings.push(Finding {
                    path: file.path.clone(),
                    offset,
                    what: "the segment before it is not the one that was sealed".to_owned(),
                    mark: Mark::Bytes { uid: header.uid(), offset, len, crc },
                });
            }
            Ok((scanned, findings))
        });
        let (scanned, findings) = match judged {
            // Passed by everybody and deleted while we looked.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            judged => {
                judged.map_err(|cause| VerifyError { action: "reading", path: file.path.clone(), cause })?
            }
        };
        done += file.len;
        progress(Progress { done, total });
        sealed = scanned.seal.filter(|_| cipher.is_some()).map(|(_, tag)| (header.segment, tag));
        take(Judged { segment, scanned, findings, is_last: next.is_none() });
    }
    Ok(())
}

/// The CRC of a part of a file.
pub(crate) fn crc_of(file: &dyn StoredFile, offset: u64, len: u64) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut chunk = vec![0; (len.min(64 * 1024)) as usize];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(chunk.len() as u64) as usize;
        let read = read_around_damage(file, &mut chunk[..want], offset + done)?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        done += read as u64;
    }
    Ok(hasher.finalize())
}
