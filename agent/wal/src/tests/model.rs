//! Random operations over the crash-simulating file system, beside a plain model of what must hold.
//!
//! A failure names its seed. `WHIMBREL_WAL_SEED=n` runs that one and tells every step, `WHIMBREL_WAL_SEEDS=n` so many.

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

    fn append(&mut self) {
        for _ in 0..=self.random.below(3) {
            let number = self.submitted.len() as u64;
            let lane = self.random.below(3) as usize;
            let len = 8 + match self.random.below(10) {
                0 => self.random.below(30_000),
                1..4 => self.random.below(5000),
                _ => self.random.below(300),
            } as usize;
            let when_full = match self.random.below(3) {
                0 => WhenFull::DropOldest,
                1 => WhenFull::DropNewest,
                _ => WhenFull::Block { up_to: Duration::from_secs(self.random.below(20)) },
            };
            let position = (number + 1).to_le_bytes();
            // One that waits may be overtaken; a source that gives positions waits for its answer instead.
            let in_order = !matches!(when_full, WhenFull::Block { .. });
            let checkpoint = (in_order && self.random.chance(30)).then_some(position.as_slice());
            if checkpoint.is_some() {
                self.checkpoint.1 = number + 1;
            }
            let payload = self.payload(number, len);
            let record = NewRecord {
                lane: Lane::ALL[lane],
                source: "source",
                label: ["x", "y", ""][lane],
                items: 1,
                ingest_ns: number,
                payload: &payload,
                checkpoint,
                when_full,
            };
            let answer = self.rig().submit(record);
            self.submitted.push(Submitted { lane, len, answered: false, excused: false });
            self.waiting.push((number, answer));
        }
        self.rig().run();
        self.collect();
    }

    /// Takes answers that have come.
    fn collect(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut carried = 0;
        waiting.retain(|(number, answer)| match answer.try_recv() {
            Ok(Ok(_)) => {
                self.submitted[*number as usize].answered = true;
                carried = carried.max(*number + 1);
                false
            }
            Ok(Err(_)) => false,
            Err(std::sync::mpsc::TryRecvError::Empty) => true,
            Err(std::sync::mpsc::TryRecvError::Disconnected) => panic!("an append was not answered"),
        });
        self.waiting = waiting;
        if self.options.sync == SyncPolicy::Always && self.rig.is_some() {
            // A checkpoint that was answered is the stored one, unless a later one is.
            let stored = self.stored_checkpoint();
            assert!(stored <= self.checkpoint.1);
            self.checkpoint.0 = self.checkpoint.0.max(stored);
        }
    }

    /// Checks records that were read: bytes, order, ids.
    fn examine(&mut self, n: usize, lane: usize, records: &[crate::Record]) -> Vec<u64> {
        let mut numbers = Vec::new();
        for record in records {
            let payload = record.payload().unwrap();
            let number = u64::from_le_bytes(payload[..8].try_into().unwrap());
            let submitted = &self.submitted[number as usize];
            assert_eq!(submitted.lane, lane);
            assert_eq!(payload, self.payload(number, submitted.len), "byte for byte");
            assert_eq!((&*record.source, &*record.label), ("source", ["x", "y", ""][lane]));
            assert_eq!(record.ingest_ns, number);
            let known = *self.ids.entry((record.id.segment_uid(), record.id.index())).or_insert(number);
            assert_eq!(known, number, "an id names one record for ever");
            assert!(!self.consumers[n].all.contains(&number), "{number} was acknowledged and comes again");
            self.ordinals.insert(number, record.id.ordinal());
            numbers.push(number);
        }
        assert!(records.windows(2).all(|w| w[0].id.ordinal() < w[1].id.ordinal()), "in order");
        assert!(numbers.iter().collect::<BTreeSet<_>>().len() == numbers.len(), "{numbers:?}");
        numbers
    }

    fn consume(&mut self) {
        let n = self.random.below(2) as usize;
        let lane = self.random.below(3) as usize;
        let consumer = self.rig().consumer(CONSUMERS[n]);
        let lane_key = Lane::ALL[lane];
        if let Some(plan) = self.consumers[n].plans.remove(&lane) {
            let records = consumer.read_plan(lane_key, &plan).unwrap();
            let numbers = self.examine(n, lane, &records);
            let ids: Vec<_> = records.iter().map(|record| record.id).collect();
            if ids.is_empty() {
                let gone = consumer.plans(lane_key).map_or(self.disk.is_off(), |plans| plans.is_empty());
                assert!(gone, "its records were given up, and so was it");
                return;
            }
            if ids.len() == plan.count as usize {
                assert_eq!((ids[0], ids[ids.len() - 1]), (plan.first, plan.last), "identically");
            }
            self.acknowledge(n, lane, &ids, &numbers, Outcome::Delivered, Some(plan));
            return;
        }
        let limit = ReadLimit {
            records: 1 + self.random.below(12) as usize,
            uncompressed_bytes: self.random.below(40_000),
        };
        let records = consumer.read(lane_key, None, limit).unwrap();
        let numbers = self.examine(n, lane, &records);
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        if ids.is_empty() {
            return;
        }
        match self.random.below(4) {
            0 => {
                let plan =
                    Plan { first: ids[0], last: ids[ids.len() - 1], count: ids.len() as u32, generation: 1 };
                match consumer.plan(lane_key, plan) {
                    Ok(()) => drop(self.consumers[n].plans.insert(lane, plan)),
                    Err(_) => self.consumers[n].uncertain.entry(lane).or_default().push(plan),
                }
            }
            1 => {
                // Every other one, and read on behind the last.
                let odd: Vec<_> = ids.iter().copied().skip(1).step_by(2).collect();
                let odd_numbers: Vec<_> = numbers.iter().copied().skip(1).step_by(2).collect();
                let outcomes = [Outcome::Delivered, Outcome::DeadLettered, Outcome::Dropped];
                let outcome = outcomes[self.random.below(3) as usize];
                self.acknowledge(n, lane, &odd, &odd_numbers, outcome, None);
                let Ok(more) = consumer.read(lane_key, ids.last().copied(), limit) else {
                    assert!(self.disk.is_off());
                    return;
                };
                assert!(more.first().is_none_or(|record| record.id > ids[ids.len() - 1]));
                self.examine(n, lane, &more);
            }
            _ => self.acknowledge(n, lane, &ids, &numbers, Outcome::Delivered, None),
        }
    }

    fn acknowledge(
        &mut self,
        n: usize,
        lane: usize,
        ids: &[RecordId],
        numbers: &[u64],
        outcome: Outcome,
        plan: Option<Plan>,
    ) {
        let result = self.rig().consumer(CONSUMERS[n]).acknowledge(Lane::ALL[lane], ids, outcome);
        self.say(|| format!("{} {lane} {numbers:?} {result:?}", CONSUMERS[n]));
        match result {
            Ok(()) => self.consumers[n].all.extend(numbers),
            Err(error) => {
                assert!(self.faulty || self.disk.is_off() || self.disk_is_short(), "{error}");
                if let Some(plan) = plan {
                    self.consumers[n].plans.insert(lane, plan);
                }
            }
        }
    }

    fn disk_is_short(&self) -> bool {
        self.tainted
    }

    fn pass(&mut self) {
        let time = Duration::from_millis(self.random.below(12_000));
        self.disk.pass(time);
        self.rig().pass(time);
        self.collect();
        let clean = !self.faulty && !self.disk.is_off();
        for n in 0..CONSUMERS.len() {
            if clean && !self.rig().core.shared.consumers()[n].is_dirty() {
                self.consumers[n].durable = self.consumers[n].all.clone();
            }
        }
    }

    fn rewind(&mut self) {
        let n = self.random.below(2) as usize;
        let to: [Option<u64>; 3] = std::array::from_fn(|lane| {
            let low = self.rig.as_ref().unwrap().core.shared.consumers()[n].lows()[lane];
            let to = low.saturating_sub(self.random.below(20));
            // Above the mark too, where ranges may be.
            self.random
                .chance(60)
                .then(|| if self.random.chance(30) { low + self.random.below(8) } else { to })
        });
        let oldest = self.rig().core.shared.oldest().map_or([0; 3], |oldest| oldest.header.lane_first);
        let state = self.rig().core.shared.consumers()[n].clone();
        let before = state.lows();
        // One past the last that is acknowledged. A plan that reaches further is not looked at here.
        let reaches: [u64; 3] = std::array::from_fn(|lane| {
            state.look(lane, |cursor| cursor.ranges.last().map_or(cursor.low, |(_, end)| *end))
        });
        let result = self.rig().core.rewind(&state, to);
        let lows = state.lows();
        self.say(|| format!("{} set back to {to:?}: {result:?}", CONSUMERS[n]));
        assert!(result.is_ok() || self.faulty || self.disk.is_off() || self.tainted, "{result:?}");
        for lane in 0..3 {
            let Some(to) = to[lane] else { continue };
            // Refused, it may be on disk all the same, and then shows after a restart.
            let to = if result.is_ok() { to.max(oldest[lane]) } else { to };
            if to >= before[lane] && reaches[lane] <= to {
                continue;
            }
            let (submitted, ordinals) = (&self.submitted, &self.ordinals);
            let keep = |number: &u64| submitted[*number as usize].lane != lane || ordinals[number] < to;
            self.consumers[n].all.retain(keep);
            self.consumers[n].durable.retain(keep);
            if self.consumers[n].plans.get(&lane).is_some_and(|plan| plan.last.ordinal() < to) {
                continue;
            }
            if let Some(plan) = self.consumers[n].plans.remove(&lane)
                && result.is_err()
            {
                self.consumers[n].uncertain.entry(lane).or_default().push(plan);
            }
            let known = &mut self.consumers[n].lows[lane];
            *known = (*known).min(lows[lane]);
            if result.is_err() {
                self.consumers[n].perhaps.push((lane, to));
            }
        }
        if result.is_ok() {
            // Durable when it returns, and with it what was acknowledged before.
            self.consumers[n].durable = self.consumers[n].all.clone();
        }
    }

    fn faults(&mut self) {
        self.faulty = !self.faulty;
        let percent = if self.faulty { 1 + self.random.below(30) } else { 0 };
        self.say(|| format!("faults: {percent} %"));
        let seed = self.random.next();
        self.disk.fail_randomly(percent, seed);
    }

    fn fuse(&mut self) {
        let operations = 1 + self.random.below(60);
        self.disk.light_fuse(operations);
    }

    fn capacity(&mut self) {
        let capacity = self.random.chance(40).then(|| self.disk.used() + self.random.below(200_000));
        self.say(|| format!("capacity: {capacity:?}"));
        self.tainted |= capacity.is_some();
        self.disk.set_capacity(capacity);
    }

    /// As an operator would: a new key is there before it is used, an old one goes after it was given up.
    fn rotate(&mut self) {
        let add = self.random.chance(60);
        let mut keys = self.keys.clone();
        if add {
            self.made_keys += 1;
            keys.insert(0, self.made_keys);
            self.give(&keys);
        } else {
            let used = self.rig().core.shared.key_use();
            let current = keys[0];
            keys.retain(|n| *n == current || used.contains_key(&key(*n).id()));
        }
        let rotated = self.rig().core.rotate(ring_of(&keys));
        self.say(|| format!("keys {keys:?}: {rotated:?}"));
        match rotated {
            Ok(()) => self.give(&keys),
            Err(error) => {
                assert!(self.faulty || self.disk.is_off() || self.disk_is_short(), "{error}");
                assert!(!error.is_in_use(), "{error}");
            }
        }
        self.collect();
    }

    fn give(&mut self, keys: &[u8]) {
        self.keys = keys.to_vec();
        self.options.encryption = Encryption::Aes256Gcm(ring_of(keys));
    }

    fn forget(&mut self) {
        // What waits is answered when the core goes.
        self.rig = None;
        for (_, answer) in std::mem::take(&mut self.waiting) {
            assert!(!matches!(answer.try_recv(), Ok(Ok(_))));
        }
        self.faulty = false;
    }

    fn kill(&mut self) {
        self.say(|| "kill".to_owned());
        self.crashes += 1;
        // What was answered under `interval` and could not be written needs a second fault to be lost.
        let carried = !self.rig().core.carry.is_empty();
        if carried {
            self.excuse();
        }
        self.disk.kill();
        self.forget();
        self.open();
    }

    /// A cursor that was perhaps set back shows it after a restart.
    fn allow_for_rewinds(&mut self) {
        for consumer in &mut self.consumers {
            for (lane, to) in std::mem::take(&mut consumer.perhaps) {
                consumer.lows[lane] = consumer.lows[lane].min(to);
            }
        }
    }

    /// What was answered and not yet synced may be lost to a power loss under these policies, as promised.
    fn excuse(&mut self) {
        for submitted in &mut self.submitted {
            submitted.excused = true;
        }
        self.checkpoint.0 = 0;
    }

    fn lose_power(&mut self) {
        self.crashes += 1;
        let mut random = Random::new(self.random.next());
        self.disk.power_loss(&mut random);
        self.faulty = false;
        if self.options.sync != SyncPolicy::Always {
            self.excuse();
        }
        for consumer in &mut self.consumers {
            consumer.all = consumer.durable.clone();
            consumer.lows = [0; 3];
            consumer.plans.clear();
        }
    }

    fn power_loss(&mut self) {
        self.say(|| "power loss".to_owned());
        self.disk.kill();
        self.lose_power();
        self.forget();
        self.open_after(true);
        if self.random.chance(70) {
            return;
        }
        // Recovery is idempotent: a second one finds the same.
        let before: Vec<_> = self.everything();
        self.disk.kill();
        self.forget();
        self.open();
        assert_eq!(before, self.everything(), "recovered twice");
        if self.random.chance(20) {
            self.fuse();
        }
    }

    /// After a power loss: acknowledgements and plans that were not synced may or may not be there.
    fn relearn(&mut self) {
        for (n, name) in CONSUMERS.iter().enumerate() {
            for lane in 0..3 {
                if let Some(plan) =
                    self.rig.as_ref().unwrap().consumer(name).plans(Lane::ALL[lane]).unwrap().first()
                {
                    self.consumers[n].plans.insert(lane, *plan);
                }
            }
        }
        for (n, name) in CONSUMERS.iter().enumerate() {
            let mut pending = BTreeSet::new();
            for lane in 0..3 {
                let records = self.rig().consumer(name).read(Lane::ALL[lane], None, ALL).unwrap();
                pending.extend(self.examine(n, lane, &records));
            }
            let durable = self.consumers[n].durable.clone();
            assert!(durable.is_disjoint(&pending), "what was durably acknowledged comes again");
        }
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
