//! The schema that a component carries is applied to its configuration: by `check`, at the start, and at a reload.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use whimbrel_tests::{agent::Home, stub::Stub, wait};

const PATIENCE: Duration = Duration::from_secs(120);

fn configure(home: &Home, stub: &Stub, plugin: &str, config: &str) {
    home.configure(&format!(
        "collectors:\n  one:\n    plugin: {plugin}\n    interval: 200ms\n    config: {{{config}}}\n\
         exporters:\n  stub: {{endpoint: \"http://{}\"}}\n",
        stub.otlp
    ));
}

#[test]
fn check_names_key_line_and_reason_for_builtins_and_for_files() {
    let stub = Stub::start();
    let home = Home::new("");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/components/heartbeat.wasm");
    fs::copy(shipped, home.path().join("mine.wasm")).expect("copied");
    for plugin in ["\"builtin:heartbeat\"", "./mine.wasm"] {
        configure(&home, &stub, plugin, "message: hello");
        let output = home.run(&["check"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        configure(&home, &stub, plugin, "message: [sesame]");
        let output = home.run(&["check"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains(":5:"), "the line: {text}");
        assert!(text.contains("collectors.one.config.message: is not a text"), "{text}");
        assert!(!text.contains("sesame"), "the value may be a secret: {text}");
        let output = home.run(&["check", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            (&report["ok"], &report["problems"][0]["key"]),
            (&json!(false), &json!("collectors.one.config.message"))
        );
    }
}

#[test]
fn the_schemas_of_builtins_that_check_knows_are_those_of_the_components() {
    let home = Home::new("");
    for (name, file) in [("heartbeat", "heartbeat"), ("host", "host")] {
        let output = home.run(&["plugin", "inspect", &format!("builtin:{name}"), "--json"]);
        let inspected: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../plugins/{file}/config.schema.json"));
        let schema: Value = serde_json::from_str(&fs::read_to_string(path).expect("there")).expect("JSON");
        assert_eq!(inspected["config_schema"], schema, "{name}: build plugins/components anew");
    }
}

#[test]
fn a_start_sets_it_aside_and_a_reload_puts_it_back() {
    let stub = Stub::start();
    let home = Home::new("");
    configure(&home, &stub, "\"builtin:heartbeat\"", "frob: 1");
    let mut agent = home.start_and_wait();
    let mut until = |what: &str, condition: &dyn Fn(&Value) -> bool| {
        wait::until(what, PATIENCE, || {
            let one = agent.status().ok_or(Value::Null)?["collectors"][0].clone();
            if condition(&one) { Ok(one) } else { Err(one) }
        })
    };
    let aside = until("it is set aside", &|one| one["state"] == "set_aside");
    let problem = aside["last_problem"].as_str().expect("a problem");
    assert!(
        problem.contains("collectors.one.config.frob: is not a key here; there are: message"),
        "{problem}"
    );

    configure(&home, &stub, "\"builtin:heartbeat\"", "message: good");
    assert!(home.run(&["reload"]).status.success());
    until("it collects", &|one| one["collects"].as_u64() > Some(1));

    configure(&home, &stub, "\"builtin:heartbeat\"", "message: 3");
    let output = home.run(&["reload", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["changed"], json!([]), "{answer}");
    let told = answer["failed"][0]["problem"].as_str().expect("a problem");
    assert!(told.contains("collectors.one.config.message: is not a text"), "{told}");
    let on = until("it goes on as it was", &|one| one["put_back"] == 1);
    assert_eq!(on["state"], "running", "{on}");
    assert!(agent.terminate().success());
}
