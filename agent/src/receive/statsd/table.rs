//! Values of a series, put together until the next flush.

use std::collections::{BTreeMap, HashSet};

use whimbrel_otlp::write::{
    Attributes, Histogram, HistogramPoint, Metric as OtlpMetric, Temporality, append_histogram, append_number,
};

use super::parse::{Kind, Metric, number};
use crate::receive::event::BOUNDS;

/// Different members of a set that are kept; more are counted as one each.
const MOST_MEMBERS: usize = 10_000;

/// There is no room for another series.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// See the module.
pub(super) struct Table {
    limit: usize,
    since_ns: u64,
    series: BTreeMap<Key, Values>,
    /// Gauges stay: `+1` is on top of what was before.
    gauges: BTreeMap<Key, f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    kind: Kind,
    tags: Vec<(String, String)>,
}

enum Values {
    Sum(f64),
    Last(f64),
    Spread { buckets: [f64; BOUNDS.len() + 1], sum: f64, least: f64, most: f64 },
    Members { kept: HashSet<String>, more: u64 },
}

impl Table {
    pub(super) fn new(limit: usize, since_ns: u64) -> Self {
        Self { limit, since_ns, series: BTreeMap::new(), gauges: BTreeMap::new() }
    }

    /// Adds the values of a line.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn add(&mut self, metric: &Metric<'_>) -> Result<(), Full> {
        let mut tags: Vec<(String, String)> =
            metric.tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        tags.sort();
        let key = Key { name: metric.name.to_owned(), kind: metric.kind, tags };
        if !self.series.contains_key(&key) && self.series.len() >= self.limit {
            return Err(Full);
        }
        let before = self.gauges.get(&key).copied().unwrap_or(0.0);
        let values = self.series.entry(key).or_insert_with(|| match metric.kind {
            Kind::Counter => Values::Sum(0.0),
            Kind::Gauge => Values::Last(before),
            Kind::Timer | Kind::Histogram => Values::Spread {
                buckets: [0.0; BOUNDS.len() + 1],
                sum: 0.0,
                least: f64::INFINITY,
                most: f64::NEG_INFINITY,
            },
            Kind::Set => Values::Members { kept: HashSet::new(), more: 0 },
        });
        for text in &metric.values {
            values.add(text, metric.weight);
        }
        Ok(())
    }

    /// Encodes everything and begins anew; how many points that are.
    pub(super) fn drain(&mut self, now_ns: u64, out: &mut Vec<u8>) -> u32 {
        let series = std::mem::take(&mut self.series);
        let count = u32::try_from(series.len()).unwrap_or(u32::MAX);
        // Gauges that were not set again are forgotten, so that what is kept is bounded as what is put together.
        self.gauges.clear();
        for (key, values) in series {
            let tags = key.tags.iter().map(|(key, value)| (key, value.as_str()));
            let attributes = Attributes::from_iter(tags);
            values.append(out, &key, &attributes, self.since_ns, now_ns);
            if let Values::Last(value) = values {
                self.gauges.insert(key, value);
            }
        }
        self.since_ns = now_ns;
        count
    }
}

impl Values {
    fn add(&mut self, text: &str, weight: f64) {
        let value = number(text).unwrap_or(0.0);
        match self {
            Self::Sum(sum) => *sum += value * weight,
            Self::Last(last) if text.starts_with(['+', '-']) => *last += value,
            Self::Last(last) => *last = value,
            Self::Spread { buckets, sum, least, most } => {
                buckets[BOUNDS.partition_point(|bound| *bound < value)] += weight;
                *sum += value * weight;
                *least = least.min(value);
                *most = most.max(value);
            }
            Self::Members { kept, more } if kept.len() >= MOST_MEMBERS && !kept.contains(text) => *more += 1,
            Self::Members { kept, .. } => drop(kept.insert(text.to_owned())),
        }
    }

    fn append(&self, out: &mut Vec<u8>, key: &Key, attributes: &Attributes, start_ns: u64, now_ns: u64) {
        let name = key.name.as_str();
        match self {
            Self::Sum(sum) => {
                let metric = OtlpMetric::sum(name, "", "", Temporality::Delta, true);
                append_number(out, &metric, attributes, start_ns, now_ns, *sum);
            }
            Self::Last(last) => {
                append_number(out, &OtlpMetric::gauge(name, "", ""), attributes, 0, now_ns, *last);
            }
            Self::Members { kept, more } => {
                let count = i64::try_from(kept.len() as u64 + more).unwrap_or(i64::MAX);
                append_number(out, &OtlpMetric::gauge(name, "", ""), attributes, 0, now_ns, count);
            }
            Self::Spread { buckets, sum, least, most } => {
                let buckets = buckets.map(|count| count.round() as u64);
                let point = HistogramPoint {
                    start_ns,
                    time_ns: now_ns,
                    count: buckets.iter().sum(),
                    sum: Some(*sum),
                    min: Some(*least),
                    max: Some(*most),
                    bounds: &BOUNDS,
                    buckets: &buckets,
                };
                let unit = if key.kind == Kind::Timer { "ms" } else { "" };
                let metric = Histogram { name, unit, description: "", temporality: Temporality::Delta };
                append_histogram(out, &metric, attributes, &point);
            }
        }
    }
}
