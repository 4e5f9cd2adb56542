//! The texts that a configuration is made of, positions in them, and excerpts that show no value.
//!
//! An excerpt goes to terminals and journals, and any line of a configuration may hold a secret: under `headers`,
//! under a plugin's `config`, under a key that is misspelt, in a comment. So an excerpt shows keys and
//! punctuation; values are masked, but for the one that the message itself quotes. Of a text that is no YAML, it shows
//! the words that are names of keys, and punctuation.

use std::{fmt, ops::Range, path::PathBuf};

use super::check::is_known;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TextId(u32);

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Which text.
    pub(super) text: TextId,
    /// From 1; 0 is the text as a whole.
    pub(super) line: u32,
    /// From 1, in characters; 0 is the line as a whole.
    pub(super) column: u32,
}

impl Position {
    /// The text as a whole: an environment variable, or a file that can't be read.
    pub(super) fn whole(text: TextId) -> Self {
        Self { text, line: 0, column: 0 }
    }
}

/// A place as people and tools are told it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Location {
    /// The file as it was named, or `$NAME` for an environment variable.
    pub file: String,
    /// From 1; 0 where the whole is meant.
    pub line: u32,
    /// From 1, in characters; 0 where the whole is meant.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// A line of the configuration without its values, and where to look in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The line, values masked.
    pub(super) line: String,
    /// How many characters stand before the place.
    pub(super) caret: usize,
}

/// One text.
#[derive(Debug)]
pub(super) struct Text {
    /// As shown to people.
    pub(super) name: String,
    /// What relative paths in it are relative to. Absolute.
    pub(super) folder: PathBuf,
    /// The text; empty for a single variable.
    pub(super) text: String,
    /// The byte ranges of values, ascending.
    values: Vec<Range<usize>>,
    /// Whether `values` covers the whole text: not so where the parser gave up.
    parsed: bool,
}

/// All texts of one load.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<Text>);

/// What stands in an excerpt for a value.
const MASK: &str = "…";

/// Longest line of an excerpt, in characters.
const EXCERPT_WIDTH: usize = 160;

impl Texts {
    /// Takes a text in.
    pub(super) fn add(&mut self, name: String, folder: PathBuf, text: String) -> TextId {
        let id = TextId(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        self.0.push(Text { name, folder, text, values: Vec::new(), parsed: false });
        id
    }

    /// Takes an environment variable in, as a place only.
    pub(super) fn add_variable(&mut self, name: &str, folder: PathBuf) -> TextId {
        self.add(format!("${name}"), folder, String::new())
    }

    /// The text with this number.
    pub(super) fn get(&self, id: TextId) -> &Text {
        &self.0[id.0 as usize]
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: TextId) -> &mut Text {
        &mut self.0[id.0 as usize]
    }

    /// Says where the values of a text stand, once it is parsed.
    pub(super) fn set_values(&mut self, id: TextId, mut values: Vec<Range<usize>>, parsed: bool) {
        values.sort_by_key(|range| range.start);
        let found = &mut self.0[id.0 as usize];
        found.values = values;
        found.parsed = parsed;
    }

    /// A position in words.
    pub(super) fn locate(&self, at: Position) -> Location {
        Location { file: self.get(at.text).name.clone(), line: at.line, column: at.column }
    }

    /// The line of `at`, values masked; `show`: but for the one that begins there.
    pub(super) fn excerpt(&self, at: Position, show: bool) -> Option<Excerpt> {
        let found = self.get(at.text);
        let index = (at.line as usize).checked_sub(1)?;
        let line = found.text.split('\n').nth(index)?;
        let start = line.as_ptr() as usize - found.text.as_ptr() as usize;
        let column = (at.column as usize).saturating_sub(1);
        let place = line.char_indices().nth(column).map_or(line.len(), |(byte, _)| byte);
        let line = line.trim_end_matches('\r');
        let excerpt = if found.parsed {
            mask_values(line, start, place, show, &found.values)
        } else {
            mask_words(line, place)
        };
        let Excerpt { line, caret } = shorten(excerpt);
        let line = line.trim_end().to_owned();
        Some(Excerpt { line, caret }).filter(|excerpt| !excerpt.line.is_empty())
    }
}

/// Masks what the parser found to be values, and cuts comments off.
fn mask_values(line: &str, start: usize, place: usize, show: bool, values: &[Range<usize>]) -> Excerpt {
    let mut shown = Excerpt { line: String::new(), caret: 0 };
    let mut caret = None;
    let mut byte = 0;
    let first = values.partition_point(|range| range.end <= start);
    let mut values = values[first..].iter().take_while(|range| range.start < start + line.len()).peekable();
    while byte < line.len() {
        if let Some(range) = values.peek().filter(|range| range.start <= start + byte) {
            let end = (range.end - start).min(line.len()).max(byte);
            if (byte..end.max(byte + 1)).contains(&place) {
                caret.get_or_insert(shown.line.chars().count());
            }
            match show && range.start == start + place {
                true => shown.line.push_str(line.get(byte..end).unwrap_or(MASK)),
                false => shown.line.push_str(MASK),
            }
            byte = end;
            values.next();
            continue;
        }
        let Some(character) = line[byte..].chars().next() else { break };
        if byte == place {
            caret.get_or_insert(shown.line.chars().count());
        }
        if character == '#' && (byte == 0 || line[..byte].ends_with([' ', '\t'])) {
            break;
        }
        shown.line.push(printable(character));
        byte += character.len_utf8();
    }
    shown.caret = caret.unwrap_or_else(|| shown.line.chars().count());
    shown
}

/// Masks every word that is not the name of a key: for a text that could not be parsed to its end.
fn mask_words(line: &str, place: usize) -> Excerpt {
    let is_word = |character: char| character.is_alphanumeric() || "_-./+=@%$~^&\\".contains(character);
    let mut shown = Excerpt { line: String::new(), caret: 0 };
    let mut caret = None;
    let mut byte = 0;
    while let Some(first) = line[byte..].chars().next() {
        let rest = &line[byte..];
        let length = match is_word(first) {
            true => rest.find(|next: char| !is_word(next)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        if (byte..byte + length).contains(&place) {
            caret = Some(shown.line.chars().count());
        }
        match &rest[..length] {
            "-" => shown.line.push('-'),
            word if is_word(first) => shown.line.push_str(if is_known(word) { word } else { MASK }),
            _ => shown.line.push(printable(first)),
        }
        byte += length;
    }
    shown.caret = caret.unwrap_or_else(|| shown.line.chars().count());
    shown
}

/// A character as one column that a terminal does not act on.
fn printable(character: char) -> char {
    match character {
        '\t' => '→',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

/// Keeps the place in sight of a very long line.
fn shorten(excerpt: Excerpt) -> Excerpt {
    let length = excerpt.line.chars().count();
    if length <= EXCERPT_WIDTH {
        return excerpt;
    }
    let from = excerpt.caret.saturating_sub(EXCERPT_WIDTH / 2).min(length - EXCERPT_WIDTH);
    let cut: String = excerpt.line.chars().skip(from).take(EXCERPT_WIDTH).collect();
    Excerpt { line: cut, caret: excerpt.caret - from }
}
