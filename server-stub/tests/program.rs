//! The program itself: what it prints, how it ends, and what survives its death.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, and these call the rest")]

mod support;

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use http::Method;
use prost::Message;
use support::*;

/// A free port of loopback.
const FREE: &str = "127.0.0.1:0";

struct Program {
    child: Child,
    http: SocketAddr,
    ui: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_whimbrel-stub"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    command
}

fn start(data: &Path) -> Program {
    let data = data.to_str().unwrap();
    let mut child =
        command(&["--http", FREE, "--grpc", FREE, "--ui", FREE, "--data", data, "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut address = |listener: &str| {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["listener"], listener);
        line["address"].as_str().unwrap().parse::<SocketAddr>().unwrap()
    };
    let (http, grpc, ui) = (address("http"), address("grpc"), address("ui"));
    assert!(http.port() != 0 && grpc.port() != 0 && ui.port() != 0, "the real ports are printed");
    Program { child, http, ui }
}

impl Program {
    async fn post(&self, key: &str, value: i64) -> u16 {
        let headers = [("content-type", PROTOBUF), ("idempotency-key", key)];
        let body = counter("n", [value]).encode_to_vec();
        send(self.http, request(self.http, Method::POST, "/v1/metrics", &headers, body))
            .await
            .unwrap()
            .status
            .as_u16()
    }

    async fn values(&self) -> serde_json::Value {
        let path = "/api/values?name=n";
        let reply = send(self.ui, request(self.ui, Method::GET, path, &[], "")).await.unwrap();
        reply.json()["series"][0]["values"].clone()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn run(arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = command(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[tokio::test]
async fn term_and_int_end_it_with_0_and_keep_the_data() {
    let folder = tempfile::tempdir().unwrap();
    for (n, signal) in ["-TERM", "-INT"].into_iter().enumerate() {
        let mut program = start(folder.path());
        assert_eq!(program.post(&format!("b/metrics/{n}..{n}/1"), n as i64).await, 200);
        program.signal(signal);
        assert_eq!(program.exit_code(), Some(0), "{signal}");
    }
    assert_eq!(start(folder.path()).values().await, serde_json::json!([0, 1]));
}

#[tokio::test]
async fn what_was_answered_survives_kill_9_with_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let mut program = start(folder.path());
        for n in 0..=round {
            // The requests of the rounds before are repeats.
            assert_eq!(program.post(&format!("b/metrics/{n}..{n}/1"), n).await, 200);
        }
        program.signal("-KILL");
        assert_eq!(program.exit_code(), None, "killed");
    }
    assert_eq!(start(folder.path()).values().await, serde_json::json!([0, 1, 2]));
}

#[test]
fn a_folder_in_use_is_said_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let _first = start(folder.path());
    let data = folder.path().to_str().unwrap();
    let (code, says) = run(&["--http", FREE, "--grpc", FREE, "--ui", FREE, "--data", data]);
    assert_eq!(code, 4);
    assert!(says.contains(data) && says.contains("in use by another process"), "{says}");
}

#[test]
fn what_cannot_start_says_why_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let garbage = folder.path().join("garbage");
    std::fs::create_dir(&garbage).unwrap();
    std::fs::write(garbage.join("stub.sqlite"), vec![7; 100_000]).unwrap();
    let first = start(&folder.path().join("data"));
    let taken = first.http.to_string();
    let free = FREE;
    for (http, data, says) in [
        (free, file.to_str().unwrap(), "cannot make the folder"),
        (free, garbage.to_str().unwrap(), "not a database"),
        (taken.as_str(), "memory", "cannot listen on"),
    ] {
        let (code, output) = run(&["--http", http, "--grpc", free, "--ui", free, "--data", data]);
        assert_eq!(code, 1, "{output}");
        assert!(output.contains(says), "{output:?} should say {says:?}");
    }
}

#[test]
fn wrong_use_ends_with_2_and_help_is_worth_reading() {
    for arguments in [&["--http", "here"][..], &["--grpc", "4317"], &["--max-rows", "many"]] {
        assert_eq!(run(arguments).0, 2, "{arguments:?}");
    }
    let (code, help) = run(&["--help"]);
    assert_eq!(code, 0);
    for word in ["--http", "--grpc", "--ui", "--data", "/api/values", "/control/fail", "Exit codes"] {
        assert!(help.contains(word), "the help should name {word}");
    }
}

#[test]
fn for_people_it_prints_where_to_go() {
    let mut child = command(&["--http", FREE, "--grpc", FREE, "--ui", FREE]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut lines = [String::new(), String::new(), String::new()];
    for line in &mut lines {
        out.read_line(line).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(lines[0].starts_with("OTLP/HTTP is received at http://127.0.0.1:"), "{lines:?}");
    assert!(lines[1].starts_with("OTLP/gRPC is received at http://127.0.0.1:"), "{lines:?}");
    assert!(lines[2].starts_with("what arrived is shown at http://127.0.0.1:"), "{lines:?}");
    assert_eq!(errors, "", "nothing is wrong, so nothing is said");
}
