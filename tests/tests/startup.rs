//! Starting, or saying plainly why not: configurations, data directories, keys, and what lies on the disk.

use std::{fs, path::Path, time::Duration};

use whimbrel_tests::{
    agent::Home,
    disk::{SmallDisk, is_root},
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn beating(endpoint: &str, more: &str) -> String {
    format!(
        "collectors:\n  beat: {{plugin: \"builtin:heartbeat\", interval: 100ms}}\nexporters:\n  stub: {{endpoint: \"{endpoint}\", max_delay: 50ms}}\n{more}"
    )
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found.push(path); // not the control socket
        }
    }
}

#[test]
fn five_mistakes_are_all_named_and_no_data_is_touched() {
    let home = Home::new(
        r#"
collectors:
  host: {plugin: "builtin:host", intervall: 10s}
  beat: {plugin: "builtin:heartbeat", interval: 1 fortnight}
exporters:
  backend: {endpoint: "ftp://example.com"}
wal:
  max_size: 1KiB
  sync: sometimes
"#,
    );
    for command in [&["check"][..], &["run"][..]] {
        let output = home.run(command);
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        let text = said(&output);
        for (line, words) in [
            (3, &["intervall", "interval"][..]),
            (4, &["fortnight"][..]),
            (6, &["ftp://example.com", "http"][..]),
            (8, &["max_size", "8MiB"][..]),
            (9, &["sometimes", "always"][..]),
        ] {
            assert!(text.contains(&format!("whimbrel.yaml:{line}:")), "line {line} is named:\n{text}");
            for word in words {
                assert!(text.contains(word), "{word:?} is said:\n{text}");
            }
        }
        assert!(text.contains("5 problems"), "{text}");
    }
    assert!(!home.data().exists(), "no data directory was made");
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() {
    let stub = Stub::start();
    let home = Home::new(&beating(&format!("http://{}", stub.otlp), ""));
    let mut agent = home.start_and_wait();
    let output = home.run(&["run"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("in use by another process"), "{}", said(&output));
    assert!(agent.status().is_some(), "the first still answers");
    assert!(agent.terminate().success());
}

#[test]
fn a_wrong_key_is_refused_and_nothing_is_changed() {
    let home = Home::new(&beating("http://127.0.0.1:9", ""));
    let mut agent = home.start_and_wait();
    wait::until("something is stored", PATIENCE, || {
        let appended = agent.status().and_then(|s| s["wal"]["appended_records"].as_u64()).unwrap_or(0);
        if appended > 3 { Ok(()) } else { Err(appended) }
    });
    agent.kill();
    let key = home.data().join("wal.key");
    let right = fs::read(&key).expect("the first start made a key file");
    let snapshot = || {
        let mut all = Vec::new();
        files(&home.data().join("wal"), &mut all);
        all.sort();
        all.into_iter().map(|f| (f.clone(), fs::read(f).expect("readable"))).collect::<Vec<_>>()
    };
    let before = snapshot();
    fs::write(&key, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n").expect("written");
    let output = home.run(&["run"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("another key"), "{}", said(&output));
    assert!(snapshot() == before, "nothing was changed");

    fs::remove_file(&key).expect("removed");
    let output = home.run(&["run"]);
    assert_eq!(output.status.code(), Some(4), "a lost key is not replaced: {}", said(&output));
    assert!(said(&output).contains("wal.key"), "{}", said(&output));
    assert!(snapshot() == before, "nothing was changed");

    fs::write(&key, right).expect("written");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed to others");
    let agent = home.start_and_wait();
    assert!(agent.terminate().success());
    let output = home.run(&["wal", "verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("authentication tags"), "{}", said(&output));
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let home = Home::new(&beating("http://127.0.0.1:9", "data_dir: /proc/whimbrel-data\n"));
    let output = home.run(&["run"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("/proc/whimbrel-data"), "{}", said(&output));

    let file = Home::new("");
    fs::write(file.path().join("taken"), "a file").expect("written");
    file.configure(&beating("http://127.0.0.1:9", "data_dir: ./taken\n"));
    let output = file.run(&["run"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("taken"), "{}", said(&output));
}

#[test]
fn a_full_disk_is_said_plainly_and_passes() {
    if !is_root() {
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let home = Home::new(&beating("http://127.0.0.1:9", "wal: {max_size: 64MiB}\n"));
    let disk = SmallDisk::mount(&home.data(), 6);
    let mut agent = home.start_and_wait();
    let ballast = home.data().join("ballast");
    fill(&ballast);
    wait::until("the agent says that there is no room", PATIENCE, || {
        let status = agent.status().ok_or("no answer")?;
        let beat = &status["collectors"][0];
        let told = beat["refused"]["unavailable"].as_u64() > Some(0)
            || status["wal"]["full"] == true
            || status["wal"]["losses"]["dropped_for_space"].as_u64() > Some(0);
        fill(&ballast);
        if told { Ok(()) } else { Err("nothing yet") }
    });
    fs::remove_file(&ballast).expect("the ballast can be removed");
    let before =
        agent.status().expect("the agent answers")["wal"]["appended_records"].as_u64().expect("a count");
    wait::until("appending goes on once there is room", PATIENCE, || {
        let now = agent.status().and_then(|s| s["wal"]["appended_records"].as_u64()).unwrap_or(0);
        if now > before + 5 { Ok(()) } else { Err((before, now)) }
    });
    assert!(agent.terminate().success(), "{}", home.log());
    let output = home.run(&["wal", "verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    drop(disk);
}

/// Takes whatever room is left.
fn fill(ballast: &Path) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(ballast).expect("the ballast opens");
    let block = [0u8; 4096];
    while file.write_all(&block).is_ok() {}
}

#[test]
fn stored_telemetry_cannot_be_read_unless_the_configuration_says_so() {
    // Long enough not to stand in ciphertext by chance, as this machine's own name might be.
    let host = "sandpiper-7f3a-gateway";
    let stored = |more: &str| {
        let home = Home::new(&format!(
            "collectors:\n  host: {{plugin: \"builtin:host\", interval: 200ms, grants: {{system: true}}}}\nexporters:\n  stub: {{endpoint: \"http://127.0.0.1:9\"}}\nresource: {{host.name: {host}}}\n{more}"
        ));
        let mut agent = home.start_and_wait();
        wait::until("something is stored", PATIENCE, || {
            let appended = agent.status().and_then(|s| s["wal"]["appended_records"].as_u64()).unwrap_or(0);
            if appended > 3 { Ok(()) } else { Err(appended) }
        });
        agent.kill();
        let mut all = Vec::new();
        files(&home.data(), &mut all);
        all.into_iter().flat_map(|f| fs::read(f).expect("readable")).collect::<Vec<u8>>()
    };
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());

    let sealed = stored("");
    for text in ["system.cpu.time", "system.memory", "host.name", host] {
        assert!(!holds(&sealed, text), "{text:?} stands in the data directory");
    }
    let plain = stored("wal: {encryption: none, zstd_level: 0}\n");
    for text in ["system.cpu.time", "system.memory", "host.name", host] {
        assert!(holds(&plain, text), "{text:?} is found where it is stored plainly: this test can fail");
    }
}
