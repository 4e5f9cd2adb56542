//! The rules of the house that no compiler holds: who may import whom, what each file says about itself, how long
//! it may grow.
//!
//! Cargo holds the direction between the crates; within the agent this test does.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Lines before a file's tests.
const LONGEST_FILE: usize = 500;

/// What a module of the agent may import from the agent itself, beside its own children. `store` is the trunk that
/// every way in feeds and no stage imports another.
const MAY_IMPORT: [(&str, &[&str]); 19] = [
    ("clock", &[]),
    ("config", &[]),
    ("system", &[]),
    ("telemetry", &["config", "clock"]),
    ("store", &["clock", "config"]),
    ("plugins", &["config"]),
    ("collect", &["clock", "config", "plugins", "store", "system"]),
    ("receive", &["clock", "config", "store"]),
    ("export", &["clock", "config", "store"]),
    ("dead_letters", &["clock", "export", "store"]),
    ("keys", &["config"]),
    ("resource", &[]),
    ("admin", &["reload", "rotate", "status"]),
    ("reload", &["collect", "config", "status"]),
    ("rotate", &["clock", "config", "dead_letters", "keys"]),
    ("status", &["clock", "collect", "dead_letters", "export", "receive", "store"]),
    ("embed", &["config", "pipeline", "status", "store"]),
    (
        "pipeline",
        &[
            "admin",
            "clock",
            "collect",
            "config",
            "dead_letters",
            "export",
            "keys",
            "plugins",
            "receive",
            "reload",
            "resource",
            "rotate",
            "status",
            "store",
            "system",
        ],
    ),
    (
        "cli",
        &[
            "admin",
            "clock",
            "collect",
            "config",
            "keys",
            "pipeline",
            "plugins",
            "reload",
            "resource",
            "status",
            "system",
            "telemetry",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace").to_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                rust_files(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn all_rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    rust_files(&root(), &mut found);
    assert!(found.len() > 20, "the walk over the workspace finds its files, not only {}", found.len());
    found
}

/// The lines before the file's tests, without comments' content being looked at.
fn code_lines(text: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = all_rust_files()
        .iter()
        .filter(|path| {
            let text = fs::read_to_string(path).expect("a source file is text");
            !text.lines().find(|l| !l.starts_with("#![")).unwrap_or_default().starts_with("//!")
        })
        .map(|path| shown(path))
        .collect();
    assert!(silent.is_empty(), "begin these files with `//!`, their place and purpose: {silent:#?}");
}

#[test]
fn no_file_grows_two_jobs() {
    let files = all_rust_files();
    let tests = tests_only(&files);
    assert!(tests.len() > 3, "the search for modules of tests finds some: {tests:?}");
    let long: Vec<_> = files
        .iter()
        .filter(|path| {
            !tests.iter().any(|tests| path.starts_with(tests) || **path == tests.with_extension("rs"))
        })
        .filter_map(|path| {
            let lines = code_lines(&fs::read_to_string(path).expect("a source file is text"));
            (lines > LONGEST_FILE).then(|| format!("{}: {lines} lines before its tests", shown(path)))
        })
        .collect();
    assert!(long.is_empty(), "part these files (at most {LONGEST_FILE} lines): {long:#?}");
}

/// Modules that are compiled for tests only (`#[cfg(test)] mod NAME;`), as the folder that NAME would have, and the
/// folders of integration tests: their length is not counted.
fn tests_only(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).expect("a source file is text");
        let folder = file.parent().expect("a file lies in a folder");
        if folder.join("../Cargo.toml").is_file() && folder.ends_with("tests") {
            found.push(folder.to_owned());
        }
        let lines: Vec<_> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let name = pair[1]
                .trim_start_matches("pub(crate) ")
                .strip_prefix("mod ")
                .and_then(|m| m.strip_suffix(';'));
            found.extend(name.map(|name| folder.join(name)));
        }
    }
    found
}

#[test]
fn stages_do_not_import_each_other() {
    let rules: BTreeMap<_, _> = MAY_IMPORT.into_iter().collect();
    let source = root().join("agent/src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut seen = 0;
    let mut broken = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&source).expect("the file lies in the agent");
        let module =
            inside.iter().next().and_then(|n| n.to_str()).unwrap_or_default().trim_end_matches(".rs");
        let Some(allowed) = rules.get(module) else {
            assert!(["main", "lib"].contains(&module), "give `{module}` its line in MAY_IMPORT");
            continue;
        };
        let text = fs::read_to_string(&file).expect("a source file is text");
        for imported in crate_imports(&text) {
            seen += 1;
            if imported != module && !allowed.contains(&imported.as_str()) {
                broken.push(format!("{} imports crate::{imported}", shown(&file)));
            }
        }
    }
    assert!(seen > 10, "the search for imports finds some");
    assert!(broken.is_empty(), "against the direction main -> cli -> pipeline -> stages: {broken:#?}");
}

/// Names after `crate::`, one level deep; `use crate::{a, b::c}` counts a and b.
fn crate_imports(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 && c == ',' {
                    names.push(std::mem::take(&mut name));
                } else if depth == 0 {
                    name.push(c);
                }
            }
            names.push(name);
        } else {
            names.push(rest.to_owned());
        }
    }
    names
        .into_iter()
        .map(|n| n.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>())
        .filter(|n| n.starts_with(char::is_lowercase))
        .collect()
}

#[test]
fn imports_are_found_in_every_form() {
    let text =
        "use crate::alpha::X; use crate::{beta, gamma::{A, B}, Delta}; crate::eps::f(); $crate::no::g()";
    assert_eq!(crate_imports(text), ["alpha", "beta", "gamma", "eps"]);
}

#[test]
fn the_three_crates_stand_alone() {
    let forbidden = [
        ("agent/wal", &["tokio", "wasmtime", "whimbrel-otlp", "whimbrel-plugin-host", "prost"][..]),
        ("agent/otlp", &["tokio", "wasmtime", "whimbrel-wal", "whimbrel-plugin-host"][..]),
        ("agent/plugin-host", &["whimbrel-wal"][..]),
    ];
    for (folder, names) in forbidden {
        let manifest =
            fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("the manifest is there");
        let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for name in names {
            let found = normal.lines().any(|l| l.split(['.', ' ', '=']).next() == Some(name));
            assert!(!found, "{folder} must not depend on {name}");
        }
    }
}
