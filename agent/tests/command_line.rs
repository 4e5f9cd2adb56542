//! What supervisors and scripts rely on: exit codes, which stream a message goes to, and that `check` touches nothing.

// The lint knows only functions marked as tests; everything here belongs to one.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs the program in `folder`, with no environment but `variables`.
fn whimbrel(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(folder, arguments).envs(variables.iter().copied()).output().unwrap()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_whimbrel"));
    command.current_dir(folder).args(arguments).env_clear();
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const GOOD: &str = "\
collectors: {host: {plugin: 'builtin:host', interval: 1s, grants: {system: [cpu, memory]}}}
exporters: {backend: {endpoint: 'https://otlp.example.com', headers: {authorization: Bearer hunter2}}}
";

const FIVE_MISTAKES: &str = "\
collectors:
  host: {plugin: 'builtin:hots', intervall: 10s}
exporters:
  backend: {endpoint: otlp.example.com, timeout: 10}
wal: {max_size: 1MiB}
";

#[test]
fn five_mistakes_exit_with_78_and_touch_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("whimbrel.yaml"), FIVE_MISTAKES).unwrap();
    for arguments in [&["check"] as &[&str], &["run"], &["config", "show"], &["wal", "status"], &["status"]] {
        let output = whimbrel(folder.path(), arguments, &[]);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.starts_with("whimbrel: 5 problems in the configuration"), "{said}");
        for line in ["2:18: ", "2:34: ", "4:23: ", "4:50: ", "5:17: "] {
            assert!(said.contains(&format!("whimbrel.yaml:{line}")), "{line} in {said}");
        }
        assert!(output.stdout.is_empty());
    }
    assert_eq!(names(folder.path()), ["whimbrel.yaml"]);
}

#[test]
fn a_good_configuration_is_summed_up_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("whimbrel.yaml"), GOOD).unwrap();
    let output = whimbrel(folder.path(), &["check"], &[("WHIMBREL__LOG__LEVEL", "debug")]);
    let said = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{said}");
    for wanted in
        ["whimbrel.yaml: good", "builtin:host", "every 1s", "system: cpu, memory", "https://otlp.example.com"]
    {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
    for arguments in
        [&["config", "show"] as &[&str], &["config", "show", "--effective"], &["check", "--json"]]
    {
        let output = whimbrel(folder.path(), arguments, &[("WHIMBREL__LOG__LEVEL", "debug")]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0));
        assert!(said.contains("debug") && said.contains("[redacted]") && !said.contains("hunter2"), "{said}");
    }
    assert_eq!(names(folder.path()), ["whimbrel.yaml"]);
}

#[test]
fn programs_are_told_in_json() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.yaml"), FIVE_MISTAKES).unwrap();
    std::fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    let bad = whimbrel(folder.path(), &["check", "--json", "-c", "bad.yaml"], &[]);
    let report: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!((bad.status.code(), report["ok"].as_bool()), (Some(78), Some(false)));
    assert_eq!(report["problems"].as_array().unwrap().len(), 5);
    assert_eq!(report["problems"][1]["remedy"], "did you mean `interval`?");
    let good = whimbrel(folder.path(), &["check", "--json", "-c", "good.yaml"], &[]);
    let report: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!((good.status.code(), report["ok"].as_bool()), (Some(0), Some(true)));
    assert_eq!(report["configuration"]["collectors"]["host"]["interval"], "1s");
}

#[test]
fn a_component_that_is_missing_is_told_by_check() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("whimbrel.yaml"), "collectors: {x: {plugin: ./x.wasm}}\n").unwrap();
    let output = whimbrel(folder.path(), &["check"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        text(&output.stderr).contains("whimbrel.yaml:1:26: collectors.x.plugin: the component"),
        "{output:?}"
    );
}

#[test]
fn wrong_use_exits_with_2_and_help_with_0() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["nonsense"] as &[&str], &["check", "--nonsense"], &[], &["wal"]] {
        let output = whimbrel(folder.path(), arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    for arguments in [&["--help"] as &[&str], &["--version"], &["wal", "--help"]] {
        let output = whimbrel(folder.path(), arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn a_pipe_that_nobody_reads_ends_a_command_quietly() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        [&["config", "show", "--effective"] as &[&str], &["check"], &["check", "--json"], &["--help"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output =
            command(folder.path(), arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert!(matches!(output.status.code(), Some(0)), "{arguments:?}: {output:?}");
        assert!(
            !text(&output.stderr).contains("panick") && !text(&output.stderr).contains("roken pipe"),
            "{output:?}"
        );
    }
}
