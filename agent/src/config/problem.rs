//! What is wrong with a configuration, all of it at once: where, which key, what, and what to do.
//!
//! No text here holds a secret: a message quotes what the file says, never what `${env:...}` or `${file:...}` put
//! in, and nothing under `headers` or a plugin's `config`.

use std::fmt;

use super::text::{Excerpt, Location, Position, Texts};

/// One thing that is wrong, or, as a warning, likely to be.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Where.
    pub location: Location,
    /// The dotted key, `exporters.backend.endpoint`; empty where a text as a whole is meant.
    pub key: String,
    /// What is wrong, as a sentence without a full stop.
    pub what: String,
    /// What to do about it, likewise.
    pub remedy: String,
    /// Another place that belongs to it, such as the first of two equal keys.
    pub also: Option<Location>,
    excerpt: Option<Excerpt>,
    at: Position,
}

impl Problem {
    /// A problem at `at`.
    pub(super) fn new(
        texts: &Texts,
        at: Position,
        key: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            location: texts.locate(at),
            key: key.to_owned(),
            what: what.into(),
            remedy: remedy.into(),
            also: None,
            excerpt: texts.excerpt(at, false),
            at,
        }
    }

    /// The same, with the value at its place shown in the excerpt: for values that the message quotes.
    pub(super) fn showing_value(mut self, texts: &Texts, at: Position) -> Self {
        self.excerpt = texts.excerpt(at, true);
        self
    }

    /// The same, with another place named.
    pub(super) fn and_at(mut self, texts: &Texts, at: Position) -> Self {
        self.also = Some(texts.locate(at));
        self
    }

    /// The same, said to come from variables whose names begin so.
    pub(super) fn at_variables(mut self, names: &str) -> Self {
        self.location = Location { file: format!("${names}"), line: 0, column: 0 };
        self.excerpt = None;
        self
    }

    /// All of it but the excerpt, for the log: `file:line:column: key: what; remedy`.
    pub fn in_one_line(&self) -> String {
        let Self { location, key, what, remedy, also, .. } = self;
        let mut line = format!("{location}: ");
        if !key.is_empty() {
            line.push_str(&format!("{key}: "));
        }
        line.push_str(what);
        if let Some(also) = also {
            line.push_str(&format!("; also at {also}"));
        }
        if !remedy.is_empty() {
            line.push_str(&format!("; {remedy}"));
        }
        line
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "file": self.location.file,
            "line": self.location.line,
            "column": self.location.column,
            "key": self.key,
            "problem": self.what,
            "remedy": self.remedy,
            "also": self.also,
        })
    }
}

impl fmt::Display for Problem {
    /// `file:line:column: key: what`, the line with a caret, and the remedy. Ends with a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.location)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        writeln!(f, "{}", self.what)?;
        if let Some(excerpt) = &self.excerpt {
            writeln!(f, "{:>6} | {}", self.location.line, excerpt.line)?;
            writeln!(f, "{:>6} | {:width$}^", "", "", width = excerpt.caret)?;
        }
        if let Some(also) = &self.also {
            writeln!(f, "{:>6} = also at {also}", "")?;
        }
        if !self.remedy.is_empty() {
            writeln!(f, "{:>6} = {}", "", self.remedy)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration. Never empty where it is an error.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    problems: Vec<Problem>,
    more: usize,
}

/// How many problems are kept; the rest are counted.
const MOST: usize = 100;

impl Problems {
    /// One more.
    pub fn push(&mut self, problem: Problem) {
        match self.problems.len() < MOST {
            true => self.problems.push(problem),
            false => self.more += 1,
        }
    }

    /// All of another.
    pub(super) fn extend(&mut self, other: Problems) {
        self.more += other.more;
        other.problems.into_iter().for_each(|problem| self.push(problem));
    }

    /// In the order in which they are read: by text, line and column.
    pub(super) fn sort(&mut self) {
        self.problems.sort_by_key(|problem| (problem.at.text, problem.at.line, problem.at.column));
    }

    /// Whether there is nothing wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many there are, the uncounted ones included.
    pub fn len(&self) -> usize {
        self.problems.len() + self.more
    }

    /// The first hundred that were found, by file, line and column.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// An array of objects with `file`, `line`, `column`, `key`, `problem`, `remedy` and `also` (an object with
    /// `file`, `line`, `column`, or null).
    pub fn to_json(&self) -> serde_json::Value {
        self.problems.iter().map(Problem::to_json).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        if self.more > 0 {
            writeln!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What is wrong with a value, before anybody knows where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Goes on from the value: "is not a duration".
    pub(super) what: String,
    /// What to write instead.
    pub(super) remedy: String,
}

impl Wrong {
    /// A value that `what`; do `remedy`.
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// A text of the configuration as messages quote it: one line, no control characters, at most 60 characters.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut quoted = String::from("`");
    for (count, character) in text.chars().enumerate() {
        match character {
            _ if count == LONGEST => {
                quoted.push('…');
                break;
            }
            character if character.is_control() => quoted.extend(character.escape_default()),
            character => quoted.push(character),
        }
    }
    quoted.push('`');
    quoted
}

/// Whether a text looks like a key and nothing else. Where a colon or the space behind it is missing, the value, which
/// may be a secret, is read as a part of the key: `authorization "Bearer x"`, `{password:x}`.
pub(super) fn is_key_like(key: &str) -> bool {
    key_like_end(key) == key.len()
}

/// A key as messages quote it: as far as it looks like one.
pub(super) fn quote_key(key: &str) -> String {
    format!("`{}`", show_key(key))
}

/// A dotted key; names with dots in them are quoted.
pub(super) fn join(section: &str, key: &str) -> String {
    let shown = show_key(key);
    match (section.is_empty(), key.contains('.') || key.is_empty()) {
        (true, _) => shown,
        (false, false) => format!("{section}.{shown}"),
        (false, true) => format!("{section}.\"{shown}\""),
    }
}

fn show_key(key: &str) -> String {
    let (shown, rest) = key.split_at(key_like_end(key));
    if rest.is_empty() { shown.to_owned() } else { format!("{shown}…") }
}

/// Longest key that is shown, bytes.
const LONGEST_KEY: usize = 64;

fn key_like_end(key: &str) -> usize {
    let end = key.find(|next: char| !next.is_alphanumeric() && !"_-./".contains(next)).unwrap_or(key.len());
    key.floor_char_boundary(end.min(LONGEST_KEY))
}
