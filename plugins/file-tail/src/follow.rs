//! Which file is which: what the patterns find, beside what is known.
//!
//! ```text
//! found under a known identity       the same file, wherever its path is now
//!   .. and smaller than the offset   cut in place: what was read of it is Lost, and it begins again
//! known, and not found               renamed away: Left; read to its end from where it is open, or from where it is in
//!                                    its folder now; else Lost
//! Lost                               looked for by content: a copy that was made before the cut, or the file under a
//!                                    new identity; read on there. Looked for once: then it is given up, and counted
//! found, and not known               new: from its beginning. But one that looks like a copy of one that is followed waits
//!                                    until it is known whether that is cut
//! ```
//!
//! What is renamed away or removed and open is watched as the others are: it may be cut, too.
//!
//! Files stand in the order in which they were first seen; what takes another's path stands behind it, so that
//! lines of one path come in their order.

mod newcomers;

use std::collections::{BTreeMap, BTreeSet};

use whimbrel_sdk::{
    files::{self, File, Identity, MAX_READ, split},
    info, warn,
};

use self::newcomers::{Likeness, Waiting};
use crate::{
    config::Settings,
    figures::Counts,
    known::{Known, Stage},
    print::Print,
    scan::{Found, Scanner},
};

/// Files that are held open: the host allows 64, folders included.
const MOST_OPEN: usize = 40;
/// Files whose content is compared for one that is lost.
const MOST_COMPARED: usize = 64;

/// The files.
#[derive(Debug, Default)]
pub(crate) struct Follow {
    pub(crate) known: Vec<Known>,
    /// Something of the checkpoint has changed that no record says.
    pub(crate) changed: bool,
    /// Beyond `max_files`.
    pub(crate) ignored: u64,
    scanner: Scanner,
    waiting: BTreeMap<Identity, Waiting>,
    /// A scan was made, now or before a restart.
    begun: bool,
    /// Of the next file that becomes known.
    next_number: u64,
    /// Those that were left in this collect: they are wanted again if what was read last of them is refused.
    left: Vec<Known>,
}

impl Follow {
    /// With the files of a checkpoint. What is open goes on only with the file for which it was opened: since the checkpoint
    /// its identity may have passed from one that was removed to another.
    pub(crate) fn resume(&mut self, known: Vec<Known>) {
        let before = self.known.drain(..).chain(self.left.drain(..));
        let mut open: BTreeMap<(u64, Identity), File> =
            before.filter_map(|old| Some(((old.number, old.identity), old.now.file?))).collect();
        self.known = known;
        for file in &mut self.known {
            file.now.file = open.remove(&(file.number, file.identity));
            self.next_number = self.next_number.max(file.number.saturating_add(1));
        }
        self.begun = true;
        self.changed = false;
    }

    /// Looks at what is there.
    pub(crate) fn scan(&mut self, settings: &Settings, counts: &mut Counts, now_ns: u64) {
        let found = self.scanner.scan(settings);
        let mut unknown = self.recognise(found, now_ns);
        self.watch(now_ns);
        self.cut(counts);
        self.gone(counts, now_ns);
        self.recover(&mut unknown, counts, now_ns);
        self.add(unknown, settings, now_ns);
        self.begun = true;
    }

    /// Those that are known, under their paths of now. Returns the others.
    fn recognise(&mut self, found: Vec<Found>, now_ns: u64) -> Vec<Found> {
        let mut index = BTreeMap::new();
        for (n, file) in self.known.iter_mut().enumerate() {
            file.now.seen = false;
            if file.stage != Stage::Lost {
                index.insert(file.identity, n);
            }
        }
        let mut unknown = Vec::new();
        for found in found {
            let Some(n) = index.get(&found.metadata.identity).copied() else {
                unknown.push(found);
                continue;
            };
            if !self.is_same(n, &found) {
                // What had this identity is gone. It is looked for by content, and so is the other one's.
                self.known[n].become_lost();
                self.changed = true;
                unknown.push(found);
                continue;
            }
            let file = &mut self.known[n];
            file.now.seen = true;
            file.now.look(found.state(), now_ns);
            if file.stage == Stage::Left || file.place != found.path {
                file.stage = Stage::Followed;
                file.place = found.path;
                self.changed = true;
            }
        }
        unknown
    }

    /// Whether what stands under a known identity is the file that was known: a system gives the identity of a file that
    /// is gone to the next one that is made, but not of one that is open.
    fn is_same(&mut self, n: usize, found: &Found) -> bool {
        let file = &self.known[n];
        if file.now.file.is_some() || (file.place == found.path && file.now.state == Some(found.state())) {
            return true;
        }
        if file.offset == 0 {
            return matches!(self.likeness(found), Likeness::None);
        }
        if found.metadata.size < file.offset {
            return false;
        }
        self.make_room();
        let known = &mut self.known[n];
        // Of one that could not be opened nothing is known: reading it finds out.
        let Some(opened) = open(found) else { return true };
        let same = has_content(&opened, known);
        if same {
            known.now.file = Some(opened);
        }
        same
    }

    /// Those that no pattern finds any more, and that are open: they may be cut, too.
    fn watch(&mut self, now_ns: u64) {
        for known in self.known.iter_mut().filter(|known| !known.now.seen) {
            if let Some(Ok(now)) = known.now.file.as_ref().map(File::metadata) {
                known.now.look((now.size, now.modified_ns), now_ns);
            }
        }
    }

    /// Those that were cut in place.
    fn cut(&mut self, counts: &mut Counts) {
        let mut n = 0;
        while n < self.known.len() {
            if self.known[n].is_there() && self.known[n].now.size < self.known[n].offset {
                self.replaced(n, counts);
                n += 1;
            }
            n += 1;
        }
    }

    /// The content of a file is another one: it begins again, and what it had is looked for.
    pub(crate) fn replaced(&mut self, n: usize, counts: &mut Counts) {
        let number = self.number();
        let file = &mut self.known[n];
        let mut lost = file.lost(number);
        lost.now.all_read = file.now.all_read;
        file.begin_again();
        self.known.insert(n, lost);
        counts.truncated += 1;
        self.changed = true;
    }

    /// A file is read to its end, and nobody writes to it any more.
    pub(crate) fn leave(&mut self, n: usize) {
        self.left.push(self.known.remove(n));
        self.changed = true;
    }

    /// All that was pushed is durable.
    pub(crate) fn settled(&mut self) {
        self.left.clear();
    }

    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = self.next_number.saturating_add(1);
        number
    }

    /// Those that no pattern finds any more.
    fn gone(&mut self, counts: &mut Counts, now_ns: u64) {
        for n in 0..self.known.len() {
            let file = &mut self.known[n];
            if file.now.seen || file.stage == Stage::Lost {
                continue;
            }
            if file.stage == Stage::Followed {
                file.stage = Stage::Left;
                file.now.changed_ns = now_ns;
                counts.rotated += 1;
                self.changed = true;
            }
            if file.now.file.is_some() {
                continue;
            }
            let (identity, place) = (file.identity, file.place.clone());
            let moved = self.scanner.find(identity, &place);
            let moved = moved.filter(|found| self.may_go_on(n, found));
            self.make_room();
            match moved.and_then(|found| Some((open(&found)?, found))) {
                Some((opened, found)) if has_content(&opened, &self.known[n]) => {
                    let file = &mut self.known[n];
                    file.now.look(found.state(), now_ns);
                    file.place = found.path;
                    file.now.file = Some(opened);
                }
                _ => self.known[n].become_lost(),
            }
            self.changed = true;
        }
    }

    /// Whether what is found under the identity of a file that no pattern finds any more may be that file.
    fn may_go_on(&mut self, n: usize, found: &Found) -> bool {
        let file = &self.known[n];
        if file.offset > 0 {
            return found.metadata.size >= file.offset;
        }
        // Nothing was read, so that only the name and the others tell it from one that was given its identity.
        split(&found.path).1.starts_with(stem(split(&file.place).1))
            && !matches!(self.likeness(found), Likeness::Head | Likeness::Copy(_))
    }

    /// Looks for what is lost by its content, and gives up what is not found.
    fn recover(&mut self, unknown: &mut Vec<Found>, counts: &mut Counts, now_ns: u64) {
        if !self.known.iter().any(|file| file.stage == Stage::Lost) {
            return;
        }
        self.changed = true;
        // Content goes before identity: what is known by nothing else may be the copy of one that is lost.
        let read = self.known.iter().filter(|file| file.offset > 0);
        let mut taken: BTreeSet<Identity> = read.map(|file| file.identity).collect();
        let mut n = 0;
        while n < self.known.len() {
            if self.known[n].stage != Stage::Lost {
                n += 1;
                continue;
            }
            let place = self.known[n].place.clone();
            let matched = unknown.iter().cloned().map(|found| (found, Stage::Followed));
            let beside = self.scanner.beside(&place).iter().cloned().map(|found| (found, Stage::Left));
            let mut candidates: Vec<_> = matched.chain(beside).collect();
            candidates.retain(|(found, _)| {
                let big_enough = found.metadata.size >= self.known[n].offset && self.known[n].offset > 0;
                big_enough && !taken.contains(&found.metadata.identity)
            });
            // Under its own path first: after a move to another disk all files are lost and found there.
            candidates.sort_by_key(|(found, _)| found.path != place);
            self.make_room();
            let lost = &self.known[n];
            let same = candidates.into_iter().take(MOST_COMPARED).find_map(|(found, stage)| {
                let file = open(&found)?;
                has_content(&file, lost).then_some((found, stage, file))
            });
            match same {
                Some((found, stage, opened)) => {
                    taken.insert(found.metadata.identity);
                    unknown.retain(|other| other.metadata.identity != found.metadata.identity);
                    let mut stage = stage;
                    while let Some(at) =
                        self.known.iter().position(|file| file.identity == found.metadata.identity)
                    {
                        stage = self.known.remove(at).stage;
                        n -= usize::from(at < n);
                    }
                    let file = &mut self.known[n];
                    file.stage = stage;
                    file.identity = found.metadata.identity;
                    file.now.look(found.state(), now_ns);
                    file.now.seen = stage == Stage::Followed;
                    file.place = found.path;
                    file.now.file = Some(opened);
                    n += 1;
                }
                None => {
                    let gone = self.known.remove(n);
                    if gone.offset == 0 && unknown.iter().any(|found| found.path == gone.place) {
                        // Nothing was read: what stands there is read from its beginning.
                    } else if gone.now.all_read {
                        info!("{} is gone, and was read to its end", gone.place);
                    } else {
                        counts.lost += 1;
                        warn!(
                            "{} is gone: what was written to it since it was last read, if anything was, is lost; keep rotated files uncompressed in their folder for an interval",
                            gone.place; "offset" => gone.offset
                        );
                    }
                }
            }
        }
    }

    /// Opens a file if it is not open; `false`: it is not where it was, or can't be read.
    pub(crate) fn open(&mut self, n: usize, counts: &mut Counts) -> bool {
        if self.known[n].now.file.is_some() {
            return true;
        }
        self.make_room();
        let file = &mut self.known[n];
        let problem = match files::open(&file.place) {
            Ok(opened) => match opened.metadata() {
                Ok(metadata) if metadata.identity == file.identity => {
                    file.now.file = Some(opened);
                    return true;
                }
                // Renamed since the scan: the next one finds it.
                Ok(_) => return false,
                Err(error) => error,
            },
            Err(files::Error::NotFound(_)) => return false,
            Err(error) => error,
        };
        counts.errors += 1;
        self.scanner.tell(&problem);
        false
    }

    /// Closes one of those that are still under their paths, if as many are open as may be: what changed least lately.
    fn make_room(&mut self) {
        while self.open_files() >= MOST_OPEN {
            let closable = self.known.iter_mut().filter(|file| file.now.file.is_some());
            let Some(file) = closable.min_by_key(|file| (file.stage == Stage::Left, file.now.changed_ns))
            else {
                return;
            };
            file.now.file = None;
        }
    }

    pub(crate) fn open_files(&self) -> usize {
        self.known.iter().filter(|file| file.now.file.is_some()).count()
    }

    pub(crate) fn tell(&mut self, problem: &files::Error) {
        self.scanner.tell(problem);
    }
}

/// Opens what was found, if it is still what stands there.
fn open(found: &Found) -> Option<File> {
    let file = files::open(&found.path).ok()?;
    (file.metadata().ok()?.identity == found.metadata.identity).then_some(file)
}

/// What a file is known by at an offset.
fn prints(file: &File, known: &Known) -> Option<(Print, Print)> {
    let head = file.read_at(0, known.head_len()).ok()?;
    let tail = file.read_at(known.offset - known.tail_len() as u64, known.tail_len().min(MAX_READ)).ok()?;
    let whole = head.len() == known.head_len() && tail.len() == known.tail_len();
    whole.then(|| (Print::of(&head), Print::of(&tail)))
}

/// What the names of a file and of its rotated ones begin with.
fn stem(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Whether it holds what was read of another.
fn has_content(file: &File, known: &Known) -> bool {
    prints(file, known) == Some((known.head, known.tail))
}
