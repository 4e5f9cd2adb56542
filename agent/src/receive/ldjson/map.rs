//! What lines become: log records, metrics and spans of OTLP, encoded at once into buffers that are used again.

use std::sync::Arc;

use whimbrel_otlp::{
    Signal,
    write::{
        Attributes, Envelope, Histogram, HistogramPoint, LogRecord, Metric, Number, Severity, Span, SpanKind,
        SpanStatus, Temporality, Value, append_histogram, append_log_record, append_number, append_span,
    },
};

use super::{
    line::{Line, LineError},
    spans::OpenSpan,
    watch::Silent,
};
use crate::receive::{
    event::{BOUNDS, Num, Pairs, Text, id, severity},
    pieces::Pieces,
};

/// 2554, the end of 64 bits of nanoseconds.
const MOST_SECONDS: f64 = 18_446_744_073.0;

/// What lines became, and attributes whose memory is used again.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) pieces: Pieces,
    attributes: Attributes,
}

impl Batch {
    /// The buffer of a signal and an envelope, one item counted.
    fn out(&mut self, signal: Signal, envelope: &Arc<Envelope>) -> &mut Vec<u8> {
        self.pieces.out(signal, envelope)
    }

    fn log(&mut self, envelope: &Arc<Envelope>, record: &LogRecord<'_>, attributes: Attributes) {
        append_log_record(
            self.out(Signal::Logs, envelope),
            &LogRecord { attributes: Some(&attributes), ..record.clone() },
        );
        self.attributes = attributes;
    }

    /// An empty set of attributes whose memory is used again.
    fn attributes(&mut self, pairs: Option<&Pairs<'_>>) -> Attributes {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.clear();
        if let Some(pairs) = pairs {
            pairs.add_to(&mut attributes);
        }
        attributes
    }

    /// `event`: a log record.
    pub(super) fn event(
        &mut self,
        envelope: &Arc<Envelope>,
        line: &Line<'_>,
        now: u64,
    ) -> Result<(), LineError> {
        let severity_text = line.severity.as_ref().map_or("", Text::as_str);
        let record = LogRecord {
            time_ns: time(line, now)?,
            observed_ns: now,
            severity: if severity_text.is_empty() { Severity::UNSPECIFIED } else { severity(severity_text)? },
            severity_text,
            event_name: needed(&line.name, "an event", "name")?,
            body: match (&line.message, &line.body) {
                (Some(message), _) => Value::Text(message.as_str()),
                (None, Some(body)) => body.value(),
                (None, None) => Value::Empty,
            },
            trace_id: ids(&line.trace_id, "trace_id")?,
            span_id: ids(&line.span_id, "span_id")?,
            ..LogRecord::default()
        };
        let attributes = self.attributes(line.attributes.as_ref());
        self.log(envelope, &record, attributes);
        Ok(())
    }

    /// `metric`
    pub(super) fn metric(
        &mut self,
        envelope: &Arc<Envelope>,
        line: &Line<'_>,
        now: u64,
    ) -> Result<(), LineError> {
        let name = needed(&line.name, "a metric", "name")?;
        let unit = line.unit.as_ref().map_or("", Text::as_str);
        let time = time(line, now)?;
        let kind = line.of_kind.as_ref().map_or("gauge", Text::as_str);
        let sum = |monotonic| Metric::sum(name, unit, "", Temporality::Delta, monotonic);
        let metric = match kind {
            "gauge" => Metric::gauge(name, unit, ""),
            "counter" => sum(true),
            "updown" => sum(false),
            "histogram" => return self.histogram(envelope, line, (name, unit), time),
            _ => return Err(LineError::from("kind must be gauge, counter, updown or histogram".to_owned())),
        };
        let value = line.value.ok_or_else(|| missing("a metric", "value"))?;
        if kind == "counter" && value.as_f64() < 0.0 {
            return Err(LineError::from("a counter only grows: its value must not be negative".to_owned()));
        }
        let attributes = self.attributes(line.attributes.as_ref());
        append_number(self.out(Signal::Metrics, envelope), &metric, &attributes, 0, time, value.0);
        self.attributes = attributes;
        Ok(())
    }

    fn histogram(
        &mut self,
        envelope: &Arc<Envelope>,
        line: &Line<'_>,
        (name, unit): (&str, &str),
        time_ns: u64,
    ) -> Result<(), LineError> {
        let one;
        let values = match (&line.values, line.value) {
            (Some(values), _) => values.as_slice(),
            (None, Some(value)) => {
                one = [value];
                &one
            }
            (None, None) => return Err(missing("a histogram", "values")),
        };
        let mut buckets = [0u64; BOUNDS.len() + 1];
        let (mut sum, mut least, mut most) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
        for value in values.iter().map(|value| value.as_f64()) {
            buckets[BOUNDS.partition_point(|bound| *bound < value)] += 1;
            sum += value;
            least = f64::min(least, value);
            most = f64::max(most, value);
        }
        let some = |value: f64| (!values.is_empty()).then_some(value);
        let point = HistogramPoint {
            start_ns: 0,
            time_ns,
            count: values.len() as u64,
            sum: Some(sum),
            min: some(least),
            max: some(most),
            bounds: &BOUNDS,
            buckets: &buckets,
        };
        let metric = Histogram { name, unit, description: "", temporality: Temporality::Delta };
        let attributes = self.attributes(line.attributes.as_ref());
        append_histogram(self.out(Signal::Metrics, envelope), &metric, &attributes, &point);
        self.attributes = attributes;
        Ok(())
    }

    /// `progress`: a log record, and gauges of how far it is.
    pub(super) fn progress(
        &mut self,
        envelope: &Arc<Envelope>,
        line: &Line<'_>,
        now: u64,
    ) -> Result<(), LineError> {
        let name = needed(&line.name, "progress", "name")?;
        let current = line.current.ok_or_else(|| missing("progress", "current"))?;
        let time = time(line, now)?;
        let unit = line.unit.as_ref().map_or("", Text::as_str);
        let (trace_id, span_id) = (ids(&line.trace_id, "trace_id")?, ids(&line.span_id, "span_id")?);
        let mut attributes = self.attributes(line.attributes.as_ref());
        attributes.push("progress.name", name);
        let out = self.out(Signal::Metrics, envelope);
        append_number(out, &Metric::gauge("progress.current", unit, ""), &attributes, 0, time, current.0);
        if let Some(total) = line.total {
            let out = self.out(Signal::Metrics, envelope);
            append_number(out, &Metric::gauge("progress.total", unit, ""), &attributes, 0, time, total.0);
            attributes.push("progress.total", of_number(total));
        }
        attributes.push("progress.current", of_number(current));
        if !unit.is_empty() {
            attributes.push("progress.unit", unit);
        }
        let record = LogRecord {
            time_ns: time,
            observed_ns: now,
            severity: Severity::INFO,
            event_name: "progress",
            body: line.message.as_ref().map_or(Value::Empty, |message| Value::Text(message.as_str())),
            trace_id,
            span_id,
            ..LogRecord::default()
        };
        self.log(envelope, &record, attributes);
        Ok(())
    }

    /// `span`, whole.
    pub(super) fn span(&mut self, envelope: &Arc<Envelope>, line: &Line<'_>) -> Result<(), LineError> {
        let start_ns = line.start.ok_or_else(|| missing("a span", "start"))?.ns()?;
        let end_ns = match (line.end, line.duration) {
            (Some(end), _) => end.ns()?,
            (None, Some(duration)) => start_ns.saturating_add(nanoseconds(duration, "duration")?),
            (None, None) => return Err(LineError::from("a span needs `end` or `duration`".to_owned())),
        };
        if end_ns < start_ns {
            return Err(LineError::from("the span ends before it starts".to_owned()));
        }
        let whole = OpenSpan::begin(envelope.clone(), line, start_ns)?;
        self.ended(&whole, line, end_ns, false)
    }

    /// The first half of a span: durable as a log record, should the second never come.
    pub(super) fn span_start(&mut self, span: &OpenSpan, now: u64) {
        let attributes = self.attributes(None);
        let record = LogRecord {
            time_ns: span.start_ns,
            observed_ns: now,
            severity: Severity::TRACE,
            event_name: "span.start",
            body: Value::Text(&span.name),
            trace_id: Some(span.trace_id),
            span_id: Some(span.span_id),
            ..LogRecord::default()
        };
        self.log(&span.envelope, &record, attributes);
    }

    /// A span that has ended. `start_unknown`: nothing is known of its start.
    pub(super) fn ended(
        &mut self,
        span: &OpenSpan,
        line: &Line<'_>,
        end_ns: u64,
        start_unknown: bool,
    ) -> Result<(), LineError> {
        let status = match line.status.as_ref().map(Text::as_str) {
            None | Some("unset") => SpanStatus::Unset,
            Some("ok") => SpanStatus::Ok,
            Some("error") => SpanStatus::Error,
            Some(_) => return Err(LineError::from("status must be unset, ok or error".to_owned())),
        };
        let mut attributes = self.attributes(line.attributes.as_ref());
        attributes.extend_from(&span.attributes);
        if start_unknown {
            attributes.push("whimbrel.span.start_unknown", true);
        }
        let whole = Span {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_id,
            name: &span.name,
            kind: span.kind,
            start_ns: span.start_ns,
            end_ns,
            attributes: Some(&attributes),
            status,
            status_message: line.message.as_ref().map_or("", Text::as_str),
        };
        append_span(self.out(Signal::Traces, &span.envelope), &whole);
        self.attributes = attributes;
        Ok(())
    }

    /// A span whose end never came.
    pub(super) fn unfinished(&mut self, span: &OpenSpan, now: u64) {
        let attributes = self.attributes(None);
        let record = LogRecord {
            time_ns: now,
            observed_ns: now,
            severity: Severity::WARN,
            event_name: "span.unfinished",
            body: Value::Text(&span.name),
            trace_id: Some(span.trace_id),
            span_id: Some(span.span_id),
            ..LogRecord::default()
        };
        self.log(&span.envelope, &record, attributes);
    }

    /// `heartbeat`: the gauge, and a word where the source was silent before.
    pub(super) fn heartbeat(&mut self, envelope: &Arc<Envelope>, time_ns: u64, returned: bool) {
        self.up(envelope, time_ns, 1);
        if returned {
            self.word(envelope, time_ns, Severity::INFO, "source.returned", "the source is back");
        }
    }

    /// A source that promised a heartbeat and sent none.
    pub(super) fn silent(&mut self, envelope: Arc<Envelope>, silent: &Silent, now: u64) {
        self.up(&envelope, now, 0);
        let body = format!("no heartbeat for {} s", silent.for_how_long.as_secs());
        self.word(&envelope, now, Severity::WARN, "source.silent", &body);
    }

    fn up(&mut self, envelope: &Arc<Envelope>, time_ns: u64, value: i64) {
        let metric = Metric::gauge("source.up", "1", "1 while heartbeats come, 0 when they don't");
        append_number(self.out(Signal::Metrics, envelope), &metric, &Attributes::new(), 0, time_ns, value);
    }

    fn word(
        &mut self,
        envelope: &Arc<Envelope>,
        time_ns: u64,
        severity: Severity,
        event_name: &str,
        body: &str,
    ) {
        let record = LogRecord {
            time_ns,
            observed_ns: time_ns,
            severity,
            event_name,
            body: Value::Text(body),
            ..LogRecord::default()
        };
        let attributes = self.attributes(None);
        self.log(envelope, &record, attributes);
    }

    /// What a client says it had to drop.
    pub(super) fn dropped(&mut self, envelope: &Arc<Envelope>, time_ns: u64, count: u64) {
        let metric = Metric::sum("client.dropped", "{line}", "", Temporality::Delta, true);
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        append_number(self.out(Signal::Metrics, envelope), &metric, &Attributes::new(), 0, time_ns, count);
    }
}

/// When a line says it happened; else now.
pub(super) fn time(line: &Line<'_>, now: u64) -> Result<u64, LineError> {
    Ok(line.timestamp.map_or(Ok(now), |time| time.ns())?)
}

/// Seconds that are a length of time.
pub(super) fn nanoseconds(seconds: Num, what: &str) -> Result<u64, LineError> {
    let seconds = seconds.as_f64();
    match (0.0..MOST_SECONDS).contains(&seconds) {
        true => Ok((seconds * 1e9) as u64),
        false => Err(LineError::from(format!("{what} must be seconds, 0 or more"))),
    }
}

pub(super) fn kind(text: Option<&Text<'_>>) -> Result<SpanKind, LineError> {
    match text.map(Text::as_str) {
        None | Some("internal") => Ok(SpanKind::Internal),
        Some("server") => Ok(SpanKind::Server),
        Some("client") => Ok(SpanKind::Client),
        Some("producer") => Ok(SpanKind::Producer),
        Some("consumer") => Ok(SpanKind::Consumer),
        Some(_) => {
            Err(LineError::from("kind must be internal, server, client, producer or consumer".to_owned()))
        }
    }
}

pub(super) fn needed<'l>(text: &'l Option<Text<'_>>, what: &str, field: &str) -> Result<&'l str, LineError> {
    match text.as_ref().map(Text::as_str) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(missing(what, field)),
    }
}

fn missing(what: &str, field: &str) -> LineError {
    LineError::new("missing", format!("{what} needs `{field}`"))
}

pub(super) fn ids<const N: usize>(text: &Option<Text<'_>>, what: &str) -> Result<Option<[u8; N]>, LineError> {
    Ok(text.as_ref().map(|text| id(what, text.as_str())).transpose()?)
}

fn of_number(number: Num) -> Value<'static> {
    match number.0 {
        Number::Int(value) => Value::Int(value),
        Number::Double(value) => Value::Double(value),
    }
}
