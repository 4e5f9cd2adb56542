//! A message of syslog as a log record. Parsed by `syslog_loose`, which takes what senders really send.

use std::sync::Arc;

use chrono::{Datelike as _, Timelike as _};
use jiff::{civil::DateTime, tz::TimeZone};
use syslog_loose::{
    IncompleteDate, Message, ProcId, Protocol, SyslogSeverity, Variant, parse_message_with_year_tz,
};
use whimbrel_otlp::{
    Signal,
    write::{Attributes, Envelope, LogRecord, Severity, Value, append_log_record},
};

use crate::receive::pieces::Pieces;

/// Parses a message and encodes it. `envelope` gives that of a host and an application.
pub(super) fn put(
    text: &str,
    zone: &TimeZone,
    now_ns: u64,
    pieces: &mut Pieces,
    envelope: impl FnOnce(&str, &str) -> Arc<Envelope>,
) {
    let year = |date: IncompleteDate| year_of(date, zone, now_ns);
    let message = parse_message_with_year_tz(text, year, Some(chrono::Utc), Variant::Either);
    let mut attributes = Attributes::new();
    if let Some(facility) = message.facility {
        attributes.push("syslog.facility", facility.as_str());
    }
    match &message.procid {
        Some(ProcId::PID(pid)) => attributes.push("syslog.procid", i64::from(*pid)),
        Some(ProcId::Name(name)) => attributes.push("syslog.procid", *name),
        None => {}
    }
    if let Some(id) = message.msgid {
        attributes.push("syslog.msgid", id);
    }
    for element in &message.structured_data {
        for (key, value) in element.params() {
            attributes.push(&format!("syslog.structured_data.{}.{key}", element.id), value.as_str());
        }
    }
    let record = LogRecord {
        time_ns: time(&message, zone).unwrap_or(now_ns),
        observed_ns: now_ns,
        severity: message.severity.map_or(Severity::UNSPECIFIED, severity),
        severity_text: message.severity.map_or("", SyslogSeverity::as_str),
        body: Value::Text(message.msg),
        attributes: Some(&attributes),
        ..LogRecord::default()
    };
    let envelope = envelope(message.hostname.unwrap_or_default(), message.appname.unwrap_or_default());
    append_log_record(pieces.out(Signal::Logs, &envelope), &record);
}

/// As the OpenTelemetry specification maps syslog's (Logs data model, appendix B).
fn severity(severity: SyslogSeverity) -> Severity {
    let number = match severity {
        SyslogSeverity::SEV_EMERG => 21,
        SyslogSeverity::SEV_ALERT => 19,
        SyslogSeverity::SEV_CRIT => 18,
        SyslogSeverity::SEV_ERR => 17,
        SyslogSeverity::SEV_WARNING => 13,
        SyslogSeverity::SEV_NOTICE => 10,
        SyslogSeverity::SEV_INFO => 9,
        SyslogSeverity::SEV_DEBUG => 5,
    };
    Severity::new(number).unwrap_or(Severity::UNSPECIFIED)
}

/// RFC 3164 says no year: the one in which the date is nearest to now, and not more than a day ahead.
fn year_of((month, day, ..): IncompleteDate, zone: &TimeZone, now_ns: u64) -> i32 {
    let now = jiff::Timestamp::from_nanosecond(i128::from(now_ns)).unwrap_or_default().to_zoned(zone.clone());
    let ahead = (month, day) > (now.month() as u32, now.day() as u32 + 1);
    let this = i32::from(now.year());
    // A date of December that is read on the first days of January; and the other way round.
    match (ahead, now.month() == 12 && now.day() == 31 && month == 1) {
        (_, true) => this + 1,
        (true, false) => this - 1,
        (false, false) => this,
    }
}

/// Nanoseconds since 1970. A time without zone is one of `zone`.
fn time(message: &Message<&str>, zone: &TimeZone) -> Option<u64> {
    let time = message.timestamp?;
    if message.protocol != Protocol::RFC3164 {
        return u64::try_from(time.timestamp_nanos_opt()?).ok();
    }
    // It was parsed as one of UTC.
    let civil = DateTime::new(
        i16::try_from(time.year()).ok()?,
        i8::try_from(time.month()).ok()?,
        i8::try_from(time.day()).ok()?,
        i8::try_from(time.hour()).ok()?,
        i8::try_from(time.minute()).ok()?,
        i8::try_from(time.second()).ok()?,
        i32::try_from(time.nanosecond()).ok().filter(|ns| *ns < 1_000_000_000)?,
    );
    let zoned = civil.ok()?.to_zoned(zone.clone()).ok()?;
    u64::try_from(zoned.timestamp().as_nanosecond()).ok()
}
