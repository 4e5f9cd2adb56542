//! The configuration: what may be written, and what it comes to.

use std::{collections::BTreeMap, time::Duration};

use glob::Pattern;
use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de};
use whimbrel_sdk::{Error, files::Glob};

use crate::{
    lines::{Shape, Together, TooLong},
    parse::{Parser, Parsing},
};

const LEAST_LINE: u64 = 64;
const MOST_LINE: u64 = 1 << 20;
const LEAST_COLLECT: u64 = 64 << 10;
const MOST_COLLECT: u64 = 64 << 20;
const MOST_FILES: usize = 10_000;
/// Of each compiled pattern, in bytes: what a hostile one can't go beyond.
const PATTERN_SIZE: usize = 1 << 20;
/// Endings of what a rotation has compressed.
const COMPRESSED: [&str; 8] = ["gz", "bz2", "xz", "zst", "lz4", "zip", "Z", "br"];

/// The configuration, `config:` in the agent's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which files, by absolute paths with `*`, `?`, `[ab]`, and `**` for any folders.
    paths: Vec<String>,
    /// Which of them not: by path, or by name where there is no `/`.
    #[serde(default)]
    exclude: Vec<String>,
    /// Where files begin that are there at the very first start.
    #[serde(default)]
    start_at: StartAt,
    /// Only `utf-8`.
    #[serde(default)]
    encoding: Encoding,
    /// The longest line.
    #[serde(default = "default_line")]
    max_line: Size,
    /// What becomes of a longer one.
    #[serde(default = "default_too_long")]
    too_long: TooLong,
    /// Which lines belong together.
    multiline: Option<Multiline>,
    /// What is read from a line.
    parse: Option<Parsing>,
    /// Attributes of each record.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Files followed at a time.
    #[serde(default = "default_files")]
    max_files: usize,
    /// Bytes of records in one collect; what is more comes in the next one, at once.
    #[serde(default = "default_collect")]
    max_per_collect: Size,
    /// How long a file that was rotated away is watched for lines that still come.
    #[serde(default = "default_rotated")]
    rotated_wait: Time,
    /// Figures of its own.
    #[serde(default = "yes")]
    metrics: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StartAt {
    Beginning,
    #[default]
    End,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Multiline {
    start: Option<String>,
    #[serde(rename = "continue")]
    go_on: Option<String>,
    #[serde(default = "default_flush")]
    flush_after: Time,
    #[serde(default = "default_lines")]
    max_lines: usize,
}

/// Bytes: a number, or a text such as `64KiB`.
#[derive(Debug, Clone, Copy)]
struct Size(u64);

/// A text such as `5s`.
#[derive(Debug, Clone, Copy)]
struct Time(Duration);

fn default_line() -> Size {
    Size(256 << 10)
}

fn default_collect() -> Size {
    Size(4 << 20)
}

fn default_too_long() -> TooLong {
    TooLong::Split
}

fn default_files() -> usize {
    1000
}

fn default_lines() -> usize {
    500
}

fn default_flush() -> Time {
    Time(Duration::from_secs(5))
}

fn default_rotated() -> Time {
    Time(Duration::from_secs(30))
}

fn yes() -> bool {
    true
}

/// What the configuration comes to.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) globs: Vec<Glob>,
    pub(crate) exclude: Vec<Pattern>,
    pub(crate) start_at: StartAt,
    pub(crate) shape: Shape,
    pub(crate) flush_after: Duration,
    pub(crate) parser: Parser,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) max_files: usize,
    pub(crate) max_per_collect: u64,
    pub(crate) rotated_wait: Duration,
    pub(crate) metrics: bool,
}

impl Settings {
    /// # Errors
    /// [`Error::Config`], with the key and the remedy.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let Encoding::Utf8 = config.encoding;
        if config.paths.is_empty() {
            return Err(wrong("paths", "names no files; give patterns such as /var/log/nginx/*.log"));
        }
        let mut globs = Vec::new();
        for (n, path) in config.paths.iter().enumerate() {
            globs.push(Glob::new(path).map_err(|error| wrong(&format!("paths[{n}]"), &error.to_string()))?);
        }
        let mut exclude = Vec::new();
        for (n, text) in config.exclude.iter().enumerate() {
            let bad = |error: glob::PatternError| format!("`{text}` is no pattern: {}", error.msg);
            exclude.push(Pattern::new(text).map_err(|error| wrong(&format!("exclude[{n}]"), &bad(error)))?);
        }
        let max = range("max_line", config.max_line.0, LEAST_LINE, MOST_LINE)?;
        let (together, flush_after, max_lines) = match config.multiline {
            None => (None, Duration::ZERO, 1),
            Some(multiline) => {
                let together = multiline.together()?;
                let lines = range("multiline.max_lines", multiline.max_lines as u64, 2, 100_000)?;
                (Some(together), multiline.flush_after.0, lines as usize)
            }
        };
        Ok(Self {
            globs,
            exclude,
            start_at: config.start_at,
            shape: Shape { max: max as usize, too_long: config.too_long, together, max_lines },
            flush_after,
            parser: config.parse.map_or(Ok(Parser::default()), Parser::new)?,
            attributes: config.attributes,
            max_files: range("max_files", config.max_files as u64, 1, MOST_FILES as u64)? as usize,
            max_per_collect: range("max_per_collect", config.max_per_collect.0, LEAST_COLLECT, MOST_COLLECT)?,
            rotated_wait: config.rotated_wait.0,
            metrics: config.metrics,
        })
    }

    /// Whether a path that a pattern found is wanted.
    pub(crate) fn wants(&self, path: &str, name: &str) -> bool {
        let matches = |pattern: &Pattern| {
            let by_path = pattern.as_str().contains('/');
            pattern.matches(if by_path { path } else { name })
        };
        !is_compressed(name) && !self.exclude.iter().any(matches)
    }
}

/// Whether what it holds was rotated away and compressed.
pub(crate) fn is_compressed(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| COMPRESSED.contains(&ending))
}

impl Multiline {
    fn together(&self) -> Result<Together, Error> {
        match (&self.start, &self.go_on) {
            (Some(start), None) => Ok(Together::Start(pattern("multiline.start", start)?)),
            (None, Some(go_on)) => Ok(Together::Continue(pattern("multiline.continue", go_on)?)),
            _ => Err(wrong("multiline", "wants one of `start` and `continue`, a regular expression")),
        }
    }
}

/// A regular expression.
///
/// # Errors
/// [`Error::Config`]: what is wrong with it.
pub(crate) fn pattern(key: &str, text: &str) -> Result<Regex, Error> {
    let built = RegexBuilder::new(text).size_limit(PATTERN_SIZE).build();
    built.map_err(|error| wrong(key, &format!("`{text}` is no regular expression: {error}")))
}

pub(crate) fn wrong(key: &str, what: &str) -> Error {
    Error::Config(format!("`{key}` {what}"))
}

fn range(key: &str, value: u64, least: u64, most: u64) -> Result<u64, Error> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(wrong(key, &format!("is {value}; give {least} to {most}")))
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(bytes) => Ok(Size(bytes)),
            Either::Text(text) => with_unit(&text, &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)])
                .map(Size)
                .ok_or_else(|| de::Error::custom(format!("{text:?} is no size; write 262144 or 256KiB"))),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        with_unit(&text, &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)])
            .map(|ms| Time(Duration::from_millis(ms)))
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no time; write 500ms, 5s or 2m")))
    }
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}
