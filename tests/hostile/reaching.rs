//! Plugins that reach out of the sandbox through WASI, over the real agent: for files and servers that are not theirs,
//! for more sockets than there are, for answers that never end.
//!
//! The plugin is `reach`, which does what its configuration says; what came of each step it writes into the agent's log.

use std::fs;

use serde_json::{Value, json};
use whimbrel_tests::{agent::Home, stub::Stub};

use crate::{
    reach::{self, Seen},
    server::{Server, over_unix},
    shipped::{host_keeps_its_second, problem, seen},
};

#[test]
fn what_is_granted_is_reached_and_a_trial_says_what_is_missing() {
    let _machine = crate::alone();
    let (stub, server) = (Stub::start(), Server::start());
    let home = Home::new("");
    let at = |path: &str| home.path().join(path);
    fs::create_dir(at("folder")).expect("a folder");
    fs::write(at("folder/file"), "a file's text").expect("a file");
    over_unix(&at("server.sock"));
    let socket = at("server.sock").display().to_string();
    let hex: String = socket.bytes().map(|byte| format!("{byte:02x}")).collect();
    let steps = json!([
        {"get": server.url("/")},
        {"get": format!("http+unix://{hex}/version")},
        {"read": [at("folder"), "file"]},
        "env",
    ]);
    let said = ["200 5 bytes hello", "a file's text", "[REACH_FOR=this]"];

    // As a new user would try it: it says what it was denied, in words that the next trial takes.
    let plugin = reach::plugin().display().to_string();
    let config = json!({ "steps": steps }).to_string();
    let trial = |grants: &[String]| {
        let mut command = home.command(&["plugin", "run", &plugin, "--plugin-config", &config]);
        command.args(grants.iter().flat_map(|grant| ["--grant", grant])).env("REACH_FOR", "this");
        let output = command.output().expect("whimbrel starts");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let text = trial(&[]);
    let missing: Vec<String> =
        text.lines().filter_map(|line| Some(line.split_once("or here: --grant ")?.1.to_owned())).collect();
    assert_eq!(missing, [format!("http={}", server.url("")), format!("unix={socket}")], "{text}");
    assert_eq!(server.connections(), 0, "{text}");
    let more = [format!("read={}", at("folder").display()), "env=REACH_FOR".to_owned()];
    let text = trial(&[missing.as_slice(), &more].concat());
    assert!(said.iter().all(|said| text.contains(said)) && !text.contains("denied"), "{text}");
    assert_eq!(text.matches("200 5 bytes hello").count(), 2, "over both: {text}");
    let text = trial(&["http=example.com".to_owned()]);
    assert!(text.contains("write an origin"), "{text}");

    home.configure(&format!(
        "collectors:\n  reach: {{plugin: {plugin:?}, interval: 1s, config: {config}, grants: {{http: [{:?}], unix: \
         [{socket:?}], read: [{:?}], env: [REACH_FOR]}}}}\nexporters:\n  stub: {{endpoint: \"http://{}\"}}\n",
        server.url(""),
        at("folder"),
        stub.otlp
    ));
    let mut agent = home.start_and_wait();
    let one = seen(&mut agent, "reach", "it collects", |c| c["collects"].as_u64() > Some(1));
    assert_eq!((&one["denied"], &one["faults"]), (&Value::from(0), &Value::from(0)), "{one}");
    for said in ["200 5 bytes hello", "a file's text", "[]"] {
        assert!(home.log().contains(said), "{said}: {}", home.log());
    }
    assert!(agent.terminate().success());
}

#[test]
fn what_reaches_out_is_contained_counted_and_named_and_the_host_keeps_its_second() {
    let _machine = crate::alone();
    let (stub, server, other) = (Stub::start(), Server::start(), Server::start());
    let home = Home::new("");
    let health = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let kinds = reach::kinds(home.path(), &server, &other, &health.to_string());
    let collectors: String = kinds.iter().map(reach::Kind::line).collect();
    home.configure(&format!(
        "collectors:\n{collectors}  host: {{plugin: \"builtin:host\", interval: 1s, grants: {{system: [cpu, memory, \
         host]}}}}\nhealth: {{listen: \"{health}\"}}\n\
         exporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\n",
        stub.otlp
    ));
    let mut agent = home.start_and_wait();
    for kind in &kinds {
        let lives = |one: &Value| one["collects"].as_u64() > Some(2) && one["state"] == "running";
        match &kind.seen {
            Seen::Denied(words) => {
                let one = seen(&mut agent, kind.name, "it goes on", lives);
                assert!(one["denied"].as_u64() >= Some(words.len() as u64), "{one}");
                assert_eq!(one["faults"], 0, "{one}");
                assert!(words.iter().any(|word| problem(&one).contains(word)), "{words:?}: {one}");
                let log = home.log();
                for word in words {
                    // JSON in the log, where quotes stand behind backslashes.
                    let word = serde_json::to_string(word).expect("a text");
                    let word = word.trim_matches('"');
                    let told =
                        log.lines().filter(|line| line.contains(kind.name) && line.contains(word)).count();
                    assert_eq!(told, 1, "{word} is told once:\n{log}");
                }
            }
            Seen::Short(word) => {
                let hit = |c: &Value| c["limits"]["resources"]["hits"].as_u64() > Some(0);
                let one = seen(&mut agent, kind.name, "it meets its limit", hit);
                assert!(problem(&one).contains(word), "{one}");
            }
            Seen::Stopped(cause, limit, word) => {
                let one = seen(&mut agent, kind.name, "a fault", |c| c["faults"].as_u64() > Some(0));
                let by_cause = one["faults_by_cause"].as_object().expect("an object");
                assert!(by_cause.keys().all(|it| it == cause), "{}: {one}", kind.name);
                assert!(problem(&one).contains(word), "{}: {word:?} is not in {one}", kind.name);
                if let Some(limit) = limit {
                    assert!(one["limits"][limit]["hits"].as_u64() > Some(0), "{one}");
                }
            }
        }
    }
    assert_eq!(other.connections(), 0, "nobody was let through");
    let log = home.log();
    assert!(!log.contains("hunter2") && !log.contains("PATH="), "{log}");
    assert!(!home.path().join("granted/new").exists());
    host_keeps_its_second(&mut agent, &home);
    assert!(agent.terminate().success());
}
