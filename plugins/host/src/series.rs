//! What is remembered of each series from one collect to the next: its attributes, encoded, and its last number.

use whimbrel_sdk::{
    Attributes,
    system::{self, Attribute, Figure},
};

/// The series of one metric, in the order of the last snapshot.
#[derive(Debug, Default)]
pub(crate) struct Family {
    series: Vec<Series>,
}

/// One series.
#[derive(Debug)]
pub(crate) struct Series {
    key: Vec<Attribute>,
    /// The same, as OTLP.
    pub(crate) encoded: Attributes,
    /// Which whole it is a share of: the same number for all that differ in the state alone.
    pub(crate) group: usize,
    /// What it stood at in the collect before, and when it had begun to count; none at first.
    pub(crate) previous: Option<Reading>,
    /// What was last pushed of it and is durable.
    pub(crate) durable: Option<Pushed>,
    /// What was emitted of it and is not yet durable.
    pub(crate) pending: Option<Pushed>,
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

impl Family {
    /// Brings the series into the order of `figures`: new ones are made, and those that are gone forgotten.
    /// Without change, as nearly always, it compares and does nothing.
    pub(crate) fn follow(&mut self, figures: &[Figure], state: Option<&str>) -> &mut [Series] {
        let mut changed = self.series.len() != figures.len();
        for (place, figure) in figures.iter().enumerate() {
            if self.series.get(place).is_some_and(|series| series.key == figure.attributes) {
                continue;
            }
            changed = true;
            let rest = self.series.get(place..).unwrap_or_default();
            match rest.iter().position(|series| series.key == figure.attributes) {
                Some(further) => self.series.swap(place, place + further),
                None => self.series.insert(place, Series::new(&figure.attributes)),
            }
        }
        self.series.truncate(figures.len());
        if changed && let Some(state) = state {
            self.group(state);
        }
        &mut self.series
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
            series.group = wholes.iter().position(|known| *known == whole).unwrap_or_else(|| {
                wholes.push(whole);
                wholes.len() - 1
            });
        }
    }
}

impl Series {
    fn new(key: &[Attribute]) -> Self {
        Self {
            key: key.to_vec(),
            encoded: system::encode(key),
            group: 0,
            previous: None,
            durable: None,
            pending: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(names: &[(&str, &str)]) -> Vec<Figure> {
        let figure = |(device, state): &(&str, &str)| Figure {
            name: "x".to_owned(),
            attributes: vec![Attribute::text("device", *device), Attribute::text("state", *state)],
            start_ns: 0,
            value: 0.0,
        };
        names.iter().map(figure).collect()
    }

    #[test]
    fn series_keep_what_they_remember_through_any_order() {
        let mut family = Family::default();
        let mark = |series: &mut [Series]| {
            for (number, series) in series.iter_mut().enumerate() {
                series.previous = Some(Reading { value: number as f64, start_ns: 0 });
            }
        };
        mark(family.follow(&figures(&[("a", "used"), ("a", "free"), ("b", "used")]), Some("state")));
        let order = figures(&[("b", "used"), ("c", "used"), ("a", "free"), ("a", "used")]);
        let remembered: Vec<_> = family
            .follow(&order, Some("state"))
            .iter()
            .map(|series| (series.previous.map(|reading| reading.value), series.group))
            .collect();
        assert_eq!(remembered, [(Some(2.0), 0), (None, 1), (Some(1.0), 2), (Some(0.0), 2)]);

        assert_eq!(family.follow(&figures(&[("a", "used")]), Some("state")).len(), 1);
        let back = family.follow(&figures(&[("a", "used"), ("b", "used")]), Some("state"));
        assert_eq!(back[1].previous, None, "what was gone is new when it comes again");
    }

    #[test]
    fn attributes_are_encoded_in_the_order_they_were_given() {
        let mut family = Family::default();
        let series = family.follow(&figures(&[("a", "used")]), None);
        assert_eq!(series[0].encoded, Attributes::new().with("device", "a").with("state", "used"));
    }
}
