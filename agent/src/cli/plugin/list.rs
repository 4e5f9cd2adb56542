//! `whimbrel plugin list`: the plugins of the running agent, and those that are shipped.

use serde_json::{Value, json};

use crate::{
    cli::{
        exit::{Exit, Outcome},
        print,
        source::Running,
        status, words,
    },
    config::BUILTIN_PLUGINS,
};

/// What `plugin list` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    running: Running,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the agent, and prints. Without an agent there is still what is shipped.
pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let socket = args.running.socket()?;
    let running = match status::ask(&socket) {
        Ok(status) => Some(status["collectors"].clone()),
        // It was asked for by name: then it is an error that nobody answers.
        Err(error) if args.running.socket.is_some() => return Err(error.into()),
        Err(_) => None,
    };
    if args.json {
        print::json(&json!({ "running": running, "builtin": BUILTIN_PLUGINS }))?;
    } else {
        print::text(rendered(running.as_ref(), print::width()))?;
    }
    Ok(Exit::Done)
}

fn rendered(running: Option<&Value>, width: Option<usize>) -> String {
    let mut rows = vec![words::row(&["collector", "plugin", "state", "from"])];
    for collector in running.into_iter().flat_map(words::list) {
        let named = words::plain(&collector["plugin"]);
        let identity = collector["identity"].as_str().map_or_else(|| "not loaded".to_owned(), str::to_owned);
        rows.push(vec![words::plain(&collector["name"]), identity, words::plain(&collector["state"]), named]);
    }
    print::shorten(&mut rows, 3, width);
    let builtin: Vec<String> = BUILTIN_PLUGINS.iter().map(|name| format!("builtin:{name}")).collect();
    let builtin = format!("shipped: {}\n", builtin.join(", "));
    match running {
        None => format!("no agent is running\n{builtin}"),
        Some(_) if rows.len() == 1 => format!("the agent runs no collector\n{builtin}"),
        Some(_) => format!("{}\n{builtin}", print::table(&rows)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_and_what_is_shipped_are_told() {
        let running =
            json!([{"name": "host", "plugin": "builtin:host", "identity": "host 0.1.0", "state": "running"}]);
        assert_eq!(
            rendered(Some(&running), None),
            "collector  plugin      state    from\nhost       host 0.1.0  running  builtin:host\n\n\
             shipped: builtin:file-tail, builtin:heartbeat, builtin:host, builtin:http-check, builtin:prometheus-scrape\n"
        );
        assert!(rendered(None, None).starts_with("no agent is running\nshipped: "));
        assert!(rendered(Some(&json!([])), None).starts_with("the agent runs no collector\n"));
    }
}
