//! Guests written by hand, and an embedder that remembers what it is given.
//!
//! The guests are core modules in the text format, made into components the way `whimbrel-plugin component`
//! does it. They speak the canonical ABI themselves, so that they can also speak it wrongly.

#![allow(dead_code)] // Each test binary uses its part.
#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach the helpers of tests.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use whimbrel_plugin_host::{
    Batch, CollectError, Collected, Denied, Fault, Grants, GuestError, Host, HostOptions, Instance, Limits,
    LogLine, Plugin, Services, Setup, services::Entity,
};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

pub(crate) mod typed;

pub(crate) const CONTRACT: &str = include_str!("../../../../wit/v0.1/whimbrel.wit");

/// The bodies of a guest's functions.
pub(crate) struct Wat<'a> {
    /// Top-level items.
    pub(crate) items: &'a str,
    /// `(param $name.. $config.. $checkpoint.. $interval) (result i32)`: where the result stands.
    pub(crate) init: &'a str,
    /// `(param $deadline i32) (result i32)`: where the result stands.
    pub(crate) collect: &'a str,
    /// `(param $deadline i32)`
    pub(crate) shutdown: &'a str,
    /// Of 64 KiB each.
    pub(crate) pages: u32,
}

impl Default for Wat<'_> {
    fn default() -> Self {
        Wat { items: "", init: "(i32.const 1024)", collect: "(i32.const 1024)", shutdown: "", pages: 2 }
    }
}

/// Memory: 0 to 1023 for data, 1024 a result that is `ok` and false, 2048 for results of the host, from
/// 65536 on what `cabi_realloc` hands out.
pub(crate) fn module(wat: &Wat<'_>) -> Vec<u8> {
    wat::parse_str(text(wat)).unwrap_or_else(|error| panic!("{error}"))
}

/// The module's text.
pub(crate) fn text(wat: &Wat<'_>) -> String {
    let Wat { items, init, collect, shutdown, pages } = wat;
    format!(
        r#"(module
  (import "whimbrel:plugin/emit@0.1.0" "push" (func $push (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "whimbrel:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
  (import "whimbrel:plugin/clock@0.1.0" "random" (func $random (param i32 i32)))
  (import "whimbrel:plugin/clock@0.1.0" "now-ns" (func $now (result i64)))
  (import "whimbrel:plugin/system@0.1.0" "snapshot" (func $snapshot (param i32 i32 i32 i32 i32)))
  (import "whimbrel:plugin/secrets@0.1.0" "reveal" (func $reveal (param i32 i32 i32)))
  (memory (export "memory") {pages})
  (global $heap (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param $old i32) (param i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (if (i32.eq (memory.grow (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1)))
                  (i32.const -1))
        (then unreachable)))
    (local.get $at))
  ;; An otlp batch of metrics, without a checkpoint; the answer stands at 2048.
  (func $push_otlp (param $at i32) (param $len i32)
    (call $push (i32.const 2) (i32.const 0) (local.get $at) (local.get $len)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048)))
  {items}
  (func (export "whimbrel:plugin/lifecycle@0.1.0#init")
    (param $name i32) (param $name_len i32) (param $config i32) (param $config_len i32)
    (param $has_checkpoint i32) (param $checkpoint i32) (param $checkpoint_len i32) (param $interval i32)
    (result i32) {init})
  (func (export "whimbrel:plugin/lifecycle@0.1.0#shutdown") (param $deadline i32) {shutdown})
  (func (export "whimbrel:plugin/collect@0.1.0#collect") (param $deadline i32) (result i32) {collect})
)"#
    )
}

pub(crate) fn guest(wat: &Wat<'_>) -> Vec<u8> {
    componentize(module(wat), CONTRACT, "collector")
}

/// A guest that only has a `collect` of interest.
pub(crate) fn collects(items: &str, collect: &str) -> Vec<u8> {
    guest(&Wat { items, collect, ..Wat::default() })
}

pub(crate) fn componentize(mut module: Vec<u8>, wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

pub(crate) fn tool() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_whimbrel-plugin"))
}

pub(crate) fn options(dir: &Path) -> HostOptions {
    HostOptions { compiler: Some(tool()), ..HostOptions::new(dir.join("plugins")) }
}

/// A host with a cache of its own, which is gone afterwards.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) host: Host,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(options(dir.path())).unwrap();
        Bench { dir, host }
    }

    pub(crate) async fn load(&self, component: &[u8]) -> Plugin {
        self.host.load("test.wasm", component).await.unwrap()
    }

    /// An instance of the component, with these limits and nothing granted.
    pub(crate) async fn start(&self, component: &[u8], limits: Limits) -> (Instance, Arc<Recorder>) {
        let services = Arc::new(Recorder::default());
        let setup = Setup { limits, ..setup(&services) };
        (self.load(component).await.instantiate(setup).await.unwrap(), services)
    }

    /// The fault of the component's first collect, and what it did before.
    pub(crate) async fn fault(&self, component: &[u8], limits: Limits) -> (Fault, Arc<Recorder>) {
        let (mut instance, services) = self.start(component, limits).await;
        let fault = fault(instance.collect(DEADLINE).await);
        assert!(!instance.is_alive());
        assert_eq!(instance.memory(), 0, "its memory is given back at once");
        (fault, services)
    }
}

/// What the guest's clock shows.
pub(crate) const NOW: u64 = 1_700_000_000_000_000_000;
pub(crate) const DEADLINE: Duration = Duration::from_millis(200);

pub(crate) fn fault(of: Result<Collected, CollectError>) -> Fault {
    match of {
        Err(CollectError::Fault(fault)) => fault,
        other => panic!("not a fault: {other:?}"),
    }
}

pub(crate) fn setup(services: &Arc<Recorder>) -> Setup {
    Setup {
        instance: "test".into(),
        config_json: "{}".into(),
        checkpoint: None,
        interval: Duration::from_secs(1),
        limits: Limits::default(),
        grants: Grants::default(),
        services: Arc::clone(services) as Arc<dyn Services>,
    }
}

/// What came to the embedder.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) batches: Vec<(Batch, Option<Vec<u8>>)>,
    pub(crate) lines: Vec<LogLine>,
    pub(crate) denied: Vec<Denied>,
}

/// An embedder that keeps everything.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) seen: Mutex<Seen>,
    /// How long a push takes.
    pub(crate) push_takes: Duration,
    /// What a push is answered.
    pub(crate) push_fails: Option<GuestError>,
}

impl Recorder {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// The requests of the batches.
    pub(crate) fn pushed(&self) -> Vec<Vec<u8>> {
        let seen = self.seen();
        seen.batches.iter().map(|(batch, _)| batch.request.clone()).collect()
    }
}

impl Services for Recorder {
    fn push(
        &self,
        batch: Batch,
        checkpoint: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send + '_>> {
        Box::pin(async move {
            if !self.push_takes.is_zero() {
                tokio::time::sleep(self.push_takes).await;
            }
            if let Some(error) = &self.push_fails {
                return Err(error.clone());
            }
            self.seen().batches.push((batch, checkpoint));
            Ok(())
        })
    }

    fn snapshot(&self, part: &str, _select: &[(String, String)]) -> Result<Vec<Entity>, GuestError> {
        if part == "cpu" { Ok(Vec::new()) } else { Err(GuestError::Invalid(format!("no part {part}"))) }
    }

    fn log(&self, line: LogLine) {
        self.seen().lines.push(line);
    }

    fn reveal(&self, name: &str) -> Result<String, GuestError> {
        Ok(format!("secret of {name}"))
    }

    fn denied(&self, what: &Denied) {
        self.seen().denied.push(what.clone());
    }

    fn now_ns(&self) -> u64 {
        NOW
    }
}
