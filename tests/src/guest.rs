//! Hostile plugins, written by hand: core modules in the text format, made into components by `whimbrel-plugin`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::programs::program;

/// The bodies of a plugin's functions, as WebAssembly text.
///
/// Memory has two pages: the first 1024 bytes are free for `items`; 1024 is a result "ok, no more", 1040 "ok, and more
/// at once"; 2048 is for results of the host; from 65536 on is what the host hands over.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    /// Top-level items.
    pub items: &'a str,
    /// Leaves an i32: where the result is.
    pub init: &'a str,
    /// Leaves an i32: where the result is.
    pub collect: &'a str,
    /// Leaves nothing.
    pub shutdown: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self { items: "", init: "(i32.const 1024)", collect: "(i32.const 1024)", shutdown: "" }
    }
}

/// A plugin whose `collect` is this WebAssembly text, leaving an i32 (1024: "ok, no more").
///
/// `$push_otlp (address, length)` pushes metrics; memory has two pages, the first 1024 bytes are free for `items`.
///
/// # Panics
/// When the text is none, or no component comes of it.
pub fn component(folder: &Path, name: &str, items: &str, collect: &str) -> PathBuf {
    build(folder, name, &Guest { items, collect, ..Guest::default() })
}

/// The plugin as NAME.wasm in the folder.
///
/// # Panics
/// When the text is none, or no component comes of it.
pub fn build(folder: &Path, name: &str, guest: &Guest<'_>) -> PathBuf {
    let core = wat::parse_str(module(guest)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let module = folder.join(format!("{name}.core.wasm"));
    let component = folder.join(format!("{name}.wasm"));
    fs::write(&module, core).expect("a file can be written there");
    let output = Command::new(program("whimbrel-plugin"))
        .arg("component")
        .arg(&module)
        .args(["--world", "collector", "--name", name, "--plugin-version", "0.0.1", "-o"])
        .arg(&component)
        .output()
        .expect("whimbrel-plugin starts");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    component
}

fn module(guest: &Guest<'_>) -> String {
    let Guest { items, init, collect, shutdown } = guest;
    format!(
        r#"(module
  (import "whimbrel:plugin/emit@0.1.0" "push" (func $push (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "whimbrel:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
  (import "whimbrel:plugin/clock@0.1.0" "now-ns" (func $now (result i64)))
  (import "whimbrel:plugin/clock@0.1.0" "monotonic-ns" (func $monotonic (result i64)))
  (import "whimbrel:plugin/clock@0.1.0" "random" (func $random (param i32 i32)))
  (import "whimbrel:plugin/system@0.1.0" "snapshot" (func $snapshot (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 1048) "\01")
  (global $heap (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func $push_otlp (param $at i32) (param $len i32)
    (call $push (i32.const 2) (i32.const 0) (local.get $at) (local.get $len)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048)))
  {items}
  (func (export "whimbrel:plugin/lifecycle@0.1.0#init")
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {init})
  (func (export "whimbrel:plugin/lifecycle@0.1.0#shutdown") (param i32) {shutdown})
  (func (export "whimbrel:plugin/collect@0.1.0#collect") (param $deadline i32) (result i32) {collect})
)"#
    )
}
