//! `emit.push`: what a guest hands over, read from its memory and made into one OTLP export request.
//!
//! Typed records cannot be malformed in their structure; what a type cannot say (the length of an id, a JSON text, the
//! range of a severity) is checked here, and an error names the item.
//!
//! Every record and every text is charged against what the guest may still hand over before it is used. Lists may
//! overlap in its memory, so that little memory can say very much.

use std::borrow::Cow;

use wasmtime::{
    AsContextMut as _, StoreContext, StoreContextMut,
    component::{Lift, Linker, WasmList, WasmStr},
};
use whimbrel_otlp::{
    Signal,
    write::{self, Attributes, Logs, Metrics, Severity},
};

use super::{
    records::{self, Data, HistogramPoint, LogRecord, Metric, Point, ResourceLogs, ResourceMetrics, Value},
    types,
};
use crate::{
    guest::Guest,
    services::{Batch, GuestError},
};

/// A guest's nested value may be no deeper; OTLP receivers refuse what is nested much deeper.
const JSON_DEPTH: usize = 16;
/// What a record is charged beside its texts: tag, length and number of a field, or of a small message.
const FIELD: u64 = 10;
/// What a batch is charged: an empty one is not free either, each costs a record.
const BATCH: u64 = 64;

type Answer = wasmtime::Result<(Result<(), types::Error>,)>;
type Answering<'a> = Box<dyn Future<Output = Answer> + Send + 'a>;

/// Makes `emit` available to plugins.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance("whimbrel:plugin/emit@0.1.0")?.func_wrap_async(
        "push",
        |store: StoreContextMut<'_, Guest>,
         (batch, checkpoint): (records::Batch, Option<WasmList<u8>>)|
         -> Answering<'_> { Box::new(push(store, batch, checkpoint)) },
    )
}

async fn push(
    mut store: StoreContextMut<'_, Guest>,
    batch: records::Batch,
    checkpoint: Option<WasmList<u8>>,
) -> Answer {
    let room = store.data_mut().begin_push()?;
    let now_ns = store.data().now_ns();
    let mut reader = Reader {
        store: store.as_context_mut(),
        left: room,
        now_ns,
        series: Attributes::new(),
        list: Vec::new(),
    };
    let read = reader.request(&batch, checkpoint.as_ref());
    let charged = room - reader.left;
    let answer = match read {
        Ok((batch, checkpoint)) => store.data_mut().push(batch, checkpoint, charged).await?,
        Err(Refused::Invalid(why)) => Err(GuestError::Invalid(why)),
        Err(Refused::TooLarge) => Err(store.data_mut().refuse()?),
        Err(Refused::Unreadable(error)) => return Err(error),
    };
    Ok((answer.map_err(super::error_to_guest),))
}

/// Why there is no request.
enum Refused {
    /// It is more than the guest may still hand over.
    TooLarge,
    /// What is wrong, and where.
    Invalid(String),
    /// It is not what the contract says: a text that is not one, a list outside of the memory.
    Unreadable(wasmtime::Error),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Refused::Invalid(why)
    }
}

impl From<wasmtime::Error> for Refused {
    fn from(error: wasmtime::Error) -> Self {
        Refused::Unreadable(error)
    }
}

impl Refused {
    /// The same, with the item before what is wrong with it.
    fn within(self, item: impl FnOnce() -> String) -> Self {
        match self {
            Refused::Invalid(why) => Refused::Invalid(format!("{}: {why}", item())),
            other => other,
        }
    }
}

/// Reads one batch.
struct Reader<'a> {
    store: StoreContextMut<'a, Guest>,
    /// Bytes that the guest may still hand over.
    left: u64,
    /// Stands where a point or a record has no time.
    now_ns: u64,
    /// The attributes that were read last; their memory serves again.
    series: Attributes,
    /// The list of them.
    list: Vec<records::Attribute>,
}

impl Reader<'_> {
    fn request(
        &mut self,
        batch: &records::Batch,
        checkpoint: Option<&WasmList<u8>>,
    ) -> Result<(Batch, Option<Vec<u8>>), Refused> {
        charge(&mut self.left, BATCH)?;
        let checkpoint = checkpoint.map(|bytes| self.bytes(bytes)).transpose()?;
        let (signal, request) = match batch {
            records::Batch::Metrics(groups) => (Signal::Metrics, self.metrics(groups)?),
            records::Batch::Logs(groups) => (Signal::Logs, self.logs(groups)?),
            records::Batch::Otlp((signal, bytes)) => (signal_of(*signal), self.bytes(bytes)?),
        };
        Ok((Batch { signal, request }, checkpoint))
    }

    /// A copy of them, once they are charged.
    fn bytes(&mut self, list: &WasmList<u8>) -> Result<Vec<u8>, Refused> {
        charge(&mut self.left, list.len() as u64)?;
        Ok(list.as_le_slice(&self.store).to_vec())
    }

    /// One of a list.
    fn item<T: Lift>(&mut self, list: &WasmList<T>, index: usize) -> Result<T, Refused> {
        let item = list.get(&mut self.store, index);
        item.unwrap_or_else(|| Err(wasmtime::Error::msg("a list ended early"))).map_err(Refused::Unreadable)
    }

    fn metrics(&mut self, groups: &WasmList<ResourceMetrics>) -> Result<Vec<u8>, Refused> {
        let mut request = Metrics::new();
        for index in 0..groups.len() {
            let group = self.item(groups, index)?;
            charge(&mut self.left, FIELD)?;
            self.attributes(&group.resource)?;
            request.resource(&self.series);
            if let Some(scope) = &group.scope {
                self.scope(scope, |scope| request.scope(scope))?;
            }
            for index in 0..group.metrics.len() {
                let metric = self.item(&group.metrics, index)?;
                self.metric(&mut request, &metric)?;
            }
        }
        Ok(request.take())
    }

    fn scope(
        &mut self,
        scope: &records::Scope,
        begin: impl FnOnce(&write::Scope<'_>),
    ) -> Result<(), Refused> {
        charge(&mut self.left, FIELD)?;
        self.attributes(&scope.attributes)?;
        let Reader { store, left, series, .. } = self;
        let (name, version) = (text(store, left, &scope.name)?, text(store, left, &scope.version)?);
        begin(&write::Scope { name: &name, version: &version, attributes: Some(series) });
        Ok(())
    }

    fn metric(&mut self, request: &mut Metrics, metric: &Metric) -> Result<(), Refused> {
        charge(&mut self.left, 4 * FIELD)?;
        // Reading its points needs the whole store: these three are copied.
        let mut owned = |of| text(&self.store, &mut self.left, of).map(Cow::into_owned);
        let (name, unit, description) =
            (owned(&metric.name)?, owned(&metric.unit)?, owned(&metric.description)?);
        let numbers = |data| write::Metric { name: &name, unit: &unit, description: &description, data };
        let of_this = || format!("metric {name:?}");
        match &metric.data {
            Data::Gauge(points) => {
                let out = request.metric(&numbers(write::Data::Gauge));
                self.points(out, points).map_err(|refused| refused.within(of_this))
            }
            Data::Sum(sum) => {
                let (temporality, monotonic) = (temporality(sum.temporality), sum.monotonic);
                let out = request.metric(&numbers(write::Data::Sum { temporality, monotonic }));
                self.points(out, &sum.points).map_err(|refused| refused.within(of_this))
            }
            Data::Histogram(histogram) => {
                let temporality = temporality(histogram.temporality);
                let metric =
                    write::Histogram { name: &name, unit: &unit, description: &description, temporality };
                let out = request.histogram(&metric);
                self.histogram_points(out, &histogram.points).map_err(|refused| refused.within(of_this))
            }
        }
    }

    fn points(&mut self, mut out: write::Numbers<'_>, points: &WasmList<Point>) -> Result<(), Refused> {
        for index in 0..points.len() {
            let point = self.item(points, index)?;
            charge(&mut self.left, 4 * FIELD)?;
            self.attributes(&point.attributes)?;
            let value = match point.value {
                types::Number::Int(value) => write::Number::Int(value),
                types::Number::Double(value) => write::Number::Double(value),
            };
            out.point(&self.series, point.start_ns, or_now(point.time_ns, self.now_ns), value);
        }
        Ok(())
    }

    fn histogram_points(
        &mut self,
        mut out: write::Histograms<'_>,
        points: &WasmList<HistogramPoint>,
    ) -> Result<(), Refused> {
        for index in 0..points.len() {
            let point = self.item(points, index)?;
            let numbers = 8 * (point.bounds.len() as u64 + point.buckets.len() as u64);
            charge(&mut self.left, 8 * FIELD + numbers)?;
            self.attributes(&point.attributes)?;
            let bounds = point.bounds.iter(&mut self.store)?.collect::<wasmtime::Result<Vec<f64>>>()?;
            let buckets = point.buckets.iter(&mut self.store)?.collect::<wasmtime::Result<Vec<u64>>>()?;
            check_buckets(&bounds, &buckets)?;
            let point = write::HistogramPoint {
                start_ns: point.start_ns,
                time_ns: or_now(point.time_ns, self.now_ns),
                count: point.count,
                sum: point.sum,
                min: point.min,
                max: point.max,
                bounds: &bounds,
                buckets: &buckets,
            };
            out.point(&self.series, &point);
        }
        Ok(())
    }

    fn logs(&mut self, groups: &WasmList<ResourceLogs>) -> Result<Vec<u8>, Refused> {
        let mut request = Logs::new();
        for index in 0..groups.len() {
            let group = self.item(groups, index)?;
            charge(&mut self.left, FIELD)?;
            self.attributes(&group.resource)?;
            request.resource(&self.series);
            if let Some(scope) = &group.scope {
                self.scope(scope, |scope| request.scope(scope))?;
            }
            for index in 0..group.records.len() {
                let record = self.item(&group.records, index)?;
                self.record(&mut request, &record)
                    .map_err(|refused| refused.within(|| format!("log record {index}")))?;
            }
        }
        Ok(request.take())
    }

    fn record(&mut self, request: &mut Logs, record: &LogRecord) -> Result<(), Refused> {
        charge(&mut self.left, 6 * FIELD + (record.trace_id.len() + record.span_id.len()) as u64)?;
        self.attributes(&record.attributes)?;
        let Reader { store, left, series, now_ns, .. } = self;
        let read = Read::of(store, left, &record.body)?;
        let parsed = read.json()?;
        request.record(&write::LogRecord {
            time_ns: record.time_ns,
            observed_ns: or_now(record.observed_ns, *now_ns),
            severity: Severity::new(record.severity)
                .ok_or_else(|| format!("severity {}: OTLP has 0 to 24", record.severity))?,
            severity_text: &text(store, left, &record.severity_text)?,
            event_name: &text(store, left, &record.event_name)?,
            body: read.value(parsed.as_ref()),
            attributes: Some(series),
            flags: record.flags,
            trace_id: id(record.trace_id.as_le_slice(&*store), "trace-id")?,
            span_id: id(record.span_id.as_le_slice(&*store), "span-id")?,
        });
        Ok(())
    }

    /// Reads them into `series`.
    fn attributes(&mut self, from: &WasmList<records::Attribute>) -> Result<(), Refused> {
        let Reader { store, left, series, list, .. } = self;
        series.clear();
        charge(left, 2 * FIELD * from.len() as u64)?;
        list.clear();
        for attribute in from.iter(&mut *store)? {
            list.push(attribute?);
        }
        for attribute in list {
            let key = text(store, left, &attribute.key)?;
            if key.is_empty() {
                return Err("an attribute has an empty key".to_owned().into());
            }
            let read = Read::of(store, left, &attribute.value)?;
            let parsed = read.json().map_err(|why| format!("attribute {key:?}: {why}"))?;
            series.push(&key, read.value(parsed.as_ref()));
        }
        Ok(())
    }
}

fn charge(left: &mut u64, bytes: u64) -> Result<(), Refused> {
    *left = left.checked_sub(bytes).ok_or(Refused::TooLarge)?;
    Ok(())
}

/// A text in the guest's memory, charged.
fn text<'s>(
    store: &'s StoreContextMut<'_, Guest>,
    left: &mut u64,
    text: &WasmStr,
) -> Result<Cow<'s, str>, Refused> {
    let text = text.to_str(StoreContext::from(store))?;
    charge(left, text.len() as u64)?;
    Ok(text)
}

/// A value whose texts were read.
enum Read<'s> {
    Text(Cow<'s, str>),
    Boolean(bool),
    Int(i64),
    Double(f64),
    Bytes(&'s [u8]),
    Json(Cow<'s, str>),
}

impl<'s> Read<'s> {
    fn of(store: &'s StoreContextMut<'_, Guest>, left: &mut u64, value: &Value) -> Result<Self, Refused> {
        Ok(match value {
            Value::Text(of) => Read::Text(text(store, left, of)?),
            Value::Boolean(yes) => Read::Boolean(*yes),
            Value::Int(number) => Read::Int(*number),
            Value::Double(number) => Read::Double(*number),
            Value::Bytes(bytes) => {
                charge(left, bytes.len() as u64)?;
                Read::Bytes(bytes.as_le_slice(store))
            }
            Value::Json(of) => Read::Json(text(store, left, of)?),
        })
    }

    /// The parsed text of a `json` value; `None` for the others.
    fn json(&self) -> Result<Option<serde_json::Value>, String> {
        let Read::Json(text) = self else { return Ok(None) };
        let parsed: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        if depth(&parsed) > JSON_DEPTH {
            return Err(format!("JSON nested deeper than {JSON_DEPTH}"));
        }
        Ok(Some(parsed))
    }

    fn value<'v>(&'v self, parsed: Option<&'v serde_json::Value>) -> write::Value<'v> {
        match self {
            Read::Text(text) => write::Value::Text(text),
            Read::Boolean(yes) => write::Value::Bool(*yes),
            Read::Int(number) => write::Value::Int(*number),
            Read::Double(number) => write::Value::Double(*number),
            Read::Bytes(bytes) => write::Value::Bytes(bytes),
            Read::Json(_) => parsed.map_or(write::Value::Empty, from_json),
        }
    }
}

/// serde_json bounds its own recursion, so this one is bounded too.
fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// JSON has one kind of number; integers that fit stay integers.
fn from_json(json: &serde_json::Value) -> write::Value<'_> {
    match json {
        serde_json::Value::Null => write::Value::Empty,
        serde_json::Value::Bool(yes) => write::Value::Bool(*yes),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => write::Value::Int(integer),
            None => write::Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => write::Value::Text(text),
        serde_json::Value::Array(list) => write::Value::Array(list.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            write::Value::Map(map.iter().map(|(key, value)| (key.as_str(), from_json(value))).collect())
        }
    }
}

fn check_buckets(bounds: &[f64], buckets: &[u64]) -> Result<(), String> {
    if !buckets.is_empty() && buckets.len() != bounds.len() + 1 || buckets.is_empty() && !bounds.is_empty() {
        return Err(format!(
            "{} buckets for {} bounds: give one bucket more than bounds, or neither",
            buckets.len(),
            bounds.len()
        ));
    }
    if bounds.windows(2).any(|pair| !matches!(pair, [a, b] if a < b)) {
        return Err("the bounds of a histogram must ascend".into());
    }
    Ok(())
}

fn id<const N: usize>(bytes: &[u8], name: &str) -> Result<Option<[u8; N]>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| format!("{name} of {} bytes: give {N}, or none", bytes.len()))
}

fn or_now(time_ns: u64, now_ns: u64) -> u64 {
    if time_ns == 0 { now_ns } else { time_ns }
}

fn temporality(temporality: types::Temporality) -> write::Temporality {
    match temporality {
        types::Temporality::Delta => write::Temporality::Delta,
        types::Temporality::Cumulative => write::Temporality::Cumulative,
    }
}

fn signal_of(signal: types::Signal) -> Signal {
    match signal {
        types::Signal::Metrics => Signal::Metrics,
        types::Signal::Logs => Signal::Logs,
        types::Signal::Traces => Signal::Traces,
    }
}
