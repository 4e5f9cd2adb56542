//! Figures to points: counters as they stand or as they grew, levels as they are, and shares of a whole.

use whimbrel_sdk::{Data, Emit, Error, Metric, Number as Point, Temporality, debug, system::Figure};

use crate::{
    config::Tell,
    series::{Family, Pending, Pushed, Reading},
    table::{self, Entry, Number, Of, Old, TABLE},
    vocabulary::{Route, Vocabulary},
};

/// Counted as deltas, so many points are made durable together: fewer than the SDK pushes by itself, so that
/// the moment is ours to choose.
const DURABLE_AT_ONCE: usize = 500;

/// How many unknown names are said.
const MAX_UNKNOWN: usize = 64;

/// What is remembered of one resource's series: a family for each metric it has, ordered by place.
#[derive(Debug, Default)]
pub(crate) struct Families(Vec<(usize, Family)>);

/// Emits figures under the names of its vocabulary.
#[derive(Debug)]
pub(crate) struct Teller {
    tell: Tell,
    pub(crate) vocabulary: Vocabulary,
    wholes: Wholes,
    /// Names that this version does not know, said once each.
    unknown: Vec<String>,
    /// Points emitted since the last push, when counters are told as deltas.
    waiting: usize,
    /// Pushes that succeeded, when counters are told as deltas.
    pushes: u64,
    /// When the last collect began; 0 before the first.
    last_ns: u64,
}

/// What the host has, of which processes have a share.
#[derive(Debug, Default)]
struct Wholes {
    cpu_before: Option<f64>,
    /// Seconds over all CPUs since the collect before.
    cpu: Option<f64>,
    memory: Option<f64>,
}

/// A figure, and what becomes of it.
struct Placed {
    place: usize,
    old: Option<&'static Old>,
    figure: Figure,
}

impl Families {
    fn at(&mut self, place: usize) -> &mut Family {
        let found = match self.0.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(found) => found,
            Err(gap) => {
                self.0.insert(gap, (place, Family::default()));
                gap
            }
        };
        &mut self.0[found].1
    }
}

impl Teller {
    pub(crate) fn new(tell: Tell, vocabulary: Vocabulary) -> Self {
        Self {
            tell,
            vocabulary,
            wholes: Wholes::default(),
            unknown: Vec::new(),
            waiting: 0,
            pushes: 0,
            last_ns: 0,
        }
    }

    /// A collect begins: what the one before emitted is durable by now, or was never said.
    pub(crate) fn begin<'f>(&mut self, families: impl Iterator<Item = &'f mut Families>) {
        self.waiting = 0;
        self.wholes.cpu = None;
        self.wholes.memory = None;
        if self.tell == Tell::Delta {
            let all = families.flat_map(|families| families.0.iter_mut());
            all.flat_map(|(_, family)| family.iter_mut()).for_each(|series| series.settle(self.pushes));
        }
    }

    /// A collect ends well: all that was emitted is made durable, and the next deltas count from it.
    pub(crate) fn end(&mut self, out: &mut Emit) -> Result<(), Error> {
        if self.tell == Tell::Delta {
            self.make_durable(out)?;
        }
        self.last_ns = out.now_ns();
        Ok(())
    }

    /// The host's figures of CPU time, over all CPUs, or of memory: what processes have a share of.
    pub(crate) fn observe(&mut self, figures: &[Figure]) {
        let mut cpu = None;
        for figure in figures {
            match figure.name.as_str() {
                "system.cpu.time" => *cpu.get_or_insert(0.0) += figure.value,
                "system.memory.limit" => self.wholes.memory = Some(figure.value),
                _ => {}
            }
        }
        if let Some(now) = cpu {
            self.wholes.cpu = self.wholes.cpu_before.replace(now).map(|before| now - before);
        }
    }

    /// Emits the figures of one resource; `families` is what is remembered of it.
    pub(crate) fn emit(
        &mut self,
        families: &mut Families,
        figures: Vec<Figure>,
        out: &mut Emit,
    ) -> Result<(), Error> {
        let mut placed = Vec::with_capacity(figures.len());
        let mut last: Option<usize> = None;
        for figure in figures {
            let known = match last {
                Some(known) if TABLE[known].metric.name == figure.name => Some(known),
                _ => table::find(&figure.name),
            };
            match known.map(|known| self.vocabulary.route(known)) {
                Some(Some(Route { place, old })) => placed.push(Placed { place, old, figure }),
                Some(None) => {}
                None => self.say_unknown(&figure.name),
            }
            last = known;
        }
        placed.sort_by_key(|placed| placed.place);
        for run in placed.chunk_by(|one, next| one.place == next.place) {
            let place = run[0].place;
            self.emit_family(place, families.at(place), run, out)?;
        }
        Ok(())
    }

    fn emit_family(
        &mut self,
        place: usize,
        family: &mut Family,
        run: &[Placed],
        out: &mut Emit,
    ) -> Result<(), Error> {
        let emitted = *self.vocabulary.emitted(place);
        let entry = &emitted.entry;
        family.follow(run.iter().map(|placed| (&placed.figure, placed.old)), entry.share.as_ref());
        if emitted.wanted {
            if entry.is_counter() && self.tell == Tell::Delta {
                self.emit_deltas(entry, family, run, out)?;
            } else {
                self.emit_standing(entry, family, run, out)?;
            }
        }
        self.emit_shares(entry, family, run, out)
    }

    fn emit_standing(
        &mut self,
        entry: &Entry,
        family: &mut Family,
        run: &[Placed],
        out: &mut Emit,
    ) -> Result<(), Error> {
        // A metric without points is better not begun.
        if family.iter_mut().all(|series| series.encoded.is_none()) {
            return Ok(());
        }
        self.make_room(run.len(), out)?;
        let now_ns = out.now_ns();
        let mut points = out.metric(&entry.metric);
        for (series, placed) in family.iter_mut().zip(run) {
            if let Some(encoded) = &series.encoded {
                let figure = &placed.figure;
                points.point_at(encoded, figure.start_ns, now_ns, number(entry, figure.value))?;
            }
        }
        Ok(())
    }

    fn emit_deltas(
        &mut self,
        entry: &Entry,
        family: &mut Family,
        run: &[Placed],
        out: &mut Emit,
    ) -> Result<(), Error> {
        let metric =
            Metric { data: Data::Sum { temporality: Temporality::Delta, monotonic: true }, ..entry.metric };
        let (now_ns, last_ns) = (out.now_ns(), self.last_ns);
        for (chunk, run) in run.chunks(DURABLE_AT_ONCE).enumerate() {
            self.make_room(run.len(), out)?;
            let from = chunk * DURABLE_AT_ONCE;
            let mut deltas = Vec::with_capacity(run.len());
            for (series, placed) in family.iter_mut().skip(from).zip(run) {
                let reading = reading(&placed.figure);
                deltas.push(grown(series.durable, reading, last_ns).filter(|_| series.encoded.is_some()));
                series.pending =
                    Some(Pending { pushed: Pushed { reading, time_ns: now_ns }, after: self.pushes });
            }
            if deltas.iter().all(Option::is_none) {
                continue;
            }
            let mut points = out.metric(&metric);
            for (series, delta) in family.iter_mut().skip(from).zip(deltas) {
                if let (Some((since_ns, grown)), Some(encoded)) = (delta, &series.encoded) {
                    points.point_at(encoded, since_ns, now_ns, number(entry, grown))?;
                }
            }
        }
        Ok(())
    }

    fn emit_shares(
        &mut self,
        entry: &Entry,
        family: &mut Family,
        run: &[Placed],
        out: &mut Emit,
    ) -> Result<(), Error> {
        let Some(share) = &entry.share else { return Ok(()) };
        let mut sums: Vec<f64> = Vec::new();
        let mut parts: Vec<Option<f64>> = Vec::with_capacity(run.len());
        for (series, placed) in family.iter_mut().zip(run) {
            let now = reading(&placed.figure);
            let part = match share.of {
                Of::Now | Of::HostMemory => Some(now.value),
                Of::Growth | Of::HostCpu => series.previous.replace(now).and_then(|before| {
                    let goes_on = before.start_ns == now.start_ns && now.value >= before.value;
                    goes_on.then_some(now.value - before.value)
                }),
            };
            if series.is_counted() {
                if sums.len() <= series.group {
                    sums.resize(series.group + 1, 0.0);
                }
                // One state without a number, and the whole is not known either.
                sums[series.group] += part.unwrap_or(f64::NAN);
            }
            parts.push(part);
        }
        let whole = |group: usize| match share.of {
            Of::Now | Of::Growth => sums.get(group).copied(),
            Of::HostCpu => self.wholes.cpu,
            Of::HostMemory => self.wholes.memory,
        };
        let shares: Vec<Option<f64>> = family
            .iter_mut()
            .zip(parts)
            .map(|(series, part)| {
                let whole = whole(series.group).filter(|whole| *whole > 0.0)?;
                series.shared()?;
                Some(part? / whole * share.times)
            })
            .collect();
        if shares.iter().all(Option::is_none) {
            return Ok(());
        }
        self.make_room(run.len(), out)?;
        let now_ns = out.now_ns();
        let mut points = out.metric(&share.metric);
        for (series, share) in family.iter_mut().zip(shares) {
            if let (Some(attributes), Some(share)) = (series.shared(), share) {
                points.point_at(attributes, 0, now_ns, share)?;
            }
        }
        Ok(())
    }

    /// Told as deltas, points must not be pushed at a moment that is not ours: what was pushed and what is
    /// remembered as pushed would differ when a later push is refused.
    fn make_room(&mut self, points: usize, out: &mut Emit) -> Result<(), Error> {
        if self.tell == Tell::Delta && self.waiting > 0 && self.waiting + points > DURABLE_AT_ONCE {
            self.make_durable(out)?;
        }
        self.waiting += points;
        Ok(())
    }

    /// Pushes what is waiting.
    fn make_durable(&mut self, out: &mut Emit) -> Result<(), Error> {
        out.flush()?;
        self.waiting = 0;
        self.pushes += 1;
        Ok(())
    }

    pub(crate) fn say_unknown(&mut self, name: &str) {
        if self.unknown.len() < MAX_UNKNOWN && !self.unknown.iter().any(|known| known == name) {
            debug!("the agent tells {name}, which this version of the collector does not know");
            self.unknown.push(name.to_owned());
        }
    }
}

fn reading(figure: &Figure) -> Reading {
    Reading { value: figure.value, start_ns: figure.start_ns }
}

/// What a counter has grown since what is durable of it, and since when; none if that is not known, as for the
/// first reading of a counter that counted before this collector did.
fn grown(durable: Option<Pushed>, now: Reading, last_ns: u64) -> Option<(u64, f64)> {
    match durable {
        Some(Pushed { reading, time_ns })
            if reading.start_ns == now.start_ns && now.value >= reading.value =>
        {
            Some((time_ns, now.value - reading.value))
        }
        // It began anew.
        Some(Pushed { time_ns, .. }) => Some((now.start_ns.max(time_ns), now.value)),
        // It began after the collect before: all it counted is new.
        None if last_ns > 0 && now.start_ns >= last_ns => Some((now.start_ns, now.value)),
        None => None,
    }
}

fn number(entry: &Entry, value: f64) -> Point {
    match entry.number {
        // Exact below 2^53; beyond, the nearest there is.
        Number::Int => Point::Int(value as i64),
        Number::Double => Point::Double(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_since_the_last_durable_point_or_since_the_counter_began() {
        let reading = |value, start_ns| Reading { value, start_ns };
        let durable = |value, start_ns| Some(Pushed { reading: reading(value, start_ns), time_ns: 100 });
        assert_eq!(grown(durable(5.0, 1), reading(8.0, 1), 100), Some((100, 3.0)));
        assert_eq!(grown(durable(5.0, 1), reading(2.0, 120), 100), Some((120, 2.0)), "began anew");
        assert_eq!(grown(durable(5.0, 1), reading(2.0, 1), 100), Some((100, 2.0)), "without saying so");
        assert_eq!(grown(None, reading(8.0, 1), 0), None, "the first collect");
        assert_eq!(grown(None, reading(8.0, 1), 100), None, "was there before");
        assert_eq!(grown(None, reading(8.0, 150), 100), Some((150, 8.0)), "came since");
    }
}
