//! Requests of logs.
//!
//! ```text
//! LogRecord: 1 time (fixed64), 2 severity number, 3 severity text, 5 body (AnyValue), 6 attributes,
//!            8 flags (fixed32), 9 trace id, 10 span id, 11 observed time (fixed64), 12 event name
//! ```

use super::attributes::Attributes;
use super::buffer::{
    close_medium, close_short, fixed32, fixed64, message, open_medium, open_short, put_bytes, put_fixed32,
    put_fixed64, put_text, varint,
};
use super::envelope::Envelope;
use super::scope::Scope;
use super::value::Value;

/// OTLP's SeverityNumber: 1 (trace) to 24 (fatal4), or unspecified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Severity(u8);

impl Severity {
    /// No severity.
    pub const UNSPECIFIED: Severity = Severity(0);
    /// Fine-grained debugging.
    pub const TRACE: Severity = Severity(1);
    /// Debugging.
    pub const DEBUG: Severity = Severity(5);
    /// Something happened.
    pub const INFO: Severity = Severity(9);
    /// Not an error, but worth more attention.
    pub const WARN: Severity = Severity(13);
    /// Something went wrong.
    pub const ERROR: Severity = Severity(17);
    /// An application or system crash.
    pub const FATAL: Severity = Severity(21);

    /// The severity of a number from 0 to 24; `None` for others.
    #[must_use]
    pub const fn new(number: u8) -> Option<Severity> {
        if number <= 24 { Some(Severity(number)) } else { None }
    }

    /// 0 to 24.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A log record. Times are nanoseconds since the Unix epoch; what is at its default is left out.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LogRecord<'a> {
    /// When it happened; 0: not known.
    pub time_ns: u64,
    /// When it was seen; 0: left out.
    pub observed_ns: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The source's own word for it, such as `WARN`.
    pub severity_text: &'a str,
    /// Which kind of event it is; empty for a plain log line.
    pub event_name: &'a str,
    /// The message, or a structure.
    pub body: Value<'a>,
    /// Its attributes.
    pub attributes: Option<&'a Attributes>,
    /// W3C trace flags in the lowest byte.
    pub flags: u32,
    /// The trace that it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// The span that it belongs to.
    pub span_id: Option<[u8; 8]>,
}

/// Appends one record as the field of `ScopeLogs` that it is: tag, length, message.
pub fn append_log_record(out: &mut Vec<u8>, record: &LogRecord<'_>) {
    let start = open_medium(out, message(2));
    if record.time_ns != 0 {
        put_fixed64(out, fixed64(1), record.time_ns);
    }
    if record.severity != Severity::UNSPECIFIED {
        out.extend_from_slice(&[varint(2), record.severity.number()]);
    }
    put_text(out, message(3), record.severity_text);
    if record.body != Value::Empty {
        let body = open_short(out, message(5));
        record.body.append(out);
        close_short(out, body);
    }
    if let Some(attributes) = record.attributes {
        attributes.append_as(message(6), out);
    }
    if record.flags != 0 {
        put_fixed32(out, fixed32(8), record.flags);
    }
    if let Some(id) = &record.trace_id {
        put_bytes(out, message(9), id);
    }
    if let Some(id) = &record.span_id {
        put_bytes(out, message(10), id);
    }
    if record.observed_ns != 0 {
        put_fixed64(out, fixed64(11), record.observed_ns);
    }
    put_text(out, message(12), record.event_name);
    close_medium(out, start);
}

/// A logs export request in the making.
///
/// ```
/// use whimbrel_otlp::write::{LogRecord, Logs, Severity};
/// let mut request = Logs::new();
/// request.record(&LogRecord { severity: Severity::WARN, body: "the disk is nearly full".into(), ..LogRecord::default() });
/// assert_eq!(request.records(), 1);
/// # assert!(request.finish().len() > 20);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Logs {
    envelope: Envelope,
}

impl Logs {
    /// An empty request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a resource: what the records are about. Without attributes it is the agent's own.
    pub fn resource(&mut self, attributes: &Attributes) {
        self.envelope.begin_resource(attributes);
    }

    /// Begins a scope within the current resource (within one without attributes, if there is none).
    pub fn scope(&mut self, scope: &Scope<'_>) {
        self.envelope.begin_scope(scope);
    }

    /// Writes a record into the current scope (into a nameless one, if there is none).
    pub fn record(&mut self, record: &LogRecord<'_>) {
        self.envelope.need_scope();
        append_log_record(&mut self.envelope.out, record);
        self.envelope.items += 1;
    }

    /// How many records were written since the beginning or the last [`clear`](Self::clear).
    #[must_use]
    pub fn records(&self) -> u32 {
        self.envelope.items
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.envelope.out.len()
    }

    /// Ends what is open, and shows the request. What is written next begins another resource.
    pub fn finish(&mut self) -> &[u8] {
        self.envelope.end();
        &self.envelope.out
    }

    /// Ends what is open, and takes the request out; what is left is an empty one.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.envelope.end();
        let bytes = std::mem::take(&mut self.envelope.out);
        self.clear();
        bytes
    }

    /// Takes a buffer to write into, so that its memory serves again. It is emptied, and what was written is gone.
    pub fn reuse(&mut self, buffer: Vec<u8>) {
        self.envelope.out = buffer;
        self.clear();
    }

    /// Back to an empty request; the buffer's memory stays.
    pub fn clear(&mut self) {
        self.envelope.clear();
    }
}
