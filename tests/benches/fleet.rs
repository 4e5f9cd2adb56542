//! A thousand instances of the heartbeat at one second in one agent: memory, processor time, missed collects; and that
//! nothing wakes while no guest runs.
//!
//! `cargo bench -p whimbrel-tests --bench fleet`. Over the real programs; each figure with its limit.
#![allow(missing_docs, clippy::print_stdout, reason = "a program that prints figures")]

use std::{thread, time::Duration};

use serde_json::Value;
use whimbrel_tests::{
    agent::{Agent, Home},
    process::{processor_time, resident, wake_ups},
    stub::Stub,
    wait,
};

const INSTANCES: usize = 1000;
/// After all have come up.
const SETTLING: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

fn sum(status: &Value, key: &str) -> u64 {
    let collectors = status["collectors"].as_array().expect("an array");
    collectors.iter().map(|one| one[key].as_u64().expect("a count")).sum()
}

fn status(agent: &mut Agent) -> Value {
    wait::until("the agent answers", PATIENCE, || agent.status().ok_or(()))
}

fn main() {
    let stub = Stub::start();
    fleet(&stub);
    idle(&stub);
}

fn fleet(stub: &Stub) {
    let mut yaml = "collectors:\n".to_owned();
    for n in 0..INSTANCES {
        yaml.push_str(&format!("  beat{n}: {{plugin: \"builtin:heartbeat\", interval: 1s}}\n"));
    }
    yaml.push_str(&format!("exporters: {{stub: {{endpoint: \"http://{}\"}}}}\n", stub.otlp));
    let home = Home::new(&yaml);
    let mut agent = home.start_and_wait();
    wait::until("all collect", PATIENCE, || {
        let status = agent.status().ok_or(0_u64)?;
        let collectors = status["collectors"].as_array().expect("an array");
        let up = collectors.iter().filter(|one| one["collects"].as_u64() > Some(0)).count() as u64;
        if up == INSTANCES as u64 { Ok(()) } else { Err(up) }
    });
    thread::sleep(SETTLING);
    let (before, cpu) = (status(&mut agent), processor_time(agent.pid()));
    thread::sleep(WATCHED);
    let cpu = processor_time(agent.pid()).saturating_sub(cpu);
    let rss = resident(agent.pid());
    let after = status(&mut agent);
    let collects = sum(&after, "collects") - sum(&before, "collects");
    let missed = sum(&after, "missed") - sum(&before, "missed");
    let late: u64 = after["collectors"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|one| one["late"]["p99_us"].as_u64().expect("a figure"))
        .max()
        .unwrap_or(0);
    println!("{INSTANCES} heartbeats at 1 s, over {} s", WATCHED.as_secs());
    println!("  resident               {:8.1} MiB   (limit 120)", rss as f64 / f64::from(1 << 20));
    println!(
        "  processor, of a core   {:8.1} %     (limit 10)",
        100.0 * cpu.as_secs_f64() / WATCHED.as_secs_f64()
    );
    println!("  collects               {collects:8}");
    println!("  missed                 {missed:8}       (limit 0)");
    println!("  lateness, worst p99    {:8.1} ms", late as f64 / 1000.0);
    assert!(agent.terminate().success());
}

fn idle(stub: &Stub) {
    let home = Home::new(&format!(
        "collectors:\n  beat: {{plugin: \"builtin:heartbeat\", interval: 1h}}\nexporters: {{stub: {{endpoint: \"http://{}\"}}}}\n",
        stub.otlp
    ));
    let mut agent = home.start_and_wait();
    wait::until("it has collected", PATIENCE, || {
        agent.status().filter(|status| sum(status, "collects") == 1).ok_or(())
    });
    thread::sleep(SETTLING);
    let before = (wake_ups(agent.pid(), "plugin-ticker"), wake_ups(agent.pid(), ""));
    thread::sleep(IDLE);
    let after = (wake_ups(agent.pid(), "plugin-ticker"), wake_ups(agent.pid(), ""));
    println!("no guest runs, over {} s", IDLE.as_secs());
    println!("  wake-ups, plugin clock {:8}       (limit 0)", after.0 - before.0);
    println!("  wake-ups, all threads  {:8}", after.1.saturating_sub(before.1));
    assert!(agent.terminate().success());
}
