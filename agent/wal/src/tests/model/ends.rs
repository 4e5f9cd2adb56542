//! Ends of the process and of the power, and what a model may not expect any more after them.

use super::*;

impl Model {
    pub(super) fn kill(&mut self) {
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
    pub(super) fn allow_for_rewinds(&mut self) {
        for consumer in &mut self.consumers {
            for (lane, to) in std::mem::take(&mut consumer.perhaps) {
                consumer.lows[lane] = consumer.lows[lane].min(to);
            }
        }
    }

    /// What was answered and not yet synced may be lost to a power loss under these policies, as promised.
    pub(super) fn excuse(&mut self) {
        for submitted in &mut self.submitted {
            submitted.excused = true;
        }
        self.checkpoint.0 = 0;
    }

    pub(super) fn lose_power(&mut self) {
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

    pub(super) fn power_loss(&mut self) {
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
    pub(super) fn relearn(&mut self) {
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
}
