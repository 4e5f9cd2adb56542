//! Files that are new: where they begin, and whether they are copies of files that are known.
//!
//! A copy can be told from what it was made of by nothing but its content, so that one that begins as another waits until
//! that is cut: then it is what was cut, and is found as such. Or until it is clear that it is not.

use std::collections::BTreeSet;

use whimbrel_sdk::{
    files::{self, split},
    info,
};

use super::{Follow, has_content, open, prints, stem};
use crate::{
    config::{Settings, StartAt},
    known::{Known, Stage},
    print::{HEAD, Print},
    scan::Found,
};

/// How long a small file that may become a copy of another waits.
const SMALL_WAIT_NS: u64 = 2_000_000_000;
/// How long a copy waits for its original to be cut, and an unfinished copy for more.
const COPY_WAIT_NS: u64 = 10_000_000_000;
/// So many bytes that two files begin with make one the copy of the other.
const SIGNIFICANT: usize = 256;

/// A file that may be a copy.
#[derive(Debug)]
pub(super) struct Waiting {
    since_ns: u64,
    changed_ns: u64,
    size: u64,
    /// What it was a copy of, once that is sure.
    copy: Option<Known>,
}

/// How much a file looks like a copy.
pub(super) enum Likeness {
    None,
    /// It is too small to say.
    Small,
    /// It begins as another does.
    Head,
    /// It has all that was read of another.
    Copy(Known),
}

impl Follow {
    /// Those that are new.
    pub(super) fn add(&mut self, mut unknown: Vec<Found>, settings: &Settings, now_ns: u64) {
        self.ignored = 0;
        if self.known.len() + unknown.len() <= settings.max_files {
            // Of several that were rotated unseen, the older lines come first. Where not all have room, patterns say which.
            unknown.sort_by_key(|found| found.metadata.modified_ns);
        }
        let there: BTreeSet<_> = unknown.iter().map(|found| found.metadata.identity).collect();
        self.waiting.retain(|identity, _| there.contains(identity));
        for found in unknown {
            // Nothing is lost of what is empty, and it may become a copy yet. Else it is known from now on, so that it is
            // found when it is renamed before anything was read of it.
            if found.metadata.size == 0
                && self.begun
                && self.known.iter().any(|file| may_be_copy(&found, file))
            {
                continue;
            }
            if self.known.len() >= settings.max_files {
                self.ignored += 1;
                continue;
            }
            let Some(mut file) = self.first_seen(&found, settings, now_ns) else { continue };
            file.now.seen = true;
            file.now.look(found.state(), now_ns);
            self.waiting.remove(&found.metadata.identity);
            self.known.push(file);
            self.changed = true;
        }
        if self.ignored > 0 {
            let problem =
                format!("more than max_files ({}) are found: the others are not read", settings.max_files);
            self.scanner.tell(&files::Error::Failed("paths".to_owned(), problem));
        }
    }

    /// Where a new file begins; `None`: it waits.
    fn first_seen(&mut self, found: &Found, settings: &Settings, now_ns: u64) -> Option<Known> {
        let identity = found.metadata.identity;
        if !self.begun {
            let mut file = Known::new(self.number(), identity, &found.path);
            if settings.start_at == StartAt::End && found.metadata.size > 0 {
                self.make_room();
                let opened = open(found)?;
                file.offset = found.metadata.size;
                (file.head, file.tail) = prints(&opened, &file)?;
            }
            return Some(file);
        }
        let likeness = self.likeness(found);
        let size = found.metadata.size;
        let waiting = self.waiting.entry(identity).or_insert(Waiting {
            since_ns: now_ns,
            changed_ns: now_ns,
            size,
            copy: None,
        });
        if waiting.size != size {
            (waiting.size, waiting.changed_ns) = (size, now_ns);
        }
        let (since, limit) = match likeness {
            Likeness::None => (waiting.since_ns, 0),
            Likeness::Small => (waiting.since_ns, SMALL_WAIT_NS),
            Likeness::Head => (waiting.changed_ns, COPY_WAIT_NS),
            Likeness::Copy(original) => {
                waiting.copy = Some(original);
                (waiting.changed_ns, COPY_WAIT_NS)
            }
        };
        if now_ns.saturating_sub(since) < limit {
            return None;
        }
        let copy = waiting.copy.take().filter(|copy| copy.head_len() >= SIGNIFICANT && size >= copy.offset);
        let mut file = Known::new(self.number(), identity, &found.path);
        if let Some(copy) = copy {
            info!("{} is a copy of {}: what they share is not told again", found.path, copy.place);
            (file.offset, file.taken, file.head, file.tail) = (copy.offset, copy.taken, copy.head, copy.tail);
        }
        Some(file)
    }

    /// How much a file looks like a copy of one beside it that is followed: `app.log.1` of `app.log`.
    pub(super) fn likeness(&mut self, found: &Found) -> Likeness {
        if !self.known.iter().any(|file| may_be_copy(found, file)) {
            return Likeness::None;
        }
        self.make_room();
        let Some(file) = open(found) else { return Likeness::None };
        let Ok(head) = file.read_at(0, HEAD as usize) else { return Likeness::None };
        let mut likeness = Likeness::None;
        for original in self.known.iter().filter(|file| may_be_copy(found, file)) {
            let first = head.get(..original.head_len()).filter(|_| original.offset > 0);
            let Some(first) = first else {
                // Too little is there, or was read, for prints. What has moved on was copied before, if at all, and wholly.
                let is_here = original.stage == Stage::Followed && is_longer(found, &original.place);
                if is_here && begins_alike(&head, original) {
                    likeness = Likeness::Small;
                }
                continue;
            };
            if Print::of(first) != original.head {
                continue;
            }
            if found.metadata.size < original.offset {
                return Likeness::Head;
            }
            if has_content(&file, original) {
                return Likeness::Copy(original.lost(original.number));
            }
        }
        likeness
    }
}

/// Whether one of them is the beginning of the other, as far as can be seen.
fn begins_alike(head: &[u8], original: &Known) -> bool {
    let opened = if original.now.file.is_none() { files::open(&original.place).ok() } else { None };
    let Some(file) = original.now.file.as_ref().or(opened.as_ref()) else { return true };
    let Ok(bytes) = file.read_at(0, HEAD as usize) else { return true };
    bytes.iter().zip(head).all(|(one, other)| one == other)
}

/// Whether by its name, and by what is there, a file may be a copy of one that is known: `app.log.1` of `app.log`. Both may
/// have been renamed since it was made.
fn may_be_copy(found: &Found, file: &Known) -> bool {
    let ((folder, name), (other, original)) = (split(&found.path), split(&file.place));
    file.is_there()
        && (file.offset > 0 || file.now.size > 0)
        && other == folder
        && (is_longer(found, &file.place) || is_longer(found, &file.path))
        && name.starts_with(stem(original))
}

/// Whether what is found may be called after that: the name of a copy is longer, so that what is new under the name of the
/// first one is no copy of an older one.
fn is_longer(found: &Found, original: &str) -> bool {
    split(&found.path).1.len() > split(original).1.len()
}
