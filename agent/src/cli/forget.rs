//! `whimbrel wal forget`: an exporter that left the configuration lets go of what waits for it.

use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value, json};
use whimbrel_wal::ForgetError;

use super::{
    exit::{Exit, Failure, Outcome},
    exporter, print,
    source::Source,
    status, words,
};
use crate::{pipeline::Places, status::WalConsumer};

/// How long the agent may take: it removes what only the forgotten one held.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `wal forget` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The exporter, as the configuration named it
    exporter: String,
    /// Forget it though records wait for it; they are not sent
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    source: Source,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Through the running agent where there is one, because it has the WAL open; else on the disk.
pub(super) fn run(args: &Args) -> Outcome {
    let config = args.source.load()?.config;
    let name = &args.exporter;
    if config.exporters.iter().any(|exporter| exporter.name == *name) {
        let what = "is configured: take it out of the configuration and restart the agent first";
        return Err(anyhow!("exporters.{name} {what}").into());
    }
    let wal = Places::of(&config.data_dir).wal;
    let agent = status::ask(&config.control_socket).ok();
    let consumers = match &agent {
        Some(status) => status["wal"]["consumers"].clone(),
        None => {
            let found = whimbrel_wal::inspect(&wal)?;
            serde_json::to_value(found.consumers.iter().map(WalConsumer::from).collect::<Vec<_>>())?
        }
    };
    let pending = may_go(&consumers, name, agent.is_some(), args.yes)?;
    if agent.is_some() {
        let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        exporter::order(&config.control_socket, &format!("/wal/forget?exporter={name}"), PATIENCE)?;
    } else if let Err(error) = whimbrel_wal::forget(&wal, name) {
        let locked = matches!(error, ForgetError::Locked { .. });
        return Err(Failure::new(if locked { Exit::Locked } else { Exit::Failed }, error));
    }
    if args.json {
        print::json(&json!({ "forgotten": name, "pending_records": pending }))?;
    } else {
        print::text(match pending {
            0 => format!("{name} is forgotten; nothing waited for it\n"),
            pending => format!("{name} is forgotten, and with it {pending} records that waited for it\n"),
        })?;
    }
    Ok(Exit::Done)
}

/// How many records wait for it.
///
/// # Errors
/// When there is no such exporter, the running agent uses it, or records wait and nobody said yes.
fn may_go(consumers: &Value, name: &str, running: bool, yes: bool) -> anyhow::Result<u64> {
    let Some(consumer) = words::list(consumers).find(|consumer| consumer["name"] == name) else {
        let known: Vec<_> = words::list(consumers).map(|consumer| words::plain(&consumer["name"])).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(anyhow!("the WAL knows no exporter {name}; it knows: {known}"));
    };
    if running && consumer["configured"] == true {
        return Err(anyhow!("the running agent still sends to {name}: restart it, and forget then"));
    }
    let pending: u64 = words::list(&consumer["lanes"]).filter_map(|lane| lane["pending"].as_u64()).sum();
    if pending > 0 && !yes {
        let what = format!("{pending} records wait for {name}, and would not be sent");
        return Err(anyhow!("{what}; add --yes to forget it all the same"));
    }
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_goes_only_with_a_yes_and_what_is_used_does_not_go() {
        let lanes = |pending: u64| json!([{"pending": pending}, {"pending": 1}]);
        let consumers = json!([
            {"name": "used", "configured": true, "lanes": lanes(0)},
            {"name": "old", "configured": false, "lanes": lanes(6)},
            {"name": "empty", "configured": false, "lanes": []},
        ]);
        let said = |name, running, yes| may_go(&consumers, name, running, yes).map_err(|e| e.to_string());
        assert_eq!(said("old", true, true), Ok(7));
        assert_eq!(said("empty", true, false), Ok(0));
        assert!(said("old", false, false).unwrap_err().contains("7 records wait for old"));
        assert!(said("used", true, true).unwrap_err().contains("restart it"));
        assert_eq!(said("used", false, true), Ok(1), "nobody runs, and the configuration was looked at");
        assert!(said("odl", true, true).unwrap_err().ends_with("it knows: used, old, empty"));
        assert!(may_go(&json!([]), "x", false, true).unwrap_err().to_string().ends_with("it knows: none"));
    }
}
