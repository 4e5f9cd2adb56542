//! `whimbrel exporter`: what the running agent's exporters are at, and pausing, resuming and rewinding them.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::{
    exit::{Exit, Outcome},
    print,
    source::Running,
    status, words,
};
use crate::{admin, config};

/// How long pausing and resuming may take.
const AT_ONCE: Duration = Duration::from_secs(10);
/// How long rewinding may take: requests on the wire are answered first, and a large WAL is looked through.
const REWINDING: Duration = Duration::from_secs(300);

/// What `exporter` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// What each exporter is at, and what waits for it
    Status(StatusArgs),
    /// Send nothing more until `resume`; what is on the wire is answered. Not kept over a restart
    Pause(Args),
    /// Send again after a pause; one that is held or waits tries at once
    Resume(Args),
    /// Send what was delivered again, to a new backend say: as far back as `wal.retain` keeps it
    Rewind(RewindArgs),
}

/// What `exporter status` takes.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// One exporter; without it, all
    name: Option<String>,
    #[command(flatten)]
    running: Running,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `exporter pause` and `exporter resume` take.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The exporter, as the configuration names it
    name: String,
    #[command(flatten)]
    running: Running,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `exporter rewind` takes.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("how-far").required(true)))]
pub(super) struct RewindArgs {
    #[command(flatten)]
    exporter: Args,
    /// Records that came in since then: so long ago (2h, 1d12h), or a time (2026-11-21T08:00:00Z)
    #[arg(long, value_name = "AGO|TIME", group = "how-far", value_parser = since)]
    since: Option<u64>,
    /// Everything that is still kept
    #[arg(long, group = "how-far")]
    oldest: bool,
}

/// Runs one of them.
pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::Status(args) => show(args),
        Command::Pause(args) => change(args, "pause", paused),
        Command::Resume(args) => change(args, "resume", resumed),
        Command::Rewind(args) => {
            let deed = match args.since {
                Some(ns) => format!("rewind?since_ns={ns}"),
                None => "rewind?to=oldest".to_owned(),
            };
            change(&args.exporter, &deed, rewound)
        }
    }
}

fn show(args: &StatusArgs) -> Outcome {
    let status = status::ask(&args.running.socket()?)?;
    let all: Vec<Value> = words::list(&status["exporters"])
        .filter(|exporter| args.name.as_deref().is_none_or(|name| exporter["name"] == name))
        .map(|exporter| joined(exporter, &status["wal"]["consumers"]))
        .collect();
    if let Some(name) = args.name.as_deref().filter(|_| all.is_empty()) {
        let known: Vec<_> = words::list(&status["exporters"]).map(|one| words::plain(&one["name"])).collect();
        return Err(anyhow!("no exporter is named {name}; there are: {}", known.join(", ")).into());
    }
    if args.json {
        print::json(&Value::Array(all))?;
    } else {
        print::text(all.iter().map(described).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Exit::Done)
}

/// An exporter's status, with the WAL's counts of it under `wal`.
fn joined(exporter: &Value, consumers: &Value) -> Value {
    let mut exporter = exporter.clone();
    let of = words::list(consumers).find(|consumer| consumer["name"] == exporter["name"]);
    exporter["wal"] = of.cloned().unwrap_or_default();
    exporter
}

fn described(exporter: &Value) -> String {
    let mut out = format!(
        "{} · {} · {} · {}\n",
        words::plain(&exporter["name"]),
        words::plain(&exporter["state"]["state"]),
        words::plain(&exporter["protocol"]),
        words::plain(&exporter["endpoint"]),
    );
    let mut rows = vec![words::row(&[
        "  signal",
        "state",
        "pending",
        "oldest",
        "delivered",
        "again",
        "dropped",
        "in flight",
        "last success",
    ])];
    for lane in words::list(&exporter["lanes"]) {
        let nothing = Value::Null;
        let counts = words::list(&exporter["wal"]["lanes"]).find(|one| one["signal"] == lane["signal"]);
        let counts = counts.unwrap_or(&nothing);
        rows.push(vec![
            format!("  {}", words::plain(&lane["signal"])),
            words::plain(&lane["state"]["state"]),
            words::plain(&counts["pending"]),
            words::moment_ms(counts["oldest_pending_ns"].as_u64().map(|ns| ns / 1_000_000)),
            words::plain(&counts["delivered"]),
            words::plain(&counts["rewound"]),
            words::plain(&counts["dropped"]),
            words::plain(&lane["in_flight"]),
            words::moment_ms(lane["last_success_unix_ms"].as_u64()),
        ]);
    }
    out.push_str(&print::table(&rows));
    for lane in words::list(&exporter["lanes"]) {
        if let Some(reason) = lane["state"]["reason"].as_str() {
            let since = words::moment_ms(lane["state"]["since_unix_ms"].as_u64());
            let (signal, state) = (words::plain(&lane["signal"]), words::plain(&lane["state"]["state"]));
            out.push_str(&format!("  {signal}: {state} since {since}: {reason}\n"));
        }
    }
    if exporter["state"]["state"] == "paused" {
        let since = words::moment_ms(exporter["state"]["since_unix_ms"].as_u64());
        out.push_str(&format!(
            "  paused since {since}, until `whimbrel exporter resume {}` or a restart of the agent\n",
            words::plain(&exporter["name"])
        ));
    }
    out
}

/// Has the agent do something with an exporter, and says what it did.
fn change(args: &Args, deed: &str, told: fn(&Value) -> String) -> Outcome {
    let name: String = form_urlencoded::byte_serialize(args.name.as_bytes()).collect();
    let up_to = if deed.starts_with("rewind") { REWINDING } else { AT_ONCE };
    let answer = order(&args.running.socket()?, &format!("/exporters/{name}/{deed}"), up_to)?;
    if args.json {
        print::json(&answer)?;
    } else {
        print::text(told(&answer))?;
    }
    Ok(Exit::Done)
}

/// The running agent's answer to a `POST`.
///
/// # Errors
/// When no agent answers there, or with its own words where it refuses.
pub(super) fn order(socket: &Path, target: &str, up_to: Duration) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(admin::order(socket, target, up_to))?;
    if !status.is_success() {
        return Err(anyhow!("{}", String::from_utf8_lossy(&body).trim()));
    }
    serde_json::from_slice(&body).context("the agent's answer is no JSON")
}

fn paused(answer: &Value) -> String {
    let name = words::plain(&answer["exporter"]);
    match answer["was"]["state"] == "paused" {
        true => format!("{name}: was paused already\n"),
        false => format!(
            "{name}: paused; nothing is sent until `whimbrel exporter resume {name}`, or a restart of the agent\n"
        ),
    }
}

fn resumed(answer: &Value) -> String {
    let name = words::plain(&answer["exporter"]);
    match answer["was"]["state"].as_str().unwrap_or_default() {
        "paused" => format!("{name}: goes on\n"),
        was @ ("held" | "waiting") => format!("{name}: was {was}, and tries at once\n"),
        was => format!("{name}: was not paused; it is {was}\n"),
    }
}

fn rewound(answer: &Value) -> String {
    let name = words::plain(&answer["exporter"]);
    let records = answer["records"].as_u64().unwrap_or(0);
    let mut out = match records {
        0 => format!("{name}: there is nothing to send again: no delivered record since then is kept\n"),
        1 => format!("{name}: 1 record will be sent again\n"),
        records => format!("{name}: {records} records will be sent again\n"),
    };
    if let Some(oldest) = answer["oldest_unix_ms"].as_u64() {
        out.push_str(&format!(
            "the oldest record to be sent came in at {}\n",
            words::moment_ms(Some(oldest))
        ));
    }
    if answer["retain_ms"] == json!(0) {
        out.push_str(
            "wal.retain is 0s: segments are deleted once every exporter has delivered them, so that only what had not been \
             deleted yet can be sent again; set wal.retain to keep more\n",
        );
    }
    if answer["beyond_max_age"] == true {
        out.push_str(&format!("those older than exporters.{name}.max_age are given up, not sent\n"));
    }
    if answer["was"]["state"] == "paused" {
        out.push_str(&format!("it is paused: `whimbrel exporter resume {name}` sends them\n"));
    }
    out
}

/// `2h` or an RFC 3339 time, as nanoseconds since 1970.
fn since(text: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_at(text, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

fn since_at(text: &str, now_ns: u64) -> Result<u64, String> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        let ns = u64::try_from(moment.as_nanosecond()).map_err(|_| "lies before 1970".to_owned())?;
        return if ns > now_ns { Err("lies in the future".to_owned()) } else { Ok(ns) };
    }
    match config::read_duration(text) {
        Ok(ago) => Ok(now_ns.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX))),
        Err(_) => {
            Err("write how long ago (2h, 30m, 1d12h) or a time with its zone (2026-11-21T08:00:00Z)"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_duration_or_a_moment() {
        let now = 1_800_000_000_000_000_000;
        assert_eq!(since_at("2h", now), Ok(now - 7_200_000_000_000));
        assert_eq!(since_at("1d12h", now), Ok(now - 129_600_000_000_000));
        assert_eq!(since_at("2027-01-15T07:59:59.5Z", now), Ok(now - 500_000_000));
        assert_eq!(since_at("2027-01-15T09:00:00+01:00", now), Ok(now));
        assert_eq!(since_at("20000d", now), Ok(now - 20_000 * 86_400_000_000_000));
        for (text, why) in [
            ("2027-01-15T08:00:01Z", "future"),
            ("1960-01-01T00:00:00Z", "before 1970"),
            ("2027-01-15T08:00:00", "with its zone"),
            ("yesterday", "write how long ago"),
            ("7200", "write how long ago"),
        ] {
            assert!(since_at(text, now).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn a_rewinding_says_what_comes_of_it() {
        let mut answer = json!({
            "exporter": "backend", "was": {"state": "idle"}, "records": 12, "oldest_unix_ms": 0, "beyond_max_age": false,
            "retain_ms": 7_200_000,
        });
        assert_eq!(
            rewound(&answer),
            "backend: 12 records will be sent again\nthe oldest record to be sent came in at 1970-01-01T00:00:00Z\n"
        );
        answer["records"] = 0.into();
        answer["oldest_unix_ms"] = Value::Null;
        answer["retain_ms"] = 0.into();
        answer["beyond_max_age"] = true.into();
        answer["was"] = json!({"state": "paused"});
        let told = rewound(&answer);
        for wanted in ["nothing to send again", "wal.retain is 0s", "backend.max_age", "resume backend"] {
            assert!(told.contains(wanted), "{wanted} in {told}");
        }
    }

    #[test]
    fn resuming_says_what_it_ended() {
        let told = |was: &str| resumed(&json!({"exporter": "x", "was": {"state": was}}));
        assert_eq!(told("paused"), "x: goes on\n");
        assert_eq!(told("held"), "x: was held, and tries at once\n");
        assert_eq!(told("idle"), "x: was not paused; it is idle\n");
    }
}
