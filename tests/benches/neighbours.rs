//! How late the host collector begins beside each hostile plugin: p99 over its last 128 collects.
//!
//! `cargo bench -p whimbrel-tests --bench neighbours [-- PART OF A NAME ...]`. Over the real programs. The host
//! collector collects ten times a second, so that a figure takes a quarter of a minute; hostile ones that would be set
//! aside are resumed all the time. The servers that some of them reach for are in this process, and share the machine.
#![allow(missing_docs, clippy::print_stdout, reason = "a program that prints figures")]

#[allow(dead_code, reason = "what is to be seen of each is the test's")]
#[path = "../hostile/reach.rs"]
mod reach;
#[allow(dead_code, reason = "what reached it is the test's")]
#[path = "../hostile/server.rs"]
mod server;
#[allow(dead_code, reason = "what is to be seen of each is the test's")]
#[path = "../hostile/table.rs"]
mod table;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::Value;
use whimbrel_tests::{
    agent::{Agent, Home},
    guest::build,
    stub::Stub,
    wait,
};

use server::Server;

const WATCHED: Duration = Duration::from_secs(14);
const PATIENCE: Duration = Duration::from_secs(120);
/// Milliseconds.
const LIMIT: f64 = 20.0;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let stub = Stub::start();
    println!("lateness of the host collector, p99 of 128, beside");
    measure(&stub, &Home::new(""), None, "");
    for kind in table::kinds().iter().filter(|kind| wants(kind.name)) {
        let home = Home::new("");
        build(home.path(), kind.name, &kind.guest);
        let line =
            format!("  {0}: {{plugin: ./{0}.wasm, interval: 1s, limits: {{{1}}}}}\n", kind.name, kind.limits);
        measure(&stub, &home, Some(kind.name), &line);
    }
    let (server, other) = (Server::start(), Server::start());
    // One folder and one port for all of them: only one agent runs at a time.
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let health = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").to_string();
    let kinds = reach::kinds(folder.path(), &server, &other, &health);
    for kind in kinds.iter().filter(|kind| wants(kind.name)) {
        let lines = format!("{}health: {{listen: \"{health}\"}}\n", kind.line());
        measure(&stub, &Home::new(""), Some(kind.name), &lines);
    }
}

/// `lines`: the hostile collector's, and what it needs.
fn measure(stub: &Stub, home: &Home, hostile: Option<&str>, lines: &str) {
    let mut yaml = "collectors:\n  host: {plugin: \"builtin:host\", interval: 100ms, grants: {system: [cpu, memory, host]}}\n"
        .to_owned();
    yaml.push_str(lines);
    yaml.push_str(&format!("exporters: {{stub: {{endpoint: \"http://{}\"}}}}\n", stub.otlp));
    home.configure(&yaml);
    let mut agent = home.start_and_wait();
    wait::until("the host collector runs", PATIENCE, || {
        agent.status().filter(|status| of(status, "host", "collects").as_u64() > Some(0)).ok_or(())
    });
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500));
        if let Some(name) = hostile {
            resume(home, &mut agent, name);
        }
    }
    let status = wait::until("the agent answers", PATIENCE, || agent.status().ok_or(()));
    let late = of(&status, "host", "late");
    let ms = |key: &str| late[key].as_u64().expect("a figure") as f64 / 1000.0;
    let name = hostile.unwrap_or("nobody");
    // That it was at work, or the figure says nothing.
    let [collects, faults, denied] =
        ["collects", "faults", "denied"].map(|key| of(&status, name, key).as_u64().unwrap_or(0));
    assert!(hostile.is_none() || collects + faults > 0, "{name} did nothing: {status}");
    println!(
        "  {name:22} {:7.2} ms   (limit {LIMIT})   latest {:7.2} ms, missed {}; {collects} collects, {faults} faults, {denied} denied",
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
