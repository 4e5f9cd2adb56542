//! The part of the page that only the demo has: what the agent counts, what arrived, the backlog, three buttons,
//! and one stored record.
//!
//! The launcher (`whimbrel demo`) owns the agent's process and answers on a Unix socket (`--demo`): `GET /state`
//! gives everything, `POST /kill`, `/hostile`, `/calm` and `/record` ask it for something. The backend that is
//! stopped is this one: its listeners. Counts of the agent and of the witness are shown side by side, so that
//! nobody has to believe the agent.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use maud::{Markup, html};
use serde_json::Value;
use tokio::{net::UnixStream, sync::watch, time::MissedTickBehavior};

use super::{
    chart::Curve,
    charts,
    look::Fragments,
    text::{self, Unit},
    window::{NARROWEST_NS, SPAN_NS, Together, curve},
    witness::{Verdict, Witness},
};
use crate::{
    listen,
    outage::Outage,
    receive::{lock, now_ns},
    store::{Store, query},
};

/// How often the launcher is asked.
const TICK: Duration = Duration::from_secs(1);
/// How long it may take to answer; killing and starting an agent is not waited for.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer, bytes.
const LARGEST: usize = 4 << 20;
/// How long the backend stays away if nobody brings it back.
const OUTAGE: Duration = Duration::from_secs(20);
/// Characters of a decoded record that are shown.
const LONGEST_RECORD: usize = 6000;
/// Of a line of a decoded record.
const WIDTH: usize = 76;
/// Bytes of a stored record that are shown.
const LONGEST_DUMP: usize = 256;

/// The demo, as far as this side knows it.
#[derive(Debug)]
pub(crate) struct Demo {
    socket: PathBuf,
    known: Mutex<Known>,
    /// Of this backend.
    outage: Outage,
}

#[derive(Debug, Default)]
struct Known {
    /// What the launcher said last; null before it said anything.
    state: Value,
    /// The agent's own status, as it last gave it: a dead agent gives none.
    agent: Value,
    verdict: Verdict,
    /// Requests that came again and were recognised.
    recognised: u64,
    /// Pending records over time.
    backlog: VecDeque<(i64, f64)>,
    /// Why the launcher does not answer.
    silent: Option<String>,
    /// Seconds until the backend is back, where it is stopped.
    down_for: Option<u64>,
}

/// The launcher was not reached, or refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("the demo's launcher does not answer: {0}")]
    Silent(#[from] io::Error),
    #[error("the demo's launcher gave no answer: {0}")]
    NoAnswer(String),
}

impl Demo {
    pub(crate) fn new(socket: PathBuf, outage: Outage) -> Self {
        Self { socket, known: Mutex::default(), outage }
    }

    /// Asks the launcher and the store once a second until `stopped`.
    pub(crate) async fn follow(self: Arc<Self>, store: Store, mut stopped: watch::Receiver<bool>) {
        let mut every = tokio::time::interval(TICK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut witness = Witness::default();
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = listen::told(&mut stopped) => return,
            }
            let heard = store
                .ask(move |connection| {
                    witness.read(connection)?;
                    let totals = query::totals(connection)?;
                    let recognised = totals["counters"]["repeated_requests"].as_object();
                    let recognised =
                        recognised.into_iter().flat_map(|of| of.values()).filter_map(Value::as_u64).sum();
                    Ok((witness, recognised))
                })
                .await;
            witness = match heard {
                Ok((witness, recognised)) => {
                    let mut known = lock(&self.known);
                    known.verdict = witness.verdict();
                    known.recognised = recognised;
                    witness
                }
                // Said where the page is drawn, too; all that was heard is read again.
                Err(error) => {
                    tracing::warn!(%error, "the witness could not be heard");
                    Witness::default()
                }
            };
            self.learn(ask(&self.socket, Method::GET, "/state").await);
        }
    }

    fn learn(&self, answer: Result<Value, DemoError>) {
        let mut known = lock(&self.known);
        match answer {
            Ok(mut state) => {
                known.silent = None;
                let agent = state["status"].take();
                if agent.is_object() {
                    let now_ns = i64::try_from(now_ns()).unwrap_or(i64::MAX);
                    known.backlog.push_back((now_ns, sum(&agent, &["pending"]) as f64));
                    while known.backlog.front().is_some_and(|(time, _)| now_ns - time > SPAN_NS) {
                        known.backlog.pop_front();
                    }
                    known.agent = agent;
                }
                known.state = state;
            }
            Err(error) => known.silent = Some(error.to_string()),
        }
    }

    /// Asks the launcher for something: `kill`, `hostile`, `calm` or `record`.
    pub(crate) async fn order(&self, what: &str) -> Result<(), DemoError> {
        ask(&self.socket, Method::POST, &format!("/{what}")).await?;
        self.learn(ask(&self.socket, Method::GET, "/state").await);
        Ok(())
    }

    /// Closes the backend's ports for a while.
    pub(crate) async fn stop_backend(&self) {
        self.outage.down(Some(OUTAGE), now_ns()).await;
    }

    /// Opens them again.
    pub(crate) async fn start_backend(&self) {
        self.outage.up().await;
    }

    /// The demo's fragments.
    pub(super) fn fragments(&self) -> Fragments {
        let mut known = lock(&self.known);
        known.down_for = seconds_left(&self.outage);
        let known = &*known;
        let drawn = [
            ("demo-state", state(known)),
            ("demo-counts", counts(known)),
            ("demo-backlog", backlog(known)),
            ("demo-buttons", buttons(known)),
            ("demo-hostile", hostile(known)),
            ("demo-events", events(known)),
            ("demo-record", record(known)),
        ];
        drawn.into_iter().map(|(id, drawn)| (id, drawn.into_string())).collect()
    }
}

/// A sum over the lanes of all exporters that are configured.
fn sum(agent: &Value, what: &[&str]) -> u64 {
    let consumers = agent["wal"]["consumers"].as_array().into_iter().flatten();
    consumers
        .filter(|consumer| consumer["configured"] == true)
        .flat_map(|consumer| consumer["lanes"].as_array().into_iter().flatten())
        .flat_map(|lane| what.iter().filter_map(|what| lane[what].as_u64()))
        .sum()
}

/// Until the backend is back; 0 where nobody said when.
fn seconds_left(outage: &Outage) -> Option<u64> {
    let down = outage.state()?;
    let left = down.until_ns.map_or(0, |until_ns| until_ns.saturating_sub(now_ns()));
    Some(left.div_ceil(1_000_000_000))
}

fn state(known: &Known) -> Markup {
    let running = known.state["agent"]["running"] == true;
    html! {
        @if let Some(why) = &known.silent {
            span.bad { (text::cut(why)) }
        }
        @if known.state.is_null() {
            span { "starting" }
        } @else if running {
            span { "agent " b { "pid " (text::plain(&known.state["agent"]["pid"])) } ", start "
                (text::plain(&known.state["agent"]["starts"])) }
        } @else {
            span.warn { b { "the agent is dead" } ": its counts below are the last it gave" }
        }
        @match known.down_for {
            Some(left) => { span.warn { b { "the backend is stopped" } ", back in " (left) " s" } }
            None => { span { "backend up" } }
        }
    }
}

fn counts(known: &Known) -> Markup {
    let agent = &known.agent;
    let tile = |id: &str, name: &str, value: u64, good: Option<bool>, note: Markup| {
        let class = match good {
            Some(true) => "tile good",
            Some(false) => "tile bad",
            None => "tile",
        };
        html! {
            div class=(class) {
                span.name { (name) }
                output id={ "count-" (id) } data-value=(value) { (text::count(value)) }
                span.note { (note) }
            }
        }
    };
    let verdict = known.verdict;
    let lost = sum(agent, &["dropped", "corrupt", "dead_lettered"]);
    let waits = verdict.missing > 0 && (known.down_for.is_some() || sum(agent, &["pending"]) > 0);
    html! {
        (tile("appended", "appended", sum(agent, &["seen"]), None, html! { "records, durable and encrypted" }))
        (tile("delivered", "delivered", sum(agent, &["delivered"]), None, html! { "records, acknowledged" }))
        (tile("pending", "pending", sum(agent, &["pending"]), None, html! {
            "records in the WAL, " (Unit::Bytes.show(agent["wal"]["disk_bytes"].as_f64().unwrap_or(0.0))) " on disk"
        }))
        (tile("lost", "lost", lost + if waits { 0 } else { verdict.missing }, Some(lost == 0 && (waits || verdict.missing == 0)), html! {
            "heartbeats 1 to " (text::count(verdict.last.unsigned_abs())) ": "
            @if verdict.missing == 0 { "all arrived" }
            @else if waits { (text::count(verdict.missing)) " on their way" }
            @else { (text::count(verdict.missing)) " are missing" }
        }))
        (tile("repeated", "repeated", verdict.repeated, Some(verdict.repeated == 0), html! {
            "heartbeats that came twice"
            @if known.recognised > 0 {
                "; " (text::count(known.recognised)) " requests came again and were recognised"
            }
        }))
    }
}

fn backlog(known: &Known) -> Markup {
    let to = known.backlog.back().map_or(0, |(time, _)| *time);
    let from = known.backlog.front().map_or(0, |(time, _)| *time).min(to - NARROWEST_NS);
    let points: Vec<_> = known.backlog.iter().copied().collect();
    let pieces = curve([points].into_iter(), Together::Mean, (from, to), 1_000_000_000);
    let curves = [("pending records", Curve { colour: 0, filled: true, pieces })];
    charts::figure("Backlog", Unit::Plain, &curves, (from, to), None, "The agent has not said anything yet.")
}

fn buttons(known: &Known) -> Markup {
    let button = |id: &str, action: &str, title: String, what: &str, off: bool| {
        html! {
            form method="post" action={ "/demo/" (action) } {
                button id={ "do-" (id) } disabled[off] aria-describedby={ "about-" (id) } { (title) }
                p.note id={ "about-" (id) } { (what) }
            }
        }
    };
    let hostile = known.state["hostile"].as_bool().unwrap_or(false);
    let running = known.state["agent"]["running"] == true;
    html! {
        @match known.down_for {
            Some(left) => (button("backend", "start", format!("Start the backend ({left} s)"),
                "Its ports are closed. The backlog grows on disk; on return it drains, the oldest first.", false)),
            None => (button("backend", "stop", "Stop the backend".to_owned(),
                "Closes its ports for 20 seconds, as a dead backend would. The backlog fills, then drains.", false)),
        }
        (button("kill", "kill", "kill -9 the agent".to_owned(),
            "No goodbye, no flush. It is started again, and nothing is missing.", !running))
        @if hostile {
            (button("hostile", "calm", "Unload the hostile plugin".to_owned(),
                "Takes it out of the configuration and reloads.", !running))
        } @else {
            (button("hostile", "hostile", "Load a hostile plugin".to_owned(),
                "Adds a plugin that loops, grows, panics, floods and lies, and reloads. The others keep their second.", !running))
        }
    }
}

/// What became of the hostile plugin, and that the others go on.
fn hostile(known: &Known) -> Markup {
    let collectors = known.agent["collectors"].as_array().map_or(&[][..], Vec::as_slice);
    html! {
        @if !collectors.is_empty() {
            table.cards {
                thead { tr { th { "plugin" } th { "state" } th.n { "collects" } th.n { "missed" } th.n { "faults" } th { "last problem" } } }
                tbody {
                    @for collector in collectors {
                        @let state = collector["state"].as_str().unwrap_or("");
                        tr data-collector=(text::plain(&collector["name"])) {
                            td { b { (text::plain(&collector["name"])) } }
                            td.bad[state == "set_aside"].warn[state == "backing_off"] { (state.replace('_', " ")) }
                            td.n data-is="collects" { (text::count(collector["collects"].as_u64().unwrap_or(0))) }
                            td.n data-is="missed" { (text::count(collector["missed"].as_u64().unwrap_or(0))) }
                            td.n data-is="faults" { (text::count(collector["faults"].as_u64().unwrap_or(0))) }
                            td.wide { (text::plain(&collector["last_problem"])) }
                        }
                    }
                }
            }
        }
    }
}

fn events(known: &Known) -> Markup {
    let events = known.state["events"].as_array().map_or(&[][..], Vec::as_slice);
    html! {
        @if events.is_empty() {
            p.none { "Nothing was done yet: press a button." }
        } @else {
            ol.events reversed {
                @for event in events.iter().rev() {
                    li { time { (text::clock(event["unix_ms"].as_i64().unwrap_or(0).saturating_mul(1_000_000))) } " " (text::plain(&event["text"])) }
                }
            }
        }
    }
}

/// A record as it stands on the disk, and what it says.
fn record(known: &Known) -> Markup {
    let record = &known.state["record"];
    html! {
        @if record.is_object() {
            p {
                "Record " b { (text::plain(&record["record"])) } " of " (text::plain(&record["source"])) ": "
                (text::plain(&record["items"])) " " (items(&record["signal"])) ", "
                (Unit::Bytes.show(record["plain_bytes"].as_f64().unwrap_or(0.0))) " of OTLP, "
                (Unit::Bytes.show(record["stored_bytes"].as_f64().unwrap_or(0.0))) " stored, in "
                code { (text::plain(&record["segment"])) } " at byte " (text::count(record["offset"].as_u64().unwrap_or(0))) "."
            }
            div.pair {
                div {
                    h4 { @if record["encrypted"] == true { "On disk: compressed, then encrypted" } @else { "On disk" } }
                    pre tabindex="0" { (dump(record["stored_hex"].as_str().unwrap_or(""))) }
                }
                div {
                    h4 { "The same, decoded" }
                    pre tabindex="0" { (decoded(&record["otlp"])) }
                }
            }
        } @else {
            p.none { "No record yet." }
        }
    }
}

/// Sixteen bytes a line: where, hexadecimal, and as text.
fn dump(hex: &str) -> String {
    let bytes: Vec<u8> = hex
        .as_bytes()
        .chunks_exact(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .take(LONGEST_DUMP)
        .collect();
    let mut out = String::new();
    for (line, bytes) in bytes.chunks(16).enumerate() {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: String =
            bytes.iter().map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' }).collect();
        out.push_str(&format!("{:04x}  {:<47}  {shown}\n", line * 16, hex.join(" ")));
    }
    out
}

fn items(signal: &Value) -> &'static str {
    match signal.as_str() {
        Some("metrics") => "points",
        Some("logs") => "log records",
        Some("traces") => "spans",
        _ => "items",
    }
}

fn decoded(otlp: &Value) -> String {
    let text = match otlp {
        Value::String(text) => text.clone(),
        other => {
            let mut out = String::new();
            lines(other, 0, &mut out);
            out
        }
    };
    match text.char_indices().nth(LONGEST_RECORD) {
        Some((end, _)) => format!("{}\n… and more", &text[..end]),
        None => text,
    }
}

/// JSON over several lines, but what fits on one stays on one.
fn lines(value: &Value, indent: usize, out: &mut String) {
    let compact = value.to_string();
    let (open, close, items): (char, char, Vec<(Option<&String>, &Value)>) = match value {
        Value::Array(items) => ('[', ']', items.iter().map(|item| (None, item)).collect()),
        Value::Object(items) => ('{', '}', items.iter().map(|(key, item)| (Some(key), item)).collect()),
        _ => return out.push_str(&compact),
    };
    if indent + compact.len() <= WIDTH || indent >= WIDTH || out.len() > 2 * LONGEST_RECORD {
        return out.push_str(&compact);
    }
    out.push(open);
    for (place, (key, item)) in items.into_iter().enumerate() {
        out.push_str(if place == 0 { "\n" } else { ",\n" });
        out.extend(std::iter::repeat_n(' ', indent + 1));
        if let Some(key) = key {
            out.push_str(&format!("{}: ", Value::from(key.as_str())));
        }
        lines(item, indent + 1, out);
    }
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
    out.push(close);
}

/// One request to the launcher.
async fn ask(socket: &Path, method: Method, target: &str) -> Result<Value, DemoError> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await?;
        let failed = |error: &dyn std::fmt::Display| DemoError::NoAnswer(error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(http::header::HOST, "localhost")
            .body(Empty::<Bytes>::new())
            .map_err(|e| failed(&e))?;
        let answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|e| failed(&e))?;
        connection.abort();
        let body = body.to_bytes();
        if !status.is_success() {
            return Err(DemoError::NoAnswer(String::from_utf8_lossy(&body).trim().to_owned()));
        }
        serde_json::from_slice(&body).map_err(|e| failed(&e))
    };
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(DemoError::NoAnswer(format!("nothing within {} s", TIMEOUT.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_of_configured_exporters_only() {
        let lane = |pending: u64| json!({"signal": "metrics", "pending": pending, "seen": 10});
        let agent = json!({"wal": {"consumers": [
            {"configured": true, "lanes": [lane(3), lane(4)]},
            {"configured": false, "lanes": [lane(100)]},
        ]}});
        assert_eq!(sum(&agent, &["pending"]), 7);
        assert_eq!(sum(&agent, &["pending", "seen"]), 27);
        assert_eq!(sum(&Value::Null, &["pending"]), 0);
    }

    #[test]
    fn bytes_are_dumped_and_what_is_no_hexadecimal_is_left_out() {
        assert_eq!(dump("4142ff"), format!("0000  {:<47}  AB.\n", "41 42 ff"));
        assert_eq!(dump("zz41"), format!("0000  {:<47}  A\n", "41"));
        assert_eq!(dump(&"00".repeat(17)).lines().count(), 2);
    }

    #[test]
    fn a_record_is_written_over_as_many_lines_as_it_needs() {
        assert_eq!(decoded(&json!({"a": [1, 2]})), r#"{"a":[1,2]}"#);
        let long = "x".repeat(WIDTH);
        assert_eq!(decoded(&json!([{"a": 1}, long])), format!("[\n {{\"a\":1}},\n \"{long}\"\n]"));
        assert!(decoded(&json!(vec!["y"; 100_000])).len() < 2 * LONGEST_RECORD);
    }

    #[test]
    fn what_the_agent_says_is_escaped() {
        let known = Known {
            agent: json!({"collectors": [{"name": "<script>x</script>", "last_problem": "<img src=x onerror=y>"}]}),
            ..Known::default()
        };
        let drawn = hostile(&known).into_string();
        assert!(!drawn.contains("<script>") && !drawn.contains("<img"), "{drawn}");
    }
}
