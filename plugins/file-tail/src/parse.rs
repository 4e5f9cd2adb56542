//! What is read from a record: time, severity, message and attributes, from JSON or by a regular expression.

use std::{borrow::Cow, collections::BTreeMap};

use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value as Json;
use whimbrel_sdk::{Attributes, Emit, Error, LogRecord, Severity, Value};

use crate::{
    config::{pattern, wrong},
    time::TimeFormat,
};

/// Where a field is called otherwise in each framework, the names that are looked for, in this order.
const TIMES: [&str; 5] = ["time", "timestamp", "@timestamp", "ts", "t"];
const SEVERITIES: [&str; 4] = ["severity", "level", "lvl", "log.level"];
const BODIES: [&str; 4] = ["body", "message", "msg", "log"];
/// Arrays and objects within each other; what is deeper stays JSON text.
const MOST_DEPTH: usize = 8;

/// `parse` in the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parsing {
    format: Format,
    pattern: Option<String>,
    time: Option<String>,
    #[serde(default)]
    time_format: TimeFormat,
    severity: Option<String>,
    body: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    None,
    Json,
    Regex,
}

/// Makes records of texts.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    how: How,
    fields: Fields,
}

#[derive(Debug, Default)]
enum How {
    #[default]
    Plain,
    Json,
    Regex(Regex),
}

/// Which fields have a meaning.
#[derive(Debug, Default)]
struct Fields {
    time: Vec<String>,
    time_format: TimeFormat,
    severity: Vec<String>,
    body: Vec<String>,
}

impl Parser {
    /// # Errors
    /// [`Error::Config`], with the key and the remedy.
    pub(crate) fn new(parsing: Parsing) -> Result<Self, Error> {
        let how = match (parsing.format, &parsing.pattern) {
            (Format::Regex, Some(text)) => How::Regex(named(text)?),
            (Format::Regex, None) => {
                return Err(wrong(
                    "parse.pattern",
                    "is missing; give a regular expression with named groups",
                ));
            }
            (_, Some(_)) => return Err(wrong("parse.pattern", "goes with `format: regex` only")),
            (Format::Json, None) => How::Json,
            (Format::None, None) => How::Plain,
        };
        let names = |given: Option<String>, known: &[&str]| match given {
            Some(name) => vec![name],
            None => known.iter().map(|name| (*name).to_owned()).collect(),
        };
        if let How::Regex(pattern) = &how {
            let groups: Vec<_> = pattern.capture_names().flatten().collect();
            let given = [("time", &parsing.time), ("severity", &parsing.severity), ("body", &parsing.body)];
            for (key, name) in given {
                if let Some(name) = name.as_deref().filter(|name| !groups.contains(name)) {
                    let what = format!("is `{name}`, and the pattern has: {}", groups.join(", "));
                    return Err(wrong(&format!("parse.{key}"), &what));
                }
            }
        }
        Ok(Self {
            how,
            fields: Fields {
                time: names(parsing.time, &TIMES),
                time_format: parsing.time_format,
                severity: names(parsing.severity, &SEVERITIES),
                body: names(parsing.body, &BODIES),
            },
        })
    }

    /// Emits a record of this text; `false`: it could not be parsed, and was emitted as it is.
    ///
    /// # Errors
    /// What the host answers to a push.
    pub(crate) fn emit(&self, text: &str, own: &Attributes, out: &mut Emit) -> Result<bool, Error> {
        match &self.how {
            How::Plain => plain(text, own, out).map(|()| true),
            How::Json => match serde_json::from_str::<BTreeMap<String, Json>>(text) {
                Ok(object) => self.json(text, &object, own, out).map(|()| true),
                Err(_) => plain(text, own, out).map(|()| false),
            },
            How::Regex(pattern) => match pattern.captures(text) {
                Some(captures) => {
                    let named = pattern.capture_names().flatten();
                    let found: Vec<_> =
                        named.filter_map(|name| Some((name, captures.name(name)?.as_str()))).collect();
                    self.groups(text, &found, own, out).map(|()| true)
                }
                None => plain(text, own, out).map(|()| false),
            },
        }
    }

    fn json(
        &self,
        text: &str,
        object: &BTreeMap<String, Json>,
        own: &Attributes,
        out: &mut Emit,
    ) -> Result<(), Error> {
        let field = |names: &[String]| {
            names.iter().find_map(|name| object.get_key_value(name)).filter(|(_, value)| !value.is_null())
        };
        let time = field(&self.fields.time)
            .and_then(|(name, value)| Some((name, self.fields.time_format.read(&scalar(value)?)?)));
        let severity =
            field(&self.fields.severity).and_then(|(name, value)| Some((name, scalar(value)?, value)));
        let body = field(&self.fields.body).filter(|(_, value)| value.is_string());
        let used = [time.map(|(name, _)| name), severity.as_ref().map(|it| it.0), body.map(|(name, _)| name)];
        let mut attributes = own.clone();
        for (name, value) in object {
            if !used.contains(&Some(name)) && !name.is_empty() && !is_own(name) {
                with_value(value, MOST_DEPTH, &mut |value| attributes.push(name, value));
            }
        }
        let number = severity.as_ref().map_or(Severity::UNSPECIFIED, |(_, text, value)| {
            value.as_u64().map_or_else(|| severity_of(text), severity_of_number)
        });
        out.log(LogRecord {
            time_ns: time.map_or(0, |(_, ns)| ns),
            severity: number,
            severity_text: severity.as_ref().map_or("", |(_, text, _)| text),
            body: Value::Text(body.and_then(|(_, value)| value.as_str()).unwrap_or(text)),
            attributes: Some(&attributes),
            ..LogRecord::default()
        })
    }

    fn groups(
        &self,
        text: &str,
        found: &[(&str, &str)],
        own: &Attributes,
        out: &mut Emit,
    ) -> Result<(), Error> {
        let field =
            |names: &[String]| names.iter().find_map(|name| found.iter().find(|(group, _)| group == name));
        let time = field(&self.fields.time);
        let time = time.and_then(|(name, value)| Some((*name, self.fields.time_format.read(value)?)));
        let severity = field(&self.fields.severity);
        let body = field(&self.fields.body);
        let used = [time.map(|(name, _)| name), severity.map(|(name, _)| *name), body.map(|(name, _)| *name)];
        let mut attributes = own.clone();
        for (name, value) in found {
            if !used.contains(&Some(*name)) && !is_own(name) {
                attributes.push(name, *value);
            }
        }
        out.log(LogRecord {
            time_ns: time.map_or(0, |(_, ns)| ns),
            severity: severity.map_or(Severity::UNSPECIFIED, |(_, word)| severity_of(word)),
            severity_text: severity.map_or("", |(_, word)| word),
            body: Value::Text(body.map_or(text, |(_, value)| value)),
            attributes: Some(&attributes),
            ..LogRecord::default()
        })
    }
}

fn named(text: &str) -> Result<Regex, Error> {
    let pattern = pattern("parse.pattern", text)?;
    if pattern.capture_names().flatten().next().is_none() {
        return Err(wrong(
            "parse.pattern",
            "has no named group; name what is to be read: `(?<level>[A-Z]+)`",
        ));
    }
    Ok(pattern)
}

fn plain(text: &str, own: &Attributes, out: &mut Emit) -> Result<(), Error> {
    out.log(LogRecord { body: Value::Text(text), attributes: Some(own), ..LogRecord::default() })
}

/// A key of ours: a line can't say where it came from.
fn is_own(name: &str) -> bool {
    name.starts_with("log.file.")
}

fn scalar(value: &Json) -> Option<Cow<'_, str>> {
    match value {
        Json::String(text) => Some(Cow::Borrowed(text)),
        Json::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// Shows a value as OTLP has it.
fn with_value(json: &Json, depth: usize, show: &mut dyn FnMut(Value<'_>)) {
    if is_deeper(json, depth) {
        return show(Value::Text(&json.to_string()));
    }
    show(value(json));
}

fn is_deeper(json: &Json, depth: usize) -> bool {
    match json {
        Json::Array(list) => depth == 0 || list.iter().any(|inner| is_deeper(inner, depth - 1)),
        Json::Object(map) => depth == 0 || map.values().any(|inner| is_deeper(inner, depth - 1)),
        _ => false,
    }
}

fn value(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Empty,
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int(integer),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text),
        Json::Array(list) => Value::Array(list.iter().map(value).collect()),
        Json::Object(map) => Value::Map(map.iter().map(|(key, inner)| (&**key, value(inner))).collect()),
    }
}

/// The words of common frameworks and of syslog.
fn severity_of(word: &str) -> Severity {
    let lower = word.trim().to_ascii_lowercase();
    let number = match lower.as_str() {
        "trace" | "finest" | "verbose" => 1,
        "debug" | "dbg" | "fine" | "d" => 5,
        "info" | "information" | "informational" | "inf" | "i" => 9,
        "notice" => 10,
        "warn" | "warning" | "wrn" | "w" => 13,
        "error" | "err" | "e" => 17,
        "critical" | "crit" | "severe" => 18,
        "alert" => 19,
        "fatal" | "f" | "panic" => 21,
        "emerg" | "emergency" => 22,
        other => return other.parse().map_or(Severity::UNSPECIFIED, severity_of_number),
    };
    Severity::new(number).unwrap_or_default()
}

/// Levels of pino and bunyan; other numbers have no meaning that all agree on.
fn severity_of_number(level: u64) -> Severity {
    let number = match level {
        10..20 => 1,
        20..30 => 5,
        30..40 => 9,
        40..50 => 13,
        50..60 => 17,
        60..70 => 21,
        _ => 0,
    };
    Severity::new(number).unwrap_or_default()
}
