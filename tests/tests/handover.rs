//! Changes that go wrong half way: what had run goes on, whoever asked is told, and a stop waits for none of it.

use std::{
    fs,
    path::Path,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use whimbrel_tests::{
    agent::{Agent, Home},
    guest::{Guest, build},
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);
const TRAPS: &str = "unreachable";
const HANGS: &str = "(loop $again (br $again)) (i32.const 1024)";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn reload(home: &Home) -> Value {
    let output = home.run(&["reload", "--json"]);
    let answer: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)));
    assert_eq!(output.status.code(), Some(if answer["ok"] == true { 0 } else { 1 }), "{answer}");
    assert_eq!(answer["ok"], answer["not_as_configured"].is_null(), "{answer}");
    answer
}

fn one(agent: &mut Agent, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, PATIENCE, || {
        let status = agent.status().ok_or(Value::Null)?;
        let one = status["collectors"][0].clone();
        if condition(&one) { Ok(one) } else { Err(one) }
    })
}

fn configure(home: &Home, stub: &Stub, collector: &str) {
    home.configure(&format!(
        "collectors:\n  one: {{{collector}}}\nexporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\n",
        stub.otlp
    ));
}

fn put(home: &Home, from: &Path) {
    fs::copy(from, home.path().join("new")).expect("copied");
    fs::rename(home.path().join("new"), home.path().join("mine.wasm")).expect("renamed");
}

#[test]
fn what_takes_the_place_of_a_set_aside_one_is_told_by_what_became_of_it() {
    let stub = Stub::start();
    let home = Home::new("");
    let trapping = build(home.path(), "trapping", &Guest { collect: TRAPS, ..Guest::default() });
    let text = home.path().join("text");
    fs::write(&text, "no component\n").expect("written");
    put(&home, &trapping);
    configure(&home, &stub, "plugin: ./mine.wasm, interval: 200ms");
    let mut agent = home.start_and_wait();
    one(&mut agent, "it is set aside", |one| one["state"] == "set_aside");

    put(&home, &text);
    let answer = reload(&home);
    assert_eq!(answer["changed"], json!([]), "{answer}");
    assert!(answer["failed"][0]["problem"].to_string().contains("no WebAssembly component"), "{answer}");
    one(&mut agent, "it stays set aside", |one| one["state"] == "set_aside");

    configure(&home, &stub, "plugin: \"builtin:heartbeat\", interval: 200ms");
    let answer = reload(&home);
    assert_eq!((&answer["changed"], &answer["failed"]), (&json!(["one"]), &Value::Null), "{answer}");
    one(&mut agent, "it collects", |one| one["collects"].as_u64() > Some(1));
    assert!(agent.terminate().success());
}

#[test]
fn an_older_one_that_cannot_read_the_newer_ones_checkpoint_goes_on_itself() {
    let stub = Stub::start();
    let home = Home::new("");
    // Of `init`'s arguments, the fifth says whether there is a checkpoint.
    let older = Guest { init: "(if (local.get 4) (then unreachable)) (i32.const 1024)", ..Guest::default() };
    let newer = Guest {
        items: "(data (i32.const 0) \"\\0a\\00\")",
        collect: "(call $push (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 2)
            (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 2048)) unreachable",
        ..Guest::default()
    };
    let (older, newer) = (build(home.path(), "older", &older), build(home.path(), "newer", &newer));
    put(&home, &older);
    configure(&home, &stub, "plugin: ./mine.wasm, interval: 300ms");
    let mut agent = home.start_and_wait();
    one(&mut agent, "it collects", |one| one["collects"].as_u64() > Some(1));

    put(&home, &newer);
    assert_eq!(reload(&home)["changed"], json!(["one"]));
    let back = one(&mut agent, "it is put back", |one| one["put_back"] == 1);
    let collects = back["collects"].as_u64().expect("a count");
    let on = one(&mut agent, "it goes on", |one| one["collects"].as_u64() > Some(collects + 2));
    assert_eq!(
        (&on["state"], &on["identity"], &on["faults"]),
        (&json!("running"), &json!("older 0.0.1"), &json!(2))
    );
    assert!(home.log().contains("can't begin at the checkpoint"), "{}", home.log());
    assert!(agent.terminate().success());
}

#[test]
fn one_that_hangs_while_it_starts_holds_up_neither_what_runs_nor_a_later_change_nor_a_stop() {
    let stub = Stub::start();
    let home = Home::new("");
    let hanging = build(home.path(), "hanging", &Guest { init: HANGS, ..Guest::default() });
    let heartbeat = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/components/heartbeat.wasm");
    put(&home, &heartbeat);
    configure(&home, &stub, "plugin: ./mine.wasm, interval: 500ms, limits: {init: 5m}");
    let mut agent = home.start_and_wait();
    one(&mut agent, "it collects", |one| one["collects"].as_u64() > Some(1));

    put(&home, &hanging);
    let answer = reload(&home);
    assert_eq!((&answer["pending"], &answer["failed"]), (&json!(["one"]), &Value::Null), "{answer}");
    let still = one(&mut agent, "it collects", |one| one["collects"].as_u64() > Some(10));
    assert_eq!((&still["faults"], &still["restarts"], &still["replaced"]), (&json!(0), &json!(0), &json!(0)));

    put(&home, &heartbeat);
    let answer = reload(&home);
    assert_eq!((&answer["changed"], &answer["pending"]), (&json!(["one"]), &Value::Null), "{answer}");
    one(&mut agent, "the later one takes over", |one| one["replaced"] == 1);

    put(&home, &hanging);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| home.run(&["reload", "--json"]));
        wait::until("it is being started", PATIENCE, || {
            let asked = home.log().matches("\"message\":\"reloaded\"").count();
            if asked >= 2 { Ok(()) } else { Err(asked) }
        });
        thread::sleep(Duration::from_secs(1));
        let since = Instant::now();
        assert!(agent.terminate().success());
        assert!(since.elapsed() < Duration::from_secs(12), "it did not wait for it: {:?}", since.elapsed());
        drop(waiting.join());
    });
}
