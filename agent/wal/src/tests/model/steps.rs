//! What happens while the WAL is open: one operation each, chosen at random, and what must hold after it.

use super::*;

impl Model {
    pub(super) fn append(&mut self) {
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
    pub(super) fn collect(&mut self) {
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
    pub(super) fn examine(&mut self, n: usize, lane: usize, records: &[crate::Record]) -> Vec<u64> {
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

    pub(super) fn consume(&mut self) {
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

    pub(super) fn pass(&mut self) {
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

    pub(super) fn rewind(&mut self) {
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
            // A plan that ends below stays, though the mark moves.
            let goes = |plan: &crate::Plan| plan.last.ordinal() >= to;
            if self.consumers[n].plans.get(&lane).is_some_and(goes)
                && let Some(plan) = self.consumers[n].plans.remove(&lane)
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

    pub(super) fn faults(&mut self) {
        self.faulty = !self.faulty;
        let percent = if self.faulty { 1 + self.random.below(30) } else { 0 };
        self.say(|| format!("faults: {percent} %"));
        let seed = self.random.next();
        self.disk.fail_randomly(percent, seed);
    }

    pub(super) fn fuse(&mut self) {
        let operations = 1 + self.random.below(60);
        self.disk.light_fuse(operations);
    }

    pub(super) fn capacity(&mut self) {
        let capacity = self.random.chance(40).then(|| self.disk.used() + self.random.below(200_000));
        self.say(|| format!("capacity: {capacity:?}"));
        self.tainted |= capacity.is_some();
        self.disk.set_capacity(capacity);
    }

    /// As an operator would: a new key is there before it is used, an old one goes after it was given up.
    pub(super) fn rotate(&mut self) {
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

    pub(super) fn forget(&mut self) {
        // What waits is answered when the core goes.
        self.rig = None;
        for (_, answer) in std::mem::take(&mut self.waiting) {
            assert!(!matches!(answer.try_recv(), Ok(Ok(_))));
        }
        self.faulty = false;
    }
}
