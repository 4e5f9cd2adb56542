//! What a backend may answer, and what comes of it: told apart as retry, hold, or dead letter.

use std::time::Duration;

use serde_json::Value;
use whimbrel_tests::{
    agent::{Agent, Home},
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn running(stub: &Stub) -> (Home, Agent) {
    let home = Home::new(&format!(
        r#"
collectors:
  beat: {{plugin: "builtin:heartbeat", interval: 100ms}}
exporters:
  stub:
    endpoint: "http://{}"
    max_delay: 50ms
    retry: {{initial: 50ms, maximum: 200ms}}
"#,
        stub.otlp
    ));
    let agent = home.start_and_wait();
    (home, agent)
}

fn count(stub: &Stub) -> usize {
    let answer = stub.api("/api/values?name=whimbrel.heartbeat.count");
    answer["series"][0]["count"].as_u64().unwrap_or(0) as usize
}

fn contiguous(stub: &Stub) -> bool {
    let answer = stub.api("/api/values?name=whimbrel.heartbeat.count");
    let series = &answer["series"][0];
    series["distinct"] == series["count"] && series["min"] == 1 && series["max"] == series["count"]
}

fn exporter(agent: &mut Agent) -> Value {
    agent.status().expect("the agent answers")["exporters"][0].clone()
}

fn arrives(stub: &Stub, more: usize) {
    let target = count(stub) + more;
    wait::until("heartbeats arrive", PATIENCE, || {
        let got = count(stub);
        if got >= target { Ok(()) } else { Err((got, target)) }
    });
}

#[test]
fn after_503_nothing_and_garbage_everything_arrives_once() {
    let stub = Stub::start();
    let (home, agent) = running(&stub);
    arrives(&stub, 3);
    for misbehaviour in [
        "/control/fail?code=503&for=1s",
        "/control/fail?code=429&count=2&retry_after=1",
        "/control/close?count=2",
        "/control/slow?delay=300ms&count=2",
    ] {
        stub.control(misbehaviour);
        arrives(&stub, 15);
    }
    assert!(contiguous(&stub), "{}", home.log());
    assert!(agent.terminate().success());
}

#[test]
fn an_expired_token_holds_the_exporter_and_costs_nothing() {
    let stub = Stub::start();
    let (home, mut agent) = running(&stub);
    arrives(&stub, 3);
    stub.control("/control/fail?code=401&for=3600s");
    let held = wait::until("the exporter is held", PATIENCE, || {
        let exporter = exporter(&mut agent);
        if exporter["state"]["state"] == "held" { Ok(exporter) } else { Err(exporter["state"].clone()) }
    });
    assert!(held["state"]["reason"].as_str().is_some_and(|r| r.contains("401")), "it says why: {held}");
    let before = count(&stub);
    stub.control("/control/reset");
    // Held exporters probe once a minute; a restart asks at once.
    agent.kill();
    let agent = home.start_and_wait();
    wait::until("what was held arrives", PATIENCE, || {
        let got = count(&stub);
        if got > before + 5 { Ok(()) } else { Err(got) }
    });
    assert!(contiguous(&stub), "{}", home.log());
    assert!(agent.terminate().success());
}

#[test]
fn a_poisoned_record_alone_becomes_a_dead_letter() {
    let stub = Stub::start();
    // The second collector's records are refused for what they hold, the heartbeat's are not.
    stub.control("/control/poison?name=system.uptime");
    let home = Home::new(&format!(
        r#"
collectors:
  beat: {{plugin: "builtin:heartbeat", interval: 200ms}}
  host: {{plugin: "builtin:host", interval: 1s, grants: {{system: [host]}}}}
exporters:
  stub: {{endpoint: "http://{}", max_delay: 300ms, retry: {{initial: 50ms, maximum: 200ms}}}}
"#,
        stub.otlp
    ));
    let mut agent = home.start_and_wait();
    arrives(&stub, 20);
    let status = agent.status().expect("the agent answers");
    assert!(status["dead_letters"].as_u64().is_some_and(|n| n > 0), "{status}");
    assert!(contiguous(&stub), "the heartbeats beside them arrive: {}", home.log());
    let metrics = stub.api("/api/metrics").to_string();
    assert!(!metrics.contains("system.uptime"), "the stub took none of the poisoned ones");
    assert!(agent.terminate().success());
}
