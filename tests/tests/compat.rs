//! Plugins of every released version of the contract go on: their components, as they were shipped, run in this agent.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use whimbrel_tests::{agent::Home, stub::Stub, wait};

const PATIENCE: Duration = Duration::from_secs(120);

/// Its name, what stands beside `plugin` in its collector, and what its status shows.
type Seen = (&'static str, &'static str, fn(&Value) -> bool);

/// How each component is run, and what is to be seen of it. A component without its line here fails the test.
const COMPONENTS: [Seen; 8] = [
    ("heartbeat", "config: {message: \"still here\"}", |c| c["items"].as_u64() > Some(2)),
    ("host", "grants: {system: true}", |c| c["items"].as_u64() > Some(20)),
    ("hostile", "config: {does: [garbage]}", |c| c["refused"]["invalid"].as_u64() > Some(1)),
    // WASI: files, HTTP, certificates.
    ("file-tail", "grants: {read: [/etc]}, config: {paths: [/etc/passwd], start_at: beginning}", |c| {
        c["items"].as_u64() > Some(2)
    }),
    (
        "http-check",
        "grants: {http: [\"http://127.0.0.1:9\"]}, config: {targets: [{url: \"http://127.0.0.1:9/\"}]}",
        |c| c["items"].as_u64() > Some(2),
    ),
    // In AssemblyScript, C and JavaScript.
    ("as-count", "", |c| c["items"].as_u64() > Some(2)),
    ("queue-c", "", |c| c["items"].as_u64() > Some(2)),
    ("queue-js", "", |c| c["items"].as_u64() > Some(2)),
];

#[test]
fn components_of_every_released_version_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat");
    let mut collectors = String::new();
    let mut names = Vec::new();
    for version in
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path())
    {
        if !version.is_dir() {
            continue;
        }
        for file in fs::read_dir(&version).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
            let (_, how, good) = *COMPONENTS
                .iter()
                .find(|(known, ..)| *known == stem)
                .unwrap_or_else(|| panic!("say how {} is run", file.display()));
            let released =
                version.file_name().and_then(|name| name.to_str()).expect("a name").replace('.', "_");
            let name = format!("{stem}-{released}");
            collectors.push_str(&format!("  {name}: {{plugin: {file:?}, interval: 500ms, {how}}}\n"));
            names.push((name, good));
        }
    }
    assert!(names.len() >= COMPONENTS.len(), "every component is found: {}", names.len());
    let stub = Stub::start();
    let home = Home::new(&format!(
        "collectors:\n{collectors}exporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\n",
        stub.otlp
    ));
    let mut agent = home.start_and_wait();
    for (name, good) in names {
        wait::until(&name, PATIENCE, || {
            let status = agent.status().ok_or(Value::Null)?;
            let all = status["collectors"].as_array().expect("an array");
            let one = all.iter().find(|one| one["name"] == *name).expect("it is configured").clone();
            assert_eq!(one["faults"], 0, "{one}");
            if good(&one) { Ok(()) } else { Err(one) }
        });
    }
    let found = stub.api("/api/series?name=whimbrel.heartbeat.count&limit=10");
    assert!(!found["series"].as_array().expect("an array").is_empty(), "its figures arrive: {found}");
    assert!(agent.terminate().success());
}
