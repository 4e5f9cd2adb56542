//! Programs outside the sandbox, over the real agent: refused unless allowed, read in both formats, held to their limits,
//! and gone when the agent is, however it ends.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use whimbrel_tests::{
    agent::{Agent, Home},
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// `allow_exec`, these lines of `collectors:`, and an exporter.
fn yaml(exporter: impl std::fmt::Display, collectors: &[String]) -> String {
    let lines: String = collectors.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "allow_exec: true\ncollectors:\n{lines}exporters:\n  stub: {{endpoint: \"http://{exporter}\", max_delay: 50ms}}\n"
    )
}

/// A collector that is a line of shell. Tests may run as root.
fn shell(name: &str, output: &str, line: &str, more: &str) -> String {
    let line = line.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "{name}: {{interval: 300ms, exec: {{command: [/bin/sh, -c, \"{line}\"], output: {output}, as_root: true{more}}}}}"
    )
}

fn collector(agent: &mut Agent, name: &str) -> Option<Value> {
    let status = agent.status()?;
    status["collectors"].as_array()?.iter().find(|one| one["name"] == name).cloned()
}

fn seen(agent: &mut Agent, home: &Home, name: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, PATIENCE, || match collector(agent, name) {
        Some(found) if so(&found) => Ok(found),
        found => Err(format!("{found:?}\n{}", home.log())),
    })
}

/// The processes whose command line holds this word, which is no one else's.
fn alive(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("there is a /proc");
    let lines = entries.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(word))
        .collect()
}

fn none_alive(word: &str) {
    wait::until("nothing of it is left", PATIENCE, || match alive(word) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

#[test]
fn a_program_is_refused_unless_the_configuration_itself_allows_it() {
    let line = shell("one", "prometheus", "echo a 1", "");
    let home = Home::new(&format!("collectors:\n  {line}\n"));
    let output = home.run(&["check"]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("collectors.one.exec") && said.contains("allow_exec: true"), "{said}");

    home.configure(&format!("include: [more.yaml]\ncollectors:\n  {line}\n"));
    fs::write(home.path().join("more.yaml"), "allow_exec: true\n").expect("a file can be written there");
    let output = home.run(&["check"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("an included file can't allow programs"), "{said}");

    home.configure(&yaml("127.0.0.1:9", &[line]));
    let output = home.run(&["check"]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("OUTSIDE the sandbox"), "{said}");
}

#[test]
fn both_outputs_arrive_and_the_status_says_what_is_outside_the_sandbox() {
    let stub = Stub::start();
    let home = Home::new(&yaml(
        stub.otlp,
        &[
            shell(
                "text",
                "prometheus",
                "echo '# TYPE jobs_total counter'; echo 'jobs_total{queue=\"mail\"} 3'",
                "",
            ),
            shell("check", "nagios", "echo 'LOAD CRITICAL - load | load1=9.5;5;8;0'; exit 2", ""),
        ],
    ));
    let mut agent = home.start_and_wait();
    for (name, series) in [("text", "jobs_total"), ("check", "nagios.perfdata")] {
        wait::until("its points arrive", PATIENCE, || {
            let found = stub.api(&format!("/api/series?name={series}&limit=10"));
            if found.to_string().contains(series) { Ok(()) } else { Err(format!("{found}\n{}", home.log())) }
        });
        let found = seen(&mut agent, &home, name, "it collects", |one| one["collects"].as_u64() > Some(1));
        assert_eq!((&found["outside_sandbox"], &found["faults"]), (&true.into(), &0.into()), "{found}");
    }
    wait::until("the change of state arrives", PATIENCE, || {
        let found = stub.api("/api/logs?contains=LOAD&limit=10").to_string();
        if found.contains("LOAD CRITICAL - load") { Ok(()) } else { Err(found) }
    });
}

#[test]
fn what_a_program_does_wrong_is_its_own_fault_and_named() {
    let home = Home::new(&yaml(
        "127.0.0.1:9",
        &[
            shell("code", "prometheus", "echo a 1; echo because >&2; exit 7", ""),
            shell("flood", "prometheus", "yes", ", max_output: 64KiB"),
            shell("words", "prometheus", "echo a 1; echo 'b {'", ""),
            "absent: {interval: 300ms, exec: {command: [/there/is/none], output: nagios, as_root: true}}"
                .to_owned(),
            "plain: {interval: 300ms, exec: {command: [./plain.txt], output: nagios, as_root: true}}"
                .to_owned(),
            "text: {interval: 300ms, exec: {command: [./text], output: nagios, as_root: true}}".to_owned(),
            shell("good", "prometheus", "echo a 1", ""),
        ],
    ));
    let plain = home.path().join("plain.txt");
    fs::write(&plain, "text").expect("a file can be written there");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).expect("it is ours");
    // Its interpreter is not there: the kernel says so, and no look at the file does.
    let text = home.path().join("text");
    fs::write(&text, "#!/there/is/none\n").expect("a file can be written there");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let mut agent = home.start_and_wait();
    for (name, cause, words) in [
        ("code", "exit", "code 7; it said: because"),
        ("flood", "output", "more than 64KiB"),
        ("words", "format", "line 2"),
    ] {
        let found = seen(&mut agent, &home, name, "it faults", |one| one["faults"].as_u64() > Some(1));
        assert!(found["faults_by_cause"][cause].as_u64() > Some(1), "{name}: {found}");
        assert!(found["last_problem"].as_str().is_some_and(|said| said.contains(words)), "{name}: {found}");
    }
    // Nothing about these can change by trying: tried once, and told once.
    for (name, words) in
        [("absent", "No such file"), ("plain", "Permission denied"), ("text", "No such file")]
    {
        let aside = seen(&mut agent, &home, name, "it is set aside", |one| one["state"] == "set_aside");
        assert_eq!((&aside["faults"], &aside["restarts"]), (&1.into(), &0.into()), "{aside}");
        assert_eq!(aside["faults_by_cause"]["start"], 1, "{aside}");
        let problem = aside["last_problem"].as_str().unwrap_or_default();
        assert!(problem.contains(words) && problem.contains("plugin resume"), "{aside}");
        let status = home.run(&["status"]);
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert_eq!(status.matches(&format!("collector {name}:")).count(), 1, "{status}");
        assert_eq!(status.matches(problem.split(';').next().unwrap_or(problem)).count(), 1, "{status}");
    }
    let good = seen(&mut agent, &home, "good", "it goes on", |one| one["collects"].as_u64() > Some(3));
    assert_eq!(good["faults"], 0, "{good}");
    let limits: Vec<_> = good["limits"].as_object().expect("by name").keys().cloned().collect();
    assert_eq!(limits, ["deadline", "log_rate", "output"], "what no program has is not shown");

    // What was repaired is back with the next reload, and the others are left as they are.
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::write(&plain, "#!/bin/sh\necho fine\n").expect("a file can be written there");
    fs::write(&text, "#!/bin/sh\necho fine\n").expect("a file can be written there");
    let reload = home.run(&["reload"]);
    let said = String::from_utf8_lossy(&[reload.stdout, reload.stderr].concat()).into_owned();
    assert!(said.contains("absent") && !said.contains("good"), "{said}");
    for name in ["plain", "text"] {
        seen(&mut agent, &home, name, "it runs again", |one| {
            one["state"] == "running" && one["collects"].as_u64() > Some(0) && one["faults"] == 1
        });
    }
    agent.terminate();
}

#[test]
fn a_program_that_would_run_as_root_is_refused_by_check_and_by_the_agent_alike() {
    let line = shell("one", "prometheus", "echo a 1", "").replace(", as_root: true", "");
    let home = Home::new(&yaml("127.0.0.1:9", &[line]));
    let root = fs::metadata("/proc/self").expect("there is a /proc").uid() == 0;
    let output = home.run(&["check"]);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(if root { 78 } else { 0 }), "{text}");
    let mut agent = home.start_and_wait();
    if root {
        assert!(text.contains("collectors.one.exec: it would run as root"), "{text}");
        assert!(text.contains("`as_root: true`") && !text.contains("good"), "{text}");
        let aside = seen(&mut agent, &home, "one", "it is set aside", |one| one["state"] == "set_aside");
        assert_eq!((&aside["faults"], &aside["collects"]), (&1.into(), &0.into()), "{aside}");
        assert!(aside["last_problem"].to_string().contains("as root"), "{aside}");
    } else {
        seen(&mut agent, &home, "one", "it runs", |one| one["collects"].as_u64() > Some(1));
    }
    // The warning that it is outside is one line in the log; its excerpt is for `check`.
    let log = home.log();
    let warned: Vec<_> = log.lines().filter(|line| line.contains("no grant holds it")).collect();
    assert!(!warned.is_empty(), "{log}");
    for line in warned {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let message = line["message"].as_str().expect("a text");
        assert!(!message.contains('\n') && message.contains("collectors.one.exec"), "{message:?}");
    }
    agent.terminate();
}

#[test]
fn a_program_that_is_out_of_time_ends_with_all_that_it_started() {
    let line = "sleep 81723001 & setsid sleep 81723001 & trap '' TERM; wait; sleep 81723001";
    let home = Home::new(&yaml("127.0.0.1:9", &[shell("slow", "nagios", line, ", timeout: 200ms")]));
    let mut agent = home.start_and_wait();
    let found = seen(&mut agent, &home, "slow", "it is late", |one| {
        one["faults_by_cause"]["deadline"].as_u64() > Some(1)
    });
    assert!(found["missed"].as_u64() > Some(0), "what was due meanwhile is missed, not stacked: {found}");
    assert!(agent.terminate().success());
    none_alive("81723001");
}

#[test]
fn nothing_outlives_an_agent_that_is_killed() {
    let line = "sleep 81723002 & setsid sleep 81723002 & sleep 81723002";
    let home = Home::new(&yaml("127.0.0.1:9", &[shell("long", "nagios", line, ", timeout: 1h")]));
    let agent = home.start_and_wait();
    wait::until("it runs", PATIENCE, || {
        let running = alive("sleep 81723002").len();
        if running >= 3 { Ok(()) } else { Err(format!("{running}\n{}", home.log())) }
    });
    agent.kill();
    none_alive("81723002");
}

#[test]
fn a_program_is_changed_and_removed_without_a_restart() {
    let stub = Stub::start();
    let home = Home::new(&yaml(stub.otlp, &[shell("one", "prometheus", "echo before 1", "")]));
    let mut agent = home.start_and_wait();
    let arrives = |name: &str| {
        wait::until(name, PATIENCE, || {
            let found = stub.api(&format!("/api/series?name={name}&limit=10")).to_string();
            if found.contains(name) { Ok(()) } else { Err(home.log()) }
        });
    };
    arrives("before");
    home.configure(&yaml(stub.otlp, &[shell("one", "prometheus", "echo after 1", "")]));
    assert!(home.run(&["reload"]).status.success());
    arrives("after");
    // A plugin takes its place, and gives it back.
    home.configure(&yaml(stub.otlp, &["one: {plugin: \"builtin:heartbeat\", interval: 100ms}".to_owned()]));
    assert!(home.run(&["reload"]).status.success());
    let found = seen(&mut agent, &home, "one", "a plugin runs", |one| {
        one["plugin"] == "builtin:heartbeat" && one["state"] == "running"
    });
    assert_eq!(found["outside_sandbox"], false, "{found}");
    home.configure(&yaml(stub.otlp, &[shell("one", "prometheus", "echo again 1", "")]));
    assert!(home.run(&["reload"]).status.success());
    arrives("again");
    assert!(Path::new(&home.data()).is_dir());
}
