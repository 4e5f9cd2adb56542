//! The last minutes of one host's figures, kept as lines to draw.
//!
//! Read once, then followed: each tick costs what arrived since. Time is the senders' own. The right edge is the
//! time of the newest point that arrived, so that a sender whose clock is off, or that sends an hour's backlog,
//! is drawn where it says it is; what claims to come from after that edge waits out of sight.
//!
//! Two series with equal names and attributes are one line: a host whose resource changed goes on where it was.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;
use serde_json::Value;

use super::text;
use crate::store::trail::{self, Followed, Sample};

/// How much of the past is drawn.
pub(super) const SPAN_NS: i64 = 300 * 1_000_000_000;
/// What is drawn at least, so that the first seconds are no wall.
pub(super) const NARROWEST_NS: i64 = 60 * 1_000_000_000;
/// Points read of a series at first: one a second over the span.
const PAST: usize = 300;
/// Lines of one metric. Further series are not drawn; the picture says so.
const MAX_LINES: usize = 128;
/// A gap this many times the usual distance is a gap, and not drawn over.
const GAP: i64 = 4;

/// What is followed of one host.
#[derive(Debug)]
pub(super) struct Window {
    host: Option<String>,
    metrics: Vec<Metric>,
    by_series: HashMap<i64, (usize, usize)>,
    /// The newest point that was read; none before the first reading.
    cursor: Option<i64>,
    edge_ns: i64,
}

/// One metric of a window.
#[derive(Debug)]
struct Metric {
    name: String,
    lines: Vec<Line>,
    last_series: i64,
    cut: bool,
}

/// One series, by the time of its points.
#[derive(Debug)]
pub(super) struct Line {
    attributes: Value,
    delta: bool,
    points: BTreeMap<i64, Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    start_ns: i64,
    value: f64,
}

impl Line {
    /// A text attribute, or "".
    pub(super) fn attribute(&self, key: &str) -> &str {
        self.attributes[key].as_str().unwrap_or("")
    }

    /// Its attributes, as a curve is named by them.
    pub(super) fn label(&self) -> String {
        match text::attributes(&self.attributes) {
            none if none.is_empty() => "value".to_owned(),
            attributes => attributes,
        }
    }

    fn takes(&mut self, sample: Sample) {
        self.points.insert(sample.time_ns, Reading { start_ns: sample.start_ns, value: sample.value });
    }

    /// Its values over time.
    pub(super) fn values(&self) -> impl Iterator<Item = (i64, f64)> {
        self.points.iter().map(|(time, reading)| (*time, reading.value))
    }

    /// What a sum grew by a second, at the end of each stretch; nothing where it began anew.
    pub(super) fn rates(&self) -> impl Iterator<Item = (i64, f64)> {
        let pairs = self.points.iter().zip(self.points.iter().skip(1));
        pairs.filter_map(|((from, before), (to, now))| {
            let began = if self.delta { now.start_ns.max(*from) } else { *from };
            let grown = if self.delta { now.value } else { now.value - before.value };
            let passed = (to - began) as f64 / 1e9;
            (passed > 0.0 && grown >= 0.0 && (self.delta || now.start_ns <= *from))
                .then(|| (*to, grown / passed))
        })
    }
}

impl Window {
    /// Nothing yet, of `host` and the metrics `names`.
    pub(super) fn new(host: Option<String>, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let metric =
            |name: _| Metric { name: Into::into(name), lines: Vec::new(), last_series: 0, cut: false };
        Self {
            host,
            metrics: names.into_iter().map(metric).collect(),
            by_series: HashMap::new(),
            cursor: None,
            edge_ns: i64::MIN,
        }
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// The database's. The window is as it was, or has read a part: reading again is right.
    pub(super) fn read(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let newest = trail::newest_point(connection)?;
        let new = match self.cursor {
            // All data was dropped on command: ids begin anew, and so does the picture.
            Some(cursor) if newest < cursor => {
                let names: Vec<_> = self.metrics.iter().map(|metric| metric.name.clone()).collect();
                *self = Self::new(self.host.take(), names);
                None
            }
            Some(cursor) => trail::new_points(connection, cursor, newest)?,
            None => None,
        };
        match new {
            Some(new) => {
                for sample in new {
                    self.take(sample);
                }
                for (metric, line) in self.find_series(connection)? {
                    self.read_past(connection, metric, line)?;
                }
            }
            None => {
                self.find_series(connection)?;
                for metric in 0..self.metrics.len() {
                    for line in 0..self.metrics[metric].lines.len() {
                        self.read_past(connection, metric, line)?;
                    }
                }
            }
        }
        self.cursor = Some(newest);
        self.forget_old();
        Ok(())
    }

    /// New lines since the last reading, by their places.
    fn find_series(&mut self, connection: &Connection) -> rusqlite::Result<Vec<(usize, usize)>> {
        let mut found = Vec::new();
        for place in 0..self.metrics.len() {
            let metric = &mut self.metrics[place];
            if metric.cut {
                continue;
            }
            let host = self.host.as_deref();
            let new = trail::followed(connection, &metric.name, host, metric.last_series, MAX_LINES + 1)?;
            for Followed { id, delta, attributes, .. } in new {
                metric.last_series = id;
                let same = metric.lines.iter().position(|l| l.attributes == attributes && l.delta == delta);
                let line = match same {
                    Some(line) => line,
                    None if metric.lines.len() == MAX_LINES => {
                        metric.cut = true;
                        break;
                    }
                    None => {
                        metric.lines.push(Line { attributes, delta, points: BTreeMap::new() });
                        metric.lines.len() - 1
                    }
                };
                self.by_series.insert(id, (place, line));
                found.push((place, line));
            }
        }
        Ok(found)
    }

    fn read_past(&mut self, connection: &Connection, metric: usize, line: usize) -> rusqlite::Result<()> {
        let series: Vec<i64> =
            self.by_series.iter().filter(|(_, at)| **at == (metric, line)).map(|(id, _)| *id).collect();
        let mut last = None;
        for id in series {
            let past = trail::past(connection, id, PAST)?;
            last = past.last().map(|sample| sample.time_ns).max(last);
            past.into_iter().for_each(|sample| self.metrics[metric].lines[line].takes(sample));
        }
        self.edge_ns = self.edge_ns.max(last.unwrap_or(i64::MIN));
        Ok(())
    }

    fn take(&mut self, sample: Sample) {
        if let Some((metric, line)) = self.by_series.get(&sample.series) {
            self.metrics[*metric].lines[*line].takes(sample);
            self.edge_ns = sample.time_ns;
        }
    }

    fn forget_old(&mut self) {
        let oldest = self.left_ns();
        for line in self.metrics.iter_mut().flat_map(|metric| &mut metric.lines) {
            // One point before the edge is kept: the first stretch begins there.
            if let Some((&keep, _)) = line.points.range(..oldest).next_back() {
                line.points = line.points.split_off(&keep);
            }
            // A clock that was ahead: what it wrote would hide what comes now.
            if line.points.len() > 2 * PAST {
                let surplus = line.points.len() - 2 * PAST;
                line.points =
                    line.points.split_off(&line.points.keys().nth(surplus).copied().unwrap_or(i64::MIN));
            }
        }
    }

    /// The times that are drawn: from the first point that is there, but for a minute at least, to the edge.
    pub(super) fn span_ns(&self) -> (i64, i64) {
        let lines = self.metrics.iter().flat_map(|metric| &metric.lines);
        let first = lines.filter_map(|line| line.points.keys().next()).min().copied().unwrap_or(self.edge_ns);
        (first.max(self.left_ns()).min(self.edge_ns.saturating_sub(NARROWEST_NS)), self.edge_ns)
    }

    fn left_ns(&self) -> i64 {
        self.edge_ns.saturating_sub(SPAN_NS)
    }

    /// The lines of a metric.
    pub(super) fn lines(&self, name: &str) -> &[Line] {
        self.metrics.iter().find(|metric| metric.name == name).map_or(&[], |metric| &metric.lines)
    }

    /// Whether a metric has more series than are followed.
    pub(super) fn is_cut(&self, name: &str) -> bool {
        self.metrics.iter().any(|metric| metric.name == name && metric.cut)
    }

    /// How far apart the points of a metric usually are; at least a second.
    pub(super) fn distance_ns(&self, name: &str) -> i64 {
        let mut distances: Vec<i64> = self
            .lines(name)
            .iter()
            .take(4)
            .flat_map(|line| line.points.keys().zip(line.points.keys().skip(1)).map(|(a, b)| b - a))
            .collect();
        distances.sort_unstable();
        distances.get(distances.len() / 2).copied().unwrap_or(0).clamp(1_000_000_000, SPAN_NS / 4)
    }
}

/// How lines that fall into one group are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Together {
    Sum,
    Mean,
}

/// Points of several lines as one curve over `span`: by slots as wide as `slot_ns`, parted where nothing came.
pub(super) fn curve(
    lines: impl Iterator<Item = Vec<(i64, f64)>>,
    together: Together,
    (from, to): (i64, i64),
    slot_ns: i64,
) -> Vec<Vec<(i64, f64)>> {
    // Within a slot: a mean of each line's points first, so that a line that tells twice counts once.
    let mut slots: BTreeMap<i64, (f64, u32)> = BTreeMap::new();
    for points in lines {
        let mut of_line: BTreeMap<i64, (f64, u32)> = BTreeMap::new();
        for (time, value) in points.into_iter().filter(|(time, _)| (from..=to).contains(time)) {
            let (sum, n) = of_line.entry(time.div_euclid(slot_ns)).or_default();
            *sum += value;
            *n += 1;
        }
        for (slot, (sum, n)) in of_line {
            let (total, lines) = slots.entry(slot).or_default();
            *total += sum / f64::from(n);
            *lines += 1;
        }
    }
    let mut pieces: Vec<Vec<(i64, f64)>> = Vec::new();
    let mut last = None;
    for (slot, (total, lines)) in slots {
        let value = if together == Together::Mean { total / f64::from(lines) } else { total };
        let time = (slot * slot_ns + slot_ns / 2).clamp(from, to);
        match pieces.last_mut() {
            Some(piece) if last.is_some_and(|last| slot - last <= GAP) => piece.push((time, value)),
            _ => pieces.push(vec![(time, value)]),
        }
        last = Some(slot);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const S: i64 = 1_000_000_000;

    fn line(delta: bool, points: &[(i64, i64, f64)]) -> Line {
        let mut line = Line { attributes: json!({}), delta, points: BTreeMap::new() };
        for &(start_ns, time_ns, value) in points {
            line.takes(Sample { series: 1, start_ns, time_ns, value });
        }
        line
    }

    #[test]
    fn a_rate_is_growth_by_time_and_none_where_a_counter_began_anew() {
        let counted =
            line(false, &[(0, S, 10.0), (0, 2 * S, 14.0), (3 * S, 4 * S, 1.0), (3 * S, 6 * S, 7.0)]);
        assert_eq!(counted.rates().collect::<Vec<_>>(), [(2 * S, 4.0), (6 * S, 3.0)]);
        let fell = line(false, &[(0, S, 10.0), (0, 2 * S, 4.0)]);
        assert_eq!(fell.rates().count(), 0);
        let deltas = line(true, &[(0, S, 10.0), (S, 3 * S, 4.0)]);
        assert_eq!(deltas.rates().collect::<Vec<_>>(), [(3 * S, 2.0)]);
    }

    #[test]
    fn lines_add_up_by_slot_and_gaps_stay_gaps() {
        let a = vec![(0, 1.0), (S, 3.0), (20 * S, 1.0)];
        let b = vec![(0, 2.0), (S / 2, 4.0)];
        let both = || [a.clone(), b.clone()].into_iter();
        let sums = curve(both(), Together::Sum, (0, 100 * S), S);
        assert_eq!(sums.len(), 2, "what lies between is not drawn over");
        assert_eq!(sums[0].iter().map(|p| p.1).collect::<Vec<_>>(), [4.0, 3.0]);
        let means = curve(both(), Together::Mean, (0, 100 * S), S);
        assert_eq!(means[0][0].1, 2.0);
        assert_eq!(curve(both(), Together::Sum, (5 * S, 6 * S), S), Vec::<Vec<_>>::new());
    }

    #[test]
    fn a_clock_that_jumps_back_is_followed_and_its_future_is_bounded() {
        let mut window = Window::new(None, ["m"]);
        window.metrics[0].lines.push(line(false, &[]));
        window.by_series.insert(1, (0, 0));
        let at = |time_ns| Sample { series: 1, start_ns: 0, time_ns, value: 1.0 };
        for second in 0..2000 {
            window.take(at(3_600 * S + second * S));
        }
        window.forget_old();
        assert!(window.metrics[0].lines[0].points.len() <= 2 * PAST);
        window.take(at(100 * S));
        assert_eq!(window.span_ns().1, 100 * S, "the newest that arrived is the edge");
    }
}
