//! Reload over the real programs: what differs is applied, what is the same misses nothing, what is wrong changes
//! nothing.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use whimbrel_tests::{
    agent::{Agent, Home},
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn collector(status: &Value, name: &str) -> Value {
    let collectors = status["collectors"].as_array().expect("an array");
    collectors.iter().find(|c| c["name"] == name).cloned().unwrap_or(Value::Null)
}

/// Waits until `status` is so. The socket is named, because the configuration may be a bad one.
fn seen(home: &Home, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let socket = home.data().join("control.sock");
    let socket = socket.to_str().expect("a temporary folder's name is text");
    wait::until(what, PATIENCE, || {
        let output = home.run(&["status", "--json", "--socket", socket]);
        let status =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)));
        if condition(&status) { Ok(status) } else { Err(status) }
    })
}

fn reload(home: &Home) -> Value {
    let output = home.run(&["reload", "--json"]);
    let answer: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)));
    assert_eq!(output.status.code(), Some(if answer["ok"] == true { 0 } else { 1 }), "{answer}");
    assert_eq!(answer["ok"], answer["not_as_configured"].is_null(), "{answer}");
    answer
}

/// `collectors:` of these lines, and the exporter.
fn yaml(stub: &Stub, collectors: &[&str]) -> String {
    let lines: String = collectors.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "collectors:\n{lines}exporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\n",
        stub.otlp
    )
}

const KEPT: &str = "kept: {plugin: \"builtin:heartbeat\", interval: 100ms}";
const GOING: &str = "going: {plugin: \"builtin:heartbeat\", interval: 100ms}";
const CHANGING: &str = "changing: {plugin: \"builtin:heartbeat\", interval: 100ms}";
const CHANGED: &str =
    "changing: {plugin: \"builtin:heartbeat\", interval: 100ms, config: {message: \"after\"}}";

#[test]
fn what_differs_is_applied_and_the_rest_misses_nothing() {
    let stub = Stub::start();
    let home = Home::new(&yaml(&stub, &[KEPT, GOING, CHANGING]));
    let agent = home.start_and_wait();
    let collects = |status: &Value, name: &str| collector(status, name)["collects"].as_u64().unwrap_or(0);
    let before = seen(&home, "all collect", |s| {
        ["kept", "going", "changing"].iter().all(|name| collects(s, name) > 5)
    });
    assert_eq!(before["generation"], 1, "{before}");

    let new = "new: {plugin: \"builtin:heartbeat\", interval: 100ms}";
    let broken = "broken: {plugin: ./there-is-none.wasm}";
    home.configure(&yaml(&stub, &[KEPT, CHANGED, new, broken]));
    let mut answer = reload(&home);
    let broken = answer.as_object_mut().expect("an object").remove("not_as_configured").unwrap_or_default();
    assert_eq!(
        answer,
        json!({
            "ok": false, "generation": 2, "added": ["broken", "new"], "removed": ["going"], "changed": ["changing"],
            "unchanged": 1, "restart_needed": [],
        })
    );
    assert_eq!(
        (broken.as_array().map(Vec::len), &broken[0]["name"]),
        (Some(1), &json!("broken")),
        "{broken}"
    );
    let after =
        seen(&home, "the new ones collect", |s| collects(s, "new") > 5 && collects(s, "changing") > 5);
    assert_eq!(after["generation"], 2, "{after}");
    assert_eq!(collector(&after, "going"), Value::Null, "{after}");
    let broken = seen(&home, "what is not there is said", |s| collector(s, "broken")["state"] == "set_aside");
    let problem = collector(&broken, "broken")["last_problem"].to_string();
    assert!(problem.contains("there-is-none.wasm") && problem.contains("cannot be read"), "{problem}");

    // The same instance goes on: its counts do, and nothing was missed on account of the reload.
    let (old, kept) = (collector(&before, "kept"), collector(&after, "kept"));
    assert!(collects(&after, "kept") > collects(&before, "kept"), "{kept}");
    assert_eq!((&kept["restarts"], &kept["faults"]), (&json!(0), &json!(0)), "{kept}");
    println!("missed before {} and after {}", old["missed"], kept["missed"]);

    // Started anew with the last checkpoint: the counter goes on, in a series of its own.
    let points = wait::until("the changed one is delivered", PATIENCE, || {
        let found = stub.api("/api/series?name=whimbrel.heartbeat.count&limit=10000");
        let all = found["series"].as_array().cloned().unwrap_or_default();
        let changed =
            all.iter().find(|one| one["attributes"]["whimbrel.heartbeat.message"] == "after").cloned();
        changed
            .and_then(|one| one["points"].as_array().cloned())
            .filter(|points| points.len() > 3)
            .ok_or(found)
    });
    let least = points.iter().filter_map(|point| point["value"].as_u64()).min().expect("points");
    assert!(
        least > collects(&before, "changing"),
        "it counts on from {}: {least}",
        collects(&before, "changing")
    );

    // Again, and nothing differs.
    let answer = reload(&home);
    assert_eq!((&answer["generation"], &answer["unchanged"]), (&json!(3), &json!(4)), "{answer}");
    let output = home.run(&["reload"]);
    let text = said(&output);
    let (first, second) = text.split_once('\n').expect("two lines");
    assert_eq!(first, "generation 4: no collector differs; 4 unchanged");
    assert!(
        second.starts_with("broken is not as configured: ") && second.contains("cannot be read"),
        "{text}"
    );
    assert_eq!((text.lines().count(), output.status.code()), (2, Some(1)), "{text}");

    // Without it, all is as configured.
    home.configure(&yaml(&stub, &[KEPT, CHANGED, new]));
    let output = home.run(&["reload"]);
    assert_eq!(said(&output), "generation 5: removed broken; 3 unchanged\n");
    assert!(output.status.success());
    assert!(agent.terminate().success());
    let log = home.log();
    assert!(log.contains("\"message\":\"reloaded\"") && log.contains("\"added\":\"broken, new\""), "{log}");
}

#[test]
fn what_is_wrong_changes_nothing_and_what_cannot_be_applied_is_named() {
    let stub = Stub::start();
    let home = Home::new(&yaml(&stub, &[KEPT]));
    let agent = home.start_and_wait();
    let socket = home.data().join("control.sock");
    let socket = socket.to_str().expect("text");

    home.configure(&yaml(&stub, &["kept: {plugin: \"builtin:heart\"}", "other: {interval: 1}"]));
    let checked = said(&home.run(&["check"]));
    for arguments in [&["reload"][..], &["reload", "--socket", socket]] {
        let output = home.run(arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains("the agent goes on as it was"), "{text}");
        let problems = |text: &str| text.split_once("\n\n").map(|(_, problems)| problems.to_owned());
        assert_eq!(problems(&text), problems(&checked), "as `check` says them");
    }
    let output = home.run(&["reload", "--json", "--socket", socket]);
    let refusal: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(78));
    assert!(
        refusal["problems"].as_array().is_some_and(|all| all.len() > 1),
        "all problems at once: {refusal}"
    );
    assert!(refusal["problems"][0]["line"].as_u64() > Some(0), "{refusal}");
    let status = seen(&home, "it goes on", |s| collector(s, "kept")["collects"].as_u64() > Some(3));
    assert_eq!((&status["generation"], &status["reloads_refused"]), (&json!(1), &json!(2)), "{status}");

    let other = yaml(&stub, &[KEPT]).replace("50ms", "70ms") + "wal: {max_size: 1GiB}\n";
    home.configure(&other);
    let answer = reload(&home);
    assert_eq!(answer["restart_needed"], json!(["exporters.stub", "wal"]), "{answer}");
    assert!(said(&home.run(&["status"])).contains("before a restart: exporters.stub, wal"));
    assert!(agent.terminate().success());
    let output = home.run(&["reload"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("no agent answers"), "{}", said(&output));
    assert_eq!(said(&output).matches("(os error").count(), 1, "the cause is told once: {}", said(&output));
}

#[test]
fn hup_reloads_and_a_new_component_in_the_same_file_is_loaded() {
    let stub = Stub::start();
    let home = Home::new("");
    let file = home.path().join("mine.wasm");
    let shipped =
        |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../plugins/components/{name}.wasm"));
    fs::copy(shipped("heartbeat"), &file).expect("copied");
    home.configure(&yaml(&stub, &[KEPT, "mine: {plugin: ./mine.wasm, interval: 100ms}"]));
    let agent = home.start_and_wait();
    seen(&home, "it runs", |s| collector(s, "mine")["identity"] == "heartbeat 0.1.0");
    let hang_up = |agent: &Agent| {
        let sent =
            Command::new("kill").args(["-HUP", &agent.pid().to_string()]).status().expect("kill starts");
        assert!(sent.success());
    };
    hang_up(&agent);
    let same = seen(&home, "HUP is a reload", |s| s["generation"] == 2);
    assert_eq!(collector(&same, "mine")["identity"], "heartbeat 0.1.0", "{same}");

    fs::copy(shipped("host"), home.path().join("new")).expect("copied");
    fs::rename(home.path().join("new"), &file).expect("renamed");
    hang_up(&agent);
    seen(&home, "the new component runs", |s| collector(s, "mine")["identity"] == "host 0.1.0");

    home.configure("collectors: {x: {}}\n");
    hang_up(&agent);
    seen(&home, "a bad one is refused", |s| s["reloads_refused"] == 1);
    assert!(home.log().contains("nothing was changed"), "{}", home.log());
    assert!(agent.terminate().success());
}
