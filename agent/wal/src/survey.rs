//! What lies in a WAL's directory, read without changing anything: the first half of opening, and all of inspecting.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use crate::{
    cursor::file::{FoundSlots, NEW_SUFFIX, consumer_of, read_slots},
    notes::{NEW_NOTES, NOTES},
    segment::header::{HEADER_LEN, HEADER_PAGE, HeaderError, SegmentHeader},
    shared::{CURSORS, LOCK, QUARANTINE, SPARE_PREFIX, segment_of},
    storage::{Access, Entry, Storage, StoredFile, read_around_damage, write_all_at},
};

/// The lock file says which WAL this is, should all headers be gone: `whimbrel wal UUID CRC`, in hexadecimal.
const LOCK_PREFIX: &str = "whimbrel wal ";

/// A file that is named as a segment.
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) len: u64,
    /// Or why it is not one.
    pub(crate) header: Result<SegmentHeader, String>,
}

/// A cursor's file, with what it holds.
pub(crate) struct CursorEntry {
    pub(crate) path: PathBuf,
    pub(crate) consumer: String,
    pub(crate) found: FoundSlots,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Survey {
    /// By number.
    pub(crate) segments: Vec<SegmentFile>,
    pub(crate) cursors: Vec<CursorEntry>,
    pub(crate) quarantine: Vec<(PathBuf, u64)>,
    /// Spares and files that were being made: of no use any more.
    pub(crate) leftovers: Vec<(PathBuf, u64)>,
    pub(crate) foreign: Vec<PathBuf>,
    pub(crate) lock_uuid: Option<[u8; 16]>,
}

/// Looks at a directory. Files that vanish meanwhile are left out.
pub(crate) fn survey(storage: &dyn Storage, dir: &Path) -> io::Result<Survey> {
    let mut found = Survey::default();
    for entry in storage.list(dir)? {
        if !entry.is_file {
            if entry.name != CURSORS && entry.name != QUARANTINE {
                found.foreign.push(entry.path);
            }
        } else if entry.name == LOCK {
            found.lock_uuid = read_lock(storage, &entry.path);
        } else if entry.name == NOTES {
            // Tiny, and only for those who verify.
        } else if let Some(number) = segment_of(&entry.name) {
            match look_at_segment(storage, &entry, number) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                segment => found.segments.push(segment?),
            }
        } else if entry.name.starts_with(SPARE_PREFIX) || entry.name == NEW_NOTES {
            found.leftovers.push((entry.path, entry.len));
        } else {
            found.foreign.push(entry.path);
        }
    }
    found.segments.sort_unstable_by_key(|segment| segment.number);
    for entry in list_if_there(storage, &dir.join(CURSORS))? {
        if let Some(consumer) = consumer_of(&entry.name) {
            let file = match storage.open(&entry.path, Access::Read) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            let slots = read_slots(file.as_ref())?;
            found.cursors.push(CursorEntry { path: entry.path, consumer, found: slots });
        } else if entry.name.ends_with(NEW_SUFFIX) {
            found.leftovers.push((entry.path, entry.len));
        } else {
            found.foreign.push(entry.path);
        }
    }
    found.cursors.sort_unstable_by(|a, b| a.consumer.cmp(&b.consumer));
    let mut quarantine = list_if_there(storage, &dir.join(QUARANTINE))?;
    quarantine.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    found.quarantine = quarantine.into_iter().map(|entry| (entry.path, entry.len)).collect();
    Ok(found)
}

/// As `survey`, of a directory that may be in use: segments that were begun while the directory was being listed may be
/// left out of the list although later ones are in it. Such a gap is gone at the next look; a real one stays.
pub(crate) fn survey_in_use(storage: &dyn Storage, dir: &Path) -> io::Result<Survey> {
    const LOOKS: usize = 20;
    let mut found = survey(storage, dir)?;
    let mut gaps = found.gaps();
    for _ in 0..LOOKS {
        if gaps.is_empty() {
            break;
        }
        found = survey(storage, dir)?;
        let again = found.gaps();
        let settled = again.iter().all(|gap| gaps.contains(gap));
        gaps = again;
        if settled {
            break;
        }
    }
    Ok(found)
}

impl Survey {
    /// Neighbours between which numbers are not given.
    fn gaps(&self) -> Vec<(u64, u64)> {
        let numbers = self.segments.windows(2).map(|pair| (pair[0].number, pair[1].number));
        numbers.filter(|(before, after)| before + 1 != *after).collect()
    }

    /// The WAL's uuid: the lock file's if anything else agrees with it, else that of most segments and cursors. A
    /// single file from elsewhere can't change it.
    pub(crate) fn store_uuid(&self) -> Option<[u8; 16]> {
        let segments = self.segments.iter().filter_map(|segment| segment.header.as_ref().ok());
        let cursors = self.cursors.iter().filter_map(|cursor| cursor.found.slots.first());
        let uuids =
            segments.map(|header| header.store_uuid).chain(cursors.map(|found| found.slot.store_uuid));
        let mut votes: HashMap<[u8; 16], usize> = HashMap::new();
        for uuid in uuids {
            *votes.entry(uuid).or_default() += 1;
        }
        match self.lock_uuid {
            Some(uuid) if votes.is_empty() || votes.contains_key(&uuid) => Some(uuid),
            _ => votes.into_iter().max_by_key(|(uuid, count)| (*count, *uuid)).map(|(uuid, _)| uuid),
        }
    }
}

fn list_if_there(storage: &dyn Storage, dir: &Path) -> io::Result<Vec<Entry>> {
    match storage.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries?.into_iter().filter(|entry| entry.is_file).collect()),
    }
}

fn look_at_segment(storage: &dyn Storage, entry: &Entry, number: u64) -> io::Result<SegmentFile> {
    let file = storage.open(&entry.path, Access::Read)?;
    // Not the entry's: where a later segment was listed, this one has its last length only since then.
    let len = file.len()?;
    let header = read_header(file.as_ref())?.map_err(|e| e.to_string()).and_then(|header| {
        if header.segment == number {
            Ok(header)
        } else {
            Err(format!("its header says that it is segment {:016x}", header.segment))
        }
    });
    Ok(SegmentFile { path: entry.path.clone(), number, len, header })
}

/// The header of a segment: the first copy, else the second.
pub(crate) fn read_header(file: &dyn StoredFile) -> io::Result<Result<SegmentHeader, HeaderError>> {
    let mut first = None;
    for at in [0, HEADER_PAGE] {
        let mut bytes = [0; HEADER_LEN];
        read_around_damage(file, &mut bytes, at)?;
        match SegmentHeader::decode(&bytes) {
            Ok(header) => return Ok(Ok(header)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Ok(Err(first.unwrap_or(HeaderError::Magic)))
}

/// Writes into the lock file whose WAL this is, durably.
pub(crate) fn name_lock(storage: &dyn Storage, path: &Path, uuid: &[u8; 16]) -> io::Result<()> {
    let text = lock_text(uuid);
    let file = storage.open(path, Access::Write)?;
    write_all_at(file.as_ref(), text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

/// What the lock file of this WAL holds.
fn lock_text(uuid: &[u8; 16]) -> String {
    let text = format!("{LOCK_PREFIX}{:032x}", u128::from_be_bytes(*uuid));
    let crc = crc32fast::hash(text.as_bytes());
    format!("{text} {crc:08x}\n")
}

fn read_lock(storage: &dyn Storage, path: &Path) -> Option<[u8; 16]> {
    let file = storage.open(path, Access::Read).ok()?;
    let mut bytes = [0; 128];
    let len = read_around_damage(file.as_ref(), &mut bytes, 0).ok()?;
    let text = std::str::from_utf8(&bytes[..len]).ok()?;
    let digits = text.strip_prefix(LOCK_PREFIX)?.get(..32)?;
    let uuid = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    (lock_text(&uuid) == text).then_some(uuid)
}
