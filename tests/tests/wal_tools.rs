//! The tools that look at a WAL and put it in order: over a running agent's, a stopped one's and a damaged one's.

use std::{
    fs,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use whimbrel_tests::{agent::Home, wait};

const PATIENCE: Duration = Duration::from_secs(120);
/// Records that each WAL holds at least.
const ENOUGH: u64 = 12;

/// An agent that can deliver nothing, with records in its WAL.
fn home_with_records() -> (Home, whimbrel_tests::agent::Agent) {
    let home = Home::new(
        "collectors:\n  beat: {plugin: \"builtin:heartbeat\", interval: 100ms}\nexporters:\n  dead: {endpoint: \"http://127.0.0.1:9\"}\n",
    );
    let mut agent = home.start_and_wait();
    wait::until("records are stored", PATIENCE, || {
        let appended = agent.status().and_then(|s| s["wal"]["appended_records"].as_u64()).unwrap_or(0);
        if appended >= ENOUGH { Ok(()) } else { Err(appended) }
    });
    (home, agent)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a command prints, which has to end with this code.
fn run(home: &Home, code: i32, args: &[&str]) -> String {
    let output = home.run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
    said(&output)
}

fn json(home: &Home, code: i32, args: &[&str]) -> Value {
    let output = home.run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

/// The lines of a dump.
fn dump(home: &Home, args: &[&str]) -> Vec<Value> {
    let text = run(home, 0, &[&["wal", "dump"], args].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a count, not {value}"))
}

/// The segment with the most records.
fn fullest(home: &Home) -> (PathBuf, u64) {
    let listed = json(home, 0, &["wal", "list", "--json"]);
    let segments = listed["segments"].as_array().expect("segments").iter();
    let of = |segment: &Value| count(&segment["records"]["metrics"]);
    let fullest = segments.max_by_key(|segment| of(segment)).expect("a segment");
    (PathBuf::from(fullest["file"].as_str().expect("a path")), count(&fullest["number"]))
}

/// Everything in the WAL's folder.
fn snapshot(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![home.data().join("wal")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).expect("a file can be read");
                found.push((path, content));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_running_agents_records_are_listed_and_dumped_and_so_are_a_stopped_ones() {
    let (home, agent) = home_with_records();
    let listed = json(&home, 0, &["wal", "list", "--json"]);
    assert_eq!(listed["in_use"], true);
    let segments = listed["segments"].as_array().expect("segments");
    let records: u64 = segments.iter().map(|segment| count(&segment["records"]["metrics"])).sum();
    let items: u64 = segments.iter().map(|segment| count(&segment["items"]["metrics"])).sum();
    let pending: u64 = segments.iter().map(|segment| count(&segment["needed_by"][0]["pending"])).sum();
    assert!(records >= ENOUGH && items >= records, "{listed:#}");
    assert_eq!(pending, records, "nothing is delivered: {listed:#}");
    let table = run(&home, 0, &["wal", "list"]);
    for word in ["segment", "needed by", "dead (", "data points"] {
        assert!(table.contains(word), "{word:?} in\n{table}");
    }

    let live = dump(&home, &[]);
    assert!(live.len() as u64 >= records, "{} of {records}", live.len());
    for (at, line) in live.iter().enumerate() {
        assert_eq!(count(&line["sequence"]), at as u64 + 1);
        assert_eq!((&line["signal"], &line["source"]), (&"metrics".into(), &"collectors/beat".into()));
        let metrics = &line["request"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        assert!(metrics[0]["name"].is_string(), "{line:#}");
        assert!(line["dedup_id"].as_str().is_some_and(|id| id.len() > 33) && line["ingest_ns"].is_string());
    }
    run(&home, 0, &["wal", "verify"]);
    let before = snapshot(&home).len();
    for args in [&["wal", "repair"][..], &["wal", "repair", "--apply"]] {
        assert!(run(&home, 4, args).contains("in use by another process"));
    }
    assert!(snapshot(&home).len() >= before, "nothing was removed");
    agent.kill();

    let stopped = dump(&home, &[]);
    assert_eq!(stopped[..live.len()], live, "the same, and perhaps more");
    let from =
        dump(&home, &["--from", "3", "--to", "6", "--signal", "metrics", "--source", "collectors/beat"]);
    assert_eq!(from, stopped[2..6]);
    assert_eq!(dump(&home, &["--limit", "2", "--pending", "dead"]), stopped[..2]);
    assert_eq!(dump(&home, &["--signal", "logs"]), Vec::<Value>::new());
    let (file, number) = fullest(&home);
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let of_one = dump(&home, &["--segment", &number.to_string()]);
    assert_eq!(of_one, dump(&home, &["--segment", &name]));
    assert!(!of_one.is_empty());
    assert!(run(&home, 1, &["wal", "dump", "--pending", "nobody"]).contains("dead"), "who there is");
    assert!(run(&home, 2, &["wal", "dump", "--signal", "noise"]).contains("metrics, logs, traces"));
    assert_eq!(json(&home, 0, &["wal", "list", "--json"])["in_use"], false);
}

#[test]
fn a_dump_whose_reader_goes_away_ends_quietly() {
    let (home, agent) = home_with_records();
    agent.kill();
    let mut command = home.command(&["wal", "dump"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("whimbrel starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(output.stderr.is_empty(), "{}", said(&output));
}

#[test]
fn without_the_key_segments_are_listed_and_checked_and_nothing_is_dumped_or_taken_for_damage() {
    let (home, agent) = home_with_records();
    assert!(agent.terminate().success());
    let right = json(&home, 0, &["wal", "list", "--json"]);
    let key = home.data().join("wal.key");
    fs::rename(&key, home.path().join("elsewhere")).expect("moved");
    assert_eq!(json(&home, 0, &["wal", "list", "--json"]), right);
    assert!(run(&home, 0, &["wal", "verify"]).contains("tags were not checked"));
    let refused = home.run(&["wal", "dump"]);
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(refused.stdout.is_empty() && said(&refused).contains("needs key"), "{}", said(&refused));
    let before = snapshot(&home);
    let steps = json(&home, 0, &["wal", "repair", "--json"]);
    assert!(
        steps["steps"].as_array().expect("steps").iter().all(|step| step["do"] == "remove"),
        "an unknown key is no damage: {steps:#}"
    );
    assert!(snapshot(&home) == before);
}

#[test]
fn a_damaged_wal_is_said_to_be_repaired_and_goes_on() {
    let (home, agent) = home_with_records();
    agent.kill();
    let whole = dump(&home, &[]);
    let (file, _) = fullest(&home);
    let mut content = fs::read(&file).expect("a segment can be read");
    let records: Vec<_> =
        content.windows(4).enumerate().filter(|(_, window)| *window == b"whR\n").map(|(at, _)| at).collect();
    // Two copies of the head and a name stand before the first.
    content[records[5] + 70] ^= 1;
    fs::write(&file, content).expect("a segment can be written");

    let verdict = run(&home, 3, &["wal", "verify"]);
    assert!(verdict.contains("its CRC is wrong") && verdict.contains("DAMAGED"), "{verdict}");
    assert_eq!(json(&home, 3, &["wal", "verify", "--json"])["damages"].as_array().map(Vec::len), Some(1));
    let output = home.run(&["wal", "dump"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("its CRC is wrong"), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), whole.len() - 1);

    let before = snapshot(&home);
    let plan = json(&home, 3, &["wal", "repair", "--json"]);
    assert_eq!(plan["applied"], false);
    let text = run(&home, 3, &["wal", "repair"]);
    for word in ["copy ", "its CRC is wrong", "quarantine", "nothing was changed", "--apply"] {
        assert!(text.contains(word), "{word:?} in\n{text}");
    }
    assert!(snapshot(&home) == before, "nothing was changed");
    let done = json(&home, 0, &["wal", "repair", "--apply", "--json"]);
    assert_eq!((&done["applied"], &done["steps"]), (&Value::from(true), &plan["steps"]));
    assert!(run(&home, 0, &["wal", "repair"]).contains("nothing is to be repaired"));

    let report = json(&home, 0, &["wal", "verify", "--json"]);
    assert_eq!(report["known"].as_array().map(Vec::len), Some(1), "{report:#}");
    assert_eq!(report["quarantined"].as_array().map(Vec::len), Some(1), "{report:#}");
    assert!(run(&home, 0, &["wal", "verify"]).contains("whole, but for what a repair has noted"));

    let mut agent = home.start_and_wait();
    wait::until("the agent appends again", PATIENCE, || {
        let appended = agent.status().and_then(|s| s["wal"]["appended_records"].as_u64()).unwrap_or(0);
        if appended > 2 { Ok(()) } else { Err(appended) }
    });
    run(&home, 0, &["wal", "verify"]);
    assert!(agent.terminate().success(), "{}", home.log());
}
