//! What is to be done, from what lies there. Reads only.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use super::{Deed, Step};
use crate::{
    cursor::{file::FoundSlot, slot::SLOT_LEN, slot::is_authentic},
    error::VerifyError,
    judge::{Finding, Mark, Usable, judge_all, usable},
    notes::{self, NOTES},
    segment::encrypt::Masters,
    shared::{LOCK, QUARANTINE},
    storage::{Access, Storage, read_around_damage},
    survey::{CursorEntry, Survey},
    verify::{Progress, authentic_slot, check_slots, fail, look},
    writer::room::quarantine_limit,
};

/// What stands behind the name of a file that a repair took out, and of a copy that is being made.
const OUT: &str = ".repair";
pub(super) const COPYING: &str = ".copying";

/// The steps, and what they are done with.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(super) uuid: [u8; 16],
    /// All that is known afterwards.
    pub(super) marks: Vec<Mark>,
}

/// Plans a repair.
pub(crate) fn plan_in(
    storage: &dyn Storage,
    dir: &Path,
    masters: &Masters,
    max_size: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Plan, VerifyError> {
    let found = look(storage, dir)?;
    let known = found.store_uuid();
    let uuid = known.unwrap_or_default();
    let mut planner = Planner {
        storage,
        dir,
        found: &found,
        masters,
        uuid,
        noted: notes::read(storage, dir, masters, &uuid),
        steps: Vec::new(),
        marks: Vec::new(),
        taken: HashSet::new(),
        out: 0,
    };
    planner.segments(progress)?;
    for cursor in &found.cursors {
        planner.cursor(cursor)?;
    }
    for (path, _) in &found.leftovers {
        planner.step(path, Deed::Remove, "it was being made when the process ended: nothing is in it");
    }
    if known.is_some() && found.lock_uuid != known {
        planner.step(&dir.join(LOCK), Deed::Name, "it does not say whose WAL this is, which the segments do");
    }
    let room = planner.room(quarantine_limit(max_size));
    let steps = room.into_iter().chain(planner.steps).collect();
    Ok(Plan { steps, uuid, marks: planner.marks })
}

struct Planner<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    found: &'a Survey,
    masters: &'a Masters,
    uuid: [u8; 16],
    noted: HashSet<Mark>,
    steps: Vec<Step>,
    marks: Vec<Mark>,
    /// Names in the quarantine that steps will give.
    taken: HashSet<PathBuf>,
    /// Bytes that steps bring there.
    out: u64,
}

impl Planner<'_> {
    fn step(&mut self, path: &Path, deed: Deed, why: impl Into<String>) {
        self.steps.push(Step { path: path.to_owned(), deed, why: why.into() });
    }

    /// A name in the quarantine that is free.
    fn target(&mut self, path: &Path, len: u64) -> PathBuf {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = self.dir.join(QUARANTINE);
        let mut names = (0..).map(|n: u64| match n {
            0 => folder.join(format!("{name}{OUT}")),
            n => folder.join(format!("{name}{OUT}.{n}")),
        });
        let is_free = |target: &PathBuf| {
            !self.taken.contains(target) && !self.found.quarantine.iter().any(|(other, _)| other == target)
        };
        let target = names.find(is_free).expect("there are more numbers than files");
        self.taken.insert(target.clone());
        self.out += len;
        target
    }

    fn segments(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), VerifyError> {
        let mut segments: Vec<Usable<'_>> = Vec::new();
        let mut moves = Vec::new();
        for file in &self.found.segments {
            match usable(file, &self.uuid, self.masters) {
                Ok(segment) => segments.push(segment),
                Err(reason) => moves.push((file, reason)),
            }
        }
        let (mut damaged, mut cut) = (Vec::new(), None);
        judge_all(self.storage, &segments, usize::MAX, progress, &mut |judged| {
            let file = judged.segment.file;
            if judged.is_last && judged.scanned.seal.is_none() && judged.scanned.torn_bytes > 0 {
                cut = Some((file, judged.scanned.end, judged.scanned.torn_bytes));
            }
            if !judged.findings.is_empty() {
                damaged.push((file, judged.findings));
            }
        })?;
        let mut new = Vec::new();
        for (file, findings) in damaged {
            let (known, unknown): (Vec<_>, Vec<_>) =
                findings.into_iter().partition(|finding| self.noted.contains(&finding.mark));
            self.marks.extend(known.iter().chain(&unknown).map(|finding| finding.mark));
            let inside = unknown.iter().filter(|finding| matches!(finding.mark, Mark::Bytes { .. }));
            let inside: Vec<&Finding> = inside.collect();
            if !inside.is_empty() && !self.has_copy(&file.path, file.len, &|now, copied| now == copied)? {
                let to = self.target(&file.path, file.len);
                let why = format!("{}; its good records stay where they are", summed_up(&inside));
                self.step(&file.path, Deed::Copy { to }, why);
            }
            new.extend(unknown);
        }
        if !new.is_empty() {
            let why = format!("known from then on: {}", summed_up(&new.iter().collect::<Vec<_>>()));
            self.step(&self.dir.join(NOTES), Deed::Note, why);
        }
        for (file, reason) in moves {
            let to = self.target(&file.path, file.len);
            self.step(&file.path, Deed::Move { to }, reason);
        }
        if let Some((file, len, torn)) = cut {
            let why = format!("{torn} bytes after its last good record, which a crash interrupted");
            self.step(&file.path, Deed::Cut { len }, why);
        }
        Ok(())
    }

    fn cursor(&mut self, entry: &CursorEntry) -> Result<(), VerifyError> {
        let Err(what) = check_slots(&entry.found.slots, &entry.consumer, self.masters, &self.uuid) else {
            return Ok(());
        };
        let len = self.len_of(&entry.path)?;
        let (masters, uuid) = (self.masters, self.uuid);
        let key_of = |found: &FoundSlot| masters.cursor_key(found.slot.key_id, &uuid);
        let own: Vec<_> =
            entry.found.slots.iter().filter(|found| found.is_of(&entry.consumer, &self.uuid)).collect();
        if authentic_slot(self.storage, entry, self.masters, &self.uuid).is_some() {
            if !self.has_copy(&entry.path, len, &|now, copied| now == copied || now == 0)? {
                let to = self.target(&entry.path, len);
                self.step(&entry.path, Deed::Copy { to }, what);
            }
            let forged =
                own.iter().filter(|found| key_of(found).is_some_and(|key| !is_authentic(&found.bytes, &key)));
            let offsets: Vec<u64> = forged.map(|found| (found.at * SLOT_LEN) as u64).collect();
            for offset in offsets {
                let why = format!("{:?} goes on from an older slot that is whole", entry.consumer);
                self.step(&entry.path, Deed::Blank { offset }, why);
            }
        } else if own.iter().all(|found| key_of(found).is_some()) {
            let to = self.target(&entry.path, len);
            let why = format!("{what}: {:?} begins again at the oldest record", entry.consumer);
            self.step(&entry.path, Deed::Move { to }, why);
        }
        Ok(())
    }

    /// Removals that keep the quarantine within its limit. What a repair took out, this one or an earlier one, stays.
    fn room(&self, limit: u64) -> Vec<Step> {
        let mut total = self.out + self.found.quarantine.iter().map(|(_, len)| len).sum::<u64>();
        let mut steps = Vec::new();
        for (path, len) in &self.found.quarantine {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let unfinished = name.ends_with(COPYING);
            if unfinished || (total > limit && self.out > 0 && !name.contains(OUT)) {
                total -= len;
                let why = match unfinished {
                    true => "a copy that an earlier repair did not end".to_owned(),
                    false => {
                        format!("the quarantine may hold {limit} bytes, and the repair brings {}", self.out)
                    }
                };
                steps.push(Step { path: path.clone(), deed: Deed::Remove, why });
            }
        }
        steps
    }

    fn len_of(&self, path: &Path) -> Result<u64, VerifyError> {
        self.storage.open(path, Access::Read).and_then(|file| file.len()).map_err(fail("reading", path))
    }

    /// Whether an earlier repair, which did not come to its end, has copied the file: whether each byte is as it was then.
    fn has_copy(
        &self,
        path: &Path,
        len: u64,
        is_as_then: &dyn Fn(u8, u8) -> bool,
    ) -> Result<bool, VerifyError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for (copy, copy_len) in &self.found.quarantine {
            let of_it = copy
                .file_name()
                .and_then(|other| other.to_str())
                .and_then(|other| other.strip_prefix(&*name))
                .is_some_and(|rest| rest.starts_with(OUT) && !rest.ends_with(COPYING));
            if of_it
                && *copy_len == len
                && is_copy(self.storage, path, copy, is_as_then).map_err(fail("comparing", copy))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_copy(
    storage: &dyn Storage,
    path: &Path,
    copy: &Path,
    is_as_then: &dyn Fn(u8, u8) -> bool,
) -> io::Result<bool> {
    let files = (storage.open(path, Access::Read)?, storage.open(copy, Access::Read)?);
    let (mut now, mut then) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut at = 0;
    loop {
        let read = read_around_damage(files.0.as_ref(), &mut now, at)?;
        let same = read == read_around_damage(files.1.as_ref(), &mut then, at)?
            && now[..read].iter().zip(&then).all(|(now, then)| is_as_then(*now, *then));
        if !same || read == 0 {
            return Ok(same);
        }
        at += read as u64;
    }
}

/// The first few, and how many more.
fn summed_up(findings: &[&Finding]) -> String {
    const SHOWN: usize = 3;
    let shown = findings.iter().take(SHOWN).map(|finding| {
        let name = finding.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} at byte {}: {}", finding.offset, finding.what)
    });
    let mut text = shown.collect::<Vec<_>>().join("; ");
    if findings.len() > SHOWN {
        text.push_str(&format!("; and {} more", findings.len() - SHOWN));
    }
    text
}
