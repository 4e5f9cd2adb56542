//! The rules of one lane of one cursor, over ordinals; no bytes, no files.
//!
//! Invariants: each ordinal from `first` on is acknowledged at most once, with one outcome, so that
//! seen + rewound = delivered + skipped + dead-lettered + dropped + corrupt + pending holds by construction; only
//! `rewind` moves the low-water mark back; ranges are sorted, apart from each other and above the mark.
//!
//! What can be found out again after a restart (skipped, corrupt) is *deferred* while it stands apart: kept and
//! counted in memory, written only once it touches the mark or a range. Else a request with every other record of the
//! lane would need a range for each of them.

use std::collections::BTreeMap;

/// Most ranges that are written.
pub(crate) const MAX_RANGES: usize = 128;
/// Most plans.
pub(crate) const MAX_PLANS: usize = 8;
/// Most deferred spans: bounds memory.
pub(crate) const MAX_DEFERRED: usize = 64 * 1024;
/// Ranges reach at most so far above the mark (they are written as 32 bits).
const MAX_REACH: u64 = u32::MAX as u64;

/// What became of an ordinal. The numbers are places in [`Tally`], and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered = 0,
    Skipped = 1,
    DeadLettered = 2,
    /// Dropped unread to make room.
    DroppedForSpace = 3,
    /// Dropped because the consumer lagged alone.
    DroppedForLag = 4,
    /// Acknowledged as given up.
    GivenUp = 5,
    /// The body's CRC was wrong.
    BodyDamaged = 6,
    /// The CRC was right, the tag was not.
    NotAuthentic = 7,
    /// Gone with a header, a segment or the end of one.
    Missing = 8,
}

/// Fates there are.
pub(crate) const FATES: usize = 9;

impl Fate {
    #[cfg(any(test, fuzzing))]
    pub(crate) const ALL: [Self; FATES] = [
        Self::Delivered,
        Self::Skipped,
        Self::DeadLettered,
        Self::DroppedForSpace,
        Self::DroppedForLag,
        Self::GivenUp,
        Self::BodyDamaged,
        Self::NotAuthentic,
        Self::Missing,
    ];

    fn is_found_again(self) -> bool {
        matches!(self, Self::Skipped | Self::BodyDamaged | Self::NotAuthentic | Self::Missing)
    }
}

/// Ordinals by fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally(pub(crate) [u64; FATES]);

impl Tally {
    fn add(&mut self, fate: Fate, count: u64) {
        self.0[fate as usize] += count;
    }

    pub(crate) fn of(&self, fate: Fate) -> u64 {
        self.0[fate as usize]
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// A request in flight, by ordinals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlanMark {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u32,
    pub(crate) generation: u32,
}

/// Why an operation was refused; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneFault {
    TooManyRanges,
    TooManyPlans,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LaneCursor {
    /// The consumer's first ordinal.
    pub(crate) first: u64,
    /// Everything below is acknowledged.
    pub(crate) low: u64,
    /// Acknowledged above the mark: start and end.
    pub(crate) ranges: Vec<(u64, u64)>,
    /// Of what is below the mark and in the ranges, and of what was set back to be delivered again.
    pub(crate) tally: Tally,
    /// How many of those in the tally were set back: they are pending again, or have been counted once more.
    pub(crate) rewound: u64,
    pub(crate) plans: Vec<PlanMark>,
    /// Start -> end, fate; apart from the mark, the ranges and each other.
    deferred: BTreeMap<u64, (u64, Fate)>,
}

impl LaneCursor {
    /// A consumer's lane that begins here.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { first, low: first, ..Self::default() }
    }

    /// Whether both would be written as the same bytes.
    pub(crate) fn is_written_as(&self, other: &Self) -> bool {
        let written = |lane: &Self| (lane.first, lane.low, lane.tally, lane.rewound);
        written(self) == written(other) && self.ranges == other.ranges && self.plans == other.plans
    }

    /// Whether an ordinal is acknowledged.
    pub(crate) fn is_taken(&self, ordinal: u64) -> bool {
        if ordinal < self.low {
            return true;
        }
        let next = self.ranges.partition_point(|(start, _)| *start <= ordinal);
        if next > 0 && ordinal < self.ranges[next - 1].1 {
            return true;
        }
        self.deferred.range(..=ordinal).next_back().is_some_and(|(_, (end, _))| ordinal < *end)
    }

    /// One past the highest ordinal that the cursor knows of, acknowledged or planned: no other record may ever have one
    /// below it.
    pub(crate) fn reach(&self) -> u64 {
        let acknowledged = self.ranges.last().map_or(self.low, |(_, end)| *end);
        let planned = self.plans.iter().map(|plan| plan.last.saturating_add(1)).max();
        acknowledged.max(self.low).max(planned.unwrap_or(0))
    }

    /// Of everything acknowledged, deferred included.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.tally;
        for (start, (end, fate)) in &self.deferred {
            tally.add(*fate, end - start);
        }
        tally
    }

    /// Ordinals below `end` that are not acknowledged. Counted by place, not by subtracting the tally, so that the sum of
    /// the status is a check.
    pub(crate) fn pending(&self, end: u64) -> u64 {
        let below = |start: u64, stop: u64| stop.min(end).saturating_sub(start);
        let ranges: u64 = self.ranges.iter().map(|(start, stop)| below(*start, *stop)).sum();
        let deferred: u64 = self.deferred.iter().map(|(start, (stop, _))| below(*start, *stop)).sum();
        below(self.low, end) - ranges - deferred
    }

    /// The first ordinal below `end` that is not acknowledged.
    pub(crate) fn first_pending(&self, end: u64) -> Option<u64> {
        // The mark stands there: what touches it lifts it.
        (self.low < end).then_some(self.low)
    }

    /// Acknowledges spans; what was acknowledged before keeps its fate. Returns how many ordinals were new.
    pub(crate) fn acknowledge(
        &mut self,
        spans: impl IntoIterator<Item = (u64, u64)>,
        fate: Fate,
    ) -> Result<u64, LaneFault> {
        let before = self.clone();
        let mut new = 0;
        for (start, end) in spans {
            new += self.take(start, end, fate);
            if !fate.is_found_again() {
                self.plans.retain(|plan| end <= plan.first || start > plan.last);
            }
        }
        self.drop_finished_plans();
        let too_far = self.ranges.last().is_some_and(|(_, end)| end - self.low > MAX_REACH);
        if self.ranges.len() > MAX_RANGES || self.deferred.len() > MAX_DEFERRED || too_far {
            *self = before;
            return Err(LaneFault::TooManyRanges);
        }
        Ok(new)
    }

    /// Moves the mark to at least `to`; what was pending below it has this fate. Returns how many those were. Never
    /// fails: it only makes the cursor simpler.
    pub(crate) fn give_up_below(&mut self, to: u64, fate: Fate) -> u64 {
        if to <= self.low {
            return 0;
        }
        // What was deferred there keeps its own fate.
        let mut new = 0;
        let mut at = self.low;
        while at < to {
            match self.next_taken(at) {
                Some((start, end)) if start < to => {
                    new += start - at;
                    at = end;
                }
                _ => {
                    new += to - at;
                    at = to;
                }
            }
        }
        let deferred: Vec<_> = self.deferred.range(..to).map(|(start, span)| (*start, *span)).collect();
        for (start, (end, kept)) in deferred {
            self.deferred.remove(&start);
            self.tally.add(kept, end - start);
        }
        self.ranges.retain(|(_, end)| *end > to);
        self.tally.add(fate, new);
        // A range or a deferred span may reach over `to`.
        self.low = at.max(to);
        self.absorb();
        self.plans.retain(|plan| plan.first >= to);
        self.drop_finished_plans();
        new
    }

    /// Sets the lane back to `to`: everything from there on is pending again, whatever became of it, above the mark too.
    /// Before `first`, the consumer's first ordinal becomes an earlier one. Returns how many ordinals are pending again, or
    /// for the first time.
    pub(crate) fn rewind(&mut self, to: u64) -> u64 {
        if to >= self.low && self.ranges.last().is_none_or(|(_, end)| *end <= to) {
            return 0;
        }
        // What is deferred lies above the reach, perhaps.
        let deferred = self.deferred.last_key_value().map_or(0, |(_, (end, _))| *end);
        let end = self.reach().max(deferred);
        let before = self.pending(end);
        self.first = self.first.min(to);
        self.low = self.low.min(to);
        self.ranges.retain_mut(|(start, end)| {
            *end = to.min(*end);
            start < end
        });
        self.deferred.retain(|start, (end, _)| {
            *end = to.min(*end);
            start < end
        });
        self.plans.retain(|plan| plan.last < to);
        let taken = self.ranges.iter().fold(self.low - self.first, |sum, (start, end)| sum + (end - start));
        self.rewound = self.tally.total() - taken;
        self.pending(end) - before
    }

    /// Notes a request; replaces those that it overlaps.
    pub(crate) fn plan(&mut self, plan: PlanMark) -> Result<(), LaneFault> {
        let apart = |other: &PlanMark| other.last < plan.first || plan.last < other.first;
        if self.plans.iter().filter(|other| apart(other)).count() >= MAX_PLANS {
            return Err(LaneFault::TooManyPlans);
        }
        // A plan may begin below the mark, which takes the sign bit.
        let reach = plan.last.max(self.low).saturating_sub(self.low.min(plan.first));
        if reach > MAX_REACH / 2 {
            return Err(LaneFault::TooManyRanges);
        }
        self.plans.retain(apart);
        self.plans.push(plan);
        self.plans.sort_unstable_by_key(|plan| plan.first);
        Ok(())
    }

    /// The first span at or above `at` that is acknowledged.
    fn next_taken(&self, at: u64) -> Option<(u64, u64)> {
        let covers = |(start, end): (u64, u64)| (end > at).then_some((start.max(at), end));
        let range = self.ranges[self.ranges.partition_point(|(_, end)| *end <= at)..].first();
        let before = self.deferred.range(..=at).next_back().map(|(start, (end, _))| (*start, *end));
        let deferred =
            before.and_then(covers).or_else(|| self.deferred.range(at..).next().map(|(s, (e, _))| (*s, *e)));
        match (range.copied().and_then(covers), deferred) {
            (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    fn take(&mut self, start: u64, end: u64, fate: Fate) -> u64 {
        let mut new = 0;
        let mut at = start.max(self.low);
        while at < end {
            let (gap_end, resume) = match self.next_taken(at) {
                Some((taken, taken_end)) if taken < end => (taken, taken_end),
                _ => (end, end),
            };
            if at < gap_end {
                new += gap_end - at;
                self.insert(at, gap_end, fate);
            }
            // The insertion may have lifted the mark.
            at = resume.max(self.low);
        }
        new
    }

    /// Inserts a span of which nothing is acknowledged yet.
    fn insert(&mut self, start: u64, end: u64, fate: Fate) {
        let next = self.ranges.partition_point(|(other, _)| *other < start);
        let touches_range = (next > 0 && self.ranges[next - 1].1 == start)
            || self.ranges.get(next).is_some_and(|(other, _)| *other == end);
        if fate.is_found_again() && start > self.low && !touches_range {
            let (mut start, mut end) = (start, end);
            if let Some((before, (before_end, before_fate))) = self.deferred.range(..start).next_back()
                && *before_end == start
                && *before_fate == fate
            {
                start = *before;
            }
            if let Some((after_end, after_fate)) = self.deferred.get(&end).copied()
                && after_fate == fate
            {
                self.deferred.remove(&end);
                end = after_end;
            }
            self.deferred.insert(start, (end, fate));
            return;
        }
        self.tally.add(fate, end - start);
        self.put_range(start, end);
        self.absorb_around(start, end);
        self.absorb();
    }

    /// Adds a range that overlaps none, joining it with those it touches.
    fn put_range(&mut self, start: u64, end: u64) {
        let next = self.ranges.partition_point(|(other, _)| *other < start);
        let joins_before = next > 0 && self.ranges[next - 1].1 == start;
        let joins_after = self.ranges.get(next).is_some_and(|(other, _)| *other == end);
        match (joins_before, joins_after) {
            (true, true) => {
                self.ranges[next - 1].1 = self.ranges[next].1;
                self.ranges.remove(next);
            }
            (true, false) => self.ranges[next - 1].1 = end,
            (false, true) => self.ranges[next].0 = start,
            (false, false) => self.ranges.insert(next, (start, end)),
        }
    }

    /// Takes in deferred spans that touch a new range, and those that touch them in turn.
    fn absorb_around(&mut self, mut start: u64, mut end: u64) {
        while let Some((after_end, fate)) = self.deferred.remove(&end) {
            self.tally.add(fate, after_end - end);
            self.put_range(end, after_end);
            end = after_end;
        }
        while let Some((before, (before_end, fate))) =
            self.deferred.range(..start).next_back().map(|(s, span)| (*s, *span))
            && before_end == start
        {
            self.deferred.remove(&before);
            self.tally.add(fate, before_end - before);
            self.put_range(before, start);
            start = before;
        }
    }

    /// Lifts the mark over what touches it.
    fn absorb(&mut self) {
        loop {
            if self.ranges.first().is_some_and(|(start, _)| *start <= self.low) {
                let (_, end) = self.ranges.remove(0);
                self.low = self.low.max(end);
            } else if let Some((end, fate)) = self.deferred.remove(&self.low) {
                self.tally.add(fate, end - self.low);
                self.low = end;
            } else {
                return;
            }
        }
    }

    fn drop_finished_plans(&mut self) {
        let low = self.low;
        self.plans.retain(|plan| plan.last >= low);
        let done: Vec<u64> = self
            .plans
            .iter()
            .filter(|plan| self.next_taken(plan.first).is_some_and(|(s, e)| s == plan.first && e > plan.last))
            .map(|plan| plan.first)
            .collect();
        self.plans.retain(|plan| !done.contains(&plan.first));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn lane() -> LaneCursor {
        LaneCursor::starting_at(10)
    }

    fn tally(counts: &[(Fate, u64)]) -> Tally {
        let mut tally = Tally::default();
        counts.iter().for_each(|(fate, count)| tally.add(*fate, *count));
        tally
    }

    #[test]
    fn the_mark_rises_over_what_is_acknowledged_in_any_order() {
        let mut lane = lane();
        assert_eq!(lane.acknowledge([(12, 14)], Fate::Delivered), Ok(2));
        assert_eq!((lane.low, lane.ranges.as_slice()), (10, &[(12, 14)][..]));
        assert_eq!(lane.acknowledge([(10, 11)], Fate::Delivered), Ok(1));
        assert_eq!(lane.acknowledge([(11, 12)], Fate::DeadLettered), Ok(1));
        assert_eq!((lane.low, lane.ranges.len()), (14, 0));
        assert_eq!(lane.tally(), tally(&[(Fate::Delivered, 3), (Fate::DeadLettered, 1)]));
        assert_eq!(lane.pending(20), 6);
    }

    #[test]
    fn a_second_acknowledgement_changes_nothing() {
        let mut lane = lane();
        lane.acknowledge([(12, 14)], Fate::Delivered).unwrap();
        let before = lane.clone();
        assert_eq!(lane.acknowledge([(12, 14), (5, 10)], Fate::GivenUp), Ok(0));
        assert_eq!(lane, before);
    }

    #[test]
    fn every_other_record_skipped_needs_no_ranges() {
        let mut lane = lane();
        for ordinal in (11..5011).step_by(2) {
            lane.acknowledge([(ordinal, ordinal + 1)], Fate::Skipped).unwrap();
        }
        assert_eq!((lane.ranges.len(), lane.low), (0, 10));
        assert_eq!(lane.tally().of(Fate::Skipped), 2500);
        lane.acknowledge((10..5010).step_by(2).map(|o| (o, o + 1)), Fate::Delivered).unwrap();
        assert_eq!((lane.ranges.len(), lane.low), (0, 5010));
        assert_eq!(lane.tally, tally(&[(Fate::Delivered, 2500), (Fate::Skipped, 2500)]));
    }

    #[test]
    fn too_many_ranges_are_refused_and_nothing_changes() {
        let mut lane = lane();
        for n in 0..MAX_RANGES as u64 {
            lane.acknowledge([(12 + n * 2, 13 + n * 2)], Fate::Delivered).unwrap();
        }
        let before = lane.clone();
        assert_eq!(lane.acknowledge([(5000, 5001)], Fate::Delivered), Err(LaneFault::TooManyRanges));
        assert_eq!(lane, before);
        lane.acknowledge([(11, 12)], Fate::Delivered).unwrap();
    }

    #[test]
    fn giving_up_counts_only_what_was_pending() {
        let mut lane = lane();
        lane.acknowledge([(12, 14)], Fate::Delivered).unwrap();
        lane.acknowledge([(16, 17)], Fate::Skipped).unwrap();
        assert_eq!(lane.give_up_below(18, Fate::GivenUp), 5);
        assert_eq!(lane.low, 18);
        let tally = tally(&[(Fate::Delivered, 2), (Fate::Skipped, 1), (Fate::GivenUp, 5)]);
        assert_eq!((lane.tally, lane.tally()), (tally, tally));
        assert_eq!(lane.give_up_below(17, Fate::GivenUp), 0, "the mark never moves back");
        assert_eq!(lane.low, 18);
    }

    #[test]
    fn giving_up_into_a_range_lifts_the_mark_over_it() {
        let mut lane = lane();
        lane.acknowledge([(12, 20)], Fate::Delivered).unwrap();
        assert_eq!(lane.give_up_below(15, Fate::GivenUp), 2);
        assert_eq!((lane.low, lane.ranges.len()), (20, 0));
        assert_eq!(lane.tally().total(), 10);
    }

    #[test]
    fn a_plan_goes_with_its_acknowledgement_and_stays_with_a_skip() {
        let plan = |first, last| PlanMark { first, last, count: 2, generation: 0 };
        let mut lane = lane();
        lane.plan(plan(10, 14)).unwrap();
        lane.plan(plan(15, 16)).unwrap();
        lane.acknowledge([(11, 12)], Fate::Skipped).unwrap();
        assert_eq!(lane.plans.len(), 2);
        lane.acknowledge([(10, 11), (12, 15)], Fate::Delivered).unwrap();
        assert_eq!(lane.plans, [plan(15, 16)]);
        lane.plan(plan(15, 15)).unwrap();
        assert_eq!(lane.plans, [plan(15, 15)], "a half replaces the whole");
        lane.give_up_below(16, Fate::GivenUp);
        assert!(lane.plans.is_empty());
        for n in 0..MAX_PLANS as u64 {
            lane.plan(plan(20 + n, 20 + n)).unwrap();
        }
        assert_eq!(lane.plan(plan(40, 41)), Err(LaneFault::TooManyPlans));
    }

    #[test]
    fn what_is_set_back_is_pending_again_and_the_sum_goes_on() {
        let mut lane = lane();
        lane.acknowledge([(10, 15), (17, 19)], Fate::Delivered).unwrap();
        lane.acknowledge([(20, 21)], Fate::Skipped).unwrap();
        lane.plan(PlanMark { first: 15, last: 16, count: 2, generation: 0 }).unwrap();
        assert_eq!(lane.rewind(21), 0, "nothing is acknowledged there");
        assert_eq!((lane.plans.len(), lane.ranges.len()), (1, 1));
        assert_eq!(lane.rewind(18), 2, "the end of the range, and what was skipped");
        assert_eq!((lane.low, lane.ranges.as_slice(), lane.rewound), (15, &[(17, 18)][..], 1));
        assert_eq!((lane.plans.len(), lane.pending(25)), (1, 9), "the mark stays, and the request before");
        assert_eq!(lane.rewind(12), 4, "12 to 14, and what is left of the range");
        assert_eq!((lane.low, lane.pending(25), lane.rewound), (12, 13, 5));
        assert!(lane.plans.is_empty() && lane.ranges.is_empty());
        lane.acknowledge([(12, 25)], Fate::Delivered).unwrap();
        assert_eq!(lane.tally().total(), 15 + 5);
        assert_eq!(lane.rewind(7), 18, "before its first, too");
        assert_eq!((lane.first, lane.low, lane.pending(25)), (7, 7, 18));
        assert_eq!(lane.rewound, 20);
    }

    /// A model of plain sets beside it, over random operations.
    #[test]
    fn random_operations_agree_with_plain_sets() {
        for seed in 0..200u64 {
            let mut random = crate::storage::crash::Random::new(seed);
            let mut lane = LaneCursor::starting_at(3);
            let mut model = BTreeSet::new();
            let (mut low, mut first) = (3, 3);
            let mut counted = Tally::default();
            for _ in 0..80 {
                let start = random.below(150);
                let end = start + random.below(12);
                let fate = Fate::ALL[random.below(FATES as u64) as usize];
                let before = model.len();
                match random.below(20) {
                    0..2 => {
                        model.extend(first..start);
                        let new = lane.give_up_below(start, fate);
                        assert_eq!(new as usize, model.len() - before, "seed {seed}");
                        counted.add(fate, new);
                    }
                    2 if start < low || lane.ranges.last().is_some_and(|(_, end)| *end > start) => {
                        let end = 200;
                        let pending = |model: &BTreeSet<u64>, first| {
                            (first..end).filter(|ordinal| !model.contains(ordinal)).count() as u64
                        };
                        let before = pending(&model, first);
                        model.retain(|ordinal| *ordinal < start);
                        let after = pending(&model, first.min(start));
                        assert_eq!(lane.rewind(start), after - before, "seed {seed}");
                        // What was deferred there is forgotten: it will be found again.
                        counted = lane.tally();
                        (first, low) = (first.min(start), low.min(start));
                    }
                    _ => {
                        model.extend(start.max(first)..end);
                        let new = lane.acknowledge([(start, end)], fate).unwrap();
                        assert_eq!(new as usize, model.len() - before, "seed {seed}");
                        counted.add(fate, new);
                    }
                }
                let model_low = (first..).find(|o| !model.contains(o)).unwrap();
                assert_eq!(lane.low, model_low, "seed {seed}");
                assert!(lane.low >= low, "seed {seed}");
                low = lane.low;
                for ordinal in 0..170 {
                    let taken = ordinal < first || model.contains(&ordinal);
                    assert_eq!(lane.is_taken(ordinal), taken, "seed {seed} ordinal {ordinal}");
                }
                assert_eq!(lane.tally(), counted, "seed {seed}");
                assert_eq!(counted.total(), model.len() as u64 + lane.rewound, "seed {seed}");
                assert!(lane.ranges.windows(2).all(|w| w[0].1 < w[1].0), "seed {seed}");
                assert!(lane.ranges.first().is_none_or(|r| r.0 > lane.low), "seed {seed}");
            }
        }
    }
}
