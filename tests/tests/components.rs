//! Components that are none, and compiled code that was tampered with or cut off: each is told in words, and what
//! stands beside it goes on.

use std::{fs, io::Write as _, path::PathBuf, process::Command};

use serde_json::Value;
use whimbrel_tests::{
    agent::{Agent, Home},
    disk::{SmallDisk, is_root},
    single::{quiet, runs, said, seen, seen_of, shipped, text, yaml},
};

/// The contract's version, as its names carry it, and one that this agent does not know: of the same length, so that
/// the component stays whole.
const NOW: &[u8] = b"@0.1.0";
const LATER: &[u8] = b"@0.9.0";

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "it is in there");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn what_is_no_component_is_told_by_check_and_by_the_agent_and_its_neighbour_goes_on() {
    let home = Home::new("");
    let whole = fs::read(quiet(&home, "whole")).expect("it was built");
    let heartbeat = fs::read(shipped("heartbeat.wasm")).expect("it is shipped");
    let archive = home.path().join("archive.tar.gz");
    let packed =
        Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(home.path()).arg("whole.wasm").status();
    assert!(packed.expect("tar starts").success());
    let cases: [(&str, Vec<u8>, &[&str]); 4] = [
        ("archive", fs::read(&archive).expect("it was made"), &["a gzip archive", "unpack it first"]),
        ("text", b"metrics:\n  - cpu\n".to_vec(), &["a text file"]),
        ("truncated", heartbeat[..heartbeat.len() / 2].to_vec(), &["unexpected end"]),
        (
            "later",
            replaced(&whole, NOW, LATER),
            &["0.9.0", "collect@0.9.0", "collect@0.1.0", "emit@0.1.0 (push)"],
        ),
    ];
    let mut yaml = "collectors:\n  beside: {plugin: \"builtin:heartbeat\", interval: 100ms}\n".to_owned();
    for (name, bytes, _) in &cases {
        fs::write(home.path().join(format!("{name}.wasm")), bytes).expect("a file can be written");
        yaml.push_str(&format!("  {name}: {{plugin: ./{name}.wasm, interval: 100ms}}\n"));
    }
    home.configure(&format!("{yaml}exporters:\n  none: {{endpoint: \"http://127.0.0.1:9\"}}\n"));

    let checked = home.run(&["check"]);
    assert_eq!(checked.status.code(), Some(78), "{}", said(&checked));
    let checked = said(&checked);
    let agent = home.start_and_wait();
    seen_of(&home, "beside", "the one beside them runs", runs);
    for (name, _, parts) in cases {
        let line = checked
            .lines()
            .find(|line| line.contains(&format!("collectors.{name}.plugin")))
            .unwrap_or_default();
        let collector = told(&home, name);
        let problem = collector["last_problem"].as_str().unwrap_or_default();
        for part in parts {
            assert!(line.contains(part), "{name}, {part}: {checked}");
            assert!(problem.contains(part), "{name}, {part}: {collector}");
        }
    }
    let before = seen_of(&home, "beside", "it runs", runs)["collects"].as_u64();
    seen_of(&home, "beside", "and goes on", |one| one["collects"].as_u64() > before);
    assert!(agent.terminate().success());
}

/// The status of a collector, once it is set aside.
fn told(home: &Home, name: &str) -> Value {
    let of = |status: &Value| {
        let all = status["collectors"].as_array()?;
        all.iter().find(|one| one["name"] == name && one["state"] == "set_aside").cloned()
    };
    whimbrel_tests::wait::until(name, std::time::Duration::from_secs(120), || {
        let output = home.run(&["status", "--json"]);
        let status = serde_json::from_slice(&output.stdout).unwrap_or_default();
        of(&status).ok_or_else(|| said(&output))
    })
}

/// An agent with a cache of compiled plugins of its own.
fn start(home: &Home) -> Agent {
    home.start_with(|command| {
        command.env("WHIMBREL_PLUGIN_CACHE", cache(home));
    })
}

fn cache(home: &Home) -> PathBuf {
    home.path().join("cache")
}

/// What is in the cache, but its key.
fn cached(home: &Home) -> Vec<PathBuf> {
    let files =
        fs::read_dir(cache(home)).expect("the cache is there").map(|entry| entry.expect("an entry").path());
    files.filter(|path| !path.ends_with("mac.key") && !path.ends_with("filler")).collect()
}

fn runs_and_ends(home: &Home) {
    let agent = start(home);
    seen(home, "it runs", runs);
    assert!(agent.terminate().success());
}

#[test]
fn compiled_code_that_was_tampered_with_or_cut_off_is_compiled_again() {
    let home = Home::new("");
    home.configure(&yaml(text(&shipped("heartbeat.wasm")), ""));
    runs_and_ends(&home);
    let [file] = cached(&home).try_into().expect("one plugin, one file");
    let whole = fs::read(&file).expect("it is there");
    let mut changed = whole.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    for (bad, reason) in [(changed, "fails authentication"), (whole[..last].to_vec(), "fails authentication")]
    {
        fs::write(&file, bad).expect("a file can be written");
        fs::remove_file(home.path().join("agent.log")).expect("the log is there");
        runs_and_ends(&home);
        let log = home.log();
        let refused = log.find(reason).unwrap_or_else(|| panic!("{reason}: {log}"));
        assert!(log[refused..].contains("compiling a plugin"), "{log}");
        assert_eq!(fs::read(&file).expect("it is there").len(), whole.len(), "and kept anew");
    }
    fs::remove_file(home.path().join("agent.log")).expect("the log is there");
    runs_and_ends(&home);
    assert!(!home.log().contains("compiling a plugin"), "{}", home.log());
}

#[test]
fn a_disk_that_is_full_while_compiling_costs_the_next_start_and_leaves_nothing_to_load() {
    if !is_root() {
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let home = Home::new("");
    home.configure(&yaml(text(&shipped("heartbeat.wasm")), ""));
    let _disk = SmallDisk::mount(&cache(&home), 4);
    let filler = cache(&home).join("filler");
    // Room for the key and the begin of the code.
    let mut file = fs::File::create(&filler).expect("a file can be made");
    while file.write_all(&[0; 4096]).is_ok() {}
    let length = file.metadata().expect("it is there").len();
    file.set_len(length - (4 << 12)).expect("a file can be cut");
    // Or its space would stay with it.
    drop(file);
    runs_and_ends(&home);
    assert!(home.log().contains("could not be kept: it will be compiled again"), "{}", home.log());
    assert_eq!(cached(&home), Vec::<PathBuf>::new(), "nothing whole, nothing begun");

    fs::remove_file(&filler).expect("a file can be removed");
    runs_and_ends(&home);
    assert_eq!(cached(&home).len(), 1, "with room it is kept");
}
