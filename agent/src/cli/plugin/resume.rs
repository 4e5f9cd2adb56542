//! `whimbrel plugin resume NAME`: has the running agent start a plugin anew that it has set aside.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use crate::{
    admin,
    cli::{
        exit::{Exit, Outcome},
        print,
        source::Running,
    },
};

/// An order waits for the collect that runs, which has ten minutes at most.
const TIMEOUT: Duration = Duration::from_secs(660);

/// What `plugin resume` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The collector's name in the configuration
    name: String,
    #[command(flatten)]
    running: Running,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks, and prints the answer.
pub(super) fn run(args: &Args) -> Outcome {
    let socket = args.running.socket()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let target = format!("/plugins/{}/resume", encoded(&args.name));
    let (status, body) = runtime.block_on(admin::order(&socket, &target, TIMEOUT))?;
    if !status.is_success() {
        return Err(anyhow!("{}", String::from_utf8_lossy(&body).trim()).into());
    }
    let answer: Value = serde_json::from_slice(&body).context("the agent's answer is no JSON")?;
    if args.json {
        print::json(&answer)?;
    } else {
        print::text(told(&args.name, &answer["was"]))?;
    }
    Ok(Exit::Done)
}

fn told(name: &str, was: &Value) -> String {
    match was.as_str() {
        Some("set_aside") => format!("{name} was set aside, and starts with a whole budget of faults\n"),
        Some("backing_off") => format!("{name} waited after a fault, and starts at once\n"),
        _ => format!("{name} runs, or starts already: nothing was done\n"),
    }
}

/// What can't stand in a path becomes `%` and its code.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_what_was_done() {
        assert!(told("x", &Value::from("set_aside")).starts_with("x was set aside"));
        assert!(told("x", &Value::from("backing_off")).contains("at once"));
        assert!(told("x", &Value::from("running")).contains("nothing was done"));
    }

    #[test]
    fn a_name_cannot_become_another_path() {
        assert_eq!(encoded("host-1_a"), "host-1_a");
        assert_eq!(encoded("../wal?x y"), "..%2Fwal%3Fx%20y");
    }
}
