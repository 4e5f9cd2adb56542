//! Which processes are told: the busiest or biggest, and those of certain names.
//!
//! Ranking reads a file of every process there is, so it is paced to a fixed share of a core; between two
//! rankings the chosen ones alone are read. What is ranked by CPU time is what was used since the ranking
//! before of the same selection: each selection is followed on its own, [`MOST_SELECTIONS`] of them at most.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    figures::{Details, Units, entity},
    folder::{Folder, Stat},
};
use crate::system::{
    Entity, SnapshotError,
    linux::proc_file::ProcFile,
    pace::Paced,
    select::{By, MOST_PROCESSES, ProcessNames},
};

/// Ranking may take one part in this many of a core: 0.2 %, some 250 processes ranked every second.
const SHARE: u32 = 500;

/// How many selections are followed; of more, the one that was not asked for the longest is forgotten.
const MOST_SELECTIONS: usize = 16;

#[derive(Debug)]
pub(in crate::system::linux) struct Each {
    proc: PathBuf,
    delays: ProcFile,
    /// Most recently asked for last.
    selections: Vec<Selection>,
}

/// One selection, from one ranking to the next.
#[derive(Debug)]
struct Selection {
    wanted: ProcessNames,
    seen: HashMap<u32, Seen>,
    chosen: Paced<Vec<Chosen>>,
    /// Said that there were more than are told.
    cut: bool,
}

/// What is remembered of a process.
#[derive(Debug)]
struct Seen {
    start: u64,
    cpu: u64,
    /// Changes when the process becomes another program.
    command: Box<[u8]>,
    name: Option<Box<str>>,
}

#[derive(Debug, Clone)]
struct Chosen {
    stat: Stat,
    name: Box<str>,
}

/// A process in a ranking.
#[derive(Debug)]
struct Ranked {
    stat: Stat,
    measure: u64,
    named: bool,
}

impl Each {
    pub(in crate::system::linux) fn new(proc: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            delays: ProcFile::new(proc.join("sys/kernel/task_delayacct")),
            selections: Vec::new(),
        }
    }

    /// One entity a process, ordered by their numbers.
    ///
    /// # Errors
    /// Procfs cannot be read.
    pub(in crate::system::linux) fn entities(
        &mut self,
        wanted: &ProcessNames,
        boot_ns: u64,
        now_ns: u64,
    ) -> Result<Vec<Entity>, SnapshotError> {
        let units = self.units(boot_ns, now_ns);
        let failed = |source| SnapshotError::Read { path: self.proc.clone(), source };
        let mut folder = Folder::open(&self.proc).map_err(failed)?;
        let place = self.selections.iter().position(|selection| selection.wanted == *wanted);
        let mut selection = match place {
            Some(place) => self.selections.remove(place),
            None => Selection::new(wanted.clone()),
        };
        if self.selections.len() >= MOST_SELECTIONS {
            self.selections.remove(0);
        }
        let entities = selection.entities(&mut folder, &units).map_err(failed);
        self.selections.push(selection);
        entities
    }

    fn units(&mut self, boot_ns: u64, now_ns: u64) -> Units {
        let delays = match self.delays.read().map(<[u8]>::trim_ascii) {
            Ok(b"0") => Some(false),
            Ok(b"1") => Some(true),
            // Before Linux 5.14 it could not be asked.
            Ok(_) | Err(_) => None,
        };
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Units {
            boot_ns,
            now_ns,
            since_boot: since_boot.tv_sec as f64 + since_boot.tv_nsec as f64 / 1e9,
            ticks_per_second: rustix::param::clock_ticks_per_second(),
            page_bytes: rustix::param::page_size() as u64,
            delays,
        }
    }
}

impl Selection {
    fn new(wanted: ProcessNames) -> Self {
        Self { wanted, seen: HashMap::new(), chosen: Paced::sharing(SHARE), cut: false }
    }

    fn entities(&mut self, folder: &mut Folder, units: &Units) -> std::io::Result<Vec<Entity>> {
        let Self { wanted, seen, chosen, cut } = self;
        let mut fresh = false;
        let chosen = chosen.get(|| {
            fresh = true;
            rank(folder, wanted, seen, cut)
        })?;
        let mut entities = Vec::with_capacity(chosen.len());
        for Chosen { stat, name } in chosen {
            let stat = match fresh {
                true => Some(*stat),
                // Another process may have its number by now.
                false => folder.stat(stat.pid).map(|(now, _)| now).filter(|now| now.start == stat.start),
            };
            let Some(stat) = stat else { continue };
            let details = Details {
                io: (!stat.kernel).then(|| folder.io(stat.pid)).flatten(),
                switches: folder.switches(stat.pid),
                descriptors: (!stat.kernel).then(|| folder.descriptors(stat.pid)).flatten(),
            };
            entities.push(entity(&stat, name, &details, units));
        }
        Ok(entities)
    }
}

/// Those to tell, ordered by their numbers; what they stand at is remembered in `seen`.
fn rank(
    folder: &mut Folder,
    wanted: &ProcessNames,
    seen: &mut HashMap<u32, Seen>,
    cut: &mut bool,
) -> std::io::Result<Vec<Chosen>> {
    let pids = folder.pids()?;
    let mut ranked = Vec::with_capacity(pids.len());
    let mut now = HashMap::with_capacity(pids.len());
    for pid in pids {
        let Some((stat, command)) = folder.stat(pid) else { continue };
        let cpu = stat.user.saturating_add(stat.system);
        let before = seen.remove(&pid).filter(|before| before.start == stat.start);
        let used = before.as_ref().map_or(cpu, |before| cpu.saturating_sub(before.cpu));
        let mut process = match before {
            Some(before) if *before.command == *command => Seen { cpu, ..before },
            Some(_) | None => Seen { start: stat.start, cpu, command: command.into(), name: None },
        };
        let named = !wanted.names.is_empty() && {
            let name = name(folder, pid, &mut process);
            wanted.names.iter().any(|pattern| pattern.matches(name))
        };
        let measure = match wanted.by {
            By::Cpu => used,
            By::Memory => stat.resident_pages,
        };
        ranked.push(Ranked { stat, measure, named });
        now.insert(pid, process);
    }
    *seen = now;
    // Of those that did nothing, the ones that did most before; the order is the same every time.
    ranked.sort_unstable_by_key(|one| {
        let total = one.stat.user.saturating_add(one.stat.system);
        (std::cmp::Reverse((one.measure, total)), one.stat.pid)
    });
    let mut place = 0;
    ranked.retain(|one| {
        place += 1;
        one.named || place <= wanted.top
    });
    if ranked.len() > MOST_PROCESSES && !std::mem::replace(cut, true) {
        tracing::warn!(
            processes = ranked.len(),
            told = MOST_PROCESSES,
            "more processes are selected than are told; the busiest are: narrow `name`"
        );
    }
    ranked.truncate(MOST_PROCESSES);
    ranked.sort_unstable_by_key(|one| one.stat.pid);
    let chosen = ranked.into_iter().filter_map(|one| {
        let process = seen.get_mut(&one.stat.pid)?;
        let name = name(folder, one.stat.pid, process).into();
        Some(Chosen { stat: one.stat, name })
    });
    Ok(chosen.collect())
}

/// That of the executable, or else what the kernel calls it; found once.
fn name<'s>(folder: &mut Folder, pid: u32, process: &'s mut Seen) -> &'s str {
    let Seen { name, command, .. } = process;
    name.get_or_insert_with(|| {
        let found = folder.executable(pid);
        found.unwrap_or_else(|| String::from_utf8_lossy(command).into_owned()).into_boxed_str()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::system::{Value, select};

    /// A procfs that is made up.
    struct Fixture {
        folder: tempfile::TempDir,
        each: Each,
    }

    /// Ticks used, pages, and ticks from boot to the start.
    #[derive(Clone, Copy)]
    struct Process(u32, &'static str, u64, u64, u64);

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let each = Each::new(folder.path());
            Self { folder, each }
        }

        fn put(&self, Process(pid, command, ticks, pages, start): Process) {
            let folder = self.folder.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let rest = "0 ".repeat(17);
            let text = format!(
                "{pid} ({command}) S 1 1 1 0 -1 0 5 0 1 0 {ticks} 0 0 0 20 0 1 0 {start} 4096 {pages} {rest}0\n"
            );
            fs::write(folder.join("stat"), text).unwrap();
        }

        fn ask(&mut self, select: &[(&str, &str)]) -> Vec<(i64, String)> {
            let pairs: Vec<_> = select.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let wanted = select::processes("process.each", &pairs).unwrap();
            let entities = self.each.entities(&wanted, 1, u64::MAX).unwrap();
            let told = entities.into_iter().map(|entity| {
                let (Value::Int(pid), Value::Text(name)) = (&entity.resource[0].1, &entity.resource[2].1)
                else {
                    panic!("{entity:?}")
                };
                (*pid, name.to_string())
            });
            told.collect()
        }

        /// As `ask`, ranked anew.
        fn rank(&mut self, select: &[(&str, &str)]) -> Vec<i64> {
            for selection in &mut self.each.selections {
                selection.chosen.forget();
            }
            self.ask(select).into_iter().map(|(pid, _)| pid).collect()
        }
    }

    const TOP2: [(&str, &str); 1] = [("top", "2")];

    #[test]
    fn the_busiest_are_those_that_used_most_since_the_same_was_asked_before() {
        let mut fixture = Fixture::new();
        fixture.put(Process(1, "init", 900, 1, 0));
        fixture.put(Process(2, "old", 800, 2, 0));
        fixture.put(Process(3, "idle", 0, 900, 0));
        fixture.put(Process(4, "new", 1, 3, 0));
        assert_eq!(fixture.rank(&TOP2), [1, 2], "at first by all they ever used");
        fixture.put(Process(3, "idle", 7, 900, 0));
        fixture.put(Process(4, "new", 6, 3, 0));
        assert_eq!(fixture.rank(&TOP2), [3, 4]);
        assert_eq!(fixture.rank(&[("top", "1")]), [1], "another selection begins by itself");
        assert_eq!(fixture.rank(&TOP2), [1, 2], "nothing was used: by all they ever used");
        fixture.put(Process(2, "other", 5, 2, 77));
        assert_eq!(fixture.rank(&[("top", "1")]), [2], "another process under an old number used all of it");
        assert_eq!(fixture.rank(&[("top", "1"), ("by", "memory")]), [3]);
    }

    #[test]
    fn names_and_the_top_are_told_together_each_process_once() {
        let mut fixture = Fixture::new();
        for (pid, command, ticks) in [(1, "busy", 9), (2, "nginx", 8), (3, "nginx: worker", 0), (4, "x", 1)] {
            fixture.put(Process(pid, command, ticks, 1, 0));
        }
        assert_eq!(fixture.rank(&[("name", "nginx*")]), [2, 3]);
        assert_eq!(fixture.rank(&[("name", "nginx*"), ("name", "x"), ("top", "2")]), [1, 2, 3, 4]);
        assert_eq!(fixture.rank(&[("name", "none")]), [] as [i64; 0]);
        let path = fixture.folder.path().join("4/exe");
        std::os::unix::fs::symlink("/usr/sbin/nginx-debug (deleted)", &path).unwrap();
        let told = fixture.ask(&[("name", "nginx-d*")]);
        assert_eq!(told, [(4, "nginx-debug".to_owned())], "by its executable, not by what it calls itself");
        fs::remove_file(&path).unwrap();
        assert_eq!(fixture.rank(&[("name", "nginx-d*")]), [4], "found once");
        fixture.put(Process(4, "y", 1, 1, 0));
        assert_eq!(fixture.rank(&[("name", "nginx-d*")]), [] as [i64; 0], "it became another program");
    }

    #[test]
    fn what_ends_or_is_replaced_between_two_rankings_is_left_out() {
        let mut fixture = Fixture::new();
        for pid in 1..=3 {
            fixture.put(Process(pid, "x", 1, 1, 5));
        }
        let all = [("name", "*")];
        assert_eq!(fixture.ask(&all).len(), 3);
        // Not ranked again: it is kept for long.
        let watch = &mut fixture.each.selections[0];
        watch.chosen = Paced::new(std::time::Duration::from_secs(60));
        assert_eq!(fixture.ask(&all).len(), 3);
        fs::remove_dir_all(fixture.folder.path().join("1")).unwrap();
        fixture.put(Process(2, "x", 1, 1, 6));
        fs::write(fixture.folder.path().join("3/stat"), "3 (x) S 1").unwrap();
        assert_eq!(fixture.ask(&all), []);
        assert_eq!(fixture.rank(&all), [2]);
    }

    #[test]
    fn there_is_a_most_of_processes_and_of_selections() {
        let mut fixture = Fixture::new();
        let most = u32::try_from(MOST_PROCESSES).unwrap();
        for pid in 1..=most {
            fixture.put(Process(pid, "x", 1, 1, 0));
        }
        assert_eq!(fixture.rank(&[("name", "x")]).len(), MOST_PROCESSES);
        assert!(!fixture.each.selections[0].cut);
        fixture.put(Process(most + 1, "x", 2, 1, 0));
        let told = fixture.rank(&[("name", "x"), ("top", "1000")]);
        assert_eq!(told.len(), MOST_PROCESSES);
        assert_eq!(told.last(), Some(&i64::from(most + 1)), "the busiest is among them");
        assert!(fixture.each.selections.last().unwrap().cut);
        for top in 1..=MOST_SELECTIONS + 3 {
            fixture.ask(&[("top", &top.to_string())]);
        }
        assert_eq!(fixture.each.selections.len(), MOST_SELECTIONS);
        assert!(fixture.each.selections.iter().all(|selection| selection.wanted.names.is_empty()));
    }

    #[test]
    fn a_host_without_processes_or_without_procfs_is_no_surprise() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.ask(&TOP2), []);
        let mut each = Each::new(Path::new("/nowhere/proc"));
        let wanted = ProcessNames { top: 1, by: By::Cpu, names: Vec::new() };
        let error = each.entities(&wanted, 1, 2).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nowhere/proc: "), "{error}");
    }
}
