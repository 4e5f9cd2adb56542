//! One line: its fields, read in place.

use serde::Deserialize;

use crate::receive::event::{Json, Num, Pairs, Text, Time};

/// A line. What belongs to another type than its own is ignored, as unknown fields are.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Line<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Text<'a>,
    pub(super) source: Option<Text<'a>>,
    pub(super) timestamp: Option<Time<'a>>,
    pub(super) trace_id: Option<Text<'a>>,
    pub(super) span_id: Option<Text<'a>>,
    pub(super) parent_id: Option<Text<'a>>,
    pub(super) attributes: Option<Pairs<'a>>,
    pub(super) ack: Option<u64>,
    pub(super) dropped: Option<u64>,
    pub(super) name: Option<Text<'a>>,
    pub(super) message: Option<Text<'a>>,
    pub(super) body: Option<Json<'a>>,
    pub(super) severity: Option<Text<'a>>,
    pub(super) value: Option<Num>,
    pub(super) values: Option<Vec<Num>>,
    pub(super) unit: Option<Text<'a>>,
    #[serde(rename = "kind")]
    pub(super) of_kind: Option<Text<'a>>,
    pub(super) current: Option<Num>,
    pub(super) total: Option<Num>,
    pub(super) start: Option<Time<'a>>,
    pub(super) end: Option<Time<'a>>,
    pub(super) duration: Option<Num>,
    pub(super) phase: Option<Text<'a>>,
    pub(super) status: Option<Text<'a>>,
    pub(super) interval: Option<Num>,
    pub(super) version: Option<u64>,
    pub(super) token: Option<Text<'a>>,
}

/// What is wrong with a line, for its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineError {
    /// For programs; also where it is counted.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: String,
}

impl LineError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<String> for LineError {
    fn from(message: String) -> Self {
        Self::new("bad_value", message)
    }
}

/// Reads a line.
///
/// # Errors
/// When it is no JSON object of known fields; says where.
pub(super) fn parse(line: &[u8]) -> Result<Line<'_>, LineError> {
    let text = std::str::from_utf8(line).map_err(|error| {
        LineError::new("bad_utf8", format!("not UTF-8 at byte {} of the line", error.valid_up_to()))
    })?;
    serde_json::from_str(text).map_err(|error| {
        let code = if error.is_data() { "bad_value" } else { "bad_json" };
        let hint = if text.contains("NaN") || text.contains("Infinity") {
            "; JSON has no NaN and no infinities: leave the value out"
        } else {
            ""
        };
        LineError::new(code, format!("{error}{hint}"))
    })
}
