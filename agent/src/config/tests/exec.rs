//! Collectors that are programs.

use std::{path::PathBuf, time::Duration};

use super::Folder;
use crate::config::{Exec, ExecOutput, PluginRef, check::SECTIONS};

const COMPLETE: &str = "allow_exec: true
collectors:
  x:
    interval: 20s
    exec:
      command: [./check, --token, secret-of-sixteen]
      output: nagios
      env: {TZ: UTC, PATH: /opt/bin}
      working_directory: /tmp
      user: 1234567
      group: 1234568
      as_root: true
      timeout: 3s
      max_output: 2KiB
      memory: 32MiB
      cpu_time: 7s
      open_files: 9
      processes: 5
";

fn exec(text: &str) -> Exec {
    let loaded = Folder::with(text).load().unwrap();
    let PluginRef::Exec(exec) = &loaded.config.collectors[0].plugin else { panic!("it is a program") };
    (**exec).clone()
}

#[test]
fn every_key_of_a_program_is_read() {
    let folder = Folder::with(COMPLETE);
    let loaded = folder.load().unwrap();
    let one = &loaded.config.collectors[0];
    let PluginRef::Exec(exec) = &one.plugin else { panic!("it is a program") };
    assert_eq!(exec.program, folder.path().join("check"));
    assert_eq!((exec.arguments.len(), exec.output), (2, ExecOutput::Nagios));
    let environment: Vec<_> =
        exec.environment.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(environment, [("TZ", "UTC"), ("PATH", "/opt/bin")]);
    assert_eq!(exec.directory, PathBuf::from("/tmp"));
    assert_eq!((exec.user, exec.group, exec.as_root), (Some(1_234_567), Some(1_234_568), true));
    assert_eq!((exec.cpu_time, exec.open_files, exec.processes), (Duration::from_secs(7), 9, 5));
    assert_eq!(
        (one.limits.deadline, one.limits.output, one.limits.memory),
        (Duration::from_secs(3), 2 << 10, 32 << 20)
    );
    let keys = SECTIONS.iter().find(|keys| keys.path == "collectors.*.exec").unwrap();
    keys.now.iter().for_each(|key| assert!(COMPLETE.contains(&format!("{key}:")), "{key}"));
    let shown = format!("{:?} {:?} {:?}", loaded.written(), loaded.effective(), loaded.config);
    assert!(!shown.contains("secret-of-sixteen"), "{shown}");
    assert_eq!(loaded.warnings.len(), 1, "each program is warned of");
}

#[test]
fn a_program_has_few_things_by_default() {
    let made =
        exec("{allow_exec: true, collectors: {x: {exec: {command: [/bin/true], output: prometheus}}}}");
    assert_eq!(made.environment.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["PATH"]);
    assert_eq!((made.user, made.group, made.as_root), (None, None, false));
    assert_eq!((made.directory, made.cpu_time), (PathBuf::from("/"), Duration::from_secs(6)));
}

#[test]
fn a_program_is_refused_with_a_remedy() {
    for (allowed, collector, wanted) in [
        (false, "exec: {command: [/bin/true], output: nagios}", "add `allow_exec: true`"),
        (true, "exec: {output: nagios}", "has no `command`"),
        (true, "exec: {command: [], output: nagios}", "names no program"),
        (true, "exec: {command: [/bin/true]}", "has no `output`"),
        (true, "exec: {command: /bin/true, output: nagios}", "a list is needed"),
        (true, "exec: {command: [true], output: nagios}", "is not looked for in PATH"),
        (true, "exec: {command: [/bin/true], output: text}", "nagios"),
        (true, "exec: {command: [/bin/true], output: nagios, user: no-such-user}", "/etc/passwd"),
        (true, "exec: {command: [/bin/true], output: nagios, env: [A=B]}", "is not the name of a variable"),
        (true, "plugin: p, exec: {command: [/bin/true], output: nagios}", "remove it, or `exec`"),
        (true, "grants: {}, exec: {command: [/bin/true], output: nagios}", "remove it, or `exec`"),
    ] {
        let text = format!("{{allow_exec: {allowed}, collectors: {{x: {{{collector}}}}}}}");
        let problems = Folder::with(&text).problems();
        assert!(problems.iter().any(|problem| problem.contains(wanted)), "{text}: {problems:#?}");
    }
}
