//! Random operations over the crash-simulating file system, beside a plain model of what must hold.
//!
//! A failure names its seed. `WHIMBREL_WAL_SEED=n` runs that one and tells every step, `WHIMBREL_WAL_SEEDS=n` so many.

mod ends;
mod steps;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::Receiver,
    },
    time::Duration,
};

use super::rig::{ALL, Rig, options};
use crate::{
    AppendError, Encryption, Key, KeyRing, Lane, NewRecord, Options, Outcome, Plan, ReadLimit, RecordId,
    SyncPolicy, WhenFull,
    mutants::Mutant,
    storage::crash::{CrashStorage, Random},
};

/// The one of `options()`.
const FIRST_KEY: u8 = 7;
const CONSUMERS: [&str; 2] = ["a", "b"];
const SEEDS: u64 = 600;
const STEPS: u64 = 120;
/// Ends of the process and of the power that an ordinary run goes through at least.
const CRASH_POINTS: u64 = 10_000;
/// A mistake must be found within so many seeds.
const MUTANT_SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn the_promises_hold_under_random_operations_crashes_and_faults() {
    if let Some(seed) = number("WHIMBREL_WAL_SEED") {
        Model::run(seed, true);
        return;
    }
    let seeds = number("WHIMBREL_WAL_SEEDS").unwrap_or(SEEDS);
    let (next, crashes) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            match std::panic::catch_unwind(|| Model::run(seed, false)) {
                Ok(points) => drop(crashes.fetch_add(points, Ordering::Relaxed)),
                Err(panic) => {
                    eprintln!("the failing seed: WHIMBREL_WAL_SEED={seed}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let crashes = crashes.into_inner();
    eprintln!("{seeds} seeds, {crashes} crash points");
    assert!(seeds < SEEDS || crashes >= CRASH_POINTS, "{crashes} crash points are few");
}

/// A model that finds nothing proves nothing: each of these mistakes must be found, and quickly.
#[test]
fn every_mutant_is_caught() {
    for mutant in Mutant::ALL {
        let begin = std::time::Instant::now();
        let caught = (0..MUTANT_SEEDS).find_map(|seed| {
            let result = mutant.within(|| std::panic::catch_unwind(|| Model::run(seed, false)));
            Some((seed, message(result.err()?.as_ref())))
        });
        let (seed, said) = caught.unwrap_or_else(|| panic!("{mutant:?} is not caught"));
        let took = begin.elapsed();
        println!(
            "{mutant:?}: caught by seed {seed} in {took:.1?}: {}",
            said.lines().next().unwrap_or_default()
        );
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn key(number: u8) -> Key {
    Key::from_bytes([number; 32])
}

fn ring_of(numbers: &[u8]) -> KeyRing {
    numbers[1..].iter().fold(KeyRing::new(key(numbers[0])), |ring, n| ring.with_older(key(*n)))
}

/// What was submitted, by its number.
struct Submitted {
    lane: usize,
    len: usize,
    /// Answered with success.
    answered: bool,
    /// May be gone without being counted: answered under a weaker policy before a power loss.
    excused: bool,
}

/// What one consumer acknowledged.
#[derive(Default)]
struct Acknowledged {
    all: BTreeSet<u64>,
    /// Of those, what even a power loss can't undo.
    durable: BTreeSet<u64>,
    lows: [u64; 3],
    /// Lanes that were set back so far by a call that was refused.
    perhaps: Vec<(usize, u64)>,
    plans: BTreeMap<usize, Plan>,
    /// Refused, and yet perhaps on disk.
    uncertain: BTreeMap<usize, Vec<Plan>>,
}

struct Model {
    seed: u64,
    loud: bool,
    random: Random,
    options: Options,
    disk: CrashStorage,
    rig: Option<Rig>,
    submitted: Vec<Submitted>,
    waiting: Vec<(u64, Receiver<Result<RecordId, AppendError>>)>,
    ids: HashMap<([u8; 16], u32), u64>,
    consumers: [Acknowledged; 2],
    /// Last answered and last submitted checkpoint of the source.
    checkpoint: (u64, u64),
    /// Numbers of the keys that an opening is given, the current one first.
    keys: Vec<u8>,
    made_keys: u8,
    faulty: bool,
    tainted: bool,
    /// Ordinals of records that were read, by lane, consumer's or not: theirs is the same for all.
    ordinals: HashMap<u64, u64>,
    crashes: u64,
    /// Nothing bad happens any more.
    quiet: bool,
}

impl Model {
    /// Returns how often the process or the power ended.
    fn run(seed: u64, loud: bool) -> u64 {
        let mut random = Random::new(seed);
        let sync = match random.below(5) {
            0 => SyncPolicy::interval(),
            1 => SyncPolicy::Never,
            _ => SyncPolicy::Always,
        };
        let retain = if random.chance(25) { Duration::from_secs(20) } else { Duration::ZERO };
        let options = Options { sync, retain, ..options() };
        let calm = random.chance(35);
        let mut model = Self {
            seed,
            loud,
            random,
            options,
            disk: CrashStorage::new(),
            rig: None,
            submitted: Vec::new(),
            waiting: Vec::new(),
            ids: HashMap::new(),
            consumers: Default::default(),
            checkpoint: (0, 0),
            keys: vec![FIRST_KEY],
            made_keys: FIRST_KEY,
            faulty: false,
            tainted: false,
            ordinals: HashMap::new(),
            crashes: 0,
            quiet: false,
        };
        model.disk.draw_from(seed);
        model.open();
        for step in 0..STEPS {
            // Some runs have time to grow between their crashes.
            let choice = if calm { model.random.below(74) } else { model.random.below(100) };
            model.say(|| format!("step {step}: {choice}"));
            match choice {
                0..33 => model.append(),
                33..57 => model.consume(),
                57..61 => model.pass(),
                61..64 => model.faults(),
                64..66 => model.rewind(),
                66..68 => model.capacity(),
                68..70 => model.close(),
                70..72 => model.rotate(),
                72..80 => model.fuse(),
                80..90 => model.kill(),
                _ => model.power_loss(),
            }
            if model.disk.is_off() {
                // The end came in the middle of an operation: of the process alone, or of the machine.
                if model.random.chance(50) { model.kill() } else { model.power_loss() }
            }
            model.check();
        }
        model.quiesce();
        model.crashes
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.loud {
            eprintln!("{}", text());
        }
    }

    fn rig(&mut self) -> &mut Rig {
        self.rig.as_mut().unwrap()
    }

    /// Opens; when the disk fails or the power goes meanwhile, again.
    fn open(&mut self) {
        self.open_after(false);
    }

    fn open_after(&mut self, mut power_was_lost: bool) {
        if !self.quiet && self.random.chance(15) {
            // The power goes while it opens.
            self.disk.light_fuse(1 + self.random.below(40));
        }
        for attempt in 0..20 {
            match Rig::open(&self.disk, self.options.clone()) {
                // What happens after the power went off is nobody's concern.
                Ok(_) if self.disk.is_off() => {
                    self.lose_power();
                    power_was_lost = true;
                    self.disk.kill();
                }
                Ok(rig) => {
                    self.say(|| format!("opened: {:?}", rig.report));
                    self.examine_report(&rig);
                    self.allow_for_rewinds();
                    self.rig = Some(rig);
                    self.disk.put_out_fuse();
                    if power_was_lost {
                        self.relearn();
                    }
                    self.after_open();
                    return;
                }
                Err(error) => {
                    self.say(|| format!("not opened: {error}"));
                    assert!(self.disk.is_off() || self.faulty, "{error}");
                    if self.disk.is_off() {
                        self.lose_power();
                        power_was_lost = true;
                    } else if attempt > 3 {
                        self.disk.fail_randomly(0, 0);
                        self.faulty = false;
                    }
                    self.disk.kill();
                }
            }
        }
        panic!("it never opened");
    }

    fn examine_report(&self, rig: &Rig) {
        let report = &rig.report;
        assert!(report.cursors_reset.is_empty() && report.quarantined.is_empty(), "{report:?}");
        if self.options.sync == SyncPolicy::Always {
            assert_eq!(report.lost_records, 0, "{report:?}");
        }
    }

    fn after_open(&mut self) {
        let checkpoint = self.stored_checkpoint();
        assert!(
            checkpoint >= self.checkpoint.0 && checkpoint <= self.checkpoint.1,
            "checkpoint {checkpoint}, expected {:?}",
            self.checkpoint
        );
        self.checkpoint.0 = checkpoint;
        for (n, name) in CONSUMERS.iter().enumerate() {
            for lane in 0..3 {
                let plans = self.rig.as_ref().unwrap().consumer(name).plans(Lane::ALL[lane]).unwrap();
                match self.consumers[n].plans.get(&lane) {
                    // It may be gone when its records were given up meanwhile.
                    Some(expected) if !plans.is_empty() => assert_eq!(plans, [*expected]),
                    Some(expected) => {
                        let lows = self.rig.as_ref().unwrap().core.shared.consumers()[n].lows();
                        assert!(
                            lows[lane] > expected.first.ordinal(),
                            "a plan is gone: {expected:?} {lows:?}"
                        );
                        self.consumers[n].plans.remove(&lane);
                    }
                    None if plans.is_empty() => {}
                    None => {
                        let uncertain = self.consumers[n].uncertain.get(&lane);
                        assert!(uncertain.is_some_and(|known| known.contains(&plans[0])), "{plans:?}");
                        self.consumers[n].plans.insert(lane, plans[0]);
                    }
                }
            }
        }
    }

    fn stored_checkpoint(&mut self) -> u64 {
        let shared = &self.rig().core.shared;
        let checkpoints = shared.checkpoints.read().unwrap();
        checkpoints.get("source").map_or(0, |c| u64::from_le_bytes(c[..8].try_into().unwrap()))
    }

    fn payload(&self, number: u64, len: usize) -> Vec<u8> {
        let mut random = Random::new(number ^ (self.seed << 32));
        let mut payload = number.to_le_bytes().to_vec();
        payload.extend((8..len).map(|_| random.next() as u8));
        payload
    }

    fn everything(&mut self) -> Vec<Vec<RecordId>> {
        let rig = self.rig.as_ref().unwrap();
        let read = |name, lane| rig.read(name, lane).iter().map(|record| record.id).collect();
        CONSUMERS
            .iter()
            .flat_map(|name| (0..3).map(move |lane| (name, lane)))
            .map(|(n, l)| read(n, l))
            .collect()
    }

    fn close(&mut self) {
        self.say(|| "close".to_owned());
        let result = self.rig().core.close();
        let clean = !self.faulty && !self.disk.is_off() && !self.tainted;
        assert!(result.is_ok() || !clean, "{result:?}");
        self.collect();
        if result.is_ok() {
            for consumer in &mut self.consumers {
                consumer.durable = consumer.all.clone();
            }
        } else if !self.rig().core.carry.is_empty() {
            self.excuse();
        }
        self.disk.kill();
        self.forget();
        self.open();
    }

    fn check(&mut self) {
        let max_size = self.options.max_size;
        let disk = self.disk.clone();
        assert!(disk.used() <= max_size, "{} bytes are used", disk.used());
        let rig = self.rig.as_ref().unwrap();
        let status = rig.status();
        assert!(disk.used() <= rig.core.usage.total(), "{} {:?}", disk.used(), rig.core.usage);
        for (n, consumer) in status.consumers.iter().enumerate() {
            assert!(consumer.total().adds_up());
            let lows = rig.core.shared.consumers()[n].lows();
            let before = self.consumers[n].lows;
            assert!(lows.iter().zip(before).all(|(now, before)| *now >= before), "{before:?} -> {lows:?}");
            self.consumers[n].lows = lows;
        }
    }

    /// The trouble ends: everything that was answered is delivered or counted, and a fresh append comes through.
    fn quiesce(&mut self) {
        self.disk.fail_randomly(0, 0);
        self.quiet = true;
        self.disk.put_out_fuse();
        self.faulty = false;
        self.disk.set_capacity(None);
        self.tainted = false;
        for _ in 0..4 {
            self.rig().pass(Duration::from_secs(30));
        }
        self.collect();
        let number = self.submitted.len() as u64;
        let payload = self.payload(number, 100);
        self.submitted.push(Submitted { lane: 0, len: 100, answered: true, excused: false });
        let record = NewRecord {
            ingest_ns: number,
            source: "source",
            label: "x",
            when_full: WhenFull::DropOldest,
            ..super::rig::record(0, &payload)
        };
        self.rig().try_append(record).unwrap().unwrap();
        self.rig().pass(Duration::from_secs(1));
        self.disk.kill();
        self.forget();
        self.open();
        for (n, name) in CONSUMERS.iter().enumerate() {
            let mut found = self.consumers[n].all.clone();
            for lane in 0..3 {
                let records = self.rig().read(name, lane);
                found.extend(self.examine(n, lane, &records));
            }
            assert!(found.contains(&number), "the fresh one is delivered");
            let rig = self.rig.as_ref().unwrap();
            let total = rig.status().consumers[n].total();
            let missing: Vec<_> = (0u64..)
                .zip(&self.submitted)
                .filter(|(number, s)| s.answered && !s.excused && !found.contains(number))
                .map(|(number, _)| number)
                .collect();
            let uncounted = total.dropped() + total.corrupt() + total.delivered + total.dead_lettered;
            let explained = uncounted - self.consumers[n].all.len().min(uncounted as usize) as u64;
            assert!(
                missing.len() as u64 <= explained,
                "{name}: {missing:?} are gone, {explained} accounted for; {total:?}"
            );
        }
    }
}
