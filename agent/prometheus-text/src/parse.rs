//! Lines into events.
//!
//! ```text
//! # HELP name text        # TYPE name type        # UNIT name unit        # EOF
//! name{label="value",...} value [timestamp] [# {label="value",...} value [timestamp]]
//! {"any name",label="value",...} value
//! ```

use std::borrow::Cow;

use crate::{
    format::{Format, Limits, Type},
    problem::{ParseError, Problem},
    scan::{Cursor, unescape, unescape_help},
};

/// Characters that an exemplar's labels may have together (OpenMetrics 1.0, "Exemplars").
const EXEMPLAR_CHARS: usize = 128;
const NS_IN_S: i64 = 1_000_000_000;
const NS_IN_MS: i64 = 1_000_000;

/// Name and value, in the order of the text; no name stands twice.
pub type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// One line that says something.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// What a family means, for people.
    Help {
        /// The family.
        family: Cow<'a, str>,
        /// What it means.
        text: Cow<'a, str>,
    },
    /// What a family is.
    Type {
        /// The family.
        family: Cow<'a, str>,
        /// What it is.
        kind: Type,
    },
    /// In what a family is measured: `seconds`, `bytes`. May be empty.
    Unit {
        /// The family.
        family: Cow<'a, str>,
        /// Its unit.
        unit: &'a str,
    },
    /// One value.
    Sample(Sample<'a>),
}

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// With its suffix: `http_requests_total`.
    pub name: Cow<'a, str>,
    /// Its labels.
    pub labels: Labels<'a>,
    /// May be NaN or infinite.
    pub value: f64,
    /// When it was measured, nanoseconds since the Unix epoch.
    pub time_ns: Option<i64>,
    /// What was measured last, with its trace.
    pub exemplar: Option<Exemplar<'a>>,
}

/// One measured value beside a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar<'a> {
    /// Usually `trace_id` and `span_id`.
    pub labels: Labels<'a>,
    /// What was measured.
    pub value: f64,
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: Option<i64>,
}

/// Reads a text line by line; ends after the first error.
///
/// Prometheus' own format is read as Prometheus reads it: any blanks, empty lines and comments, `\r` before a line's
/// end. OpenMetrics is read as strictly as its text says.
///
/// # Errors
/// What is wrong, and in which line.
#[must_use]
pub fn parse<'a>(text: &'a [u8], format: Format, limits: &Limits) -> Events<'a> {
    Events { rest: text, format, limits: *limits, line: 0, samples: 0, state: State::Open }
}

/// The sample that a line is; `None` if it is none.
pub(crate) fn one_sample<'a>(line: &'a [u8], format: Format, limits: &Limits) -> Option<Sample<'a>> {
    if line.len() > limits.line {
        return None;
    }
    let line = std::str::from_utf8(line).ok()?;
    let mut reader = parse(&[], format, limits);
    match reader.sample(Cursor::new(line.trim_end_matches(['\r', ' ', '\t']))) {
        Ok(Event::Sample(sample)) => Some(sample),
        _ => None,
    }
}

/// The events of a text; made by [`parse`].
#[derive(Debug, Clone)]
pub struct Events<'a> {
    rest: &'a [u8],
    format: Format,
    limits: Limits,
    line: usize,
    samples: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// `# EOF` was read.
    Eof,
    /// Nothing follows.
    Done,
}

impl<'a> Events<'a> {
    /// The line that the last event, or error, came from; from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The next line, without its end.
    fn next_line(&mut self) -> Option<Result<&'a str, Problem>> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let end = self.rest.iter().position(|b| *b == b'\n');
        let line = &self.rest[..end.unwrap_or(self.rest.len())];
        self.rest = &self.rest[end.map_or(self.rest.len(), |end| end + 1)..];
        if line.len() > self.limits.line {
            return Some(Err(Problem::LongLine(self.limits.line)));
        }
        Some(std::str::from_utf8(line).map_err(|_| Problem::NotUtf8))
    }

    fn read(&mut self) -> Option<Result<Event<'a>, Problem>> {
        loop {
            let Some(line) = self.next_line() else {
                return (self.format == Format::OpenMetrics && self.state == State::Open)
                    .then_some(Err(Problem::NoEof));
            };
            let line = match line {
                Ok(line) => line,
                Err(problem) => return Some(Err(problem)),
            };
            if self.state == State::Eof {
                return Some(Err(Problem::AfterEof));
            }
            let event = match self.format {
                Format::Text => self.text_line(line),
                Format::OpenMetrics => self.open_metrics_line(line),
            };
            if let Some(event) = event.transpose() {
                return Some(event);
            }
        }
    }

    fn text_line(&mut self, line: &'a str) -> Result<Option<Event<'a>>, Problem> {
        let mut at = Cursor::new(line.trim_end_matches(['\r', ' ', '\t']));
        at.blanks();
        if at.is_at_end() {
            return Ok(None);
        }
        if !at.take(b'#') {
            return self.sample(at).map(Some);
        }
        at.blanks();
        let what = at.word();
        if !["HELP", "TYPE", "UNIT"].contains(&what) {
            return Ok(None);
        }
        at.blanks();
        let family = family(&mut at)?;
        at.blanks();
        Ok(Some(match what {
            "HELP" => Event::Help { family, text: unescape_help(at.rest()) },
            "TYPE" => Event::Type { family, kind: kind(at.rest(), self.format)? },
            _ => Event::Unit { family, unit: at.rest() },
        }))
    }

    fn open_metrics_line(&mut self, line: &'a str) -> Result<Option<Event<'a>>, Problem> {
        let mut at = Cursor::new(line);
        if at.is_at_end() {
            return Err(Problem::EmptyLine);
        }
        if line == "# EOF" {
            self.state = State::Eof;
            return Ok(None);
        }
        if !at.take(b'#') {
            return self.sample(at).map(Some);
        }
        space(&mut at)?;
        let here = at;
        let what = at.word();
        if !["HELP", "TYPE", "UNIT"].contains(&what) {
            return Err(here.expected("HELP, TYPE, UNIT or EOF"));
        }
        space(&mut at)?;
        let family = family(&mut at)?;
        // The space before an empty text may be missing.
        let text = if at.is_at_end() { "" } else { space(&mut at).map(|()| at.rest())? };
        Ok(Some(match what {
            "HELP" => Event::Help { family, text: unescape(text)? },
            "TYPE" => Event::Type { family, kind: kind(text, self.format)? },
            _ => {
                let fits = text.is_empty()
                    || family.strip_suffix(text).is_some_and(|name| name.ends_with('_') && name.len() > 1);
                if !fits {
                    return Err(Problem::Unit { unit: text.to_owned(), family: family.into_owned() });
                }
                Event::Unit { family, unit: text }
            }
        }))
    }

    fn sample(&mut self, mut at: Cursor<'a>) -> Result<Event<'a>, Problem> {
        self.samples += 1;
        if self.samples > self.limits.samples {
            return Err(Problem::ManySamples(self.limits.samples));
        }
        let name = at.name(true);
        let blanks = if self.format == Format::Text { at.blanks() } else { 0 };
        let mut inner = None;
        let labels = if at.take(b'{') {
            self.labels(&mut at, name.is_none().then_some(&mut inner))?
        } else if name.is_some() && self.format == Format::Text && blanks == 0 {
            return Err(at.expected("a space or {"));
        } else {
            Labels::new()
        };
        let Some(name) = name.map(Cow::Borrowed).or(inner) else {
            return Err(at.expected("the name of a metric"));
        };
        self.gap(&mut at, "a value")?;
        let value = number(at.word())?;
        let mut sample = Sample { name, labels, value, time_ns: None, exemplar: None };
        if !at.is_at_end() {
            self.gap(&mut at, "a space")?;
            if at.peek() != Some(b'#') {
                sample.time_ns = Some(self.time(at.word())?);
                if at.is_at_end() {
                    return Ok(Event::Sample(sample));
                }
                self.gap(&mut at, "a space")?;
            }
            sample.exemplar = self.exemplar(&mut at, &sample.name)?;
        }
        Ok(Event::Sample(sample))
    }

    /// ` # {...} value [time]` after a sample; the sign is to stand here.
    fn exemplar(&self, at: &mut Cursor<'a>, of: &str) -> Result<Option<Exemplar<'a>>, Problem> {
        if !(self.format == Format::OpenMetrics && at.take(b'#')) {
            return Err(at.expected("the end of the line"));
        }
        if !(of.ends_with("_total") || of.ends_with("_bucket")) {
            return Err(Problem::Exemplar(of.to_owned()));
        }
        space(at)?;
        if !at.take(b'{') {
            return Err(at.expected("{ of an exemplar"));
        }
        let labels = self.labels(at, None)?;
        let chars = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if chars > EXEMPLAR_CHARS {
            return Err(Problem::LongExemplar(chars));
        }
        space(at)?;
        let value = number(at.word())?;
        let time_ns = if at.is_at_end() {
            None
        } else {
            space(at)?;
            Some(self.time(at.word())?)
        };
        if !at.is_at_end() {
            return Err(at.expected("the end of the line"));
        }
        Ok(Some(Exemplar { labels, value, time_ns }))
    }

    /// Labels up to the closing brace. A quoted text without a value is the name of the metric, where `name` takes it.
    fn labels(
        &self,
        at: &mut Cursor<'a>,
        mut name: Option<&mut Option<Cow<'a, str>>>,
    ) -> Result<Labels<'a>, Problem> {
        let mut labels = Labels::new();
        let blanks = |at: &mut Cursor<'a>| match self.format {
            Format::Text => at.blanks(),
            Format::OpenMetrics => 0,
        };
        loop {
            blanks(at);
            if at.take(b'}') {
                return Ok(labels);
            }
            let label = match at.peek() {
                Some(b'"') => at.quoted()?,
                _ => Cow::Borrowed(at.name(false).ok_or_else(|| at.expected("the name of a label or }"))?),
            };
            blanks(at);
            if at.take(b'=') {
                blanks(at);
                if at.peek() != Some(b'"') {
                    return Err(at.expected("the quoted value of a label"));
                }
                let value = at.quoted()?;
                if labels.iter().any(|(known, _)| *known == label) {
                    return Err(Problem::LabelTwice(label.into_owned()));
                }
                if labels.len() == self.limits.labels {
                    return Err(Problem::ManyLabels(self.limits.labels));
                }
                labels.push((label, value));
            } else {
                match name.take() {
                    Some(name) if labels.is_empty() && !label.is_empty() => *name = Some(label),
                    _ => return Err(at.expected("=")),
                }
            }
            blanks(at);
            if !at.take(b',') && at.peek() != Some(b'}') {
                return Err(at.expected(", or }"));
            }
        }
    }

    /// What separates name, value and time.
    fn gap(&self, at: &mut Cursor<'a>, before: &'static str) -> Result<(), Problem> {
        match self.format {
            // A value may follow `}` at once.
            Format::Text => {
                at.blanks();
            }
            Format::OpenMetrics => space(at)?,
        }
        if at.is_at_end() { Err(at.expected(before)) } else { Ok(()) }
    }

    fn time(&self, text: &str) -> Result<i64, Problem> {
        match self.format {
            Format::Text => text.parse::<i64>().ok().and_then(|ms| ms.checked_mul(NS_IN_MS)),
            Format::OpenMetrics => seconds(text),
        }
        .ok_or_else(|| Problem::Timestamp { text: cut(text), format: self.format })
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let read = self.read();
        if !matches!(read, Some(Ok(_))) {
            self.state = State::Done;
        }
        let line = self.line.max(1);
        read.map(|event| event.map_err(|problem| ParseError { line, problem }))
    }
}

/// Exactly one space, as OpenMetrics wants it.
fn space(at: &mut Cursor<'_>) -> Result<(), Problem> {
    if at.take(b' ') { Ok(()) } else { Err(at.expected("one space")) }
}

fn family<'a>(at: &mut Cursor<'a>) -> Result<Cow<'a, str>, Problem> {
    if at.peek() == Some(b'"') {
        return at.quoted();
    }
    at.name(true).map(Cow::Borrowed).ok_or_else(|| at.expected("the name of a metric"))
}

fn kind(name: &str, format: Format) -> Result<Type, Problem> {
    Type::of(name, format).ok_or_else(|| Problem::Type(cut(name)))
}

fn number(text: &str) -> Result<f64, Problem> {
    text.parse().map_err(|_| Problem::Number(cut(text)))
}

/// Seconds with any fraction as nanoseconds; plain decimals exactly, others as a double has them.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    if !unsigned.is_empty() && digits(unsigned) && digits(fraction) {
        let ns = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        let ns = ns.fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        let whole = unsigned.parse::<i64>().ok()?.checked_mul(NS_IN_S)?.checked_add(ns)?;
        return Some(if text.starts_with('-') { -whole } else { whole });
    }
    let seconds: f64 = text.parse().ok()?;
    let ns = seconds * NS_IN_S as f64;
    (ns.is_finite() && ns.abs() < i64::MAX as f64).then_some(ns as i64)
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
