//! What the stub counts for itself: what it refused, and how long data took to arrive.
//!
//! These figures start at zero with each start of the stub. What was stored is counted in the database.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::signal::Signal;

/// How long one slot of the recent latencies is filled.
const SLOT: Duration = Duration::from_secs(10);
/// So many slots are "recent": a minute.
const SLOTS: usize = 6;
/// Latencies are kept in microseconds at two significant digits (an error below 1 %).
const DIGITS: u8 = 2;
/// Above this a latency counts as this: 30 days, in microseconds.
const LONGEST: u64 = 30 * 24 * 3600 * 1_000_000;

/// All figures.
#[derive(Debug)]
pub(crate) struct Figures {
    signals: [SignalFigures; 3],
}

#[derive(Debug)]
struct SignalFigures {
    refused: BTreeMap<String, u64>,
    closed: u64,
    hung: u64,
    latency: Latency,
}

impl Figures {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            signals: std::array::from_fn(|_| SignalFigures {
                refused: BTreeMap::new(),
                closed: 0,
                hung: 0,
                latency: Latency::new(now),
            }),
        }
    }

    /// Starts at zero again.
    pub(crate) fn clear(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Counts an answer that is no success, by its HTTP status or the name of its gRPC code.
    pub(crate) fn refused(&mut self, signal: Signal, status: String) {
        *self.signals[signal.index()].refused.entry(status).or_default() += 1;
    }

    /// Counts a connection that was closed instead of an answer, on command.
    pub(crate) fn closed(&mut self, signal: Signal) {
        self.signals[signal.index()].closed += 1;
    }

    /// Counts a request that was left without an answer, on command.
    pub(crate) fn hung(&mut self, signal: Signal) {
        self.signals[signal.index()].hung += 1;
    }

    /// Takes what a stored request says about its way here.
    pub(crate) fn arrived(&mut self, signal: Signal, latencies: &Latencies, now: Instant) {
        self.signals[signal.index()].latency.add(latencies, now);
    }

    pub(crate) fn report(&mut self, signal: Signal, now: Instant) -> Value {
        let figures = &mut self.signals[signal.index()];
        json!({
            "refused": figures.refused.values().sum::<u64>(),
            "refused_by_status": figures.refused,
            "closed_on_command": figures.closed,
            "hung_on_command": figures.hung,
            "latency": figures.latency.report(now),
        })
    }
}

/// From collection (a point's time, a log's observed time, a span's end) to arrival, of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    /// In microseconds, with how many items had it: the points of one collect share theirs.
    runs: Vec<(u64, u64)>,
    /// Items of a time that had not come yet when they arrived: somebody's clock is wrong.
    ahead: u64,
}

impl Latencies {
    /// Takes one item. `collected_ns` of 0 means that the item bears no time.
    pub(crate) fn take(&mut self, collected_ns: u64, arrived_ns: u64) {
        if collected_ns == 0 {
            return;
        }
        if collected_ns > arrived_ns {
            self.ahead += 1;
        }
        let us = arrived_ns.saturating_sub(collected_ns) / 1000;
        match self.runs.last_mut() {
            Some((last, n)) if *last == us => *n += 1,
            _ => self.runs.push((us, 1)),
        }
    }
}

#[derive(Debug)]
struct Latency {
    ahead: u64,
    all: Histogram<u64>,
    recent: [Histogram<u64>; SLOTS],
    slot: usize,
    slot_since: Instant,
}

impl Latency {
    fn new(now: Instant) -> Self {
        Self {
            ahead: 0,
            all: histogram(),
            recent: std::array::from_fn(|_| histogram()),
            slot: 0,
            slot_since: now,
        }
    }

    fn add(&mut self, latencies: &Latencies, now: Instant) {
        self.turn(now);
        self.ahead += latencies.ahead;
        for (us, n) in &latencies.runs {
            let us = (*us).min(LONGEST);
            self.all.saturating_record_n(us, *n);
            self.recent[self.slot].saturating_record_n(us, *n);
        }
    }

    fn turn(&mut self, now: Instant) {
        for _ in 0..SLOTS {
            if now.saturating_duration_since(self.slot_since) < SLOT {
                return;
            }
            self.slot = (self.slot + 1) % SLOTS;
            self.slot_since += SLOT;
            self.recent[self.slot].reset();
        }
        // A minute or more without a turn: all slots are empty now.
        if now.saturating_duration_since(self.slot_since) >= SLOT {
            self.slot_since = now;
        }
    }

    fn report(&mut self, now: Instant) -> Value {
        self.turn(now);
        let mut recent = histogram();
        for slot in &self.recent {
            recent.add(slot).expect("all histograms have the same bounds");
        }
        json!({
            "since_start": quantiles(&self.all),
            "last_minute": quantiles(&recent),
            "ahead_of_clock": self.ahead,
        })
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("the bounds are valid and constant")
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    let at = |q| (!histogram.is_empty()).then(|| histogram.value_at_quantile(q) as f64 / 1000.0);
    json!({ "items": histogram.len(), "p50_ms": at(0.50), "p90_ms": at(0.90), "p99_ms": at(0.99) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn figures_of(latencies_ms: impl Iterator<Item = u64>, now: Instant) -> Figures {
        let mut figures = Figures::new(now);
        let mut latencies = Latencies::default();
        for ms in latencies_ms {
            latencies.take(1_000_000 * MS - ms * MS, 1_000_000 * MS);
        }
        figures.arrived(Signal::Metrics, &latencies, now);
        figures
    }

    fn near(value: &Value, ms: f64) -> bool {
        value.as_f64().is_some_and(|value| (value - ms).abs() <= ms * 0.01)
    }

    #[test]
    fn quantiles_are_within_one_percent() {
        let now = Instant::now();
        let json = figures_of(1..=1000, now).report(Signal::Metrics, now);
        let all = &json["latency"]["since_start"];
        assert!(
            near(&all["p50_ms"], 500.0) && near(&all["p90_ms"], 900.0) && near(&all["p99_ms"], 990.0),
            "{all}"
        );
        assert_eq!(all["items"], 1000);
    }

    #[test]
    fn the_last_minute_forgets_and_the_rest_does_not() {
        let start = Instant::now();
        let mut figures = figures_of([5].into_iter(), start);
        let count = |figures: &mut Figures, at: u64, of: &str| {
            let json = figures.report(Signal::Metrics, start + Duration::from_secs(at));
            json["latency"][of]["items"].as_u64().unwrap()
        };
        assert_eq!(count(&mut figures, 49, "last_minute"), 1);
        assert_eq!(count(&mut figures, 61, "last_minute"), 0);
        assert_eq!(count(&mut figures, 61, "since_start"), 1);
        assert_eq!(count(&mut figures, 100_000, "last_minute"), 0);
    }

    #[test]
    fn an_item_from_the_future_counts_as_at_once_and_is_counted() {
        let now = Instant::now();
        let mut figures = Figures::new(now);
        let mut latencies = Latencies::default();
        latencies.take(2000, 1000);
        latencies.take(0, 1000);
        figures.arrived(Signal::Logs, &latencies, now);
        let json = figures.report(Signal::Logs, now);
        assert_eq!(json["latency"]["ahead_of_clock"], 1);
        assert_eq!(json["latency"]["since_start"]["items"], 1, "an item without time has no latency");
    }
}
