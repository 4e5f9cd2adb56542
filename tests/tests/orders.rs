//! Orders that come at a bad time: a stop while what takes over hangs, a removal while it starts, a resume in the pause
//! after a fault, another name.

use std::time::Duration;

use serde_json::{Value, json};
use whimbrel_tests::{
    agent::Home,
    guest::{Guest, build},
    single::{reload, said, seen, seen_of},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// A collector `x` of this plugin in the folder.
fn yaml(name: &str, limits: &str) -> String {
    format!(
        "collectors:\n  x: {{plugin: ./{name}.wasm, interval: 200ms, limits: {{{limits}}}}}\n\
         exporters:\n  none: {{endpoint: \"http://127.0.0.1:9\"}}\n"
    )
}

/// A guest that says this when it shuts down.
fn parting(home: &Home, words: &str) {
    let items = format!("(data (i32.const 0) \"{words}\")");
    let length = words.len();
    let shutdown =
        format!("(call $log (i32.const 2) (i32.const 0) (i32.const {length}) (i32.const 0) (i32.const 0))");
    build(home.path(), "parting", &Guest { items: &items, shutdown: &shutdown, ..Guest::default() });
}

#[test]
fn a_stop_while_what_took_over_hangs_lets_the_one_before_shut_down() {
    let home = Home::new("");
    parting(&home, "good bye from the one before");
    let endless = "(loop $again (br $again)) (i32.const 1024)";
    build(home.path(), "hanging", &Guest { collect: endless, ..Guest::default() });
    home.configure(&yaml("parting", ""));
    let agent = home.start_and_wait();
    seen(&home, "it runs", |one| one["collects"].as_u64() > Some(1));
    home.configure(&yaml("hanging", "deadline: 60s"));
    assert_eq!(reload(&home)["changed"], json!(["x"]));
    seen(&home, "the other is to collect next", |one| one["identity"] == "hanging 0.0.1");
    // Which is due five times a second.
    std::thread::sleep(Duration::from_secs(1));
    assert!(agent.terminate().success());
    let log = home.log();
    for part in ["stopped in the middle of a collect", "good bye from the one before"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn one_that_is_removed_while_another_is_made_ready_shuts_down_and_is_gone() {
    let home = Home::new("");
    parting(&home, "good bye");
    let endless = "(loop $again (br $again)) (i32.const 1024)";
    build(home.path(), "slow", &Guest { init: endless, ..Guest::default() });
    home.configure(&yaml("parting", ""));
    let agent = home.start_and_wait();
    seen(&home, "it runs", |one| one["collects"].as_u64() > Some(1));
    home.configure(&yaml("slow", "init: 60s"));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| reload(&home));
        // The answer waits for what starts; the next order does not wait for the answer. If the first has not come
        // that far by now, the test sees less, and is as right.
        std::thread::sleep(Duration::from_secs(1));
        home.configure("collectors:\n  y: {plugin: ./parting.wasm, interval: 200ms}\n");
        let answer = reload(&home);
        assert_eq!((&answer["removed"], &answer["added"]), (&json!(["x"]), &json!(["y"])), "{answer}");
        first.join().expect("the first reload is answered too");
    });
    seen_of(&home, "y", "the renamed one runs", |one| one["collects"].as_u64() > Some(1));
    let status: Value = serde_json::from_slice(&home.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(status["collectors"].as_array().map(Vec::len), Some(1), "{status}");
    assert!(home.log().contains("good bye"), "{}", home.log());
    assert!(agent.terminate().success());
}

#[test]
fn what_waits_after_a_fault_starts_at_once_when_it_is_resumed() {
    let home = Home::new("");
    build(home.path(), "trapping", &Guest { collect: "unreachable", ..Guest::default() });
    home.configure(&yaml("trapping", ""));
    let agent = home.start_and_wait();
    wait::until("a resume that comes in a pause", PATIENCE, || {
        let output = home.run(&["plugin", "resume", "x", "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).map_err(|_| said(&output))?;
        if answer["was"] == "backing_off" { Ok(()) } else { Err(answer.to_string()) }
    });
    assert!(agent.terminate().success());
}
