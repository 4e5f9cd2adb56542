//! A cursor's file: slots written in turn, synced on demand, replaced when a write or a sync failed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::slot::{MAX_CONSUMER_NAME, SLOT_LEN, SLOTS, Slot};
use crate::storage::{Access, Storage, StoredFile, is_damage, read_full_at, write_all_at};

/// Length of a cursor's file, bytes.
pub(crate) const CURSOR_FILE_LEN: u64 = (SLOTS * SLOT_LEN) as u64;
const SUFFIX: &str = ".cursor";
/// A file that is being made.
pub(crate) const NEW_SUFFIX: &str = ".cursor-new";

/// An open cursor file.
pub(crate) struct CursorFile {
    path: PathBuf,
    file: Option<Arc<dyn StoredFile>>,
    key: Zeroizing<[u8; 32]>,
    /// Ids of other keys that what counts on disk may be signed with.
    former: Vec<u32>,
    newest: usize,
    synced: usize,
    synced_generation: u64,
    /// Something was written since the last sync.
    dirty: bool,
}

/// Name of a consumer's file: bytes that are not plain are written as `%xx`.
pub(crate) fn file_name(consumer: &str) -> String {
    let mut name = String::with_capacity(consumer.len() + SUFFIX.len());
    for (at, byte) in consumer.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte as char),
            b'.' if at > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name.push_str(SUFFIX);
    name
}

/// The consumer whose file has this name.
pub(crate) fn consumer_of(file_name: &str) -> Option<String> {
    let encoded = file_name.strip_suffix(SUFFIX)?;
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    ((1..=MAX_CONSUMER_NAME).contains(&name.len()) && self::file_name(&name) == file_name).then_some(name)
}

/// A slot whose CRC is right.
pub(crate) struct FoundSlot {
    /// Its place in the file.
    pub(crate) at: usize,
    pub(crate) slot: Slot,
    /// For checking who wrote it.
    pub(crate) bytes: Box<[u8; SLOT_LEN]>,
}

impl FoundSlot {
    /// Whether it is one of this consumer of this WAL.
    pub(crate) fn is_of(&self, consumer: &str, store_uuid: &[u8; 16]) -> bool {
        self.slot.store_uuid == *store_uuid && self.slot.name == consumer
    }
}

/// What a cursor's file holds.
#[derive(Default)]
pub(crate) struct FoundSlots {
    /// Those whose CRCs are right, the newest first.
    pub(crate) slots: Vec<FoundSlot>,
    /// Part of it can't be read. What is written there may not be read again: the file is to be replaced.
    pub(crate) broken: bool,
}

/// Reads the slots of a cursor's file.
pub(crate) fn read_slots(file: &dyn StoredFile) -> io::Result<FoundSlots> {
    let mut found = FoundSlots::default();
    for at in 0..SLOTS {
        let mut bytes = Box::new([0; SLOT_LEN]);
        match read_full_at(file, bytes.as_mut_slice(), (at * SLOT_LEN) as u64) {
            Err(e) if is_damage(&e) => found.broken = true,
            read => {
                if read? == SLOT_LEN
                    && let Some(slot) = Slot::decode(&bytes)
                {
                    found.slots.push(FoundSlot { at, slot, bytes });
                }
            }
        }
    }
    found.slots.sort_unstable_by_key(|found| std::cmp::Reverse(found.slot.generation));
    Ok(found)
}

impl CursorFile {
    /// The file whose newest slot was read, and lies at `newest`. It may not be durable: the one that is, by what the
    /// newest says, is spared too. The first thing to do is to `write` and `sync`: a sync alone would find nothing to
    /// write if an earlier one failed.
    pub(crate) fn opened(
        path: PathBuf,
        file: Arc<dyn StoredFile>,
        key: Zeroizing<[u8; 32]>,
        newest: usize,
        (synced, synced_generation): (usize, u64),
    ) -> Self {
        let former = Vec::new();
        Self { path, file: Some(file), key, former, newest, synced, synced_generation, dirty: true }
    }

    /// A file that does not exist yet, or is to be replaced: the first `write` makes it.
    pub(crate) fn absent(path: PathBuf, key: Zeroizing<[u8; 32]>) -> Self {
        let former = Vec::new();
        Self { path, file: None, key, former, newest: 0, synced: 0, synced_generation: 0, dirty: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What is written from now on is signed with this key. The one before, of this id, is needed until a slot under the
    /// new one is synced: that needs no room, and no write ever goes to the slot that was synced last.
    pub(crate) fn rekey(&mut self, former: u32, key: Zeroizing<[u8; 32]>) {
        if !self.former.contains(&former) {
            self.former.push(former);
        }
        self.key = key;
    }

    /// Ids of keys before the one that is written with, which opening this file may need.
    pub(crate) fn former_keys(&self) -> &[u32] {
        &self.former
    }

    /// Writes a slot; it survives the end of the process, and a power loss after `sync`. When the file fails, a new
    /// one takes its place.
    pub(crate) fn write(&mut self, storage: &dyn Storage, slot: &mut Slot) -> io::Result<()> {
        if let Some(file) = &self.file {
            slot.synced_generation = self.synced_generation;
            let bytes = slot.encode(&self.key);
            let next = (0..SLOTS).find(|n| *n != self.newest && *n != self.synced).unwrap_or(0);
            if write_all_at(file.as_ref(), bytes.as_slice(), (next * SLOT_LEN) as u64).is_ok() {
                self.newest = next;
                self.dirty = true;
                return Ok(());
            }
        }
        self.replace(storage, slot)
    }

    /// Makes the newest slot durable. A failed sync is never tried again on that file.
    pub(crate) fn sync(&mut self, storage: &dyn Storage, slot: &mut Slot) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        if self.file.as_ref().is_some_and(|file| file.sync_data().is_ok()) {
            self.synced = self.newest;
            self.synced_generation = slot.generation;
            if self.former.is_empty() || self.write_over_others(slot).is_ok() {
                self.dirty = false;
                self.former.clear();
                return Ok(());
            }
        }
        self.replace(storage, slot)
    }

    /// Leaves no slot under a former key: were the newest one damaged, opening would ask for a key that may be gone.
    fn write_over_others(&self, slot: &mut Slot) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        slot.synced_generation = self.synced_generation;
        let bytes = slot.encode(&self.key);
        for other in (0..SLOTS).filter(|n| *n != self.newest) {
            write_all_at(file.as_ref(), bytes.as_slice(), (other * SLOT_LEN) as u64)?;
        }
        file.sync_data()
    }

    fn replace(&mut self, storage: &dyn Storage, slot: &mut Slot) -> io::Result<()> {
        self.file = None;
        self.dirty = true;
        // Durable before it has its name.
        slot.synced_generation = slot.generation;
        let bytes = slot.encode(&self.key);
        let temporary = self.path.with_extension(NEW_SUFFIX.trim_start_matches('.'));
        match storage.remove(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = storage.open(&temporary, Access::Create)?;
        // Preallocated: later writes need no room.
        let mut whole = vec![0; CURSOR_FILE_LEN as usize];
        whole[..SLOT_LEN].copy_from_slice(bytes.as_slice());
        write_all_at(file.as_ref(), &whole, 0)?;
        file.sync_all()?;
        storage.rename(&temporary, &self.path)?;
        storage.sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        (self.file, self.newest, self.synced, self.dirty) = (Some(file), 0, 0, false);
        self.synced_generation = slot.generation;
        self.former.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_a_file_name_and_back() {
        for name in ["backend", "a.b", ".", "..", "../../etc", "ä/ö", "%", "a b", "A-B_c"] {
            let file = file_name(name);
            assert!(!file.contains('/') && !file.starts_with('.'), "{file}");
            assert_eq!(consumer_of(&file).as_deref(), Some(name), "{file}");
        }
        for foreign in ["x", "x.cursor-new", "%zz.cursor", "%2.cursor", ".cursor", "%61.cursor"] {
            assert_eq!(consumer_of(foreign), None, "{foreign}");
        }
    }
}
