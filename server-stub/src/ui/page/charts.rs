//! Which charts there are: CPU, memory, load, disk, network, from figures named by the semantic conventions or,
//! where the two differ, as the Collector's hostmetrics receiver names them.

use maud::{Markup, PreEscaped, html};

use super::{
    chart::{self, Curve},
    text::Unit,
    window::{Line, SPAN_NS, Together, Window, curve},
};

/// A slot of a chart is no narrower: there are no more pixels.
const NARROWEST_NS: i64 = SPAN_NS / 150;

/// One chart: where its curves come from, and how they are put together.
struct Definition {
    title: &'static str,
    unit: Unit,
    metrics: &'static [&'static str],
    /// The curve that a line of one of them adds to.
    curve_of: fn(&str, &Line) -> Option<&'static str>,
    /// In the order of their colours; the first is filled.
    curves: &'static [&'static str],
    together: Together,
    /// Counters are drawn as rates.
    rate: bool,
    /// How a value counts in its curve.
    counts: fn(&'static str, f64) -> f64,
    /// Said when there is nothing to draw.
    missing: &'static str,
}

fn as_it_is(_: &'static str, value: f64) -> f64 {
    value
}

fn busy_is_not_idle(curve: &'static str, value: f64) -> f64 {
    if curve == "busy" { (1.0 - value).max(0.0) } else { value }
}

fn one_of(value: &str, known: &'static [&'static str]) -> Option<&'static str> {
    known.iter().find(|known| **known == value).copied()
}

fn either<'a>(line: &'a Line, convention: &str, older: &str) -> &'a str {
    match line.attribute(convention) {
        "" => line.attribute(older),
        value => value,
    }
}

fn cpu(_: &str, line: &Line) -> Option<&'static str> {
    match either(line, "cpu.mode", "state") {
        "idle" => Some("busy"),
        "wait" | "iowait" => Some("iowait"),
        mode => one_of(mode, &["user", "system", "steal", "nice"]),
    }
}

fn memory(_: &str, line: &Line) -> Option<&'static str> {
    match either(line, "system.memory.state", "state") {
        "buffered" => Some("buffers"),
        state => one_of(state, &["used", "cached", "buffers"]),
    }
}

fn load(metric: &str, _: &Line) -> Option<&'static str> {
    one_of(metric.rsplit('.').next().unwrap_or(""), &["1m", "5m", "15m"])
}

fn disk(_: &str, line: &Line) -> Option<&'static str> {
    one_of(either(line, "disk.io.direction", "direction"), &["read", "write"])
}

fn network(_: &str, line: &Line) -> Option<&'static str> {
    one_of(either(line, "network.io.direction", "direction"), &["receive", "transmit"])
}

const CHARTS: [Definition; 5] = [
    Definition {
        title: "CPU",
        unit: Unit::Share,
        metrics: &["system.cpu.utilization"],
        curve_of: cpu,
        curves: &["busy", "user", "system", "iowait", "steal", "nice"],
        together: Together::Mean,
        rate: false,
        counts: busy_is_not_idle,
        missing: "No system.cpu.utilization yet: shares take two collects.",
    },
    Definition {
        title: "Memory",
        unit: Unit::Bytes,
        metrics: &["system.memory.usage"],
        curve_of: memory,
        curves: &["used", "cached", "buffers"],
        together: Together::Sum,
        rate: false,
        counts: as_it_is,
        missing: "No system.memory.usage yet.",
    },
    Definition {
        title: "Load",
        unit: Unit::Plain,
        metrics: &["system.cpu.load_average.1m", "system.cpu.load_average.5m", "system.cpu.load_average.15m"],
        curve_of: load,
        curves: &["1m", "5m", "15m"],
        together: Together::Mean,
        rate: false,
        counts: as_it_is,
        missing: "No system.cpu.load_average yet.",
    },
    Definition {
        title: "Disk",
        unit: Unit::BytesPerSecond,
        metrics: &["system.disk.io"],
        curve_of: disk,
        curves: &["read", "write"],
        together: Together::Sum,
        rate: true,
        counts: as_it_is,
        missing: "No system.disk.io yet: a rate takes two points.",
    },
    Definition {
        title: "Network",
        unit: Unit::BytesPerSecond,
        metrics: &["system.network.io"],
        curve_of: network,
        curves: &["receive", "transmit"],
        together: Together::Sum,
        rate: true,
        counts: as_it_is,
        missing: "No system.network.io yet: a rate takes two points.",
    },
];

/// The metrics that the charts are drawn from.
pub(super) fn metrics() -> impl Iterator<Item = &'static str> {
    CHARTS.iter().flat_map(|chart| chart.metrics.iter().copied())
}

/// All charts of a host.
pub(super) fn host(window: &Window) -> Markup {
    html! {
        @for chart in &CHARTS {
            (draw(chart, window))
        }
    }
}

fn draw(chart: &Definition, window: &Window) -> Markup {
    let slot_ns =
        chart.metrics.iter().map(|name| window.distance_ns(name)).max().unwrap_or(0).max(NARROWEST_NS);
    let curves: Vec<(&str, Curve)> = chart
        .curves
        .iter()
        .enumerate()
        .map(|(colour, name)| {
            let lines = chart.metrics.iter().flat_map(|metric| {
                let of_curve = |line: &&Line| (chart.curve_of)(metric, line) == Some(*name);
                window.lines(metric).iter().filter(of_curve).map(|line| points(chart, name, line))
            });
            let pieces = curve(lines, chart.together, window.span_ns(), slot_ns);
            (*name, Curve { colour, filled: colour == 0, pieces })
        })
        .filter(|(_, curve)| !curve.pieces.is_empty())
        .collect();
    let cut = chart.metrics.iter().any(|name| window.is_cut(name));
    let note = cut.then_some("More series than can be drawn: the first ones are.");
    figure(chart.title, chart.unit, &curves, window.span_ns(), note, chart.missing)
}

fn points(chart: &Definition, curve: &'static str, line: &Line) -> Vec<(i64, f64)> {
    let counted = |(time, value)| (time, (chart.counts)(curve, value));
    if chart.rate { line.rates().map(counted).collect() } else { line.values().map(counted).collect() }
}

/// A chart with its title, its legend with the newest values, and its picture; or a word why there is none.
pub(super) fn figure(
    title: &str,
    unit: Unit,
    curves: &[(&str, Curve)],
    span_ns: (i64, i64),
    note: Option<&str>,
    missing: &str,
) -> Markup {
    let drawn: Vec<Curve> = curves.iter().map(|(_, curve)| curve.clone()).collect();
    let svg = chart::svg(&drawn, span_ns, unit);
    let newest = |curve: &Curve| curve.last().map_or_else(|| "-".to_owned(), |value| unit.show(value));
    let said: Vec<String> = curves.iter().map(|(name, curve)| format!("{name} {}", newest(curve))).collect();
    html! {
        figure {
            figcaption {
                b { (title) }
                @for (name, curve) in curves {
                    span class={ "key c" (curve.colour + 1) } { (name) " " span class="n" { (newest(curve)) } }
                }
            }
            @if let Some(svg) = svg {
                // Numbers and times only: `chart` writes nothing that came from outside.
                div role="img" aria-label={ (title) ": " (said.join(", ")) } { (PreEscaped(svg)) }
            } @else {
                p class="none" { (missing) }
            }
            @if let Some(note) = note {
                p class="note" { (note) }
            }
        }
    }
}
