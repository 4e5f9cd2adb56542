//! What the sandbox costs: starting from the cache, a call that does nothing, and batches from the guest to
//! `Services::push`.
//!
//! `cargo bench -p whimbrel-plugin --bench plugin_host`. A plain program: each figure with its limit beside
//! it. Medians of many rounds, and processor time where a stretch is long enough, because the machine does
//! other things too. `WHIMBREL_BENCH_COMPONENTS` may name components of other languages, parted by colons; they need
//! no configuration.

#![allow(missing_docs, clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

mod measure;

use std::{
    hint::black_box,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use measure::{median, processor_time};
use support::{Wat, collects, guest, options, typed};
use whimbrel_plugin_host::{
    Batch, Compiled, Denied, Grants, GuestError, Host, Instance, Limits, LogLine, Plugin, Services, Setup,
    services::Entity,
};

/// Made with the SDK for Rust.
const HEARTBEAT: &[u8] = include_bytes!("../../../plugins/components/heartbeat.wasm");
const POINTS: usize = 1000;
const ATTRIBUTES: usize = 4;
const DEADLINE: Duration = Duration::from_secs(10);

/// Takes everything and keeps nothing.
struct Sink;

impl Services for Sink {
    fn push(
        &self,
        batch: Batch,
        checkpoint: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send + '_>> {
        black_box((batch, checkpoint));
        Box::pin(std::future::ready(Ok(())))
    }
    fn snapshot(&self, _: &str, _: &[(String, String)]) -> Result<Vec<Entity>, GuestError> {
        Ok(Vec::new())
    }
    fn log(&self, _: LogLine) {}
    fn reveal(&self, _: &str) -> Result<String, GuestError> {
        Ok(String::new())
    }
    fn denied(&self, _: &Denied) {}
    fn now_ns(&self) -> u64 {
        0
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let idle = collects("", "(i32.const 1024)");
    let host = Host::new(options(dir.path())).expect("a host");
    let plugin = host.load("idle", &idle).await.expect("a plugin");
    if let Compiled::Now(took) = plugin.compiled() {
        report("compile a small component (child process)", took, "");
    }

    let mut rounds = Vec::new();
    for _ in 0..200 {
        let since = Instant::now();
        black_box(host.load("idle", &idle).await.expect("a plugin"));
        rounds.push(since.elapsed());
    }
    report("load from the cache (hash, read, MAC, deserialize, link)", median(&mut rounds), "");

    let mut rounds = Vec::new();
    for _ in 0..500 {
        let since = Instant::now();
        let mut instance = start(&plugin).await;
        collect(&mut instance).await;
        rounds.push(since.elapsed());
    }
    report("instantiate, init, first collect", median(&mut rounds), "1 ms from the cached component");

    let mut instance = start(&plugin).await;
    let per_call = per_round(&mut instance, 20_000).await;
    report("a call that does nothing", per_call, "1 us");

    for size in [64usize << 10, 1 << 20] {
        let collect = format!("(call $push_otlp (i32.const 0) (i32.const {size})) (i32.const 2048)");
        let component = guest(&Wat { collect: &collect, pages: 2 + (size >> 16) as u32, ..Wat::default() });
        let plugin = host.load("otlp", &component).await.expect("a plugin");
        let took = per_round(&mut start(&plugin).await, 2000).await.saturating_sub(per_call);
        let name = format!("push {} KiB of otlp, beyond the call", size >> 10);
        report(&name, took, if size == 1 << 20 { "50 us" } else { "" });
        if size == 64 << 10 {
            // About what a thousand points with four attributes come to.
            report_ns(
                "  a point, of 1000 in 64 KiB",
                nanoseconds(took) / 1e3,
                "part of 200 ns with the SDK's encoding",
            );
        }
    }

    let (items, list) = typed::gauge(POINTS, ATTRIBUTES);
    let collects_typed = format!(
        "(call $push (i32.const 0) (i32.const {list}) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 2048)) (i32.const 2048)"
    );
    let pages = typed::pages(POINTS, ATTRIBUTES);
    let component = guest(&Wat { items: &items, collect: &collects_typed, pages, ..Wat::default() });
    let plugin = host.load("typed", &component).await.expect("a plugin");
    let took = per_round(&mut start(&plugin).await, 500).await.saturating_sub(per_call);
    report("push 1000 typed points of 4 attributes, beyond the call", took, "");
    report_ns("  a point", nanoseconds(took) / POINTS as f64, "part of 1.3 us up to the WAL");

    let idle = host.load("idle", &idle).await.expect("a plugin");
    idle_instances("an idle instance, by hand, resident", &idle, "").await;
    of_file(&host, "heartbeat.wasm (Rust)", HEARTBEAT).await;
    for path in std::env::var("WHIMBREL_BENCH_COMPONENTS").iter().flat_map(|paths| paths.split(':')) {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        of_file(&host, path.rsplit('/').next().unwrap_or(path), &bytes).await;
    }
}

/// The way from a component in the cache to its first collect, and what an instance holds afterwards.
async fn of_file(host: &Host, name: &str, bytes: &[u8]) {
    host.load(name, bytes).await.expect("a plugin");
    let (mut loading, mut rounds) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let since = Instant::now();
        let plugin = host.load(name, bytes).await.expect("a plugin");
        loading.push(since.elapsed());
        let mut instance = start(&plugin).await;
        collect(&mut instance).await;
        rounds.push(since.elapsed());
    }
    report(&format!("{name}: from the cache to the first collect"), median(&mut rounds), "1 ms");
    report("  of this, loading", median(&mut loading), "");
    let plugin = host.load(name, bytes).await.expect("a plugin");
    idle_instances("  an idle instance, resident", &plugin, "64 KiB for Rust").await;
}

async fn idle_instances(what: &str, plugin: &Plugin, limit: &str) {
    const INSTANCES: u64 = 200;
    let before = resident();
    let mut all = Vec::new();
    for _ in 0..INSTANCES {
        let mut instance = start(plugin).await;
        collect(&mut instance).await;
        all.push(instance);
    }
    let each = resident().saturating_sub(before) / INSTANCES;
    let limit = if limit.is_empty() { String::new() } else { format!("   limit {limit}") };
    println!("{what:<58} {each:>8} KiB{limit}");
}

async fn start(plugin: &Plugin) -> Instance {
    let setup = Setup {
        instance: "bench".into(),
        config_json: "{}".into(),
        checkpoint: None,
        interval: Duration::from_secs(1),
        limits: Limits::default(),
        grants: Grants::default(),
        services: Arc::new(Sink),
    };
    plugin.instantiate(setup).await.expect("an instance")
}

async fn collect(instance: &mut Instance) {
    black_box(instance.collect(DEADLINE).await.expect("a collect"));
}

/// Processor time of this thread for one collect: the median of many stretches.
async fn per_round(instance: &mut Instance, rounds: u32) -> Duration {
    const STRETCHES: u32 = 100;
    let mut stretches = Vec::new();
    for _ in 0..STRETCHES {
        let since = processor_time();
        for _ in 0..rounds / STRETCHES {
            collect(instance).await;
        }
        stretches.push((processor_time() - since) / (rounds / STRETCHES));
    }
    median(&mut stretches)
}

fn nanoseconds(of: Duration) -> f64 {
    of.as_nanos() as f64
}

fn report(what: &str, took: Duration, limit: &str) {
    report_ns(what, nanoseconds(took), limit);
}

fn report_ns(what: &str, ns: f64, limit: &str) {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns => (ns / 1e6, "ms"),
    };
    let limit = if limit.is_empty() { String::new() } else { format!("   limit {limit}") };
    println!("{what:<58} {value:>8.2} {unit}{limit}");
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
