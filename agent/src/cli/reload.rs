//! `whimbrel reload`: has the running agent read its configuration again, and says what it did.

use anyhow::Context as _;
use http::StatusCode;
use serde_json::Value;

use super::{
    exit::{Exit, Outcome},
    print,
    source::Running,
    words,
};
use crate::{admin, reload::refusal as refusal_of};

/// What `reload` takes.
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
    let socket = match args.running.socket() {
        Ok(socket) => socket,
        // The agent would find the same: it is not even asked.
        Err(problems) => return refuse(args, &refusal_of(&problems)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(admin::reload(&socket))?;
    let answer: Value = serde_json::from_slice(&body).context("the agent's answer is no JSON")?;
    if status == StatusCode::BAD_REQUEST {
        return refuse(args, &answer);
    }
    if args.json {
        print::json(&answer)?;
    } else {
        print::text(applied(&answer))?;
    }
    Ok(if answer["ok"] == false { Exit::Failed } else { Exit::Done })
}

fn refuse(args: &Args, answer: &Value) -> Outcome {
    if args.json {
        print::json(answer)?;
    } else {
        print::message(refusal(answer));
    }
    Ok(Exit::Configuration)
}

/// What the agent answered, in words.
pub(super) fn told(status: StatusCode, body: &[u8]) -> anyhow::Result<String> {
    let answer: Value = serde_json::from_slice(body).context("the agent's answer is no JSON")?;
    Ok(if status == StatusCode::BAD_REQUEST { refusal(&answer) } else { applied(&answer) })
}

/// As `check` says it.
fn refusal(answer: &Value) -> String {
    let count = match words::list(&answer["problems"]).count() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let shown = words::plain(&answer["shown"]);
    format!("whimbrel: {count} in the configuration; the agent goes on as it was\n\n{}", shown.trim_end())
}

fn applied(answer: &Value) -> String {
    let mut out = format!("generation {}: ", words::plain(&answer["generation"]));
    let mut parts = Vec::new();
    for (key, word) in [("added", "added"), ("removed", "removed"), ("changed", "changed")] {
        let names: Vec<_> = words::list(&answer[key]).map(words::plain).collect();
        if !names.is_empty() {
            parts.push(format!("{word} {}", names.join(", ")));
        }
    }
    if parts.is_empty() {
        parts.push("no collector differs".to_owned());
    }
    if let Some(count) = answer["unchanged"].as_u64().filter(|count| *count > 0) {
        parts.push(format!("{count} unchanged"));
    }
    out.push_str(&parts.join("; "));
    out.push('\n');
    for failed in words::list(&answer["failed"]) {
        let (name, problem) = (words::plain(&failed["name"]), words::plain(&failed["problem"]));
        out.push_str(&format!("{name} goes on as it was: {problem}\n"));
    }
    let told = |name: &Value| words::list(&answer["failed"]).any(|failed| failed["name"] == *name);
    for one in words::list(&answer["not_as_configured"]).filter(|one| !told(&one["name"])) {
        let (name, problem) = (words::plain(&one["name"]), words::plain(&one["problem"]));
        out.push_str(&format!("{name} is not as configured: {problem}\n"));
    }
    let pending: Vec<_> = words::list(&answer["pending"]).map(words::plain).collect();
    if !pending.is_empty() {
        out.push_str(&format!("still being compiled or started: {}\n", pending.join(", ")));
    }
    let waiting: Vec<_> = words::list(&answer["restart_needed"]).map(words::plain).collect();
    if !waiting.is_empty() {
        out.push_str(&format!("not applied, needs a restart: {}\n", waiting.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_reads_as_one_line_and_what_waits_for_a_restart() {
        let answer = json!({
            "generation": 2, "added": ["a", "b"], "removed": [], "changed": ["c"], "unchanged": 1,
            "restart_needed": ["wal"],
        });
        assert_eq!(
            applied(&answer),
            "generation 2: added a, b; changed c; 1 unchanged\nnot applied, needs a restart: wal\n"
        );
        let answer = json!({
            "generation": 2, "added": [], "removed": [], "changed": ["slow"], "unchanged": 0,
            "failed": [{"name": "c", "problem": "no component"}], "pending": ["slow"], "restart_needed": [],
        });
        assert_eq!(
            applied(&answer),
            "generation 2: changed slow\nc goes on as it was: no component\n\
             still being compiled or started: slow\n"
        );
        let answer = json!({
            "generation": 3, "added": [], "removed": [], "changed": [], "unchanged": 1,
            "failed": [{"name": "c", "problem": "no component"}],
            "not_as_configured": [
                {"name": "b", "problem": "it was changed after it was signed"},
                {"name": "c", "problem": "no component"},
            ],
            "restart_needed": [],
        });
        assert_eq!(
            applied(&answer),
            "generation 3: no collector differs; 1 unchanged\nc goes on as it was: no component\n\
             b is not as configured: it was changed after it was signed\n"
        );
        let none = json!({
            "generation": 3, "added": [], "removed": [], "changed": [], "unchanged": 0, "restart_needed": [],
        });
        assert_eq!(applied(&none), "generation 3: no collector differs\n");
    }
}
