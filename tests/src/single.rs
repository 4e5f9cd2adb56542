//! One agent with one collector, `x`, for tests of where its plugin comes from.

use std::{
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use serde_json::Value;

use crate::{agent::Home, guest, wait};

const PATIENCE: Duration = Duration::from_secs(120);

/// All that a program wrote.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `whimbrel plugin ARGS`; its standard output.
///
/// # Panics
/// When it fails.
pub fn plugin(home: &Home, args: &[&str]) -> String {
    let output = home.run(&[&["plugin"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// The same, which must fail; what it says.
///
/// # Panics
/// When it succeeds.
pub fn refused(home: &Home, args: &[&str]) -> String {
    let output = home.run(&[&["plugin"], args].concat());
    assert!(!output.status.success(), "{args:?}: {}", said(&output));
    said(&output)
}

/// A plugin that collects and has nothing to say; another name is another plugin.
pub fn quiet(home: &Home, name: &str) -> PathBuf {
    guest::component(home.path(), name, "", "(i32.const 1024)")
}

/// A path of the tests' own.
///
/// # Panics
/// When it is no text: temporary folders' names are.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder's name is text")
}

/// A component as it is shipped.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/components").join(name)
}

/// A configuration of one collector, and of no exporter that anything would reach.
pub fn yaml(plugin: &str, more: &str) -> String {
    format!(
        "collectors:\n  x: {{plugin: \"{plugin}\", interval: 100ms}}\n\
         exporters:\n  none: {{endpoint: \"http://127.0.0.1:9\"}}\n{more}"
    )
}

/// Waits until the status of `x` is so; that status.
///
/// # Panics
/// When it is not so in two minutes.
pub fn seen(home: &Home, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    seen_of(home, "x", what, condition)
}

/// The same of another collector.
///
/// # Panics
/// When it is not so in two minutes.
pub fn seen_of(home: &Home, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, PATIENCE, || {
        let output = home.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).map_err(|_| said(&output))?;
        let named = |one: &&Value| one["name"] == name;
        let collector = status["collectors"].as_array().and_then(|all| all.iter().find(named)).cloned();
        let collector = collector.unwrap_or_default();
        if condition(&collector) { Ok(collector) } else { Err(format!("{collector}\n{}", home.log())) }
    })
}

/// Whether it runs, and goes on running.
pub fn runs(collector: &Value) -> bool {
    collector["state"] == "running" && collector["collects"].as_u64() > Some(2)
}

/// Whether it waits for somebody to do something about it.
pub fn is_set_aside(collector: &Value) -> bool {
    collector["state"] == "set_aside"
}

/// `whimbrel reload`, as JSON.
///
/// # Panics
/// When there is no answer.
pub fn reload(home: &Home) -> Value {
    let output = home.run(&["reload", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

/// A new key, in the folder; its secret file. The public one has `.pub` behind it.
pub fn key(home: &Home, name: &str) -> PathBuf {
    let file = home.path().join(name);
    plugin(home, &["keygen", "--out", text(&file)]);
    file
}
