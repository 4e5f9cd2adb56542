//! What is known of a file, and the checkpoint that keeps it.
//!
//! ```text
//! checkpoint: version (1), then files in the order in which they were first seen, until the end
//! file:  stage (1) | number (varint) | identity (2 x 8, little-endian) | offset (varint) | taken (varint)
//!        | head (8) | tail (8) | path (text) | place (text)
//! text:  bytes shared with the text before (varint) | length of the rest (varint) | the rest
//! ```
//!
//! Lengths of head and tail follow from the offset. Version 1 is all there is.

use whimbrel_sdk::{
    Attributes,
    files::{File, Identity},
};

use crate::print::{HEAD, Print, TAIL};

const VERSION: u8 = 1;
/// More than a file system allows.
const MAX_PATH: u64 = 64 << 10;

/// Where a file is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is where a pattern finds it.
    Followed,
    /// It was renamed to where no pattern finds it, or removed while it was open: read to its end, and left.
    Left,
    /// Its content is not where it was: looked for, once, by what it was.
    Lost,
}

/// A file, and how far it was read.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) stage: Stage,
    /// Which of all that were ever known: unlike an identity, never given to another.
    pub(crate) number: u64,
    pub(crate) identity: Identity,
    /// Under which it was first seen; what its lines carry.
    pub(crate) path: String,
    /// Where it was last seen.
    pub(crate) place: String,
    /// All before this was emitted, or passed over on purpose.
    pub(crate) offset: u64,
    /// How much of the line that goes on at the offset was emitted already: it is longer than may be.
    pub(crate) taken: u64,
    /// Of the first bytes, [`HEAD`] of them or all before the offset.
    pub(crate) head: Print,
    /// Of the last bytes before the offset, [`TAIL`] of them or all.
    pub(crate) tail: Print,
    /// Not kept in the checkpoint.
    pub(crate) now: Now,
}

/// What is known of a file until the instance ends.
#[derive(Debug, Default)]
pub(crate) struct Now {
    pub(crate) file: Option<File>,
    /// Whether this scan has seen it.
    pub(crate) seen: bool,
    pub(crate) size: u64,
    /// Size and time of change as last seen.
    pub(crate) state: Option<(u64, u64)>,
    /// When it was last seen to change, by the monotonic clock.
    pub(crate) changed_ns: u64,
    /// It was read to its end in this state.
    pub(crate) all_read: bool,
    /// Something is left there that is no whole record yet.
    pub(crate) pending: bool,
    /// It could not be read; no other waits for it.
    pub(crate) failed: bool,
    /// Encoded when the first line is emitted.
    pub(crate) attributes: Option<Attributes>,
}

impl Now {
    /// Notes what it looks like.
    pub(crate) fn look(&mut self, state: (u64, u64), now_ns: u64) {
        if self.state != Some(state) {
            self.state = Some(state);
            self.size = state.0;
            self.changed_ns = now_ns;
            self.all_read = false;
        }
    }
}

impl Known {
    /// A file that is read from its beginning.
    pub(crate) fn new(number: u64, identity: Identity, path: &str) -> Self {
        Self {
            stage: Stage::Followed,
            number,
            identity,
            path: path.to_owned(),
            place: path.to_owned(),
            offset: 0,
            taken: 0,
            head: Print::default(),
            tail: Print::default(),
            now: Now::default(),
        }
    }

    /// What was read of it, without where it is.
    pub(crate) fn lost(&self, number: u64) -> Self {
        Self {
            stage: Stage::Lost,
            number,
            identity: Identity::default(),
            path: self.path.clone(),
            place: self.place.clone(),
            offset: self.offset,
            taken: self.taken,
            head: self.head,
            tail: self.tail,
            now: Now::default(),
        }
    }

    /// It is no longer where it was.
    pub(crate) fn become_lost(&mut self) {
        let all_read = self.now.all_read;
        *self = self.lost(self.number);
        self.now.all_read = all_read;
    }

    /// The same file with another content: from the beginning.
    pub(crate) fn begin_again(&mut self) {
        self.offset = 0;
        self.taken = 0;
        self.head = Print::default();
        self.tail = Print::default();
        self.now.all_read = false;
        self.now.pending = false;
    }

    /// Whether its content can be seen: this scan has seen it, or it is open.
    pub(crate) fn is_there(&self) -> bool {
        self.stage != Stage::Lost && (self.now.seen || self.now.file.is_some())
    }

    /// How many bytes the head is of.
    pub(crate) fn head_len(&self) -> usize {
        self.offset.min(HEAD) as usize
    }

    /// How many bytes the tail is of.
    pub(crate) fn tail_len(&self) -> usize {
        self.offset.min(TAIL) as usize
    }

    /// Moves on over `bytes[at..end]`; `bytes` holds the tail before `at`, too.
    pub(crate) fn advance(&mut self, bytes: &[u8], at: usize, end: usize) {
        let missing = (HEAD as usize).saturating_sub(self.head_len());
        self.head.add(&bytes[at..end.min(at + missing)]);
        self.offset += (end - at) as u64;
        self.tail = Print::of(&bytes[end - self.tail_len()..end]);
    }
}

/// The checkpoint of these files.
pub(crate) fn encode(files: &[Known]) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut before = String::new();
    for file in files {
        out.push(match file.stage {
            Stage::Followed => 0,
            Stage::Left => 1,
            Stage::Lost => 2,
        });
        put_varint(&mut out, file.number);
        out.extend_from_slice(&file.identity.0[0].to_le_bytes());
        out.extend_from_slice(&file.identity.0[1].to_le_bytes());
        put_varint(&mut out, file.offset);
        put_varint(&mut out, file.taken);
        out.extend_from_slice(&file.head.to_le_bytes());
        out.extend_from_slice(&file.tail.to_le_bytes());
        put_text(&mut out, &mut before, &file.path);
        put_text(&mut out, &mut before, &file.place);
    }
    out
}

/// The files of a checkpoint; `None` if it is not one of this version.
pub(crate) fn decode(checkpoint: &[u8]) -> Option<Vec<Known>> {
    let (version, mut rest) = checkpoint.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut files = Vec::new();
    let mut before = String::new();
    while let Some((stage, after)) = rest.split_first() {
        rest = after;
        let stage = match stage {
            0 => Stage::Followed,
            1 => Stage::Left,
            2 => Stage::Lost,
            _ => return None,
        };
        let number = varint(&mut rest)?;
        let identity = Identity([u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?)]);
        let mut file = Known::new(number, identity, "");
        file.stage = stage;
        file.offset = varint(&mut rest)?;
        file.taken = varint(&mut rest)?;
        file.head = Print::from_le_bytes(take(&mut rest)?);
        file.tail = Print::from_le_bytes(take(&mut rest)?);
        file.path = text(&mut rest, &mut before)?;
        file.place = text(&mut rest, &mut before)?;
        files.push(file);
    }
    Some(files)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

fn put_text(out: &mut Vec<u8>, before: &mut String, text: &str) {
    let same = text.bytes().zip(before.bytes()).take_while(|(one, other)| one == other).count();
    put_varint(out, same as u64);
    put_varint(out, (text.len() - same) as u64);
    out.extend_from_slice(&text.as_bytes()[same..]);
    before.clear();
    before.push_str(text);
}

fn text(rest: &mut &[u8], before: &mut String) -> Option<String> {
    let same = usize::try_from(varint(rest)?).ok()?;
    let len = varint(rest).filter(|len| *len <= MAX_PATH)?;
    let (own, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = after;
    let mut bytes = before.as_bytes().get(..same)?.to_vec();
    bytes.extend_from_slice(own);
    let text = String::from_utf8(bytes).ok()?;
    before.clone_from(&text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<Known> {
        let mut one = Known::new(7, Identity([1, !1]), "/var/log/app.log");
        one.advance(b"one\ntwo\n", 0, 8);
        one.place = "/var/log/app.log.1".to_owned();
        one.stage = Stage::Left;
        let mut two = Known::new(u64::MAX, Identity([u64::MAX, 0]), "/var/log/\u{e4}.log");
        two.offset = u64::MAX;
        two.taken = 300;
        vec![one.lost(300), one, two]
    }

    fn same(one: &Known, other: &Known) -> bool {
        format!("{one:?}") == format!("{other:?}")
    }

    #[test]
    fn what_is_kept_comes_back() {
        let files = files();
        let bytes = encode(&files);
        let back = decode(&bytes).unwrap();
        assert!(files.len() == back.len() && files.iter().zip(&back).all(|(one, other)| same(one, other)));
        assert!(decode(&encode(&[])).unwrap().is_empty());
    }

    #[test]
    fn what_is_damaged_is_no_checkpoint_and_no_panic() {
        let files = files();
        let bytes = encode(&files);
        let whole: Vec<usize> = (0..=files.len()).map(|n| encode(&files[..n]).len()).collect();
        for len in 0..=bytes.len() {
            let read = decode(&bytes[..len]);
            assert_eq!(read.is_some(), whole.contains(&len), "{len} of {} bytes", bytes.len());
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                // Any answer will do that is one.
                let _ = decode(&bytes);
            }
        }
        assert!(decode(&[2]).is_none(), "of a version to come");
    }

    #[test]
    fn head_and_tail_are_those_of_the_bytes_whatever_the_steps() {
        let bytes: Vec<u8> = (0..5000_u32).map(|n| (n * 7 % 251) as u8).collect();
        for step in [1, 7, 255, 256, 257, 1023, 1024, 1025, 4999] {
            let mut file = Known::new(0, Identity::default(), "/x");
            let mut at = 0;
            while at < bytes.len() {
                let end = bytes.len().min(at + step);
                file.advance(&bytes, at, end);
                at = end;
                assert_eq!(file.head, Print::of(&bytes[..at.min(1024)]), "{step} {at}");
                assert_eq!(file.tail, Print::of(&bytes[at.saturating_sub(256)..at]), "{step} {at}");
            }
        }
    }
}
