//! What a new user tries first: the demo, one collect of a plugin, who a plugin is, what the agent says of itself.

use std::{fs, time::Duration};

use whimbrel_tests::{agent::Home, http, stub::Stub, wait};

const PATIENCE: Duration = Duration::from_secs(120);

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_demo_shows_figures_and_leaves_nothing_behind() {
    let home = Home::new("");
    let temporary = home.path().join("tmp");
    fs::create_dir(&temporary).expect("a folder");
    // Long enough for a busy machine to compile two plugins first.
    let output = home
        .command(&["demo", "--seconds", "20"])
        .env("TMPDIR", &temporary)
        .output()
        .expect("whimbrel starts");
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for shown in [
        "points arrived",
        "system.cpu.load_average.1m",
        "whimbrel.heartbeat.count",
        "0 lost",
        "nothing is left behind",
    ] {
        assert!(text.contains(shown), "{shown:?} is not in:\n{text}");
    }
    let left: Vec<_> =
        fs::read_dir(&temporary).expect("a folder").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn one_collect_is_printed_for_people_and_for_programs() {
    let home = Home::new("");
    let output = home.run(&["plugin", "run", "builtin:host", "--grant-system", "memory"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for shown in ["host 0.1.0", "system.memory.usage", "up-down counter", "By", "are not granted"] {
        assert!(text.contains(shown), "{shown:?} is not in:\n{text}");
    }
    assert_eq!(text.matches("denied: ").count(), 1, "all that is not granted in one line: {text}");
    assert!(text.contains("or here: --grant system=all\n"), "{text}");
    let nothing = home.run(&["plugin", "run", "builtin:host"]);
    assert!(!nothing.status.success());
    let asides = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert_eq!(asides.lines().count(), 2, "what is denied with the grant, and how it failed: {asides}");
    assert!(asides.contains("--grant system=all") && asides.contains("collect failed"), "{asides}");
    let table = String::from_utf8_lossy(&output.stdout);
    let used =
        table.lines().find(|line| line.starts_with("system.memory.usage ")).expect("a line of memory used");
    assert!(used.contains("iB  ") && used.contains(" By  "), "for people, and exact: {used}");

    let output = home.run(&[
        "plugin",
        "run",
        "builtin:host",
        "--grant-system",
        "cpu",
        "--count",
        "2",
        "--interval",
        "0.2",
    ]);
    let text = said(&output);
    assert!(text.contains("collect 2 of 2"), "{text}");
    let share = text
        .lines()
        .find(|line| line.starts_with("system.cpu.utilization"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(share.contains(" %"), "{share}");

    let output =
        home.run(&["plugin", "run", "builtin:heartbeat", "--json", "--count", "2", "--interval", "0"]);
    let stdout = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let metric =
        |line: &serde_json::Value| line["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0].clone();
    assert_eq!(lines.len(), 2, "a line a batch: {stdout}");
    for (at, line) in lines.iter().enumerate() {
        let metric = metric(line);
        assert_eq!(metric["name"], "whimbrel.heartbeat.count", "{line}");
        assert_eq!(metric["sum"]["dataPoints"][0]["asInt"], (at + 1).to_string(), "{line}");
    }
    let aside = String::from_utf8_lossy(&output.stderr);
    assert!(aside.contains("collect 2:") && aside.contains("a checkpoint of 16 bytes"), "{aside}");

    let output = home.run(&["plugin", "run", "hst"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("builtin:host"), "what there is instead: {}", said(&output));
    let output = home.run(&["plugin", "run", "builtin:host", "--grant-system", "cpus"]);
    assert!(said(&output).contains("cpu, disk"), "the parts are named: {}", said(&output));

    let output = home.run(&["plugin", "run", "builtin:heartbeat", "--plugin-config", r#"{"mesage": "hi"}"#]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("mesage"), "the wrong key is named: {}", said(&output));
}

#[test]
fn a_stored_record_is_shown_as_bytes_and_as_what_it_says() {
    let home = Home::new(
        "collectors:\n  beat: {plugin: \"builtin:heartbeat\", interval: 100ms}\nexporters:\n  gone: {endpoint: \"http://127.0.0.1:1\"}\n",
    );
    let output = home.run(&["wal", "record"]);
    assert_eq!(output.status.code(), Some(1), "no agent runs: {}", said(&output));
    let agent = home.start_and_wait();
    let shown = wait::until("a record is stored", PATIENCE, || {
        let output =
            home.run(&["wal", "record", "--json", "--from", "collectors/beat", "--signal", "metrics"]);
        if output.status.success() { Ok(output) } else { Err(said(&output)) }
    });
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!((&shown["encrypted"], &shown["cut"]), (&true.into(), &false.into()), "{shown}");
    let metric = &shown["otlp"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0];
    assert_eq!(metric["name"], "whimbrel.heartbeat.count", "{shown}");
    let segment = home.data().join("wal").join(shown["segment"].as_str().expect("a file's name"));
    let file = fs::read(segment).expect("the segment");
    let offset = usize::try_from(shown["offset"].as_u64().expect("a number")).expect("small");
    let hex: String = file[offset..offset + 64].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(shown["stored_hex"].as_str().expect("text").starts_with(&hex), "the bytes of the file: {shown}");

    let text = said(&home.run(&["wal", "record"]));
    for part in [
        "compressed and encrypted",
        "0000  77 68 52 0a",
        "whimbrel.heartbeat.count",
        "readable without the key",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let output = home.run(&["wal", "record", "--signal", "traces"]);
    assert!(said(&output).contains("holds no record of that source and signal"), "{}", said(&output));
    assert!(agent.terminate().success());
}

#[test]
fn a_plugin_says_who_it_is_without_being_run() {
    let home = Home::new("");
    let output = home.run(&["plugin", "inspect", "builtin:heartbeat"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for shown in ["heartbeat 0.1.0", "sha256", "contract", "Apache-2.0"] {
        assert!(text.contains(shown), "{shown:?} is not in:\n{text}");
    }
}

#[test]
fn status_health_and_metrics_agree() {
    let stub = Stub::start();
    let home = Home::new(&format!(
        "collectors:\n  beat: {{plugin: \"builtin:heartbeat\", interval: 100ms}}\nexporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\nhealth: {{listen: \"127.0.0.1:0\"}}\n",
        stub.otlp
    ));
    let output = home.run(&["status"]);
    assert_eq!(output.status.code(), Some(1), "nothing runs yet: {}", said(&output));
    assert!(said(&output).contains("control.sock"), "{}", said(&output));

    let mut agent = home.start_and_wait();
    wait::until("some heartbeats are delivered", PATIENCE, || {
        let delivered =
            agent.status().and_then(|s| s["exporters"][0]["lanes"][0]["delivered"]["items"].as_u64());
        if delivered > Some(5) { Ok(()) } else { Err(delivered) }
    });
    let log = home.log();
    let health = log
        .split("\"health\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("the log says where");
    let health = health.parse().expect("an address");
    assert_eq!(http::get(health, "/healthz").expect("an answer"), (200, "ok\n".to_owned()));
    wait::until("it is ready", PATIENCE, || match http::get(health, "/readyz") {
        Ok((200, _)) => Ok(()),
        other => Err(other.map_err(|e| e.to_string())),
    });
    let (code, metrics) = http::get(health, "/metrics").expect("an answer");
    assert_eq!(code, 200);
    for name in [
        "whimbrel_collector_collects_total{collector=\"beat\"}",
        "whimbrel_wal_pending_records{exporter=\"stub\",signal=\"metrics\"}",
        "whimbrel_exporter_requests_total{exporter=\"stub\",signal=\"metrics\",result=\"accepted\"}",
        "whimbrel_wal_lost_records_total{cause=\"dropped_for_space\"} 0",
    ] {
        assert!(metrics.contains(name), "{name} is not in:\n{metrics}");
    }
    let table = said(&home.run(&["status"]));
    for shown in ["ready", "beat", "running", "stub", "heartbeat 0.1.0"] {
        assert!(table.contains(shown), "{shown:?} is not in:\n{table}");
    }
    let wal = said(&home.run(&["wal", "status"]));
    assert!(wal.contains("stub") && wal.contains("metrics"), "{wal}");
    assert!(agent.terminate().success());
    let wal = said(&home.run(&["wal", "status"]));
    assert!(wal.contains("no agent runs on it"), "from the disk: {wal}");
}
