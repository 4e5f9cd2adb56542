//! Events in JSON, and what they become.

use std::{borrow::Cow, cell::Cell, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, SeqAccess, Visitor},
};
use whimbrel_otlp::{
    Signal,
    write::{Attributes, Envelope, LogRecord, Metric, Number, Temporality, append_log_record, append_number},
};

use crate::{
    config::{IngestMetric, IngestMetricKind},
    receive::{
        event::{Json, Pairs, Text, Time, id},
        pieces::Pieces,
    },
};

/// An event as it is sent.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Event<'a> {
    #[serde(rename = "type")]
    kind: Text<'a>,
    pub(super) source: Option<Text<'a>>,
    name: Option<Text<'a>>,
    value: Option<Json<'a>>,
    tags: Option<Tags<'a>>,
    timestamp: Option<Time<'a>>,
    trace_id: Option<Text<'a>>,
    span_id: Option<Text<'a>>,
}

/// An object, or a list of `key:value`.
#[derive(Debug)]
struct Tags<'a>(Pairs<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = match Json::deserialize(deserializer)? {
            Json::Map(entries) => entries,
            Json::List(items) => {
                let pair = |item| match item {
                    Json::Text(text) => match text.split_once(':') {
                        Some((key, value)) => {
                            let value = Json::Text(Cow::Owned(value.to_owned()));
                            Ok((Cow::Owned(key.to_owned()), value))
                        }
                        None => Ok((text, Json::Bool(true))),
                    },
                    _ => Err(de::Error::custom("tags in a list must be texts, key:value")),
                };
                items.into_iter().map(pair).collect::<Result<_, D::Error>>()?
            }
            Json::Null => Vec::new(),
            _ => return Err(de::Error::custom("tags must be an object, or a list of key:value")),
        };
        Ok(Self(Pairs(pairs)))
    }
}

/// Reads a body: one event, a list of events, or one event a line. `take` gets each, in order.
///
/// # Errors
/// In words: which event, where, and why.
pub(super) fn read<'a>(
    body: &'a [u8],
    mut take: impl FnMut(Event<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("the body is not UTF-8 at byte {}", error.valid_up_to()))?;
    let index = Cell::new(0);
    let told = |error: serde_json::Error| format!("event {}: {error}", index.get());
    if text.trim_ascii_start().starts_with('[') {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Events { index: &index, take: &mut take }.deserialize(&mut deserializer).map_err(told)?;
        return deserializer.end().map_err(told);
    }
    for event in serde_json::Deserializer::from_str(text).into_iter::<Event<'a>>() {
        take(event.map_err(told)?).map_err(|error| format!("event {}: {error}", index.get()))?;
        index.set(index.get() + 1);
    }
    match index.get() {
        0 => Err("the body holds no event".to_owned()),
        _ => Ok(()),
    }
}

struct Events<'c, T> {
    index: &'c Cell<usize>,
    take: &'c mut T,
}

impl<'de, T: FnMut(Event<'de>) -> Result<(), String>> DeserializeSeed<'de> for Events<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: FnMut(Event<'de>) -> Result<(), String>> Visitor<'de> for Events<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(event) = events.next_element()? {
            (self.take)(event).map_err(de::Error::custom)?;
            self.index.set(self.index.get() + 1);
        }
        Ok(())
    }
}

impl Event<'_> {
    /// Encodes what it becomes: a log record, and a metric where its type is listed.
    ///
    /// # Errors
    /// In words.
    pub(super) fn put(
        &self,
        pieces: &mut Pieces,
        envelope: &Arc<Envelope>,
        metrics: &[IngestMetric],
        now_ns: u64,
    ) -> Result<(), String> {
        let kind = self.kind.as_str();
        if kind.is_empty() {
            return Err("`type` must not be empty".to_owned());
        }
        let time_ns = self.timestamp.map_or(Ok(now_ns), Time::ns)?;
        let metric = metrics.iter().find(|metric| metric.event == kind);
        let mut attributes = Attributes::new();
        if let Some(tags) = &self.tags {
            tags.0.add_to(&mut attributes);
        }
        if let Some(metric) = metric {
            let name = self.name.as_ref().map_or(kind, Text::as_str);
            let value = match self.value {
                Some(Json::Int(value)) => Number::Int(value),
                Some(Json::Double(value)) => Number::Double(value),
                _ => return Err(format!("`value` must be a number: the type {kind:?} becomes a metric")),
            };
            let metric = match metric.kind {
                IngestMetricKind::Gauge => Metric::gauge(name, "", ""),
                IngestMetricKind::Counter => Metric::sum(name, "", "", Temporality::Delta, true),
            };
            let negative = match value {
                Number::Int(value) => value < 0,
                Number::Double(value) => value < 0.0,
            };
            if negative && metric.data != whimbrel_otlp::write::Data::Gauge {
                return Err("`value` of a counter must not be negative".to_owned());
            }
            append_number(pieces.out(Signal::Metrics, envelope), &metric, &attributes, 0, time_ns, value);
        }
        if let Some(name) = &self.name {
            attributes.push("name", name.as_str());
        }
        if let Some(value) = self.value.as_ref().filter(|value| **value != Json::Null) {
            attributes.push("value", value.value());
        }
        let ids = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.as_str().to_owned());
        let record = LogRecord {
            time_ns,
            observed_ns: now_ns,
            event_name: kind,
            attributes: Some(&attributes),
            trace_id: ids(&self.trace_id).map(|text| id("trace_id", &text)).transpose()?,
            span_id: ids(&self.span_id).map(|text| id("span_id", &text)).transpose()?,
            ..LogRecord::default()
        };
        append_log_record(pieces.out(Signal::Logs, envelope), &record);
        Ok(())
    }
}
