//! The host collector: figures of the host's parts to metrics of the OpenTelemetry semantic conventions.
//!
//! The agent reads the figures; which unit and kind they have, what is a share of what, and how a counter is
//! told, is decided here. A part that is not granted, or that this host does not have, is left out and said
//! once. Attributes of a series are encoded when it is first seen, and copied from then on.
//!
//! Deliberately absent: figures of single processes, and the older names of the Collector's hostmetrics
//! receiver.

mod series;
pub mod table;

use serde::Deserialize;
use whimbrel_sdk::{
    Collector, Context, Data, Emit, Error, Metric, More, Number as Point, Temporality, collector, debug,
    info,
    system::{self, Entity, Figure},
    warn,
};

use crate::{
    series::{Family, Pushed, Reading},
    table::{Entry, Number, Of, TABLE},
};

/// What is asked for, in the order it is emitted. With `per_cpu`, the times of CPUs are another part's.
const PARTS: [&str; 8] = ["cpu", "memory", "paging", "disk", "filesystem", "network", "process", "host"];

/// The times of each CPU: a detail of `cpu`, that comes with its grant.
const PER_CPU: &str = "cpu.logical";

const CPU_TIME: &str = "system.cpu.time";

/// Counted as deltas, so many points are made durable together: fewer than the SDK pushes by itself, so that
/// the moment is ours to choose.
const DURABLE_AT_ONCE: usize = 500;

/// The configuration, `config:` in the agent's file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How counters are told. Default cumulative.
    temporality: Tell,
    /// CPU times and shares of each logical CPU, and not of all together. Default false.
    per_cpu: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tell {
    /// What was counted since boot.
    #[default]
    Cumulative,
    /// What was counted since the last durable point.
    Delta,
}

/// The collector.
#[derive(Debug)]
pub struct Host {
    tell: Tell,
    parts: Vec<Part>,
    /// As [`TABLE`].
    families: Vec<Family>,
    /// Names that this version does not know, said once each.
    unknown: Vec<String>,
    /// Points emitted since the last flush, when counters are told as deltas.
    waiting: usize,
    /// When the last collect began; 0 before the first.
    last_ns: u64,
}

#[derive(Debug)]
struct Part {
    name: &'static str,
    state: PartState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartState {
    Asked,
    /// Said that it gives nothing; asked on.
    Failing,
    /// Not granted: that does not change while an instance lives.
    Denied,
}

impl Collector for Host {
    type Config = Config;

    fn new(context: Context<Config>) -> Result<Self, Error> {
        let Config { temporality, per_cpu } = context.config;
        let names = PARTS.into_iter().chain(per_cpu.then_some(PER_CPU));
        Ok(Self {
            tell: temporality,
            parts: names.map(|name| Part { name, state: PartState::Asked }).collect(),
            families: TABLE.iter().map(|_| Family::default()).collect(),
            unknown: Vec::new(),
            waiting: 0,
            last_ns: 0,
        })
    }

    fn collect(&mut self, out: &mut Emit) -> Result<More, Error> {
        let per_cpu = self.parts.iter().any(|part| part.name == PER_CPU);
        self.waiting = 0;
        for family in &mut self.families {
            family.iter_mut().for_each(|series| series.pending = None);
        }
        for place in 0..self.parts.len() {
            let part = &mut self.parts[place];
            let name = part.name;
            for entity in part.ask() {
                let mut figures = entity.figures;
                if per_cpu && name != PER_CPU {
                    figures.retain(|figure| figure.name != CPU_TIME);
                }
                self.emit(figures, out)?;
            }
        }
        if self.parts.iter().all(|part| part.state == PartState::Denied) {
            return Err(Error::Denied(
                "no part of the host's figures is granted; add `grants: {system: true}` to this collector"
                    .to_owned(),
            ));
        }
        if self.tell == Tell::Delta {
            self.make_durable(out)?;
        }
        self.last_ns = out.now_ns();
        Ok(More::No)
    }
}

impl Part {
    /// Its figures, or none; why is said when it begins and when it ends.
    fn ask(&mut self) -> Vec<Entity> {
        if self.state == PartState::Denied {
            return Vec::new();
        }
        self.hear(system::snapshot(self.name))
    }

    fn hear(&mut self, answer: Result<Vec<Entity>, Error>) -> Vec<Entity> {
        let Self { name, state } = self;
        match answer {
            Ok(entities) => {
                if std::mem::replace(state, PartState::Asked) == PartState::Failing {
                    info!("the host's figures of {name} are there again"; "part" => name);
                }
                entities
            }
            Err(Error::Denied(why)) => {
                *state = PartState::Denied;
                info!("figures of {name} are not granted and are left out: {why}"; "part" => name);
                Vec::new()
            }
            Err(why) => {
                if std::mem::replace(state, PartState::Failing) != PartState::Failing {
                    warn!("figures of {name} are left out until they are there: {why}"; "part" => name);
                }
                Vec::new()
            }
        }
    }
}

impl Host {
    fn emit(&mut self, figures: Vec<Figure>, out: &mut Emit) -> Result<(), Error> {
        let mut placed = Vec::with_capacity(figures.len());
        let mut last: Option<usize> = None;
        for figure in figures {
            let place = match last {
                Some(place) if TABLE[place].metric.name == figure.name => Some(place),
                _ => table::find(&figure.name),
            };
            match place {
                Some(place) => placed.push((place, figure)),
                None => self.say_unknown(figure.name),
            }
            last = place;
        }
        placed.sort_by_key(|(place, _)| *place);
        let mut rest = placed.into_iter().peekable();
        while let Some((place, first)) = rest.next() {
            let mut run = vec![first];
            while let Some((_, figure)) = rest.next_if(|(next, _)| *next == place) {
                run.push(figure);
            }
            self.emit_family(place, &run, out)?;
        }
        Ok(())
    }

    fn emit_family(&mut self, place: usize, figures: &[Figure], out: &mut Emit) -> Result<(), Error> {
        let entry = &TABLE[place];
        self.families[place].follow(figures, entry.share.map(|share| share.state));
        if entry.is_counter() && self.tell == Tell::Delta {
            self.emit_deltas(place, figures, out)?;
        } else {
            self.make_room(figures.len(), out)?;
            let now_ns = out.now_ns();
            let mut points = out.metric(&entry.metric);
            for (series, figure) in self.families[place].iter_mut().zip(figures) {
                points.point_at(&series.encoded, figure.start_ns, now_ns, number(entry, figure.value))?;
            }
        }
        self.emit_shares(place, figures, out)
    }

    fn emit_deltas(&mut self, place: usize, figures: &[Figure], out: &mut Emit) -> Result<(), Error> {
        let entry = &TABLE[place];
        let metric =
            Metric { data: Data::Sum { temporality: Temporality::Delta, monotonic: true }, ..entry.metric };
        let (now_ns, last_ns) = (out.now_ns(), self.last_ns);
        for (chunk, figures) in figures.chunks(DURABLE_AT_ONCE).enumerate() {
            self.make_room(figures.len(), out)?;
            let from = chunk * DURABLE_AT_ONCE;
            let mut deltas = Vec::with_capacity(figures.len());
            for (series, figure) in self.families[place].iter_mut().skip(from).zip(figures) {
                let reading = Reading { value: figure.value, start_ns: figure.start_ns };
                deltas.push(grown(series.durable, reading, last_ns));
                series.pending = Some(Pushed { reading, time_ns: now_ns });
            }
            // A metric without points is better not begun.
            if deltas.iter().all(Option::is_none) {
                continue;
            }
            let mut points = out.metric(&metric);
            for (series, delta) in self.families[place].iter_mut().skip(from).zip(deltas) {
                if let Some((since_ns, grown)) = delta {
                    points.point_at(&series.encoded, since_ns, now_ns, number(entry, grown))?;
                }
            }
        }
        Ok(())
    }

    fn emit_shares(&mut self, place: usize, figures: &[Figure], out: &mut Emit) -> Result<(), Error> {
        let Some(share) = &TABLE[place].share else { return Ok(()) };
        let mut wholes: Vec<f64> = Vec::new();
        let mut parts: Vec<Option<f64>> = Vec::with_capacity(figures.len());
        for (series, figure) in self.families[place].iter_mut().zip(figures) {
            let reading = Reading { value: figure.value, start_ns: figure.start_ns };
            let part = match share.of {
                Of::Now => Some(figure.value),
                Of::Growth => series.previous.and_then(|before| {
                    let goes_on = before.start_ns == reading.start_ns && reading.value >= before.value;
                    goes_on.then_some(reading.value - before.value)
                }),
            };
            series.previous = Some(reading);
            if wholes.len() <= series.group {
                wholes.resize(series.group + 1, 0.0);
            }
            // One state without a number, and the whole is not known either.
            wholes[series.group] += part.unwrap_or(f64::NAN);
            parts.push(part);
        }
        let shared = |group: usize| wholes[group] > 0.0;
        if !self.families[place].iter_mut().any(|series| shared(series.group)) {
            return Ok(());
        }
        self.make_room(figures.len(), out)?;
        let now_ns = out.now_ns();
        let mut points = out.metric(&share.metric);
        for (series, part) in self.families[place].iter_mut().zip(parts) {
            if let Some(part) = part
                && shared(series.group)
            {
                points.point_at(&series.encoded, 0, now_ns, part / wholes[series.group])?;
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

    /// Pushes what is waiting; from there the next deltas count.
    fn make_durable(&mut self, out: &mut Emit) -> Result<(), Error> {
        out.flush()?;
        self.waiting = 0;
        for series in self.families.iter_mut().flat_map(Family::iter_mut) {
            if let Some(pushed) = series.pending.take() {
                series.durable = Some(pushed);
            }
        }
        Ok(())
    }

    fn say_unknown(&mut self, name: String) {
        if !self.unknown.contains(&name) {
            debug!("the agent tells {name}, which this version of the collector does not know");
            self.unknown.push(name);
        }
    }
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

collector!(Host {
    name: "host",
    description: "CPU, memory, paging, disks, file systems, network, processes and uptime of the host.",
    config_schema: include_str!("../config.schema.json"),
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_is_asked_on_and_one_that_is_denied_is_not() {
        let unavailable = || Err(Error::Unavailable("cannot read /proc/diskstats".to_owned()));
        let mut part = Part { name: "disk", state: PartState::Asked };
        assert_eq!(part.hear(unavailable()), []);
        assert_eq!(part.state, PartState::Failing);
        assert_eq!(part.hear(unavailable()), []);
        let entity = Entity { resource: Vec::new(), figures: Vec::new() };
        assert_eq!(part.hear(Ok(vec![entity.clone()])), [entity]);
        assert_eq!(part.state, PartState::Asked);
        part.hear(Err(Error::Denied("disk is not granted".to_owned())));
        assert_eq!(part.state, PartState::Denied);
        assert_eq!(part.ask(), []);
    }

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
