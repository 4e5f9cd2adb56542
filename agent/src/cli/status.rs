//! `whimbrel status`: what the running agent says over its control socket.

use std::path::Path;

use serde_json::Value;

use super::{
    exit::{Exit, Outcome},
    print,
    source::Running,
    words,
};
use crate::{admin, config::show_duration};

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) running: Running,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Asks, and prints the answer.
pub(super) fn run(args: &Args) -> Outcome {
    let socket = args.running.socket()?;
    let status = ask(&socket)?;
    if args.json {
        print::json(&status)?;
    } else {
        print::text(rendered(&status, print::width()))?;
    }
    Ok(Exit::Done)
}

/// The running agent's answer.
///
/// # Errors
/// When no agent answers there.
pub(super) fn ask(socket: &Path) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = runtime.block_on(admin::ask(socket, "/status"))?;
    Ok(serde_json::from_slice(&body)?)
}

fn rendered(status: &Value, width: Option<usize>) -> String {
    let mut out = format!(
        "whimbrel {} · pid {} · up {} · {} · {}\n",
        words::plain(&status["version"]),
        words::plain(&status["pid"]),
        words::duration_ms(status["uptime_ms"].as_u64()),
        if status["ready"] == true { "ready" } else { "starting" },
        words::plain(&status["data_dir"]),
    );
    for warning in words::list(&status["warnings"]) {
        out.push_str(&format!("note: {}\n", words::plain(warning)));
    }
    let waiting: Vec<_> = words::list(&status["restart_needed"]).map(words::plain).collect();
    if !waiting.is_empty() {
        out.push_str(&format!("note: configured and not applied before a restart: {}\n", waiting.join(", ")));
    }
    out.push_str("\ncollectors\n");
    let mut rows = collectors(status);
    // What is not loaded yet has no name but its reference.
    print::shorten(&mut rows, 2, width);
    out.push_str(&print::table(&rows));
    if words::list(&status["receivers"]).next().is_some() {
        out.push_str("\nreceivers\n");
        out.push_str(&print::table(&receivers(status)));
        words::list(&status["receivers"]).for_each(|receiver| out.push_str(&not_taken(receiver)));
    }
    out.push_str("\nwal\n");
    out.push_str(&words::wal(&status["wal"]));
    out.push_str("\nexporters\n");
    out.push_str(&print::table(&exporters(status)));
    if let Some(letters) = status["dead_letters"].as_u64().filter(|n| *n > 0) {
        out.push_str(&format!(
            "\ndead letters: {letters} records that receivers refused for what they hold\n"
        ));
    }
    for problem in problems(status) {
        out.push_str(&format!("\n{problem}\n"));
    }
    out
}

fn collectors(status: &Value) -> Vec<Vec<String>> {
    let mut rows =
        vec![words::row(&["  name", "state", "plugin", "collects", "items", "missed", "faults", "memory"])];
    for collector in words::list(&status["collectors"]) {
        rows.push(vec![
            format!("  {}", words::plain(&collector["name"])),
            words::plain(&collector["state"]),
            collector["identity"].as_str().map_or_else(|| words::plain(&collector["plugin"]), str::to_owned),
            words::plain(&collector["collects"]),
            words::plain(&collector["items"]),
            words::plain(&collector["missed"]),
            faults(collector),
            // Of a program it is not known.
            words::bytes(collector["memory_bytes"].as_u64().filter(|_| collector["outside_sandbox"] != true)),
        ]);
    }
    rows
}

fn receivers(status: &Value) -> Vec<Vec<String>> {
    let mut rows =
        vec![words::row(&["  name", "listening", "connections", "metrics", "logs", "traces", "waiting"])];
    for receiver in words::list(&status["receivers"]) {
        let listening: Vec<_> = words::list(&receiver["listening"]).map(words::plain).collect();
        rows.push(vec![
            format!("  {}", words::plain(&receiver["name"])),
            listening.join(", "),
            words::plain(&receiver["connections"]["open"]),
            words::plain(&receiver["metrics"]["items"]),
            words::plain(&receiver["logs"]["items"]),
            words::plain(&receiver["traces"]["items"]),
            words::bytes(receiver["waiting_bytes"].as_u64()),
        ]);
    }
    rows
}

/// What a receiver did not take, a line for each reason; nothing where it took everything.
fn not_taken(receiver: &Value) -> String {
    let name = words::plain(&receiver["name"]);
    let counts = |key: &str| {
        let by_cause = receiver[key].as_object().into_iter().flatten();
        by_cause
            .map(|(cause, count)| format!("{} {cause}", words::plain(count)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let dropped = receiver["dropped_by_senders"].as_u64().filter(|count| *count > 0);
    let silent: Vec<_> = words::list(&receiver["silent"]).map(words::plain).collect();
    [
        ("refused: ", counts("refused")),
        ("lost: ", counts("lost")),
        ("dropped by senders: ", dropped.map(|count| count.to_string()).unwrap_or_default()),
        ("silent: ", silent.join(", ")),
    ]
    .iter()
    .filter(|(_, what)| !what.is_empty())
    .map(|(label, what)| format!("  {name} {label}{what}\n"))
    .collect()
}

/// `5 (3 deadline, 2 memory)`
fn faults(collector: &Value) -> String {
    let by_cause = collector["faults_by_cause"].as_object().into_iter().flatten();
    let causes: Vec<_> = by_cause.map(|(cause, count)| format!("{} {cause}", words::plain(count))).collect();
    let count = words::plain(&collector["faults"]);
    if causes.is_empty() { count } else { format!("{count} ({})", causes.join(", ")) }
}

fn exporters(status: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![words::row(&["  name", "signal", "state", "delivered", "items", "sent", "encoding"])];
    for exporter in words::list(&status["exporters"]) {
        for lane in words::list(&exporter["lanes"]) {
            if lane["state"]["state"] == "idle" && lane["delivered"]["records"] == 0 {
                continue;
            }
            rows.push(vec![
                format!("  {}", words::plain(&exporter["name"])),
                words::plain(&lane["signal"]),
                words::plain(&lane["state"]["state"]),
                format!("{} records", words::plain(&lane["delivered"]["records"])),
                words::plain(&lane["delivered"]["items"]),
                words::bytes(lane["sent_bytes"].as_u64()),
                words::plain(&lane["encoding"]),
            ]);
        }
    }
    if rows.len() == 1 {
        return words::list(&status["exporters"])
            .map(|e| {
                vec![format!("  {}", words::plain(&e["name"])), "idle".into(), words::plain(&e["endpoint"])]
            })
            .collect();
    }
    rows
}

/// `memory (16.0 MiB) 3 times, log_rate (10 lines per second) 40 times`; nothing where none was met.
fn limits_met(collector: &Value) -> Option<String> {
    let met: Vec<_> = collector["limits"]
        .as_object()?
        .iter()
        .filter(|(_, one)| one["hits"].as_u64() > Some(0))
        .map(|(name, one)| {
            let times = match one["hits"].as_u64() {
                Some(1) => "once".to_owned(),
                hits => format!("{} times", hits.unwrap_or(0)),
            };
            format!("{name} ({}) {times}", amount(one))
        })
        .collect();
    (!met.is_empty()).then(|| met.join(", "))
}

/// How much a limit allows, in the unit of a person.
fn amount(limit: &Value) -> String {
    let number = limit["limit"].as_u64();
    match limit["unit"].as_str() {
        Some("bytes") => words::bytes(number),
        Some("microseconds") => {
            number.map_or_else(|| "-".to_owned(), |it| show_duration(std::time::Duration::from_micros(it)))
        }
        unit => format!("{} {}", words::plain(&limit["limit"]), unit.unwrap_or("").replace('_', " ")),
    }
}

/// What stands in the way, in words: one line each, and below it the faults that led to it.
fn problems(status: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for collector in words::list(&status["collectors"]) {
        let name = words::plain(&collector["name"]);
        let refused = collector["refused_change"].as_str();
        let problem = collector["last_problem"].as_str();
        // Often the one is the other: told once.
        let other = problem.filter(|_| problem != refused);
        problems.extend(refused.map(|refused| format!("collector {name}: not as configured: {refused}")));
        problems.extend(other.map(|problem| format!("collector {name}: {problem}")));
        if let (Some(last), Some(problem)) = (problems.last_mut().filter(|_| problem.is_some()), problem) {
            last.push_str(&past_faults(collector, problem));
        }
        problems.extend(limits_met(collector).map(|met| format!("collector {name}: limits met: {met}")));
    }
    for exporter in words::list(&status["exporters"]) {
        if exporter["state"]["state"] == "paused" {
            let name = words::plain(&exporter["name"]);
            let since = words::moment_ms(exporter["state"]["since_unix_ms"].as_u64());
            problems.push(format!(
                "exporter {name}: paused since {since}, until `whimbrel exporter resume {name}` or a restart of the agent"
            ));
        }
        for lane in words::list(&exporter["lanes"]) {
            if let Some(reason) = lane["state"]["reason"].as_str() {
                problems.push(format!(
                    "exporter {} ({}): {} since {}: {reason}",
                    words::plain(&exporter["name"]),
                    words::plain(&lane["signal"]),
                    words::plain(&lane["state"]["state"]),
                    words::moment_ms(lane["state"]["since_unix_ms"].as_u64()),
                ));
            }
        }
    }
    problems
}

/// The faults that led to a problem, a line each; nothing where the problem is the only one of them.
fn past_faults(collector: &Value, problem: &str) -> String {
    let faults: Vec<_> = words::list(&collector["past_faults"]).collect();
    if faults.len() == 1 && faults[0]["message"].as_str().is_some_and(|only| problem.contains(only)) {
        return String::new();
    }
    let line = |fault: &&Value| {
        let [cause, message] = ["cause", "message"].map(|key| words::plain(&fault[key]));
        format!("\n  {}  {cause}: {message}", words::moment_ms(fault["at_unix_ms"].as_u64()))
    };
    faults.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_named_that_were_met_and_no_others() {
        let one = |limit: u64, unit: &str, hits: u64| json!({ "limit": limit, "unit": unit, "used": 3, "hits": hits });
        let collector = json!({ "limits": {
            "memory": one(32 << 20, "bytes", 2),
            "deadline": one(500_000, "microseconds", 1),
            "log_rate": one(10, "lines_per_second", 40),
            "output": one(16, "bytes", 0),
        } });
        let met = limits_met(&collector).unwrap();
        for part in
            ["memory (32.0 MiB) 2 times", "deadline (500ms) once", "log_rate (10 lines per second) 40 times"]
        {
            assert!(met.contains(part), "{part:?} is not in {met:?}");
        }
        assert!(!met.contains("output"), "{met}");
        assert_eq!(limits_met(&json!({ "limits": { "output": one(16, "bytes", 0) } })), None);
        assert_eq!(limits_met(&json!({})), None);
    }

    #[test]
    fn what_is_wrong_with_a_collector_is_told_once() {
        let told = |collector: serde_json::Value| problems(&json!({ "collectors": [collector] })).join("\n");
        let refused = "it does not start, and what ran before goes on: it is not signed";
        let once = told(json!({ "name": "x", "refused_change": refused, "last_problem": refused }));
        assert_eq!(once, format!("collector x: not as configured: {refused}"));
        let fault = |message: &str| json!({ "at_unix_ms": 0, "cause": "start", "message": message });
        let later = told(json!({
            "name": "x", "refused_change": refused, "last_problem": "memory", "past_faults": [fault("memory")],
        }));
        assert_eq!(later, format!("collector x: not as configured: {refused}\ncollector x: memory"));
        let twice = told(json!({
            "name": "x", "last_problem": "set aside; the last: b", "past_faults": [fault("a"), fault("b")],
        }));
        assert_eq!(twice.lines().count(), 3, "{twice}");
    }
}
