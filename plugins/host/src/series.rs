//! What is remembered of each series from one collect to the next: its attributes, encoded, and its last number.

use whimbrel_sdk::{
    Attributes,
    system::{self, Attribute, Figure, Value},
};

use crate::table::{Of, Old, Share, Values};

/// The series of one metric, in the order of the last snapshot.
#[derive(Debug, Default)]
pub(crate) struct Family {
    series: Vec<Series>,
}

/// One series.
#[derive(Debug)]
pub(crate) struct Series {
    key: Vec<Attribute>,
    /// The same under the names that are emitted, as OTLP; none if it has no such name and is left out.
    pub(crate) encoded: Option<Attributes>,
    /// Of its share, where it has others.
    shared: Shared,
    /// Which whole it is a share of: the same number for all that differ in the state alone.
    pub(crate) group: usize,
    /// What it stood at in the collect before, and when it had begun to count; none at first.
    pub(crate) previous: Option<Reading>,
    /// What was last pushed of it and is durable.
    pub(crate) durable: Option<Pushed>,
    /// What was emitted of it in this collect, and waits to become durable.
    pub(crate) pending: Option<Pending>,
}

/// Whether a series belongs to the whole, and how its share is told.
#[derive(Debug)]
enum Shared {
    /// No.
    Out,
    /// It does, and has none.
    Counted,
    /// It does, under the series' own attributes.
    Same,
    /// It does, under these.
    As(Attributes),
}

/// A counter's reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// What it stands at.
    pub(crate) value: f64,
    /// When it began to count.
    pub(crate) start_ns: u64,
}

/// A reading, and the time of the collect it was made for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pushed {
    /// What was read.
    pub(crate) reading: Reading,
    /// When.
    pub(crate) time_ns: u64,
}

/// What is durable once one more push than these has succeeded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pending {
    pub(crate) pushed: Pushed,
    /// How many had succeeded when it was emitted.
    pub(crate) after: u64,
}

impl Family {
    /// Brings the series into the order of `figures`: new ones are made, and those that are gone forgotten.
    /// Without change, as nearly always, it compares and does nothing.
    pub(crate) fn follow<'f>(
        &mut self,
        figures: impl ExactSizeIterator<Item = (&'f Figure, Option<&'static Old>)>,
        share: Option<&Share>,
    ) {
        let count = figures.len();
        let mut changed = self.series.len() != count;
        for (place, (figure, old)) in figures.enumerate() {
            if self.series.get(place).is_some_and(|series| series.key == figure.attributes) {
                continue;
            }
            changed = true;
            let rest = self.series.get(place..).unwrap_or_default();
            match rest.iter().position(|series| series.key == figure.attributes) {
                Some(further) => self.series.swap(place, place + further),
                None => self.series.insert(place, Series::new(&figure.attributes, old, share)),
            }
        }
        self.series.truncate(count);
        if changed
            && let Some(share) = share
            && matches!(share.of, Of::Now | Of::Growth)
        {
            self.group(share.state);
        }
    }

    /// In the order of the last [`follow`](Self::follow).
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        self.series.iter_mut()
    }

    fn group(&mut self, state: &str) {
        let whole = |series: &Series| -> Vec<Attribute> {
            series.key.iter().filter(|attribute| attribute.key != state).cloned().collect()
        };
        let mut wholes: Vec<Vec<Attribute>> = Vec::new();
        for series in &mut self.series {
            let whole = whole(series);
            // States of one whole stand together, nearly always.
            let known = wholes.iter().rposition(|known| *known == whole);
            series.group = known.unwrap_or_else(|| {
                wholes.push(whole);
                wholes.len() - 1
            });
        }
    }
}

impl Series {
    fn new(key: &[Attribute], old: Option<&Old>, share: Option<&Share>) -> Self {
        let encoded = encode(key, old, None);
        let shared = share.map_or(Shared::Out, |share| shared(key, old, share));
        Self { key: key.to_vec(), encoded, shared, group: 0, previous: None, durable: None, pending: None }
    }

    /// Whether it is one of those that make up the whole.
    pub(crate) fn is_counted(&self) -> bool {
        !matches!(self.shared, Shared::Out)
    }

    /// The attributes of its share; none if that is not told.
    pub(crate) fn shared(&self) -> Option<&Attributes> {
        match &self.shared {
            Shared::Out | Shared::Counted => None,
            Shared::Same => self.encoded.as_ref(),
            Shared::As(attributes) => Some(attributes),
        }
    }

    /// What was emitted is durable if a push after it has succeeded; else it was never said.
    pub(crate) fn settle(&mut self, pushes: u64) {
        if let Some(Pending { pushed, after }) = self.pending.take()
            && after < pushes
        {
            self.durable = Some(pushed);
        }
    }
}

fn shared(key: &[Attribute], old: Option<&Old>, share: &Share) -> Shared {
    if share.among.is_empty() {
        return Shared::Same;
    }
    let state = key.iter().find(|attribute| attribute.key == share.state).and_then(text);
    match state {
        Some(state) if share.among.contains(&state) => match share.only {
            None => Shared::Same,
            Some(only) if only == state => {
                encode(key, old, Some(share.state)).map_or(Shared::Out, Shared::As)
            }
            Some(_) => Shared::Counted,
        },
        _ => Shared::Out,
    }
}

fn text(attribute: &Attribute) -> Option<&str> {
    match &attribute.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Under the names that are emitted, without the attribute that is left out; none for a series without a name.
fn encode(key: &[Attribute], old: Option<&Old>, left_out: Option<&str>) -> Option<Attributes> {
    let keys = old.map_or(&[][..], |old| old.keys);
    if keys.is_empty() && left_out.is_none() {
        return Some(system::encode(key));
    }
    let mut encoded = Attributes::new();
    for attribute in key.iter().filter(|attribute| left_out != Some(attribute.key.as_str())) {
        let Some(renamed) = keys.iter().find(|renamed| renamed.from == attribute.key) else {
            encoded.push(&attribute.key, &attribute.value);
            continue;
        };
        match renamed.values {
            Values::Same => encoded.push(renamed.to, &attribute.value),
            Values::Become(values) => {
                let own = text(attribute)?;
                let (_, theirs) = values.iter().find(|(ours, _)| *ours == own)?;
                encoded.push(renamed.to, *theirs);
            }
            Values::After(before) => match &attribute.value {
                Value::Int(number) => encoded.push(renamed.to, &format!("{before}{number}")),
                other => encoded.push(renamed.to, other),
            },
        }
    }
    Some(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Entry, HOSTMETRICS, TABLE, find};

    fn figures(names: &[(&str, &str)]) -> Vec<Figure> {
        let figure = |(device, state): &(&str, &str)| Figure {
            name: "x".to_owned(),
            attributes: vec![
                Attribute::text("system.device", *device),
                Attribute::text("system.filesystem.state", *state),
            ],
            start_ns: 0,
            value: 0.0,
        };
        names.iter().map(figure).collect()
    }

    fn entry(name: &str) -> &'static Entry {
        &TABLE[find(name).unwrap()]
    }

    fn follow<'a>(family: &'a mut Family, figures: &[Figure]) -> &'a mut [Series] {
        let share = entry("system.filesystem.usage").share.as_ref();
        family.follow(figures.iter().map(|figure| (figure, None)), share);
        &mut family.series
    }

    #[test]
    fn series_keep_what_they_remember_through_any_order() {
        let mut family = Family::default();
        let mark = |series: &mut [Series]| {
            for (number, series) in series.iter_mut().enumerate() {
                series.previous = Some(Reading { value: number as f64, start_ns: 0 });
            }
        };
        mark(follow(&mut family, &figures(&[("a", "used"), ("a", "free"), ("b", "used")])));
        let order = figures(&[("b", "used"), ("c", "used"), ("a", "free"), ("a", "used")]);
        let remembered: Vec<_> = follow(&mut family, &order)
            .iter()
            .map(|series| (series.previous.map(|reading| reading.value), series.group))
            .collect();
        assert_eq!(remembered, [(Some(2.0), 0), (None, 1), (Some(1.0), 2), (Some(0.0), 2)]);

        assert_eq!(follow(&mut family, &figures(&[("a", "used")])).len(), 1);
        let back = follow(&mut family, &figures(&[("a", "used"), ("b", "used")]));
        assert_eq!(back[1].previous, None, "what was gone is new when it comes again");
    }

    #[test]
    fn attributes_are_encoded_in_the_order_they_were_given() {
        let mut family = Family::default();
        let series = follow(&mut family, &figures(&[("a", "used")]));
        let expected = Attributes::new().with("system.device", "a").with("system.filesystem.state", "used");
        assert_eq!(series[0].encoded, Some(expected));
    }

    #[test]
    fn an_older_share_is_of_two_states_and_told_of_one() {
        let old = HOSTMETRICS.iter().find(|old| old.figure == "system.filesystem.usage").unwrap();
        let mut family = Family::default();
        let figures = figures(&[("a", "used"), ("a", "free"), ("a", "reserved")]);
        family.follow(figures.iter().map(|figure| (figure, Some(old))), old.entry.share.as_ref());
        let told: Vec<_> =
            family.series.iter().map(|series| (series.is_counted(), series.shared().cloned())).collect();
        assert_eq!(told, [(true, Some(Attributes::new().with("device", "a"))), (true, None), (false, None)]);
    }

    #[test]
    fn what_the_older_names_lack_is_left_out() {
        let old = HOSTMETRICS.iter().find(|old| old.figure == "system.network.connection.count").unwrap();
        let udp = [Attribute::text("network.transport", "udp")];
        assert_eq!(encode(&udp, Some(old), None), None);
        let tcp = [
            Attribute::text("network.connection.state", "listen"),
            Attribute::text("network.transport", "tcp"),
        ];
        let expected = Attributes::new().with("state", "LISTEN").with("protocol", "tcp");
        assert_eq!(encode(&tcp, Some(old), None), Some(expected));
        let old = HOSTMETRICS.iter().find(|old| old.figure == "system.cpu.frequency").unwrap();
        let cpu = [Attribute::int("cpu.logical_number", 3)];
        assert_eq!(encode(&cpu, Some(old), None), Some(Attributes::new().with("cpu", "cpu3")));
    }
}
