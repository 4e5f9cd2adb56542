//! The names of the configuration's choice, and which of them are wanted: settled once, at the start.

use glob::Pattern;
use whimbrel_sdk::Error;

use crate::{
    config::{Globs, Names},
    table::{self, Entry, HOSTMETRICS, Old, TABLE},
};

/// What is emitted, and what it is made of.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    /// Each metric once; in this order they are emitted.
    emitted: Vec<Emitted>,
    /// As [`TABLE`].
    routes: Vec<Option<Route>>,
}

/// A metric, its share, or both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Emitted {
    /// Without a share that is not wanted.
    pub(crate) entry: Entry,
    /// Whether the metric itself is wanted.
    pub(crate) wanted: bool,
}

/// What a figure becomes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    /// Which of the emitted ones.
    pub(crate) place: usize,
    /// How its attributes change.
    pub(crate) old: Option<&'static Old>,
}

impl Vocabulary {
    /// # Errors
    /// A pattern that is none, or that no name matches; or nothing is left.
    pub(crate) fn new(names: Names, globs: &Globs) -> Result<Self, Error> {
        let mut filter = Filter::new(globs)?;
        let mut vocabulary = Self { emitted: Vec::with_capacity(TABLE.len()), routes: Vec::new() };
        for entry in TABLE {
            let old = match names {
                Names::Semconv => None,
                Names::Hostmetrics => HOSTMETRICS.iter().find(|old| old.figure == entry.metric.name),
            };
            let route = vocabulary.add(old.map_or(*entry, |old| old.entry), &mut filter);
            vocabulary.routes.push(route.map(|place| Route { place, old }));
        }
        filter.every_pattern_matched()?;
        if vocabulary.emitted.is_empty() {
            return Err(Error::config("`metrics` leaves nothing to emit: exclude less, or include more"));
        }
        Ok(vocabulary)
    }

    fn add(&mut self, entry: Entry, filter: &mut Filter) -> Option<usize> {
        let same = |known: &Emitted| known.entry.metric.name == entry.metric.name;
        // Two figures are states of one metric.
        if let Some(place) = self.emitted.iter().position(same) {
            return Some(place);
        }
        let wanted = filter.wants(entry.metric.name);
        let share = entry.share.filter(|share| filter.wants(share.metric.name));
        (wanted || share.is_some()).then(|| {
            self.emitted.push(Emitted { entry: Entry { share, ..entry }, wanted });
            self.emitted.len() - 1
        })
    }

    /// What the figure at this place of [`TABLE`] becomes; none if it is not wanted.
    pub(crate) fn route(&self, figure: usize) -> Option<Route> {
        self.routes[figure]
    }

    pub(crate) fn emitted(&self, place: usize) -> &Emitted {
        &self.emitted[place]
    }

    /// Whether anything of the part is emitted.
    pub(crate) fn wants(&self, part: &str) -> bool {
        let part = if part == "cpu.logical" { "cpu" } else { part };
        self.emitted.iter().any(|emitted| emitted.entry.part == part)
    }

    /// Whether shares of the host's CPU time or memory are emitted, which need the parts that tell those.
    pub(crate) fn wants_share_of(&self, of: table::Of) -> bool {
        self.emitted.iter().any(|emitted| emitted.entry.share.is_some_and(|share| share.of == of))
    }
}

/// `metrics: {include, exclude}`.
struct Filter {
    include: Vec<Matcher>,
    exclude: Vec<Matcher>,
}

struct Matcher {
    key: String,
    pattern: Pattern,
    matched: bool,
}

impl Filter {
    fn new(globs: &Globs) -> Result<Self, Error> {
        let matchers = |list: &str, patterns: &[String]| {
            let matcher = |(number, text): (usize, &String)| {
                let key = format!("metrics.{list}[{number}]");
                let pattern = crate::config::pattern(&key, text)?;
                Ok(Matcher { key, pattern, matched: false })
            };
            patterns.iter().enumerate().map(matcher).collect::<Result<Vec<_>, Error>>()
        };
        Ok(Self {
            include: matchers("include", &globs.include)?,
            exclude: matchers("exclude", &globs.exclude)?,
        })
    }

    fn wants(&mut self, name: &str) -> bool {
        let any = |matchers: &mut [Matcher]| {
            matchers.iter_mut().fold(false, |any, matcher| {
                let matches = matcher.pattern.matches(name);
                matcher.matched |= matches;
                any | matches
            })
        };
        let included = any(&mut self.include) || self.include.is_empty();
        let excluded = any(&mut self.exclude);
        included && !excluded
    }

    /// A pattern that matches nothing was meant to match something.
    fn every_pattern_matched(&self) -> Result<(), Error> {
        match self.include.iter().chain(&self.exclude).find(|matcher| !matcher.matched) {
            None => Ok(()),
            Some(Matcher { key, pattern, .. }) => Err(Error::config(format!(
                "`{key}` is {:?}, and no metric has such a name; the README of the host collector lists them, and \
                 with `names: hostmetrics` the older names count",
                pattern.as_str()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(names: Names, include: &[&str], exclude: &[&str]) -> Result<Vocabulary, Error> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Vocabulary::new(names, &Globs { include: texts(include), exclude: texts(exclude) })
    }

    fn names(vocabulary: &Vocabulary) -> Vec<&'static str> {
        let names = |emitted: &Emitted| {
            let name = emitted.wanted.then_some(emitted.entry.metric.name);
            name.into_iter().chain(emitted.entry.share.map(|share| share.metric.name))
        };
        vocabulary.emitted.iter().flat_map(names).collect()
    }

    #[test]
    fn what_is_not_wanted_is_not_even_asked_for() {
        let few = vocabulary(Names::Semconv, &["system.cpu.*", "hw.*"], &["*.load_average.*"]).unwrap();
        assert!(few.wants("cpu") && few.wants("cpu.logical") && few.wants("sensors"));
        assert!(!few.wants("host") && !few.wants("memory"), "{:?}", names(&few));
    }

    #[test]
    fn a_share_may_be_wanted_alone() {
        let alone = vocabulary(Names::Semconv, &["system.cpu.utilization"], &[]).unwrap();
        assert_eq!(names(&alone), ["system.cpu.utilization"]);
        let without = vocabulary(Names::Semconv, &["system.cpu.*"], &["*.utilization"]).unwrap();
        assert!(!names(&without).contains(&"system.cpu.utilization"));
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused_with_its_key() {
        let error = vocabulary(Names::Semconv, &[], &["system.cpu.*", "system.linx.*"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`metrics.exclude[1]`") && text.contains("system.linx.*"), "{text}");
        let error = vocabulary(Names::Semconv, &[], &["system.network.packets"]).unwrap_err();
        assert!(error.to_string().contains("hostmetrics"), "{error}");
        assert!(vocabulary(Names::Hostmetrics, &[], &["system.network.packets"]).is_ok());
        let error = vocabulary(Names::Semconv, &[], &["system.[cpu"]).unwrap_err();
        assert!(error.to_string().contains("`metrics.exclude[0]`"), "{error}");
        let error = vocabulary(Names::Semconv, &[], &["*"]).unwrap_err();
        assert!(error.to_string().contains("nothing to emit"), "{error}");
    }

    #[test]
    fn two_figures_become_states_of_one_older_metric() {
        let old = vocabulary(Names::Hostmetrics, &[], &[]).unwrap();
        let place = |name| old.route(table::find(name).unwrap()).unwrap().place;
        assert_eq!(place("system.memory.usage"), place("system.memory.linux.slab.usage"));
        let mut unique = names(&old);
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names(&old).len(), "each name once");
    }
}
