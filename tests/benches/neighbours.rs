//! How late the host collector begins beside each hostile plugin: p99 over its last 128 collects.
//!
//! `cargo bench -p whimbrel-tests --bench neighbours`. Over the real programs. The host collector collects ten times a
//! second, so that a figure takes a quarter of a minute; hostile ones that would be set aside are resumed all the time.
#![allow(missing_docs, clippy::print_stdout, reason = "a program that prints figures")]

#[allow(dead_code, reason = "what is to be seen of each is the test's")]
#[path = "../hostile/table.rs"]
mod table;

use std::time::{Duration, Instant};

use serde_json::Value;
use whimbrel_tests::{
    agent::{Agent, Home},
    guest::build,
    stub::Stub,
    wait,
};

const WATCHED: Duration = Duration::from_secs(14);
const PATIENCE: Duration = Duration::from_secs(120);
/// Milliseconds.
const LIMIT: f64 = 20.0;

fn main() {
    let stub = Stub::start();
    println!("lateness of the host collector, p99 of 128, beside");
    measure(&stub, None);
    for kind in table::kinds() {
        measure(&stub, Some(&kind));
    }
}

fn measure(stub: &Stub, kind: Option<&table::Kind>) {
    let home = Home::new("");
    let mut yaml = "collectors:\n  host: {plugin: \"builtin:host\", interval: 100ms, grants: {system: [cpu, memory, host]}}\n"
        .to_owned();
    if let Some(kind) = kind {
        build(home.path(), kind.name, &kind.guest);
        yaml.push_str(&format!(
            "  {0}: {{plugin: ./{0}.wasm, interval: 1s, limits: {{{1}}}}}\n",
            kind.name, kind.limits
        ));
    }
    yaml.push_str(&format!("exporters: {{stub: {{endpoint: \"http://{}\"}}}}\n", stub.otlp));
    home.configure(&yaml);
    let mut agent = home.start_and_wait();
    wait::until("the host collector runs", PATIENCE, || {
        agent.status().filter(|status| of(status, "host", "collects").as_u64() > Some(0)).ok_or(())
    });
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500));
        if let Some(kind) = kind {
            resume(&home, &mut agent, kind.name);
        }
    }
    let status = wait::until("the agent answers", PATIENCE, || agent.status().ok_or(()));
    let late = of(&status, "host", "late");
    let ms = |key: &str| late[key].as_u64().expect("a figure") as f64 / 1000.0;
    let name = kind.map_or("nobody", |kind| kind.name);
    let faults = kind.map_or(0, |kind| of(&status, kind.name, "faults").as_u64().unwrap_or(0));
    println!(
        "  {name:22} {:7.2} ms   (limit {LIMIT})   latest {:7.2} ms, missed {}, {faults} faults",
        ms("p99_us"),
        ms("most_us"),
        of(&status, "host", "missed"),
    );
    agent.kill();
}

fn resume(home: &Home, agent: &mut Agent, name: &str) {
    if agent.status().is_some_and(|status| of(&status, name, "state") == "set_aside") {
        assert!(home.run(&["plugin", "resume", name]).status.success(), "{name} can be resumed");
    }
}

fn of(status: &Value, name: &str, key: &str) -> Value {
    let collectors = status["collectors"].as_array().expect("an array");
    collectors.iter().find(|one| one["name"] == name).map_or(Value::Null, |one| one[key].clone())
}
