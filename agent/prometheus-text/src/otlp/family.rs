//! The samples of one family, put together series by series.

use std::{borrow::Cow, collections::HashMap};

use whimbrel_otlp::write::{Attributes, Exemplar, HistogramPoint, Kind, MetricWriter, SummaryPoint, Value};

use super::{
    convert::Dropped,
    scopes::Scopes,
    series::Series as Hashes,
    starts::{Starts, key},
};
use crate::{
    format::Type,
    parse::{self, Labels, Sample},
};

/// Counts are exact up to here.
const LARGEST_COUNT: f64 = 9_007_199_254_740_992.0;

/// What a family is called and means.
#[derive(Debug, Clone, Default)]
pub(super) struct Meta<'a> {
    pub(super) kind: Option<Type>,
    pub(super) help: Option<Cow<'a, str>>,
    pub(super) unit: Option<&'a str>,
}

/// A family whose samples are being read.
#[derive(Debug)]
pub(super) struct Family<'a> {
    /// As metadata calls it.
    pub(super) name: Cow<'a, str>,
    /// As OTLP is to call it.
    pub(super) metric: String,
    pub(super) kind: Type,
    series: Vec<Series>,
    /// The newest of each, by scope and attributes.
    index: HashMap<(usize, Attributes), usize>,
}

#[derive(Debug)]
struct Series {
    scope: usize,
    attributes: Attributes,
    time_ns: u64,
    /// The time is the sample's own.
    timed: bool,
    /// Of a gauge or a sum.
    value: Option<f64>,
    created_ns: Option<u64>,
    count: Option<f64>,
    sum: Option<f64>,
    /// Upper bound and cumulative count; quantile and value.
    parts: Vec<(f64, f64)>,
    exemplars: Vec<Exemplar>,
    /// A bound or quantile that is no number.
    broken: bool,
}

/// What a sample says about its series.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Value,
    Created,
    Count,
    Sum,
    /// A bucket's bound, or a quantile.
    At(f64),
    Broken,
}

impl<'a> Family<'a> {
    pub(super) fn new(name: Cow<'a, str>, metric: String, kind: Type) -> Self {
        Self { name, metric, kind, series: Vec::new(), index: HashMap::new() }
    }

    pub(super) fn samples_of(&self, name: &str) -> bool {
        self.name == name
    }

    /// Takes a sample in; `suffix` is what follows the family's name.
    pub(super) fn add(
        &mut self,
        mut sample: Sample<'_>,
        suffix: &str,
        now_ns: u64,
        scopes: &mut Scopes,
        dropped: &mut Dropped,
    ) {
        let part = self.part(suffix, &mut sample.labels);
        let scope = scopes.of(&mut sample.labels);
        sample.labels.retain(|(_, value)| !value.is_empty());
        sample.labels.sort();
        let attributes: Attributes = sample.labels.iter().map(|(k, v)| (k, Value::Text(v))).collect();
        let timed = sample.time_ns.is_some();
        let time_ns = sample.time_ns.map_or(now_ns, |ns| u64::try_from(ns).unwrap_or(0));
        let known = self.index.get(&(scope, attributes.clone())).copied();
        let index = match known.filter(|index| self.series[*index].time_ns == time_ns) {
            Some(index) => index,
            None => {
                self.series.push(Series::new(scope, attributes.clone(), time_ns));
                self.index.insert((scope, attributes), self.series.len() - 1);
                self.series.len() - 1
            }
        };
        let series = &mut self.series[index];
        series.timed |= timed;
        if !series.set(part, sample.value) {
            dropped.duplicates += 1;
            return;
        }
        if let Some(exemplar) = sample.exemplar {
            series.exemplars.push(exemplar_of(exemplar, time_ns));
        }
    }

    fn part(&self, suffix: &str, labels: &mut Labels<'_>) -> Part {
        let label = match (self.kind, suffix) {
            (_, "_created") => return Part::Created,
            (Type::Histogram | Type::Summary, "_count") => return Part::Count,
            (Type::Histogram | Type::Summary, "_sum") => return Part::Sum,
            (Type::Histogram, "_bucket") => "le",
            (Type::Summary, "") => "quantile",
            _ => return Part::Value,
        };
        let Some(at) = labels.iter().position(|(name, _)| name == label) else { return Part::Broken };
        match labels.remove(at).1.parse::<f64>() {
            Ok(number) if !number.is_nan() => Part::At(number),
            _ => Part::Broken,
        }
    }

    /// Writes what is whole, at most `most` points a request, and calls `full` when that many wait.
    pub(super) fn write(
        mut self,
        meta: &Meta<'_>,
        conversion: &mut Writing<'_, '_>,
        mut full: impl FnMut(&mut Scopes, usize),
    ) {
        let Some(kind) = kind(self.kind) else {
            conversion.dropped.gauge_histograms += self.series.len();
            return;
        };
        // Metrics belong to scopes; within one the order stays.
        self.series.sort_by_key(|series| series.scope);
        let metadata = Attributes::new().with("prometheus.type", self.kind.as_str());
        // A series of another type is another one.
        let salt = conversion.scopes.resource_hash() ^ (self.kind as u64);
        let unit = meta.unit.map(super::unit).unwrap_or_default();
        let mut rest = self.series.as_mut_slice();
        while let Some(first) = rest.first() {
            let scope = first.scope;
            let room = conversion.most.saturating_sub(conversion.waiting).max(1);
            let len = rest.iter().take(room).take_while(|series| series.scope == scope).count();
            let (now, later) = rest.split_at_mut(len);
            rest = later;
            let hash = conversion.scopes.hash(scope);
            let items = conversion.scopes.items(scope);
            let before = items.len();
            let help = meta.help.as_deref().unwrap_or_default();
            let mut out = MetricWriter::begin(items, &self.metric, help, &unit, kind);
            let mut points = 0;
            for series in now {
                series.parts.sort_by(|a, b| a.0.total_cmp(&b.0));
                let series = &*series;
                let created_ns = series.created_ns.filter(|created| *created <= series.time_ns);
                let own = key(&self.metric, hash ^ salt.rotate_left(1), &series.attributes);
                let starts = match conversion.what {
                    What::Values(starts) => starts,
                    What::Gone { gone, starts } => {
                        if !series.timed && gone.has(own) {
                            let start_ns = created_ns
                                .or_else(|| starts.known(&self.metric, hash, &series.attributes))
                                .filter(|_| self.kind.counts());
                            out.no_value(&series.attributes, start_ns.unwrap_or(0), series.time_ns);
                            points += 1;
                        }
                        continue;
                    }
                };
                let start = |value| {
                    created_ns.unwrap_or_else(|| {
                        starts.of(&self.metric, hash, &series.attributes, series.time_ns, value)
                    })
                };
                match series.write(kind, self.kind, start, &mut out) {
                    Ok(()) => {
                        points += 1;
                        if !series.timed {
                            conversion.hashes.push(own);
                        }
                    }
                    Err(Unfit::NoCount) => conversion.dropped.without_count += 1,
                    Err(Unfit::Malformed) => conversion.dropped.malformed += 1,
                }
            }
            out.end(&metadata);
            if points == 0 {
                items.truncate(before);
            }
            conversion.waiting += points;
            if conversion.waiting >= conversion.most {
                full(conversion.scopes, std::mem::take(&mut conversion.waiting));
            }
        }
    }
}

/// What of a text is written.
#[derive(Debug)]
pub(super) enum What<'c> {
    /// All series with their values.
    Values(&'c mut Starts),
    /// These series, as gone.
    Gone { gone: &'c Hashes, starts: &'c Starts },
}

/// What writing a family needs and changes.
#[derive(Debug)]
pub(super) struct Writing<'w, 'c> {
    pub(super) scopes: &'w mut Scopes,
    pub(super) what: &'w mut What<'c>,
    /// Of the series that were written with a value.
    pub(super) hashes: &'w mut Vec<u64>,
    pub(super) dropped: &'w mut Dropped,
    /// Points that wait in the scopes.
    pub(super) waiting: usize,
    pub(super) most: usize,
}

/// Why a series can't be written.
enum Unfit {
    NoCount,
    Malformed,
}

impl Series {
    fn new(scope: usize, attributes: Attributes, time_ns: u64) -> Self {
        Self {
            scope,
            attributes,
            time_ns,
            timed: false,
            value: None,
            created_ns: None,
            count: None,
            sum: None,
            parts: Vec::new(),
            exemplars: Vec::new(),
            broken: false,
        }
    }

    /// Whether it was not known yet.
    fn set(&mut self, part: Part, value: f64) -> bool {
        let slot = match part {
            Part::Value => &mut self.value,
            Part::Count => &mut self.count,
            Part::Sum => &mut self.sum,
            Part::Created => {
                let ns = value * 1e9;
                let sane = ns.is_finite() && ns > 0.0;
                let fresh = self.created_ns.is_none();
                self.created_ns = self.created_ns.or(sane.then_some(ns as u64));
                return fresh;
            }
            Part::At(at) => {
                // They come in order, as a rule: the last is looked at first.
                let fresh = !self.parts.iter().rev().any(|(known, _)| *known == at);
                if fresh {
                    self.parts.push((at, value));
                }
                return fresh;
            }
            Part::Broken => {
                self.broken = true;
                return true;
            }
        };
        let fresh = slot.is_none();
        *slot = slot.or(Some(value));
        fresh
    }

    /// With `parts` in order.
    fn write(
        &self,
        kind: Kind,
        from: Type,
        start: impl FnOnce(f64) -> u64,
        out: &mut MetricWriter<'_>,
    ) -> Result<(), Unfit> {
        if self.broken {
            return Err(Unfit::Malformed);
        }
        match kind {
            Kind::Gauge | Kind::CumulativeSum { .. } => {
                // A `_created` without its value says nothing.
                let value = self.value.ok_or(Unfit::Malformed)?;
                let start_ns = if from == Type::Counter { start(value) } else { 0 };
                out.number(&self.attributes, start_ns, self.time_ns, value, &self.exemplars);
            }
            Kind::CumulativeHistogram => {
                let count = whole(self.count.ok_or(Unfit::NoCount)?)?;
                let (bounds, buckets) = buckets(&self.parts, count)?;
                let point = HistogramPoint {
                    start_ns: start(count as f64),
                    time_ns: self.time_ns,
                    count,
                    sum: self.sum,
                    bounds: &bounds,
                    buckets: &buckets,
                    ..HistogramPoint::default()
                };
                out.histogram(&self.attributes, &point, &self.exemplars);
            }
            Kind::Summary => {
                let count = whole(self.count.ok_or(Unfit::NoCount)?)?;
                let point = SummaryPoint {
                    start_ns: start(count as f64),
                    time_ns: self.time_ns,
                    count,
                    sum: self.sum.unwrap_or_default(),
                    quantiles: &self.parts,
                };
                out.summary(&self.attributes, &point);
            }
        }
        Ok(())
    }
}

/// `None`: OTLP has nothing like it.
fn kind(from: Type) -> Option<Kind> {
    Some(match from {
        Type::Counter => Kind::CumulativeSum { monotonic: true },
        Type::Gauge | Type::Unknown => Kind::Gauge,
        Type::Info | Type::StateSet => Kind::CumulativeSum { monotonic: false },
        Type::Histogram => Kind::CumulativeHistogram,
        Type::Summary => Kind::Summary,
        Type::GaugeHistogram => return None,
    })
}

/// Bounds and counts of each bucket alone; of cumulative counts in order of their bounds.
fn buckets(cumulative: &[(f64, f64)], count: u64) -> Result<(Vec<f64>, Vec<u64>), Unfit> {
    if cumulative.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut bounds = Vec::with_capacity(cumulative.len());
    let mut buckets = Vec::with_capacity(cumulative.len() + 1);
    let mut below = 0;
    for (bound, up_to) in cumulative.iter().filter(|(bound, _)| *bound != f64::INFINITY) {
        let up_to = whole(*up_to)?;
        buckets.push(up_to.checked_sub(below).ok_or(Unfit::Malformed)?);
        bounds.push(*bound);
        below = up_to;
    }
    buckets.push(count.checked_sub(below).ok_or(Unfit::Malformed)?);
    Ok((bounds, buckets))
}

fn whole(count: f64) -> Result<u64, Unfit> {
    if (0.0..=LARGEST_COUNT).contains(&count) && count.fract() == 0.0 {
        Ok(count as u64)
    } else {
        Err(Unfit::Malformed)
    }
}

fn exemplar_of(exemplar: parse::Exemplar<'_>, point_ns: u64) -> Exemplar {
    let mut made = Exemplar {
        time_ns: exemplar.time_ns.map_or(point_ns, |ns| u64::try_from(ns).unwrap_or(0)),
        value: exemplar.value,
        ..Exemplar::default()
    };
    for (name, value) in exemplar.labels {
        match &*name {
            "trace_id" if made.trace_id.is_none() => made.trace_id = id(&value),
            "span_id" if made.span_id.is_none() => made.span_id = id(&value),
            _ => {}
        }
        let taken =
            name == "trace_id" && made.trace_id.is_some() || name == "span_id" && made.span_id.is_some();
        if !taken {
            made.attributes.push(&name, Value::Text(&value));
        }
    }
    made
}

fn id<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut id = [0; N];
    if hex.len() != 2 * N || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(id)
}
