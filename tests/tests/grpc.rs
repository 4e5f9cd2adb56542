//! The same promise over gRPC: what was acknowledged into the WAL arrives, once, over crashes of the agent and
//! absences of the backend; and after an absence several stored frames travel as one message, untouched.

#![allow(clippy::print_stdout)] // how much a run has seen

use std::{thread, time::Duration};

use whimbrel_tests::{
    agent::Home,
    stub::Stub,
    wait,
    witness::{Chance, appended, arrived_once, free_port, pending},
};

const PATIENCE: Duration = Duration::from_secs(120);
const ROUNDS: u64 = 8;

#[test]
fn kills_lose_nothing_and_repeat_nothing_and_frames_are_joined() {
    let mut chance = Chance::new();
    let address = format!("127.0.0.1:{}", free_port());
    let backend = tempfile::tempdir().expect("a folder");
    let home = Home::new(&format!(
        r#"
collectors:
  beat: {{plugin: "builtin:heartbeat", interval: 100ms}}
exporters:
  stub:
    endpoint: "http://{address}"
    protocol: grpc
    max_delay: 50ms
    retry: {{initial: 50ms, maximum: 200ms}}
"#
    ));

    let mut stub = Some(Stub::start_at_grpc(&address, backend.path()));
    let mut witnessed = 0;
    for round in 0..ROUNDS {
        match round % 4 {
            // Connections are refused, and come back while the agent runs.
            1 => stub.iter().for_each(|stub| stub.control("/control/down")),
            // The backend has crashed, and comes back while the next agent runs.
            2 => stub = None,
            _ => {}
        }
        let mut agent = home.start_and_wait();
        thread::sleep(Duration::from_millis(400 + chance.below(700)));
        match round % 4 {
            1 => stub.iter().for_each(|stub| stub.control("/control/up")),
            3 => stub = Some(Stub::start_at_grpc(&address, backend.path())),
            _ => {}
        }
        thread::sleep(Duration::from_millis(chance.below(400)));
        witnessed += appended(&mut agent);
        thread::sleep(Duration::from_millis(chance.below(120)));
        agent.kill();
    }

    let stub = stub.expect("the last round brings it back");
    let mut agent = home.start_and_wait();
    let status = wait::until("everything is delivered", PATIENCE, || {
        let status = agent.status().ok_or_else(|| home.log())?;
        if pending(&status, "stub") <= 1 { Ok(status) } else { Err(status["exporters"].to_string()) }
    });
    assert_eq!(status["exporters"][0]["protocol"], "grpc");
    assert!(agent.terminate().success(), "{}", home.log());

    let last = arrived_once(&stub, &home);
    assert!(witnessed > ROUNDS, "the agents appended something: {witnessed}");
    assert!(last >= witnessed, "{witnessed} appends were answered, and only {last} heartbeats exist");

    let answer = stub.api("/api/requests?limit=10000");
    let requests = answer["requests"].as_array().expect("an array");
    assert!(requests.iter().all(|request| request["protocol"] == "grpc"), "{answer}");
    // Probes have no key.
    let data: Vec<_> = requests.iter().filter(|request| request["key"].is_string()).collect();
    assert!(data.iter().all(|request| request["encoding"] == "zstd"), "{answer}");
    let frames = |request: &serde_json::Value| request["zstd_frames"].as_u64().expect("a count");
    let most = data.iter().map(|request| frames(request)).max().unwrap_or(0);
    println!("{ROUNDS} rounds, {last} heartbeats in {} messages, up to {most} frames in one", data.len());
    assert!(most > 1, "an absence leaves several records to go out as one message: {answer}");
    assert!(
        data.iter().all(|request| request["items"].as_u64() >= Some(frames(request))),
        "each frame holds a heartbeat: {answer}"
    );
}
