//! The damages that are known: found by a repair, kept for a look, and left where they lie because the records around
//! them are still wanted. Verifying tells them apart from new ones.
//!
//! The file `noted`, text, replaced whole; gone or unreadable, everything counts as new:
//!
//! ```text
//! whimbrel wal noted 1
//! bytes UID OFFSET LENGTH CRC       these bytes of the segment of this uid
//! between UID UID RECORDS           so many records are gone between these two segments
//! mac KEY HMAC-SHA-256              of all before this line, by the key that authenticates cursors
//! ```
//!
//! Numbers are decimal; uids, CRCs, key ids and the HMAC hexadecimal.

use std::{collections::HashSet, fmt::Write as _, io, path::Path};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    judge::Mark,
    segment::encrypt::Masters,
    storage::{Access, Storage, read_full_at, write_all_at},
};

pub(crate) const NOTES: &str = "noted";
/// A file that is being made.
pub(crate) const NEW_NOTES: &str = "noted-new";
const FIRST_LINE: &str = "whimbrel wal noted 1";
/// Longest file that is read, bytes.
const MAX_LEN: u64 = 16 * 1024 * 1024;

/// What is known. Under a key, only what its holder noted is believed.
pub(crate) fn read(storage: &dyn Storage, dir: &Path, masters: &Masters, uuid: &[u8; 16]) -> HashSet<Mark> {
    let text = || -> io::Result<Vec<u8>> {
        let file = storage.open(&dir.join(NOTES), Access::Read)?;
        let mut bytes = vec![0; file.len()?.min(MAX_LEN) as usize];
        let read = read_full_at(file.as_ref(), &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    };
    let bytes = text().unwrap_or_default();
    std::str::from_utf8(&bytes).ok().and_then(|text| decode(text, masters, uuid)).unwrap_or_default()
}

/// Replaces what is known, durably.
pub(crate) fn write(
    storage: &dyn Storage,
    dir: &Path,
    masters: &Masters,
    uuid: &[u8; 16],
    marks: &[Mark],
) -> io::Result<()> {
    let temporary = dir.join(NEW_NOTES);
    match storage.remove(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = storage.open(&temporary, Access::Create)?;
    let text =
        encode(marks, masters, uuid).ok_or_else(|| io::Error::other("the current key is not in the ring"))?;
    write_all_at(file.as_ref(), text.as_bytes(), 0)?;
    file.sync_all()?;
    storage.rename(&temporary, &dir.join(NOTES))?;
    storage.sync_dir(dir)
}

fn encode(marks: &[Mark], masters: &Masters, uuid: &[u8; 16]) -> Option<String> {
    let mut text = format!("{FIRST_LINE}\n");
    for mark in marks {
        // Writing into a string does not fail.
        let _ = match mark {
            Mark::Bytes { uid, offset, len, crc } => {
                writeln!(text, "bytes {} {offset} {len} {crc:08x}", hex(uid))
            }
            Mark::Between { before, after, records } => {
                writeln!(text, "between {} {} {records}", hex(before), hex(after))
            }
        };
    }
    let id = masters.current_id();
    let code = mac(&*masters.cursor_key(id, uuid)?, &text).finalize().into_bytes();
    let _ = writeln!(text, "mac {id:08x} {}", hex(&code));
    Some(text)
}

fn decode(text: &str, masters: &Masters, uuid: &[u8; 16]) -> Option<HashSet<Mark>> {
    let at = text.rfind("mac ")?;
    let (said, last) = text.split_at(at);
    let mut words = last.strip_suffix('\n')?.split(' ').skip(1);
    let id = u32::from_str_radix(words.next()?, 16).ok()?;
    let code = unhex(words.next()?)?;
    match masters.cursor_key(id, uuid) {
        // The key of id 0 is no secret.
        Some(key) if id != 0 || !masters.encrypts() => mac(&key, said).verify_slice(&code).ok()?,
        None if !masters.encrypts() => {}
        _ => return None,
    }
    let mut lines = said.lines();
    if lines.next() != Some(FIRST_LINE) {
        return None;
    }
    lines.map(mark).collect()
}

fn mark(line: &str) -> Option<Mark> {
    let words: Vec<_> = line.split(' ').collect();
    let uid = |text: &str| <[u8; 16]>::try_from(unhex(text)?).ok();
    match words[..] {
        ["bytes", id, offset, len, crc] => Some(Mark::Bytes {
            uid: uid(id)?,
            offset: offset.parse().ok()?,
            len: len.parse().ok()?,
            crc: u32::from_str_radix(crc, 16).ok()?,
        }),
        ["between", before, after, records] => {
            Some(Mark::Between { before: uid(before)?, after: uid(after)?, records: records.parse().ok()? })
        }
        _ => None,
    }
}

fn mac(key: &[u8; 32], text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(text.as_bytes());
    mac
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, KeyRing};

    const UUID: [u8; 16] = [3; 16];

    fn masters() -> Masters {
        Masters::of_ring(Some(&KeyRing::new(Key::from_bytes([7; 32]))))
    }

    fn marks() -> [Mark; 2] {
        [
            Mark::Bytes { uid: [1; 16], offset: 8192, len: 80, crc: 0xab },
            Mark::Between { before: [1; 16], after: [2; 16], records: 9 },
        ]
    }

    #[test]
    fn what_is_noted_is_known_to_the_holder_of_the_key_and_to_one_without() {
        let text = encode(&marks(), &masters(), &UUID).unwrap();
        assert!(text.starts_with(
            "whimbrel wal noted 1\nbytes 01010101010101010101010101010101 8192 80 000000ab\nbetween 0101"
        ));
        for reader in [masters(), Masters::of_ring(None)] {
            assert_eq!(decode(&text, &reader, &UUID), Some(marks().into()));
        }
        let other = Masters::of_ring(Some(&KeyRing::new(Key::from_bytes([8; 32]))));
        assert_eq!(decode(&text, &other, &UUID), None);
    }

    /// Else whoever alters a record could note it as known.
    #[test]
    fn notes_that_were_altered_or_made_without_the_key_are_not_believed() {
        let text = encode(&marks(), &masters(), &UUID).unwrap();
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            if let Ok(bad) = std::str::from_utf8(&bad) {
                assert_eq!(decode(bad, &masters(), &UUID), None, "byte {at}");
            }
        }
        let keyless = encode(&marks(), &Masters::of_ring(None), &UUID).unwrap();
        assert_eq!(decode(&keyless, &masters(), &UUID), None);
        assert_eq!(decode(&keyless, &Masters::of_ring(None), &UUID), Some(marks().into()));
    }
}
