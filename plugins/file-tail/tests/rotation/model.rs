//! A writer that numbers its lines, and rotates by renaming, by a copy and a cut, or removes; a reader that is killed,
//! refused, and moved to another disk. Each line comes once, and in order.
//!
//! A failure names its seed. `WHIMBREL_TAIL_FROM=n` begins with that one, `WHIMBREL_TAIL_SEEDS=n` runs so many.

use std::{collections::BTreeSet, ops::Range};

use whimbrel_collector_file_tail::FileTail;
use whimbrel_sdk::{
    Error,
    testing::{Files, Running},
};

use super::{LOG, SECOND, records, start, text};

const SEEDS: u64 = 600;
const STEPS: usize = 60;
/// Older files of the log: `app.log.1` and so on. The oldest is removed.
const OLDER: usize = 4;

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// What is promised depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum World {
    /// The pattern finds the log only. Somebody looks after each rotation.
    Log,
    /// The pattern finds the older ones, too. Somebody looks after each rotation.
    All,
    /// The same, and several rotations may fall between two looks. Which of them is older can't be told then: no order.
    Blind,
}

struct Model {
    world: World,
    random: Random,
    files: Files,
    /// `None` while it is restarted.
    run: Option<Running<FileTail>>,
    written: u64,
    /// Lines that no reader can know of.
    unknowable: BTreeSet<u64>,
    /// Somebody has looked since the last start, and since the log was made anew.
    is_open: bool,
    /// Rotations since somebody looked.
    unseen: usize,
    history: String,
}

#[test]
fn whatever_happens_each_line_comes_once_and_in_order() {
    for seed in seeds() {
        let world = [World::Log, World::All, World::Blind][(seed % 3) as usize];
        let mut model = Model::new(world, seed);
        for _ in 0..STEPS {
            model.step();
        }
        model.check(seed);
    }
}

fn seeds() -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let from: u64 = number("WHIMBREL_TAIL_FROM").unwrap_or(0);
    from..from + number("WHIMBREL_TAIL_SEEDS").unwrap_or(SEEDS)
}

fn older(n: usize) -> String {
    if n == 0 { LOG.to_owned() } else { format!("{LOG}.{n}") }
}

fn number(line: &str) -> u64 {
    line.split(' ').next().unwrap().parse().unwrap()
}

impl Model {
    fn new(world: World, seed: u64) -> Self {
        let files = Files::granting("/var/log");
        files.write(LOG, "");
        let pattern = if world == World::Log { LOG } else { "/var/log/app.log*" };
        let config = format!(
            r#"{{"paths": ["{pattern}"], "start_at": "beginning", "metrics": false, "max_per_collect": 65536}}"#
        );
        let mut run = start(&files, &config);
        run.collect().unwrap();
        Self {
            world,
            random: Random(seed),
            files,
            run: Some(run),
            written: 0,
            unknowable: BTreeSet::new(),
            is_open: true,
            unseen: 0,
            history: String::new(),
        }
    }

    fn run(&mut self) -> &mut Running<FileTail> {
        self.run.as_mut().unwrap()
    }

    fn step(&mut self) {
        let step = self.random.below(17);
        self.history.push_str(&format!(" {step}"));
        match step {
            0..=6 => (0..self.random.below(40)).for_each(|_| self.write()),
            7..=10 => self.look(),
            11 => self.rename(),
            12 => self.copy_and_cut(),
            13 => {
                self.run().refuse_push(Error::Unavailable("full".to_owned()));
                if self.run().collect().is_err() {
                    self.run().advance(SECOND);
                }
            }
            14 => self.restart(),
            15 => {
                self.files.renumber();
                self.restart();
                self.look();
            }
            _ => self.remove(),
        }
    }

    fn write(&mut self) {
        self.written += 1;
        let line = format!("{} {}\n", self.written, "x".repeat(self.random.below(200) as usize));
        // A line in two writes, and a look between them.
        let half = self.random.below(line.len() as u64) as usize;
        self.files.append(LOG, &line[..half]);
        if self.random.below(20) == 0 {
            self.look();
        }
        self.files.append(LOG, &line[half..]);
    }

    fn look(&mut self) {
        while self.run().collect().is_err() {
            self.run().advance(SECOND);
        }
        self.run().advance(SECOND);
        self.is_open = true;
        self.unseen = 0;
    }

    fn restart(&mut self) {
        self.run = self.run.take().map(|run| run.restart().unwrap());
        self.is_open = false;
    }

    fn rename(&mut self) {
        self.shift();
        self.files.rename(LOG, &older(1));
        self.files.write(LOG, "");
        self.is_open = false;
        self.look_after();
    }

    fn copy_and_cut(&mut self) {
        let content = self.files.content(LOG).unwrap();
        // Nothing was read of it, so that nothing tells its copy from any other file that no pattern finds.
        if self.world == World::Log && !self.is_begun(&content) {
            self.unknowable.extend(String::from_utf8_lossy(&content).lines().map(number));
        }
        self.shift();
        self.files.write(&older(1), content);
        self.files.truncate(LOG, 0);
        self.look_after();
    }

    /// The log is removed and made anew. What was not read of it is there only for who has it open.
    fn remove(&mut self) {
        if self.is_open {
            self.files.remove(LOG);
            self.files.write(LOG, "");
            self.look();
        }
    }

    /// Older ones move on; the oldest is removed.
    fn shift(&self) {
        for n in (1..OLDER).rev() {
            self.files.rename(&older(n), &older(n + 1));
        }
    }

    fn look_after(&mut self) {
        self.unseen += 1;
        // What was not seen must not be removed yet.
        if self.world != World::Blind || self.unseen >= OLDER - 1 {
            self.look();
        }
    }

    /// Whether the first line of a content has come.
    fn is_begun(&self, content: &[u8]) -> bool {
        let content = String::from_utf8_lossy(content);
        let first = content.lines().next();
        first.is_none() || self.run.iter().flat_map(|run| records(run, 0)).any(|it| Some(text(&it)) == first)
    }

    fn check(mut self, seed: u64) {
        (0..50).for_each(|_| self.look());
        let run = self.run.take().unwrap();
        let mut came: Vec<u64> = records(&run, 0).iter().map(|it| number(text(it))).collect();
        if self.world == World::Blind {
            came.sort_unstable();
        }
        // Those may come, once.
        let known = |it: &u64| !self.unknowable.contains(it) || came.contains(it);
        let expected: Vec<u64> = (1..=self.written).filter(known).collect();
        let wrong = came.iter().zip(&expected).position(|(one, other)| one != other);
        assert!(
            came == expected,
            "seed {seed}, {:?}, {} lines, {} came, differs at {wrong:?}: {:?}\n{}\n{:?}",
            self.world,
            self.written,
            came.len(),
            wrong.map(|at| &came[at.saturating_sub(2)..came.len().min(at + 3)]),
            self.history,
            run.lines()
        );
    }
}
