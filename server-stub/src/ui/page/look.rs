//! One picture: reads what is new, and draws the fragments that the page is made of.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use maud::{Markup, html};
use serde_json::Value;
use whimbrel_otlp::read::unit_for_people;

use super::{
    Demo, Look,
    chart::{COLOURS, Curve},
    charts, tables,
    text::{self, Unit},
    window::{Line, NARROWEST_NS, SPAN_NS, Together, Window, curve},
};
use crate::{
    figures::Figures,
    outage::Outage,
    receive::{lock, now_ns},
    signal::Signal,
    store::{
        LogFilter, SpanFilter, Store, StoreError, query,
        trail::{self, HostRow},
    },
};

/// Rows of the tables of logs, spans and requests.
const NEWEST: i64 = 50;
const NEWEST_REQUESTS: i64 = 12;
/// Hosts in the table.
const HOSTS: usize = 100;
/// Nothing came for so long: the page says so.
const SILENCE_NS: i64 = 10 * 1_000_000_000;
/// The dear part rests so many times what it took, so that a look stays far below a hundredth of a core,
const REST: u32 = 100;
/// but not longer than this.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Attributes of a curve's name, at most.
const LEGEND: usize = 60;

/// Fragments by the id of their place on the page.
pub(super) type Fragments = Vec<(&'static str, String)>;

/// What the user interface reads, and where a picture is drawn from.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) store: Store,
    pub(crate) figures: Arc<Mutex<Figures>>,
    pub(crate) demo: Option<Arc<Demo>>,
    /// Takes the OTLP listeners down, and up again.
    pub(crate) outage: Outage,
    /// Where the data lives, for people.
    pub(crate) data: String,
    pub(crate) started: Instant,
    /// Where OTLP is received: what to tell somebody who has sent nothing yet.
    pub(crate) endpoints: Vec<(&'static str, SocketAddr)>,
}

/// Draws one look, again and again.
#[derive(Debug)]
pub(super) struct Painter {
    ground: Arc<Ground>,
    look: Look,
    windows: Option<(Option<String>, Window, Option<Window>)>,
    latency: VecDeque<(i64, [f64; 3])>,
    /// When the dear part is drawn again.
    next: Option<Instant>,
}

/// What is read from the store at once.
struct Read {
    windows: Option<(Option<String>, Window, Option<Window>)>,
    hosts: Vec<HostRow>,
    metrics: Value,
    logs: Value,
    spans: Value,
    requests: Value,
    totals: Value,
    last_ns: Option<i64>,
}

impl Painter {
    pub(super) fn new(ground: Arc<Ground>, look: Look) -> Self {
        Self { ground, look, windows: None, latency: VecDeque::new(), next: None }
    }

    /// The fragments that are due: those of the demo always, the others as often as they are cheap.
    pub(super) async fn paint(&mut self) -> Fragments {
        let mut fragments = match &self.ground.demo {
            Some(demo) => demo.fragments(),
            None => Vec::new(),
        };
        if self.next.is_none_or(|next| Instant::now() >= next) {
            let began = Instant::now();
            match self.read().await {
                Ok(read) => self.draw(read, &mut fragments),
                Err(error) => fragments.push(("state", failed(&error).into_string())),
            }
            self.next = Some(Instant::now() + (began.elapsed() * REST).min(LONGEST_REST));
        }
        fragments
    }

    async fn read(&mut self) -> Result<Read, StoreError> {
        let look = self.look.clone();
        let windows = self.windows.take();
        self.ground
            .store
            .ask(move |connection| {
                let hosts = trail::hosts(connection, HOSTS)?;
                let chosen = match &look.host {
                    Some(host) => Some(Some(host.clone())),
                    None => hosts.iter().find(|h| h.host.is_some()).or(hosts.first()).map(|h| h.host.clone()),
                };
                let windows = match (windows, chosen) {
                    (Some(windows), Some(host)) if windows.0 == host => Some(windows),
                    (_, Some(host)) => {
                        let charts = Window::new(host.clone(), charts::metrics());
                        let metric = look.metric.iter().map(|name| Window::new(host.clone(), [name])).next();
                        Some((host, charts, metric))
                    }
                    (_, None) => None,
                };
                let windows = match windows {
                    Some((host, mut charts, mut metric)) => {
                        charts.read(connection)?;
                        if let Some(metric) = &mut metric {
                            metric.read(connection)?;
                        }
                        Some((host, charts, metric))
                    }
                    None => None,
                };
                let host = look.host.clone();
                let logs = LogFilter {
                    host: host.clone(),
                    event: None,
                    contains: None,
                    min_severity: i64::MIN,
                    before: i64::MAX,
                    limit: NEWEST,
                };
                let spans = SpanFilter {
                    host: host.clone(),
                    name: None,
                    trace_id: None,
                    before: i64::MAX,
                    limit: NEWEST,
                };
                Ok(Read {
                    windows,
                    metrics: query::metrics(connection, host.as_deref())?,
                    logs: query::logs(connection, &logs)?,
                    spans: query::spans(connection, &spans)?,
                    requests: query::requests(connection, None, i64::MAX, NEWEST_REQUESTS)?,
                    totals: query::totals(connection)?,
                    last_ns: trail::last_arrival_ns(connection)?,
                    hosts,
                })
            })
            .await
    }

    fn draw(&mut self, read: Read, fragments: &mut Fragments) {
        let now_ns = i64::try_from(now_ns()).unwrap_or(i64::MAX);
        let none = html! { p.none { "Nothing was heard of a host yet." } };
        let (host, host_charts, metric_chart) = match &read.windows {
            Some((host, charts, metric)) => (
                host.clone(),
                charts::host(charts),
                metric.as_ref().map(|window| self.metric_chart(window, &read.metrics)),
            ),
            None => (None, none, None),
        };
        let title = html! {
            @match &host {
                Some(host) => { "Host " (text::cut(host)) }
                None if read.hosts.is_empty() => "Hosts",
                None => "Host without a name",
            }
        };
        let drawn = [
            ("state", self.state(&read, now_ns)),
            ("silence", self.silence(&read, now_ns)),
            ("hosts", tables::hosts(&read.hosts, now_ns)),
            ("host", title),
            ("charts", host_charts),
            ("metric", metric_chart.unwrap_or_default()),
            ("latency", self.latency(now_ns)),
            ("metrics", tables::metrics(&read.metrics, &self.look, now_ns)),
            ("logs", tables::logs(&read.logs)),
            ("spans", tables::spans(&read.spans)),
            ("requests", tables::requests(&read.requests, now_ns)),
        ];
        fragments.extend(drawn.into_iter().map(|(id, drawn)| (id, drawn.into_string())));
        self.windows = read.windows;
    }

    /// The line at the top.
    fn state(&self, read: &Read, now_ns: i64) -> Markup {
        let counters = &read.totals["counters"];
        let sum = |what: &str| -> u64 {
            Signal::ALL.iter().filter_map(|signal| counters[what][signal.name()].as_u64()).sum()
        };
        let items = |signal: Signal| text::count(counters["items"][signal.name()].as_u64().unwrap_or(0));
        html! {
            span { b { (items(Signal::Metrics)) } " points" }
            span { b { (items(Signal::Logs)) } " log records" }
            span { b { (items(Signal::Traces)) } " spans" }
            span { "in " b { (text::count(sum("requests"))) } " requests" }
            @if let Some(last) = read.last_ns {
                span { "last heard " (text::ago(last, now_ns)) }
            }
            span { "kept in " (text::cut(&self.ground.data)) }
            span { "up " (Unit::Seconds.show(self.ground.started.elapsed().as_secs() as f64)) }
        }
    }

    /// Says plainly that nothing arrives, and what to do.
    fn silence(&self, read: &Read, now_ns: i64) -> Markup {
        if self.ground.outage.state().is_some() {
            return html! {
                div.box.warn {
                    p { b { "This backend is stopped, on command: its ports are closed." } " What is sent meanwhile waits at the senders." }
                }
            };
        }
        match read.last_ns {
            None => html! {
                div.box.warn {
                    p { b { "Nothing has arrived yet." } " Point an OpenTelemetry exporter here:" }
                    ul {
                        @for (protocol, address) in &self.ground.endpoints {
                            li {
                                code { "OTEL_EXPORTER_OTLP_ENDPOINT=http://" (address) } " "
                                code { "OTEL_EXPORTER_OTLP_PROTOCOL=" (protocol) }
                            }
                        }
                    }
                    p { "This page shows it as soon as it is there." }
                }
            },
            Some(last) if now_ns.saturating_sub(last) > SILENCE_NS => html! {
                div.box.warn {
                    p { b { "Nothing has arrived for " (Unit::Seconds.show(now_ns.saturating_sub(last) as f64 / 1e9)) "." }
                        " The charts below show what was heard before." }
                }
            },
            Some(_) => html! {},
        }
    }

    /// From collection to arrival, over the last minute, as it was each time the page was drawn.
    fn latency(&mut self, now_ns: i64) -> Markup {
        let report = lock(&self.ground.figures).report(Signal::Metrics, Instant::now());
        let of = &report["latency"];
        let last_minute =
            ["p50_ms", "p90_ms", "p99_ms"].map(|q| of["last_minute"][q].as_f64().unwrap_or(f64::NAN));
        if last_minute.iter().all(|ms| ms.is_finite()) {
            self.latency.push_back((now_ns, last_minute));
        }
        let from = now_ns.saturating_sub(SPAN_NS);
        while self.latency.front().is_some_and(|(time, _)| *time < from) {
            self.latency.pop_front();
        }
        let first = self.latency.front().map_or(now_ns, |(time, _)| *time);
        let from = first.min(now_ns.saturating_sub(NARROWEST_NS));
        let curves: Vec<(&str, Curve)> = ["p50", "p90", "p99"]
            .into_iter()
            .enumerate()
            .map(|(colour, name)| {
                let points = self.latency.iter().map(|(time, ms)| (*time, ms[colour])).collect();
                let pieces = curve([points].into_iter(), Together::Mean, (from, now_ns), SPAN_NS / 150);
                (name, Curve { colour, filled: colour == 0, pieces })
            })
            .filter(|(_, curve)| !curve.pieces.is_empty())
            .collect();
        let ahead = of["ahead_of_clock"].as_u64().unwrap_or(0);
        let note = (ahead > 0).then(|| {
            format!(
                "{} points came from the future: a sender's clock is ahead of this one.",
                text::count(ahead)
            )
        });
        charts::figure(
            "Collection to arrival",
            Unit::Milliseconds,
            &curves,
            (from, now_ns),
            note.as_deref(),
            "No metrics in the last minute.",
        )
    }

    /// The chosen metric: its largest series.
    fn metric_chart(&self, window: &Window, metrics: &Value) -> Markup {
        let name = self.look.metric.as_deref().unwrap_or("");
        let known = metrics["metrics"].as_array().into_iter().flatten().find(|m| m["name"] == name);
        let ucum = known.map_or("", |m| m["unit"].as_str().unwrap_or(""));
        let rate = known.is_some_and(|m| m["kind"] == "counter");
        let unit = match (Unit::of(unit_for_people(name, ucum)), rate) {
            (Unit::Bytes, true) => Unit::BytesPerSecond,
            // Seconds a second: a share.
            (Unit::Seconds, true) => Unit::Share,
            (unit, _) => unit,
        };
        let points = |line: &Line| -> Vec<(i64, f64)> {
            if rate { line.rates().collect() } else { line.values().collect() }
        };
        let lines = window.lines(name);
        let mut largest: Vec<(&Line, Vec<(i64, f64)>)> =
            lines.iter().map(|line| (line, points(line))).filter(|(_, points)| !points.is_empty()).collect();
        let newest = |points: &[(i64, f64)]| points.last().map_or(0.0, |(_, value)| value.abs());
        largest.sort_by(|(_, a), (_, b)| newest(b).total_cmp(&newest(a)));
        let more = largest.len().saturating_sub(COLOURS);
        let slot_ns = window.distance_ns(name).max(SPAN_NS / 150);
        let named: Vec<(String, Curve)> = largest
            .into_iter()
            .take(COLOURS)
            .enumerate()
            .map(|(colour, (line, points))| {
                let pieces = curve([points].into_iter(), Together::Mean, window.span_ns(), slot_ns);
                let label: String = line.label().chars().take(LEGEND).collect();
                (label, Curve { colour, filled: false, pieces })
            })
            .collect();
        let curves: Vec<(&str, Curve)> =
            named.iter().map(|(name, curve)| (name.as_str(), curve.clone())).collect();
        let note = match (more, window.is_cut(name)) {
            (_, true) => {
                Some("More series than can be followed: some of the first ones are drawn.".to_owned())
            }
            (0, false) => None,
            (more, false) => {
                Some(format!("The largest are drawn; {} more are not.", text::count(more as u64)))
            }
        };
        let title = if rate { format!("{name}, a second") } else { name.to_owned() };
        charts::figure(
            &text::cut(&title),
            unit,
            &curves,
            window.span_ns(),
            note.as_deref(),
            "No numbers of this metric from this host in what is kept.",
        )
    }
}

fn failed(error: &StoreError) -> Markup {
    html! { span.bad { "The store failed: " (error) } }
}
