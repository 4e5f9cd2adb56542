//! What all sections are checked with: sections with their keys, and values by type.

use std::{borrow::Cow, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::keys::{Keys, SECTIONS, nearest};
use crate::config::{
    environment::Environment,
    interpolate::{absolute, interpolate},
    problem::{Problem, Problems, Wrong, is_key_like, join, quote, quote_key},
    text::{Position, Texts},
    tree::{Entry, Node, Scalar, Value},
    units,
};

/// Notes problems and goes on.
pub(in crate::config) struct Checker<'c> {
    pub(in crate::config) texts: &'c Texts,
    pub(in crate::config) environment: &'c dyn Environment,
    pub(in crate::config) problems: Problems,
    pub(in crate::config) warnings: Problems,
}

/// A value and its dotted key.
#[derive(Clone)]
pub(in crate::config) struct Place<'t> {
    pub(in crate::config) key: String,
    pub(in crate::config) node: &'t Node,
    /// Neither messages nor excerpts show the value.
    pub(in crate::config) secret: bool,
}

/// A map and its dotted key.
pub(in crate::config) struct Section<'t> {
    pub(in crate::config) key: String,
    pub(in crate::config) at: Position,
    pub(in crate::config) entries: &'t [Entry],
    secret: bool,
}

/// `key:value` is one text in YAML.
const COLON: &str = "put a space behind the colon: `key: value`";

impl<'t> Place<'t> {
    pub(in crate::config) fn new(key: &str, node: &'t Node) -> Self {
        Self { key: key.to_owned(), node, secret: false }
    }

    /// The same value, never shown.
    pub(in crate::config) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The same value under its position in a list.
    fn item(&self, index: usize, node: &'t Node) -> Place<'t> {
        Place { key: format!("{}[{index}]", self.key), node, secret: self.secret }
    }
}

impl<'t> Section<'t> {
    /// The value under `name`, if it is given.
    pub(in crate::config) fn get(&self, name: &str) -> Option<Place<'t>> {
        self.entries.iter().find(|entry| entry.key == name).map(|entry| self.place(entry))
    }

    /// An entry of this section as a place.
    pub(in crate::config) fn place(&self, entry: &'t Entry) -> Place<'t> {
        let key = join(&self.key, &entry.key);
        Place { key, node: &entry.value, secret: self.secret }
    }
}

impl<'c> Checker<'c> {
    pub(in crate::config) fn new(texts: &'c Texts, environment: &'c dyn Environment) -> Self {
        Self { texts, environment, problems: Problems::default(), warnings: Problems::default() }
    }

    /// Notes a problem with a key or a place as a whole.
    pub(in crate::config) fn problem(
        &mut self,
        at: Position,
        key: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem::new(self.texts, at, key, what, remedy));
    }

    /// Notes what is allowed, and likely not meant.
    pub(in crate::config) fn warn(
        &mut self,
        at: Position,
        key: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings.push(Problem::new(self.texts, at, key, what, remedy));
    }

    /// Notes that the value at `place` is wrong: quoted as it is written, unless it is secret.
    pub(in crate::config) fn wrong(&mut self, place: &Place<'_>, wrong: Wrong) {
        let at = place.node.at;
        let problem = match &place.node.value {
            Value::Scalar(scalar) if scalar.is_null() => {
                Problem::new(self.texts, at, &place.key, "has no value", wrong.remedy)
            }
            Value::Scalar(scalar) if !place.secret => {
                let put_in = if scalar.may_interpolate() { ", once everything is put in," } else { "" };
                let what = format!("{}{put_in} {}", quote(&scalar.text), wrong.what);
                Problem::new(self.texts, at, &place.key, what, wrong.remedy).showing_value(self.texts, at)
            }
            _ => Problem::new(self.texts, at, &place.key, format!("the value {}", wrong.what), wrong.remedy),
        };
        self.problems.push(problem);
    }

    /// A map whose keys are known; nothing is an empty one. Unknown keys and those of later versions are noted.
    pub(in crate::config) fn section<'t>(&mut self, place: &Place<'t>, keys: &Keys) -> Option<Section<'t>> {
        let example = format!("write {} as keys and values below it", list(keys.now));
        let section = self.map(place, &example)?;
        for entry in section.entries {
            if keys.now.contains(&entry.key.as_str()) {
                continue;
            }
            let key = join(&section.key, &entry.key);
            let name = quote_key(&entry.key);
            if let Some((_, instead)) = keys.later.iter().find(|(later, _)| *later == entry.key) {
                self.problem(
                    entry.key_at,
                    &key,
                    format!("{name} is not in this version"),
                    format!("remove it: {instead}"),
                );
            } else {
                let remedy = self.suggest(&entry.key, keys);
                self.problem(entry.key_at, &key, format!("unknown key {name}"), remedy);
            }
        }
        Some(section)
    }

    /// What to do about an unknown key.
    fn suggest(&self, key: &str, keys: &Keys) -> String {
        if !is_key_like(key) && key.contains(':') {
            return COLON.to_owned();
        }
        if let Some(near) = nearest(key, keys.all()) {
            return match keys.later.iter().find(|(later, _)| *later == near) {
                Some((_, instead)) => format!("`{near}` is not in this version: {instead}"),
                None => format!("did you mean `{near}`?"),
            };
        }
        let elsewhere = SECTIONS.iter().find(|other| other.now.contains(&key) && other.path != keys.path);
        match elsewhere.map(|other| other.path) {
            Some("") => format!("`{key}` belongs at the top, outside every section"),
            Some(path) => format!("`{key}` belongs in `{}`", path.replace('*', "NAME")),
            None => format!("known here: {}", keys.now.join(", ")),
        }
    }

    /// A map with keys of the user's own; nothing is an empty one.
    pub(in crate::config) fn map<'t>(&mut self, place: &Place<'t>, example: &str) -> Option<Section<'t>> {
        let entries = match &place.node.value {
            Value::Map(entries) => entries.as_slice(),
            _ if place.node.is_null() => &[],
            Value::Scalar(_) | Value::List(_) => {
                let what = format!("a map is needed here, and this is {}", place.node.kind());
                let glued = |scalar: &Scalar| {
                    scalar.plain && scalar.text.contains(':') && !scalar.text.contains("://")
                };
                let remedy = match &place.node.value {
                    Value::Scalar(scalar) if glued(scalar) => COLON,
                    _ => example,
                };
                self.problem(place.node.at, &place.key, what, remedy);
                return None;
            }
        };
        Some(Section { key: place.key.clone(), at: place.node.at, entries, secret: place.secret })
    }

    /// The items of a list; a single value where a list is wanted is noted.
    pub(in crate::config) fn list<'t>(&mut self, place: &Place<'t>, example: &str) -> Option<Vec<Place<'t>>> {
        match &place.node.value {
            Value::List(items) => {
                Some(items.iter().enumerate().map(|(index, node)| place.item(index, node)).collect())
            }
            Value::Scalar(_) | Value::Map(_) => {
                let what = format!("a list is needed here, and this is {}", place.node.kind());
                self.problem(place.node.at, &place.key, what, example);
                None
            }
        }
    }

    /// The scalar at a place as it is written.
    pub(in crate::config) fn scalar<'t>(&mut self, place: &Place<'t>) -> Option<&'t Scalar> {
        match &place.node.value {
            Value::Scalar(scalar) if scalar.is_null() => {
                self.problem(place.node.at, &place.key, "has no value", "give it one, or remove the key");
                None
            }
            Value::Scalar(scalar) => Some(scalar),
            Value::List(_) | Value::Map(_) => {
                let what = format!("a single value is needed here, and this is {}", place.node.kind());
                self.problem(place.node.at, &place.key, what, "write one value behind the colon");
                None
            }
        }
    }

    /// The text at a place, with everything put in.
    pub(in crate::config) fn text<'t>(&mut self, place: &Place<'t>) -> Option<Cow<'t, str>> {
        let scalar = self.scalar(place)?;
        let folder = &self.texts.get(place.node.at.text).folder;
        match interpolate(scalar, folder, self.environment, place.secret) {
            Ok(text) => Some(text),
            Err(wrongs) => {
                for wrong in wrongs {
                    let what = format!("the value {}", wrong.what);
                    self.problem(place.node.at, &place.key, what, wrong.remedy);
                }
                None
            }
        }
    }

    /// A value that `parse` reads.
    pub(in crate::config) fn value<T>(
        &mut self,
        place: &Place<'_>,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let text = self.text(place)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong(place, wrong);
                None
            }
        }
    }

    /// A duration within `range`.
    pub(in crate::config) fn duration(
        &mut self,
        place: &Place<'_>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.value(place, |text| {
            within(units::parse_duration(text)?, &range, |limit| units::show_duration(*limit))
        })
    }

    /// A size within `range`, bytes.
    pub(in crate::config) fn size(&mut self, place: &Place<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        self.value(place, |text| within(units::parse_size(text)?, &range, |limit| units::show_size(*limit)))
    }

    /// A whole number within `range`.
    pub(in crate::config) fn integer(
        &mut self,
        place: &Place<'_>,
        range: RangeInclusive<i64>,
    ) -> Option<i64> {
        let remedy = format!("write a whole number, {} to {}", range.start(), range.end());
        self.value(place, |text| {
            let number = text.parse().map_err(|_| Wrong::new("is not a whole number", remedy))?;
            within(number, &range, i64::to_string)
        })
    }

    /// One of `choices`; `later` are named with why they are refused.
    pub(in crate::config) fn choice<T: Copy>(
        &mut self,
        place: &Place<'_>,
        choices: &[(&str, T)],
        later: &[(&str, &str)],
    ) -> Option<T> {
        self.value(place, |text| choose(text, choices, later))
    }

    /// A path, absolute; relative ones begin at the folder of the file that names them.
    pub(in crate::config) fn path(&mut self, place: &Place<'_>) -> Option<PathBuf> {
        let folder = &self.texts.get(place.node.at.text).folder;
        self.value(place, |text| match text {
            "" => Err(Wrong::new("is not a path", "name a file or folder")),
            text if text == "~" || text.starts_with("~/") => Err(Wrong::new(
                "begins with `~`, which only a shell knows",
                "write `${env:HOME}` in its place",
            )),
            text if text.contains('\0') => Err(Wrong::new("holds a NUL", "remove it")),
            text => Ok(absolute(folder, text)),
        })
    }
}

/// One of `choices`, or which there are.
pub(in crate::config) fn choose<T: Copy>(
    text: &str,
    choices: &[(&str, T)],
    later: &[(&str, &str)],
) -> Result<T, Wrong> {
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*choice);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    if let Some((_, instead)) = later.iter().find(|(name, _)| *name == text) {
        return Err(Wrong::new("is not in this version", format!("write {}: {instead}", list(&names))));
    }
    Err(match nearest(text, names.iter().copied()) {
        Some(near) => {
            Wrong::new("is not known here", format!("did you mean `{near}`? Known: {}", names.join(", ")))
        }
        None => Wrong::new("is not known here", format!("write {}", list(&names))),
    })
}

/// `value`, where it is within `range`.
fn within<T: PartialOrd>(
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, Wrong> {
    let (least, most) = (show(range.start()), show(range.end()));
    if value < *range.start() {
        Err(Wrong::new(format!("is less than {least}"), format!("write {least} to {most}")))
    } else if value > *range.end() {
        Err(Wrong::new(format!("is more than {most}"), format!("write {least} to {most}")))
    } else {
        Ok(value)
    }
}

/// "a", "a or b", "a, b or c", each in backticks.
fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
