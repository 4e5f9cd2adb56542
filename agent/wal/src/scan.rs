//! Reading a segment through: where it ends, what it holds, what is damaged. For segments that were not sealed, and for
//! the last one, whose state the next segment begins with.

use std::io;

use crate::{
    options::LANES,
    segment::{
        encrypt::{SegmentCipher, TAG_LEN},
        frame::{Kind, RecordHeader, SealBody, part_body, reencode},
        header::{RECORDS_START, SegmentHeader},
        state::{self, Entry},
        walk::{BodyFault, Step, Walker, crc_is_right},
    },
    storage::{StoredFile, is_no_room, read_around_damage, write_all_at},
};

/// What a segment holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// End of the last good record.
    pub(crate) end: u64,
    /// One past its index.
    pub(crate) index_end: u32,
    /// One past the last ordinal of each lane, damaged ones included.
    pub(crate) lane_end: [u64; LANES],
    lane_first: [u64; LANES],
    first_sequence: u64,
    pub(crate) next_sequence: u64,
    /// Indexes below this were durable when the last good record was written.
    pub(crate) synced: u32,
    /// The seal's index and tag.
    pub(crate) seal: Option<(u32, [u8; TAG_LEN])>,
    /// A copy of the head was good.
    pub(crate) head: bool,
    pub(crate) names: Vec<(u32, String)>,
    /// In the order of their records: number of the source, position.
    pub(crate) checkpoints: Vec<(u32, Vec<u8>)>,
    pub(crate) next_number: u32,
    /// Good data records, and their items.
    pub(crate) records: [u64; LANES],
    pub(crate) items: [u64; LANES],
    /// Bytes after the last good record that are not zero.
    pub(crate) torn_bytes: u64,
    pub(crate) faults: Vec<Fault>,
}

/// Something wrong between good records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) offset: u64,
    pub(crate) what: FaultKind,
    /// It was known to be durable: damage, not an interrupted write.
    pub(crate) was_durable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Bytes in which no record is.
    Gap { len: u64 },
    /// A record whose body is wrong; all of it is so long.
    Body { index: u32, len: u64, fault: BodyFault },
}

impl Fault {
    /// Bytes concerned.
    pub(crate) fn len(&self) -> u64 {
        match self.what {
            FaultKind::Gap { len } | FaultKind::Body { len, .. } => len,
        }
    }
}

struct Suspect {
    offset: u64,
    what: FaultKind,
    /// The first index that may be concerned.
    index: u32,
    header: Option<RecordHeader>,
}

/// What counts of a segment, where the next one says so: indexes and ordinals below these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) index: u32,
    pub(crate) lanes: [u64; LANES],
}

impl Bounds {
    pub(crate) const NONE: Self = Self { index: u32::MAX, lanes: [u64::MAX; LANES] };
}

/// How much of a segment is looked at, beyond CRCs.
#[derive(Clone, Copy)]
pub(crate) enum Depth<'a> {
    /// Nothing: there is no key.
    Crc,
    /// Names and checkpoints.
    State(&'a SegmentCipher),
    /// Every tag.
    Tags(&'a SegmentCipher),
}

/// As `scan`, of the last segment of a WAL that may be in use. What is read while it is being written may look damaged;
/// what is damaged does so twice: whatever a first reading takes for durable is whole by the second.
pub(crate) fn scan_in_use(
    file: &dyn StoredFile,
    header: &SegmentHeader,
    depth: Depth<'_>,
    len: u64,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Scan> {
    let first = scan(file, header, depth, len, Bounds::NONE, progress)?;
    if !first.is_damaged() {
        return Ok(first);
    }
    let mut second = scan(file, header, depth, len, Bounds::NONE, &mut |_| {})?;
    let seen =
        |fault: &Fault| first.faults.iter().any(|seen| seen.was_durable && seen.offset == fault.offset);
    second.faults.retain(|fault| !fault.was_durable || seen(fault));
    Ok(second)
}

/// Reads a segment from its first record to `len` or its seal.
pub(crate) fn scan(
    file: &dyn StoredFile,
    header: &SegmentHeader,
    depth: Depth<'_>,
    len: u64,
    bounds: Bounds,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Scan> {
    let cipher = match depth {
        Depth::Crc => None,
        Depth::State(cipher) | Depth::Tags(cipher) => Some(cipher),
    };
    let mut scan = Scan {
        end: RECORDS_START.min(len),
        lane_end: header.lane_first,
        lane_first: header.lane_first,
        first_sequence: header.first_sequence,
        next_sequence: header.first_sequence,
        next_number: 1,
        ..Scan::default()
    };
    let seed = header.crc_seed();
    let mut walker = Walker::new(file, seed, RECORDS_START, len, bounds.index);
    let mut suspects: Vec<Suspect> = Vec::new();
    let mut last_lane = 0;
    while let Some(step) = walker.step()? {
        progress(walker.offset());
        let (offset, record) = match step {
            Step::Gap { offset, len } => {
                let what = FaultKind::Gap { len };
                suspects.push(Suspect { offset, what, index: scan.index_end, header: None });
                continue;
            }
            Step::Record { offset, header } => (offset, header),
        };
        if record.kind() == Some(Kind::Data) {
            let lane = usize::from(record.lane);
            if header.lane_first[lane] + u64::from(record.lane_index) >= bounds.lanes[lane] {
                // Written again in the next segment.
                break;
            }
        }
        let mut body = walker.raw_body(offset, &record)?;
        let fault = if !crc_is_right(&record, &body) {
            Some(BodyFault::Crc)
        } else {
            open_body(&record, seed, depth, &mut body).err()
        };
        if let Some(fault) = fault {
            let what = FaultKind::Body { index: record.index, len: record.stride(), fault };
            suspects.push(Suspect { offset, what, index: record.index, header: Some(record) });
            // With a right CRC it was written whole: nothing is torn here.
            if fault == BodyFault::Crc {
                continue;
            }
        }
        // A good record follows: what was suspicious before it is not the end.
        for suspect in suspects.drain(..) {
            if let Some(header) = &suspect.header {
                scan.count(header);
            }
            scan.faults.push(Fault {
                offset: suspect.offset,
                what: suspect.what,
                // A body with a right CRC and a wrong tag was altered, not interrupted.
                was_durable: suspect.index < record.synced || fault == Some(BodyFault::Tag),
            });
        }
        scan.count(&record);
        scan.synced = scan.synced.max(record.synced);
        scan.end = offset + record.stride();
        scan.index_end = record.index + 1;
        scan.see_number(record.source.max(record.label));
        if fault.is_some() {
            continue;
        }
        match record.kind() {
            Some(Kind::Data) => {
                last_lane = usize::from(record.lane);
                scan.records[last_lane] += 1;
                scan.items[last_lane] += u64::from(record.items);
                if cipher.is_some()
                    && let Some((section, _)) = part_body(&record, &body)
                {
                    scan.learn(&body[section]);
                }
            }
            Some(Kind::State) => {
                scan.head |= record.index <= 1;
                if cipher.is_some() {
                    scan.learn(&body);
                }
            }
            Some(Kind::Seal) => {
                let raw = walker.raw_body(offset, &record)?;
                let tag = cipher.map_or([0; TAG_LEN], |c| c.chain_tag(&reencode(&record, seed), &raw));
                scan.seal = Some((record.index, tag));
                if cipher.is_some()
                    && let Some(seal) = SealBody::decode(&body)
                {
                    scan.believe(&seal, record.index);
                }
                return Ok(scan);
            }
            None => {}
        }
    }
    // Records of which not even the header is left belong to some lane: to that of the last one.
    let known: u64 = (0..LANES).map(|lane| scan.lane_end[lane] - header.lane_first[lane]).sum();
    let sequences = scan.next_sequence.saturating_sub(header.first_sequence);
    scan.lane_end[last_lane] += sequences.saturating_sub(known);
    scan.torn_bytes = torn_bytes(file, scan.end, len)?;
    Ok(scan)
}

impl Scan {
    /// Takes a record's place into account, whether its body is good or not.
    fn count(&mut self, record: &RecordHeader) {
        let next = if record.kind() == Some(Kind::Data) {
            record.sequence.saturating_add(1)
        } else {
            record.sequence
        };
        // Not every header is authenticated here: a forged one must not use up the numbers. An index is one record.
        let possible = self.first_sequence + u64::from(record.index) + 1;
        self.next_sequence = self.next_sequence.max(next.min(possible));
        if record.kind() == Some(Kind::Data) {
            let lane = usize::from(record.lane);
            let end = self.lane_first[lane].saturating_add(u64::from(record.lane_index) + 1);
            self.lane_end[lane] = self.lane_end[lane].max(end);
        }
    }

    fn learn(&mut self, entries: &[u8]) {
        for entry in state::entries(entries) {
            match entry {
                Entry::Name { number, name } => {
                    self.see_number(number);
                    self.names.push((number, name.to_owned()));
                }
                Entry::Checkpoint { source, bytes } => {
                    self.checkpoints.retain(|(other, _)| *other != source);
                    self.checkpoints.push((source, bytes.to_vec()));
                }
                Entry::NextNumber(number) => self.next_number = self.next_number.max(number),
            }
        }
    }

    /// Not every header is authenticated here: a forged one must not use up the numbers.
    fn see_number(&mut self, number: u32) {
        if number < state::NUMBERS_END {
            self.next_number = self.next_number.max(number + 1);
        }
    }

    /// A seal knows what the segment held, whatever became of it since; no more than there are indexes before it.
    fn believe(&mut self, seal: &SealBody, index: u32) {
        let possible = u64::from(index);
        let next_sequence = seal.next_sequence.min(self.first_sequence + possible);
        self.next_sequence = self.next_sequence.max(next_sequence);
        for lane in 0..LANES {
            let end = self.lane_first[lane] + seal.lane_records[lane].min(possible);
            self.lane_end[lane] = self.lane_end[lane].max(end);
        }
    }

    /// Data records that have a number and are damaged or gone.
    pub(crate) fn missing(&self) -> u64 {
        let numbered: u64 = self.lane_end.iter().zip(self.lane_first).map(|(end, first)| end - first).sum();
        numbered.saturating_sub(self.records.iter().sum())
    }

    /// Whether something that was durable is damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.faults.iter().any(|fault| fault.was_durable)
    }
}

/// Writes again, byte for byte, what is not known to be durable, and syncs it. An earlier process may have left it in the
/// page cache after a failed sync: a sync alone would succeed then, and write nothing.
pub(crate) fn make_durable(file: &dyn StoredFile, header: &SegmentHeader, scan: &Scan) -> io::Result<()> {
    let mut walker = Walker::new(file, header.crc_seed(), RECORDS_START, scan.end, u32::MAX);
    let mut at = scan.end;
    while let Some(step) = walker.step()? {
        if let Step::Record { offset, header } = step
            && header.index >= scan.synced
        {
            at = offset;
            break;
        }
    }
    let mut chunk = vec![0; 64 * 1024];
    while at < scan.end {
        let want = (scan.end - at).min(chunk.len() as u64) as usize;
        let read = read_around_damage(file, &mut chunk[..want], at)?;
        if read == 0 {
            break;
        }
        match write_all_at(file, &chunk[..read], at) {
            // A copy-on-write file system without room: what is in the page cache has to do.
            Err(e) if is_no_room(&e) => break,
            written => written?,
        }
        at += read as u64;
    }
    file.sync_all()
}

/// Opens a body in place, as far as the depth asks for it.
fn open_body(
    record: &RecordHeader,
    seed: u32,
    depth: Depth<'_>,
    body: &mut Vec<u8>,
) -> Result<(), BodyFault> {
    let cipher = match depth {
        Depth::Crc => return Ok(()),
        Depth::State(_) if record.kind() == Some(Kind::Data) && !record.has_section => return Ok(()),
        Depth::State(cipher) | Depth::Tags(cipher) => cipher,
    };
    let Some(kind) = record.kind() else { return Ok(()) };
    let len = cipher.open(kind, record.index, &reencode(record, seed), body).ok_or(BodyFault::Tag)?;
    body.truncate(len);
    Ok(())
}

/// Length from `from` to the last byte that is not zero.
fn torn_bytes(file: &dyn StoredFile, from: u64, len: u64) -> io::Result<u64> {
    let mut chunk = vec![0; 64 * 1024];
    let (mut at, mut last) = (from, from);
    while at < len {
        let want = (len - at).min(chunk.len() as u64) as usize;
        let read = read_around_damage(file, &mut chunk[..want], at)?;
        if read == 0 {
            break;
        }
        if let Some(position) = chunk[..read].iter().rposition(|byte| *byte != 0) {
            last = at + position as u64 + 1;
        }
        at += read as u64;
    }
    Ok(last - from)
}
