//! A stored record, as bytes and as what it says: for `whimbrel wal record` and `wal dump`, and for pages that show it.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};
use whimbrel_otlp::{Signal, WalkError, to_json, to_json_within};
use whimbrel_wal::{ReadError, Record, StoredRecord};

use crate::store::signal_of;

/// So many of the stored bytes are shown.
const SHOWN_BYTES: usize = 512;
/// The longest OTLP/JSON that is shown, bytes.
const LONGEST_JSON: usize = 64 << 10;

/// Which record is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `collectors/NAME`; `None`: any.
    pub source: Option<String>,
    /// `None`: any.
    pub signal: Option<Signal>,
}

/// Why a record that is there could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// The disk, or the frame.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was walked when it was stored, so this is not to be expected.
    #[error("the record {id} is not OTLP any more: {cause}")]
    NotOtlp {
        /// Which.
        id: String,
        /// What is wrong.
        cause: WalkError,
    },
    /// The rest of the answer.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// All but the OTLP, which is text already.
#[derive(Serialize)]
struct Shown<'r> {
    record: String,
    lane: u8,
    signal: &'static str,
    source: &'r str,
    items: u32,
    /// When it came in, nanoseconds since the epoch, as a string: readers of JSON round such numbers.
    ingest_ns: String,
    /// The segment's file name, and where in it the record begins.
    segment: String,
    offset: u64,
    /// Header, body and tag.
    stored_bytes: usize,
    stored_hex: String,
    header_bytes: usize,
    /// What is readable without the key.
    header: Map<String, Value>,
    /// Where each of them stands in `stored_hex`.
    header_fields: Vec<FieldAt>,
    encrypted: bool,
    compressed: bool,
    compressed_bytes: usize,
    plain_bytes: u32,
}

#[derive(Serialize)]
struct FieldAt {
    name: &'static str,
    offset: usize,
    length: usize,
}

/// The record as JSON: bytes, place, header, and `otlp`, the request as OTLP/JSON, of which `cut` says whether anything
/// was left out.
///
/// # Errors
/// [`ShowError`].
pub(super) fn show(stored: &StoredRecord) -> Result<String, ShowError> {
    let record = &stored.record;
    let signal = signal_of(record.lane);
    let otlp = to_json_within(signal, &record.payload()?, LONGEST_JSON)
        .map_err(|cause| ShowError::NotOtlp { id: record.id.to_string(), cause })?;
    let shown = Shown {
        record: record.id.to_string(),
        lane: record.lane.number(),
        signal: signal.name(),
        source: &record.source,
        items: record.items,
        ingest_ns: record.ingest_ns.to_string(),
        segment: file_name(&stored.path),
        offset: stored.offset,
        stored_bytes: stored.bytes.len(),
        stored_hex: stored.bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect(),
        header_bytes: stored.header_len,
        header: stored.fields.iter().map(|field| (field.name.to_owned(), field_value(field))).collect(),
        header_fields: stored
            .fields
            .iter()
            .map(|field| FieldAt { name: field.name, offset: field.offset, length: field.len })
            .collect(),
        encrypted: stored.encrypted,
        compressed: record.frame().is_some(),
        compressed_bytes: record.stored_len(),
        plain_bytes: record.uncompressed_len,
    };
    let mut text = serde_json::to_string(&shown)?;
    // The OTLP keeps the order of its fields, which a parsed value would lose.
    text.truncate(text.len() - 1);
    text.push_str(&format!(",\"cut\":{},\"otlp\":{}}}", otlp.cut, otlp.text));
    Ok(text)
}

/// All of a dumped record but the OTLP.
#[derive(Serialize)]
struct Line<'r> {
    sequence: u64,
    /// What receivers know a repeat by.
    dedup_id: String,
    signal: &'static str,
    source: &'r str,
    label: &'r str,
    /// Nanoseconds since the epoch, as a string.
    ingest_ns: String,
    items: u32,
}

/// A dumped record as one line of JSON; `request` is all of it as OTLP/JSON.
///
/// # Errors
/// [`ShowError::NotOtlp`], [`ShowError::Json`].
pub fn dumped_line(record: &Record, payload: &[u8]) -> Result<String, ShowError> {
    let signal = signal_of(record.lane);
    let request =
        to_json(signal, payload).map_err(|cause| ShowError::NotOtlp { id: record.id.to_string(), cause })?;
    let line = Line {
        sequence: record.id.sequence(),
        dedup_id: record.id.to_string(),
        signal: signal.name(),
        source: &record.source,
        label: &record.label,
        ingest_ns: record.ingest_ns.to_string(),
        items: record.items,
    };
    let mut text = serde_json::to_string(&line)?;
    text.truncate(text.len() - 1);
    text.push_str(&format!(",\"request\":{request}}}"));
    Ok(text)
}

/// 64-bit fields as strings, like OTLP/JSON has them, and the magic as the letters that it is.
fn field_value(field: &whimbrel_wal::HeaderField) -> Value {
    if field.name == "magic" {
        let letters = field.value.to_le_bytes();
        return Value::String(String::from_utf8_lossy(&letters[..field.len]).into_owned());
    }
    match field.len {
        8 => Value::String(field.value.to_string()),
        _ => Value::from(field.value),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use whimbrel_otlp::write::{Attributes, Metric, Metrics};
    use whimbrel_wal::{Encryption, Key, KeyRing, NewRecord, Options, Wal, WhenFull};

    use super::*;
    use crate::store::lane_of;

    #[test]
    fn a_record_is_shown_as_bytes_and_as_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyRing::new(Key::from_bytes([7; 32]));
        let (wal, _) = Wal::open(folder.path(), Options::new(Encryption::Aes256Gcm(key))).unwrap();
        let mut request = Metrics::new();
        request.resource(&Attributes::new().with("host.name", "here"));
        let mut points = request.metric(&Metric::gauge("a", "1", ""));
        for n in 0..5000i64 {
            points.point(&Attributes::new().with("n", n), 0, 1, n);
        }
        let payload = request.take();
        let record = NewRecord {
            lane: lane_of(Signal::Metrics),
            source: "collectors/host",
            label: "",
            items: 5000,
            ingest_ns: 42,
            payload: &payload,
            checkpoint: Some(b"at"),
            when_full: WhenFull::DropOldest,
        };
        wal.append_blocking(wal.prepare(record).unwrap()).unwrap();
        let text = show(&wal.newest(|_, _| true).unwrap().unwrap()).unwrap();
        assert!(text.len() < LONGEST_JSON + 4096, "{}", text.len());
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["stored_hex"].as_str().unwrap().len(), 2 * SHOWN_BYTES);
        assert!(shown["stored_hex"].as_str().unwrap().starts_with("7768520a"), "whR and a line break");
        assert_eq!(
            (&shown["header"]["ingest_ns"], &shown["header"]["magic"]),
            (&"42".into(), &"whR\n".into())
        );
        assert_eq!((&shown["encrypted"], &shown["cut"]), (&Value::from(true), &Value::from(true)));
        assert_eq!((&shown["signal"], &shown["source"]), (&"metrics".into(), &"collectors/host".into()));
        assert_eq!(shown["plain_bytes"].as_u64().unwrap(), payload.len() as u64);
        let metric = &shown["otlp"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0];
        assert_eq!(metric["name"], "a");
        assert!(metric["gauge"]["dataPoints"].as_array().unwrap().len() > 100, "the first of them");
    }
}
