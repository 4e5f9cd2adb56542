//! The WAL's keys, exchanged under a running agent: nothing is lost, repeated or locked out, and a key that is needed
//! can't be taken away.

#![allow(clippy::print_stdout)] // the seed, so that a failing run can be repeated

use std::{
    fs,
    process::{Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use whimbrel_tests::{
    agent::{Agent, Home},
    stub::Stub,
    wait,
    witness::{Chance, appended, arrived_once, free_port, heartbeats, pending},
};

const PATIENCE: Duration = Duration::from_secs(120);

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn beating(port: u16, wal: &str) -> String {
    format!(
        r#"
collectors:
  beat: {{plugin: "builtin:heartbeat", interval: 100ms}}
exporters:
  stub: {{endpoint: "http://127.0.0.1:{port}", max_delay: 50ms, retry: {{initial: 50ms, maximum: 200ms}}}}
{wal}
"#
    )
}

fn good(home: &Home, args: &[&str]) -> String {
    let output = home.run(args);
    assert!(output.status.success(), "{args:?}: {}\n{}", said(&output), home.log());
    String::from_utf8(output.stdout).expect("text")
}

fn refused(home: &Home, args: &[&str]) -> String {
    let output = home.run(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", said(&output));
    said(&output)
}

fn list(home: &Home) -> Value {
    serde_json::from_str(&good(home, &["key", "list", "--json"])).expect("JSON")
}

/// Of the key of this id in the list.
fn listed<'l>(list: &'l Value, id: &str) -> &'l Value {
    let keys = list["keys"].as_array().expect("an array");
    keys.iter().find(|key| key["id"] == id).unwrap_or_else(|| panic!("no {id} in {list}"))
}

fn current(list: &Value) -> String {
    let keys = list["keys"].as_array().expect("an array");
    let current = keys.iter().find(|key| key["state"] == "current");
    current.and_then(|key| key["id"].as_str()).unwrap_or_else(|| panic!("none is current: {list}")).to_owned()
}

fn appends(agent: &mut Agent, more: u64) {
    let target = appended(agent) + more;
    wait::until("more is stored", PATIENCE, || {
        let got = appended(agent);
        if got >= target { Ok(()) } else { Err((got, target)) }
    });
}

fn delivered(agent: &mut Agent, home: &Home) {
    wait::until("everything is delivered", PATIENCE, || {
        let status = agent.status().ok_or_else(|| home.log())?;
        if pending(&status, "stub") <= 1 { Ok(()) } else { Err(status["exporters"].to_string()) }
    });
}

#[test]
fn a_key_is_exchanged_while_the_agent_runs_and_the_old_one_goes_when_nothing_needs_it() {
    let port = free_port();
    let home = Home::new(&beating(port, ""));
    let mut agent = home.start_and_wait();
    appends(&mut agent, 5);
    let before = list(&home);
    let old = current(&before);
    assert_eq!(before["keys"].as_array().map(Vec::len), Some(1), "{before}");
    assert!(refused(&home, &["key", "retire", &old]).contains("is the current one"));

    let told = good(&home, &["key", "rotate"]);
    let after = list(&home);
    let new = current(&after);
    assert_ne!(old, new);
    for wanted in [&old, &new, "wal.key.old", "the running agent encrypts with"] {
        assert!(told.contains(wanted), "{wanted} in {told}");
    }
    assert_eq!(
        (&after["agent"]["current"], &after["agent"]["older"][0]),
        (&new.clone().into(), &old.clone().into())
    );
    let (needs_old, needs_new) = (listed(&after, &old), listed(&after, &new));
    assert!(needs_old["segments"].as_u64() >= Some(1) && needs_old["cursors"] == 0, "{after}");
    assert!(needs_new["segments"].as_u64() >= Some(1) && needs_new["cursors"] == 1, "{after}");
    assert_eq!(needs_old["may_be_retired"], false);
    assert!(refused(&home, &["key", "retire", &old]).contains("still needed"));
    assert!(home.data().join("wal.key.old").join(&old).is_file(), "it is still there");

    // The segments of both keys are read after a crash, and by who verifies them.
    appends(&mut agent, 5);
    agent.kill();
    let verified = good(&home, &["wal", "verify"]);
    assert!(verified.contains("authentication tags"), "{verified}");
    let backend = tempfile::tempdir().expect("a folder");
    let stub = Stub::start_at(&format!("127.0.0.1:{port}"), backend.path());
    let mut agent = home.start_and_wait();
    delivered(&mut agent, &home);
    assert!(arrived_once(&stub, &home) >= 10);

    wait::until("the old key may be retired", PATIENCE, || {
        let list = list(&home);
        if listed(&list, &old)["may_be_retired"] == true { Ok(()) } else { Err(list) }
    });
    good(&home, &["key", "retire", &old]);
    assert!(!home.data().join("wal.key.old").join(&old).exists());
    let list = list(&home);
    assert_eq!(list["keys"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["agent"]["older"], Value::Array(Vec::new()), "the agent has forgotten it");
    assert!(refused(&home, &["key", "retire", &old]).contains("there is no key"));

    appends(&mut agent, 5);
    assert!(agent.terminate().success(), "{}", home.log());
    let mut agent = home.start_and_wait();
    delivered(&mut agent, &home);
    assert!(agent.terminate().success(), "{}", home.log());
    arrived_once(&stub, &home);
}

#[test]
fn a_rotation_that_does_not_reach_the_agent_takes_no_key_away() {
    let port = free_port();
    let home = Home::new(&beating(port, ""));
    let mut agent = home.start_and_wait();
    appends(&mut agent, 3);
    let old = current(&list(&home));
    let told = good(&home, &["key", "rotate", "--socket", "nowhere.sock"]);
    assert!(told.contains("no agent runs"), "{told}");
    let text = good(&home, &["key", "list"]);
    assert!(text.contains(&format!("still encrypts with {old}")), "{text}");
    refused(&home, &["key", "retire", &old]);
    appends(&mut agent, 3);
    agent.kill();
    let stub = Stub::start_at(&format!("127.0.0.1:{port}"), tempfile::tempdir().expect("a folder").path());
    let mut agent = home.start_and_wait();
    delivered(&mut agent, &home);
    let list = list(&home);
    assert_eq!(list["agent"]["current"], current(&list).as_str(), "a start takes it");
    assert!(arrived_once(&stub, &home) >= 6);
    assert!(agent.terminate().success());
}

/// Of the agent, and of the command, in the middle of it.
#[test]
fn kills_in_the_middle_of_rotations_lock_nobody_out_and_lose_nothing() {
    const ROUNDS: u64 = 12;
    let mut chance = Chance::new();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let backend = tempfile::tempdir().expect("a folder");
    let home = Home::new(&beating(port, ""));
    let mut witnessed = 0;
    for round in 0..ROUNDS {
        let mut agent = home.start_and_wait();
        appends(&mut agent, 2);
        witnessed += appended(&mut agent);
        let mut command = home.command(&["key", "rotate"]);
        let mut rotating =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("whimbrel starts");
        thread::sleep(Duration::from_millis(chance.below(60)));
        if round % 2 == 0 {
            rotating.kill().expect("it can be killed");
        }
        agent.kill();
        rotating.wait().expect("it ends");
    }
    let stub = Stub::start_at(&address, backend.path());
    let mut agent = home.start_and_wait();
    delivered(&mut agent, &home);
    let last = arrived_once(&stub, &home);
    assert!(last >= witnessed, "{witnessed} appends were answered, and only {last} heartbeats exist");
    let keys = list(&home)["keys"].as_array().map_or(0, Vec::len);
    println!("{ROUNDS} rounds, {keys} keys, {last} heartbeats delivered");
    assert!(keys > 1, "some rotations came through");
    assert!(agent.terminate().success());
}

#[test]
fn a_command_gives_the_keys_and_gives_others_at_a_rotation() {
    let port = free_port();
    let wal =
        "wal: {encryption: {key_command: [cat, current.key], older_keys: [{key_command: [cat, older.key]}]}}";
    let home = Home::new(&beating(port, wal));
    let generate = || good(&home, &["key", "generate"]);
    let (first, second) = (generate(), generate());
    let file = |name: &str, text: &str| fs::write(home.path().join(name), text).expect("written");
    file("current.key", &first);
    file("older.key", &first);
    let mut agent = home.start_and_wait();
    appends(&mut agent, 3);
    let old = current(&list(&home));
    assert!(good(&home, &["key", "rotate"]).contains("as before"));

    file("current.key", &second);
    file("older.key", &second);
    let told = refused(&home, &["key", "rotate"]);
    assert!(told.contains("still needed") && told.contains(&old), "{told}");
    assert_eq!(list(&home)["agent"]["current"], old.as_str(), "the agent goes on as it was");
    fs::remove_file(home.path().join("older.key")).expect("removed");
    let told = refused(&home, &["key", "rotate"]);
    assert!(told.contains("cat ended with") && told.contains("older.key"), "{told}");

    file("older.key", &first);
    good(&home, &["key", "rotate"]);
    let list = list(&home);
    assert_eq!(list["agent"]["current"], current(&list).as_str());
    assert_ne!(current(&list), old);
    assert!(refused(&home, &["key", "retire", &old]).contains("still needed"));
    appends(&mut agent, 3);
    agent.kill();
    let stub = Stub::start_at(&format!("127.0.0.1:{port}"), tempfile::tempdir().expect("a folder").path());
    let mut agent = home.start_and_wait();
    delivered(&mut agent, &home);
    assert!(!heartbeats(&stub).is_empty() && arrived_once(&stub, &home) >= 6);
    assert!(agent.terminate().success());
    for text in [&first, &second] {
        assert!(!home.log().contains(text.trim()), "no key is in the log");
    }
}

#[test]
fn a_command_that_gives_no_key_ends_the_start_with_what_it_said() {
    let script =
        "wal: {encryption: {key_command: [sh, -c, 'echo hunter2; echo no access to the vault >&2; exit 3']}}";
    let home = Home::new(&beating(9, script));
    let output = home.run(&["run"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("no access to the vault") && text.contains("key_command"), "{text}");
    home.configure(&beating(9, "wal: {encryption: {key_command: [echo, hunter2]}}"));
    let output = home.run(&["run"]);
    assert!(said(&output).contains("64 hexadecimal digits") && !said(&output).contains("hunter2"));
}

#[test]
fn a_generated_key_file_is_private_and_never_overwritten() {
    let home = Home::new(&beating(9, "wal: {encryption: {key_file: made.key}}"));
    let made = good(&home, &["key", "generate", "--out", "made.key"]);
    assert!(made.contains(&current(&list(&home))), "{made}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(home.path().join("made.key")).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert!(refused(&home, &["key", "generate", "--out", "made.key"]).contains("exists already"));
    home.configure(&beating(9, "wal: {encryption: none}"));
    assert!(refused(&home, &["key", "rotate"]).contains("encryption is none"));
}
