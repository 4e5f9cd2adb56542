//! `whimbrel-plugin` as its users call it.

#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach the helpers of tests.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use sha2::{Digest as _, Sha256};
use support::{Wat, module, tool};

const METADATA: &str = r#"{
    "name": "uptime", "version": "1.2.3", "description": "How long the host is up.",
    "authors": "Ada <ada@example.com>", "licenses": "Apache-2.0", "source": "https://example.com/uptime",
    "homepage": "https://example.com", "revision": "0123abc"
}"#;
const SCHEMA: &str = r#"{
    "type": "object", "required": ["path"],
    "properties": {
        "path": { "type": "string", "description": "Where to look" },
        "every": { "type": "integer", "default": 3 }
    }
}"#;

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(tool()).current_dir(dir).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with `core.wasm`, `plugin.json` and `schema.json`.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("core.wasm"), module(&Wat::default())).unwrap();
    fs::write(dir.path().join("plugin.json"), METADATA).unwrap();
    fs::write(dir.path().join("schema.json"), SCHEMA).unwrap();
    dir
}

const MAKE: &[&str] = &[
    "component",
    "core.wasm",
    "-o",
    "out.wasm",
    "--world",
    "collector",
    "--metadata",
    "plugin.json",
    "--config-schema",
    "schema.json",
    "--revision",
    "fedcba",
];

#[test]
fn a_component_is_made_with_all_its_metadata_and_read_back() {
    let dir = folder();
    stdout(&run(dir.path(), MAKE));
    let json = stdout(&run(dir.path(), &["inspect", "--json", "out.wasm"]));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut identity = report["identity"].clone();
    identity["made_with"].take();
    let mut expected: serde_json::Value = serde_json::from_str(METADATA).unwrap();
    expected["revision"] = "fedcba".into(); // The option wins over the file.
    expected["made_with"] = serde_json::Value::Null;
    assert_eq!(identity, expected);
    assert_eq!(report["config_schema"], serde_json::from_str::<serde_json::Value>(SCHEMA).unwrap());
    assert_eq!(report["contract"], "0.1.0");
    assert_eq!(report["grants"].as_array().unwrap().len(), 2);
    assert_eq!(report["size"], fs::metadata(dir.path().join("out.wasm")).unwrap().len());
}

#[test]
fn the_same_module_makes_the_same_bytes() {
    let dir = folder();
    stdout(&run(dir.path(), MAKE));
    let first = fs::read(dir.path().join("out.wasm")).unwrap();
    stdout(&run(dir.path(), MAKE));
    assert_eq!(fs::read(dir.path().join("out.wasm")).unwrap(), first);
}

#[test]
fn inspect_tells_a_person_what_they_want_to_know() {
    let dir = folder();
    stdout(&run(dir.path(), MAKE));
    let text = stdout(&run(dir.path(), &["inspect", "out.wasm"]));
    for part in [
        "uptime 1.2.3\n  How long the host is up.\n",
        "  file          out.wasm (",
        "  authors       Ada <ada@example.com>\n",
        "  licenses      Apache-2.0\n",
        "  made with     wit-component 0.",
        "  contract      0.1.0, a collector; this version of Whimbrel runs it\n",
        "  asks for      figures of this host (processor, memory, disks, ...), by part\n",
        "                  grant: system: [PART, ...]\n",
        "                  grant: secrets: [NAME, ...]\n",
        "  and may       push metrics, logs and traces, read the clock",
        "  configuration every: integer, default 3\n                path: string, required\n",
        "                  Where to look\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn what_cannot_be_made_or_read_is_said_in_words() {
    let dir = folder();
    fs::write(dir.path().join("bad.json"), r#"{"nmae": "x"}"#).unwrap();
    fs::write(dir.path().join("list.json"), "[]").unwrap();
    fs::write(dir.path().join("objct.json"), r#"{"properties": {"a": {"type": "objct"}}}"#).unwrap();
    fs::write(dir.path().join("empty.wasm"), b"\0asm\x01\0\0\0").unwrap();
    stdout(&run(dir.path(), MAKE));
    let cases: &[(&[&str], &str)] = &[
        (&["inspect", "core.wasm"], "core.wasm: it is a core WebAssembly module"),
        (&["inspect", "plugin.json"], "plugin.json: it is no WebAssembly component but a text file"),
        (&["inspect", "nothing.wasm"], "nothing.wasm can't be read"),
        (&["component", "out.wasm", "-o", "x"], "out.wasm is a component already"),
        (&["component", "plugin.json", "-o", "x"], "plugin.json: it can't be read as a core module"),
        (&["component", "core.wasm", "-o", "x"], "core.wasm"),
        (&["component", "empty.wasm", "-o", "x"], "another world"),
        (
            &["component", "core.wasm", "-o", "x", "--world", "exporter"],
            "the contract has no world `exporter`",
        ),
        (&["component", "core.wasm", "-o", "x", "--world", "collector", "--metadata", "bad.json"], "`nmae`"),
        (
            &["component", "core.wasm", "-o", "x", "--world", "collector", "--config-schema", "list.json"],
            "no JSON object",
        ),
        (
            &["component", "core.wasm", "-o", "x", "--world", "collector", "--config-schema", "objct.json"],
            "is none: properties.a.type: is none of",
        ),
    ];
    for (args, part) in cases {
        let text = stderr(&run(dir.path(), args));
        assert!(text.starts_with("whimbrel-plugin: ") && text.contains(part), "{args:?}: {part:?}: {text}");
        assert!(!dir.path().join("x").exists(), "{args:?} wrote something");
    }
}

#[test]
fn inspect_shows_a_misfit_and_fails() {
    let dir = folder();
    let wit = "package a:b; world w { export run: func() -> u32; }";
    let module = wat::parse_str(r#"(module (func (export "run") (result i32) (i32.const 0)))"#).unwrap();
    fs::write(dir.path().join("other.wasm"), support::componentize(module, wit, "w")).unwrap();
    let output = run(dir.path(), &["inspect", "other.wasm"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("this version of Whimbrel refuses it: it is a component of another world"),
        "{text}"
    );
    let json = run(dir.path(), &["inspect", "--json", "other.wasm"]).stdout;
    let report: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(report["contract"].is_null() && report["misfit"].is_string());
}

#[test]
fn a_new_key_is_for_its_owner_alone_and_never_written_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let said = stdout(&run(dir.path(), &["keygen", "--out", "team.key"]));
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("team.key"), mode("team.key.pub") & 0o200), (0o600, 0o200));
    let secret = fs::read_to_string(dir.path().join("team.key")).unwrap();
    let inner = secret.lines().nth(1).unwrap();
    assert!(said.contains("plugins:") && !said.contains(inner), "{said}");
    let text = stderr(&run(dir.path(), &["keygen", "--out", "team.key"]));
    assert!(text.contains("team.key is there already") && text.contains("another name"), "{text}");
    fs::rename(dir.path().join("team.key"), dir.path().join("safe.key")).unwrap();
    let text = stderr(&run(dir.path(), &["keygen", "--out", "team.key"]));
    assert!(text.contains("team.key.pub is there already"), "{text}");
    fs::rename(dir.path().join("safe.key"), dir.path().join("team.key")).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("team.key")).unwrap(), secret);
}

#[test]
fn a_plugin_can_be_signed_by_several_and_old_signatures_go() {
    use whimbrel_plugin_host::trust::{self, Kind};
    let dir = folder();
    stdout(&run(dir.path(), MAKE));
    for key in ["a.key", "b.key"] {
        stdout(&run(dir.path(), &["keygen", "--out", key]));
        let said = stdout(&run(dir.path(), &["sign", "out.wasm", "--key", key]));
        assert!(said.contains("name uptime, version 1.2.3"), "{said}");
    }
    let signatures = || trust::read(&fs::read_to_string(dir.path().join("out.wasm.sig")).unwrap()).unwrap();
    let both = signatures();
    assert_eq!(both.len(), 2);
    for signature in &both {
        let statement = signature.verify(&signature.key()).unwrap();
        assert_eq!((statement.kind, statement.version.as_str()), (Kind::Component, "1.2.3"));
    }
    // The same key again changes nothing; other bytes leave only the new signature.
    stdout(&run(dir.path(), &["sign", "out.wasm", "--key", "a.key"]));
    assert_eq!(signatures().len(), 2);
    stdout(&run(dir.path(), &[&MAKE[..MAKE.len() - 1], &["other"]].concat()));
    stdout(&run(dir.path(), &["sign", "out.wasm", "--key", "b.key"]));
    assert_eq!(signatures().len(), 1);

    for (args, part) in [
        (&["sign", "out.wasm", "--key", "a.key.pub"][..], "it is a public key"),
        (&["sign", "out.wasm", "--key", "plugin.json"], "no ed25519 secret key"),
        (&["sign", "core.wasm", "--key", "a.key"], "core WebAssembly module"),
        (&["sign", "plugin.json", "--key", "a.key"], "a text file"),
        (&["compile", "out.wasm", "-o", "x", "--target", "z80"], "--target z80 is not known"),
        (&["push", "out.wasm", "oci://127.0.0.1:1/x"], "says no version"),
        (&["push", "out.wasm", "oci://127.0.0.1:1/x:1"], "can't be reached"),
    ] {
        let text = stderr(&run(dir.path(), args));
        assert!(text.contains(part), "{args:?}: {part:?}: {text}");
    }
}

#[test]
fn help_is_there_for_each_command() {
    let dir = folder();
    let all = stdout(&run(dir.path(), &["--help"]));
    for command in ["inspect", "component", "compile", "keygen", "sign", "push", "fetch"] {
        assert!(all.contains(command));
        let text = stdout(&run(dir.path(), &[command, "--help"]));
        assert!(text.contains("Usage: whimbrel-plugin") && text.lines().count() > 10, "{text}");
        assert_filled(&text);
    }
    assert_filled(&all);
    assert_eq!(run(dir.path(), &["inspekt"]).status.code(), Some(2));
}

/// No line of the prose before the usage ends before it must: what was broken by hand is broken again by the terminal.
fn assert_filled(help: &str) {
    const WIDTH: usize = 100;
    let prose: Vec<&str> = help.split("Usage:").next().unwrap().lines().collect();
    for pair in prose.windows(2) {
        let next = pair[1].split(' ').next().unwrap();
        let fits = !next.is_empty() && !pair[0].is_empty() && pair[0].len() + 1 + next.len() <= WIDTH;
        assert!(!fits, "{:?} goes behind {:?}, in\n{help}", next, pair[0]);
    }
}

/// As the agent calls it.
fn by_agent(dir: &Path, args: &[&str]) -> Output {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(tool());
    command.arg0(whimbrel_plugin_host::CALLED_BY_AGENT).current_dir(dir).args(args).output().unwrap()
}

#[test]
fn usage_and_errors_name_the_command_that_was_typed() {
    let dir = folder();
    for command in ["new", "build", "inspect", "compile", "keygen", "sign", "push"] {
        let text = stdout(&by_agent(dir.path(), &[command, "--help"]));
        let usage = format!("Usage: whimbrel plugin {command} ");
        assert!(text.contains(&usage) && text.contains(&format!("\n  whimbrel plugin {command} ")), "{text}");
    }
    let text = stderr(&by_agent(dir.path(), &["build"]));
    assert!(
        text.starts_with("whimbrel plugin build: ") && text.contains("plugin.yaml is not there"),
        "{text}"
    );
    let text = String::from_utf8(by_agent(dir.path(), &["new", "x"]).stderr).unwrap();
    assert!(text.contains("Usage: whimbrel plugin new --lang <LANGUAGE> <NAME>"), "{text}");
}

#[test]
fn tips_are_near_and_languages_go_by_their_names() {
    let dir = folder();
    let told = |language: &str| {
        let output = run(dir.path(), &["new", "x", "--lang", language]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = told("cobol");
    assert!(text.contains("possible values: rust, c, go, js, python") && !text.contains("tip:"), "{text}");
    assert!(told("pyton").contains("tip: a similar value exists: 'python'"));
    for (language, said) in [
        ("js", "JavaScript; componentize-qjs 0."),
        ("javascript", "JavaScript"),
        ("go", "Go; Go 1.24 or later"),
    ] {
        let text = stdout(&run(dir.path(), &["new", "x", "--lang", language, "--dir", language]));
        assert!(text.contains(&format!("{language} is a plugin in {said}")), "{text}");
    }
}

#[test]
fn a_go_that_is_too_old_is_told_before_it_builds() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    stdout(&run(dir.path(), &["new", "x", "--lang", "go"]));
    let bin = dir.path().join("x/.venv/bin");
    fs::create_dir_all(&bin).unwrap();
    // Debian 12's.
    fs::write(bin.join("go"), "#!/bin/sh\n[ \"$1\" = env ] && echo go1.19.8 || exit 9\n").unwrap();
    fs::set_permissions(bin.join("go"), fs::Permissions::from_mode(0o755)).unwrap();
    let text = stderr(&run(dir.path(), &["build", "--dir", "x"]));
    for part in ["bin/go is version 1.19.8", "Go 1.24 or later is needed", "\n    https://go.dev/dl\n"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_bundle_is_shown_with_its_own_bytes_and_the_components() {
    use whimbrel_plugin_host::text::hex;
    let dir = folder();
    stdout(&run(dir.path(), MAKE));
    stdout(&run(dir.path(), &["compile", "out.wasm", "-o", "out.bundle"]));
    let sum = |name: &str| hex(&Sha256::digest(fs::read(dir.path().join(name)).unwrap()));
    let text = stdout(&run(dir.path(), &["inspect", "out.bundle"]));
    assert!(text.contains(&format!("  sha256        {}\n", sum("out.bundle"))), "{text}");
    assert!(text.contains("  made of       a component (") && text.contains(&sum("out.wasm")), "{text}");
    let json = stdout(&run(dir.path(), &["inspect", "--json", "out.bundle"]));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (report["file"]["sha256"] == sum("out.bundle"), report["sha256"] == sum("out.wasm")),
        (true, true)
    );
    assert_eq!(report["file"]["size"], fs::metadata(dir.path().join("out.bundle")).unwrap().len());
}
