//! What was acknowledged into the WAL arrives, once: over crashes of the agent and absences of the backend.
//!
//! The witness is the heartbeat collector: it pushes 1, 2, 3, … and goes on, after a crash, where its last durable
//! checkpoint stood. So the stub must hold every number from 1 to the last exactly once: a hole is a lost record, a
//! second is a repeat. A record that is lost together with its checkpoint would be pushed anew and leave no hole;
//! therefore the agent's own counts, read before each kill, are added up beside it.

#![allow(clippy::print_stdout)] // the seed, so that a failing run can be repeated

use std::{
    thread,
    time::{Duration, Instant},
};

use whimbrel_tests::{
    agent::Home,
    stub::Stub,
    wait,
    witness::{Chance, appended, arrived_once, free_port, heartbeats, pending},
};

const PATIENCE: Duration = Duration::from_secs(120);
const ROUNDS: u64 = 20;

fn crash_yaml(port: u16) -> String {
    format!(
        r#"
collectors:
  beat: {{plugin: "builtin:heartbeat", interval: 100ms}}
exporters:
  stub:
    endpoint: "http://127.0.0.1:{port}"
    max_delay: 50ms
    retry: {{initial: 50ms, maximum: 200ms}}
"#
    )
}

#[test]
fn twenty_kills_lose_nothing_and_repeat_nothing() {
    let mut chance = Chance::new();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let backend = tempfile::tempdir().expect("a folder");
    let home = Home::new(&crash_yaml(port));

    let mut stub = Some(Stub::start_at(&address, backend.path()));
    let mut witnessed = 0;
    for round in 0..ROUNDS {
        // Up, down, and coming back while the agent runs.
        match round % 3 {
            0 if stub.is_none() => stub = Some(Stub::start_at(&address, backend.path())),
            1 => stub = None,
            _ => {}
        }
        let mut agent = home.start_and_wait();
        thread::sleep(Duration::from_millis(chance.below(900)));
        if round % 3 == 2 && stub.is_none() {
            stub = Some(Stub::start_at(&address, backend.path()));
            thread::sleep(Duration::from_millis(chance.below(400)));
        }
        witnessed += appended(&mut agent);
        thread::sleep(Duration::from_millis(chance.below(120)));
        agent.kill();
    }

    let stub = stub.unwrap_or_else(|| Stub::start_at(&address, backend.path()));
    let mut agent = home.start_and_wait();
    wait::until("everything is delivered", PATIENCE, || {
        let status = agent.status().ok_or_else(|| home.log())?;
        if pending(&status, "stub") <= 1 { Ok(()) } else { Err(status["exporters"].to_string()) }
    });
    assert!(agent.terminate().success(), "{}", home.log());

    let last = arrived_once(&stub, &home);
    println!(
        "{} rounds, {witnessed} appends witnessed before the kills, {last} heartbeats delivered",
        ROUNDS
    );
    assert!(witnessed > ROUNDS, "the agents appended something: {witnessed}");
    assert!(last >= witnessed, "{witnessed} appends were answered, and only {last} heartbeats exist");
}

#[test]
fn a_dead_exporter_does_not_hold_up_the_other() {
    let stub = Stub::start();
    let dead = free_port();
    let home = Home::new(&format!(
        r#"
collectors:
  beat: {{plugin: "builtin:heartbeat", interval: 100ms}}
exporters:
  alive: {{endpoint: "http://{}", max_delay: 50ms}}
  dead: {{endpoint: "http://127.0.0.1:{dead}", max_delay: 50ms}}
"#,
        stub.otlp
    ));
    let mut agent = home.start_and_wait();
    wait::until("forty heartbeats arrive", PATIENCE, || {
        let got = heartbeats(&stub).len();
        if got >= 40 { Ok(()) } else { Err(got) }
    });
    let status = wait::until("the living one keeps up", PATIENCE, || {
        let status = agent.status().ok_or(u64::MAX)?;
        let waiting = pending(&status, "alive");
        if waiting <= 3 { Ok(status) } else { Err(waiting) }
    });
    assert!(pending(&status, "dead") >= 40, "the dead one's records wait: {}", status["wal"]["consumers"]);
    let exporters = status["exporters"].as_array().expect("an array");
    let dead = exporters.iter().find(|e| e["name"] == "dead").expect("it is there");
    assert_eq!(dead["state"]["state"], "waiting", "{dead}");
    assert!(dead["state"]["reason"].as_str().is_some_and(|r| r.contains("refused")), "{dead}");
    agent.kill();
}

#[test]
fn what_was_not_sent_before_the_end_is_sent_after_the_next_start() {
    let port = free_port();
    let home = Home::new(&crash_yaml(port));
    let mut agent = home.start_and_wait();
    wait::until("ten records wait", PATIENCE, || {
        let status = agent.status().ok_or(0u64)?;
        let waiting = pending(&status, "stub");
        if waiting >= 10 { Ok(()) } else { Err(waiting) }
    });
    let before = Instant::now();
    assert!(agent.terminate().success(), "{}", home.log());
    assert!(before.elapsed() < Duration::from_secs(30), "draining is bounded");
    assert!(home.log().contains("stays in the WAL"), "it says what it leaves behind: {}", home.log());

    let backend = tempfile::tempdir().expect("a folder");
    let stub = Stub::start_at(&format!("127.0.0.1:{port}"), backend.path());
    let agent = home.start_and_wait();
    wait::until("they arrive", PATIENCE, || {
        let values = heartbeats(&stub);
        if values.len() >= 10 && values[0] == 1 { Ok(()) } else { Err(values) }
    });
    agent.kill();
}
