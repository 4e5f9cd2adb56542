//! What a plugin asks for and is not granted, as an operator of a running agent hears of it: counted always, told in one
//! line, and no problem where the operator has chosen.

use std::time::Duration;

use serde_json::Value;
use whimbrel_tests::{
    agent::{Agent, Home},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn yaml(grants: &str) -> String {
    format!(
        "collectors:\n  host: {{plugin: \"builtin:host\", interval: 200ms{grants}}}\nexporters:\n  none: {{endpoint: \
         \"http://127.0.0.1:9\"}}\n"
    )
}

/// Its status when it has been asked some times.
fn asked(agent: &mut Agent) -> Value {
    wait::until("it is asked", PATIENCE, || {
        let one = agent.status().ok_or(Value::Null)?["collectors"][0].clone();
        if one["collects"].as_u64() > Some(2) { Ok(one) } else { Err(one) }
    })
}

/// The lines of the log that say it of this collector, repeats aside.
fn told(home: &Home, word: &str) -> Vec<String> {
    let log = home.log();
    let of_host = log.lines().filter(|line| line.contains("\"collector\":\"host\""));
    of_host.filter(|line| line.contains(word) && !line.contains("\"repeated\"")).map(str::to_owned).collect()
}

#[test]
fn parts_that_an_operator_left_out_are_counted_and_no_problem() {
    let home = Home::new(&yaml(", grants: {system: [cpu, memory]}"));
    let mut agent = home.start_and_wait();
    let host = asked(&mut agent);
    assert!(host["denied"].as_u64() > Some(5), "{host}");
    assert_eq!((&host["last_problem"], &host["errors"]), (&Value::Null, &0.into()), "{host}");
    let status = home.run(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(!status.contains("collector host:"), "{status}");
    let lines = told(&home, "granted");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("not granted, and left out: paging, ") && lines[0].contains("\"info\""),
        "{lines:?}"
    );
    assert!(agent.terminate().success());
}

#[test]
fn where_no_part_is_granted_one_line_names_them_all_and_the_grant() {
    let home = Home::new(&yaml(""));
    let mut agent = home.start_and_wait();
    let host = asked(&mut agent);
    assert!(host["denied"].as_u64() > Some(7), "{host}");
    assert!(host["last_problem"].to_string().contains("grants: {system: true}"), "{host}");
    let lines = told(&home, "this would grant");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("grants: { system: [cpu, memory, ") && lines[0].contains("\"warn\""),
        "{lines:?}"
    );
    assert!(agent.terminate().success());
}
