//! The examples under `plugins/examples/`: what `plugin new` writes, with the example's own files over it, builds, gives
//! what its golden files say, and asks for no more than its README grants.

use std::{
    fs,
    path::{Path, PathBuf},
};

use whimbrel_tests::{
    agent::Home,
    author::{self, said},
};

fn overlay(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            overlay(&path, &to);
        } else {
            fs::copy(&path, &to).expect("a file can be copied");
        }
    }
}

/// Builds and tests it; `grants` is what it may ask for.
fn example(folder: &str, name: &str, language: &str, grants: &[&str]) {
    let home = Home::new("");
    let output = home.run(&["plugin", "new", name, "--lang", language]);
    assert!(output.status.success(), "{}", said(&output));
    let here = home.path().join(name);
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples").join(folder);
    overlay(&from, &here);
    let run =
        |args: &[&str]| author::command(&home, args, &here, language).output().expect("whimbrel starts");
    let output = run(&["plugin", "build"]);
    if author::is_skipped(&said(&output)) {
        return;
    }
    assert!(output.status.success(), "{}", said(&output));
    for grant in grants {
        assert!(said(&output).contains(grant), "{grant} is not in: {}", said(&output));
    }
    let component = format!("build/{name}.wasm");
    let output = run(&["plugin", "test", "--component", &component]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).matches(" ok ").count(), 3, "{}", said(&output));
}

#[test]
fn last_run_in_c() {
    example("c-last-run", "last-run", "c", &["read"]);
}

#[test]
fn spool_depth_in_go() {
    example("go-spool-depth", "spool-depth", "go", &["read"]);
}

#[test]
fn status_page_in_javascript() {
    example("js-status-page", "status-page", "js", &["http"]);
}

#[test]
fn csv_gauges_in_python() {
    example("python-csv-gauges", "csv-gauges", "python", &["read"]);
}
