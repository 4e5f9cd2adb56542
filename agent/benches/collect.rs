//! One collect into the WAL: of 1000 points through the sandbox, and by the same code native; of a usual host, without
//! and with 100 processes, as a share of a core at one collect a second; and of points that need no figures of the host,
//! as the SDK encodes them and as a typed batch.
//!
//! `cargo build --release -p whimbrel-plugin && cargo bench -p whimbrel --bench collect`
//!
//! The code is the shipped host collector over a made-up host with 250 network interfaces. In the sandbox it is the
//! committed component, asked by the plugin host; natively it is the same crate, linked in, asked by the SDK's test
//! host. Both push into the same store and WAL, zstd 1, encrypted, without fsync, which costs both the same and hides
//! the difference. CPU time of the process; rounds alternate, the median is shown. Limits in nanoseconds are of a quiet
//! machine: compressing the same request alone, measured in turn, says how fast this one is.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures")]

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value as Json;
use whimbrel::{
    clock::SystemClock,
    config::OnFull,
    plugins::builtin::BUILTIN,
    store::{Batch, Store},
};
use whimbrel_otlp::{Resource, Signal, write::Attributes};
use whimbrel_plugin_host::{
    Batch as Pushed, Denied, Grants, GuestError, Host, HostOptions, Level, Limits, LogLine, Plugin, Services,
    Setup, SystemGrant, services as guest,
};
use whimbrel_sdk::{system as sdk, testing};
use whimbrel_wal::{Encryption, Key, KeyRing, Options, SyncPolicy, Wal};

const INTERFACES: usize = 250;
const ROUNDS: usize = 15;
const COLLECTS: usize = 40;
const NOW: u64 = 1_767_225_600_000_000_000;
const START: u64 = 1_767_139_200_000_000_000;
/// Sandbox / native.
const LIMIT: f64 = 2.0;
const PROCESSES: i64 = 100;
/// Shares of a core at one collect a second, sandbox and WAL included, per cent. Reading the figures comes on top
/// (the bench `snapshot`), and has as much again.
const LIMITS: [f64; 2] = [0.05, 0.5];
const POINTS: usize = 1000;
const ATTRIBUTES: usize = 4;
/// Nanoseconds a point, from the guest's start to the record: the SDK's encoding, a typed batch.
const POINT_LIMITS: [f64; 2] = [200.0, 1300.0];
/// The plugin of tests and benches, which pushes points if it is told to.
const REACH: &[u8] = include_bytes!("../../plugins/components/reach.wasm");

/// name, interface, direction
fn series() -> impl Iterator<Item = (&'static str, String, &'static str)> {
    (0..INTERFACES).flat_map(|interface| {
        let interface = format!("eth{interface}");
        ["system.network.io", "system.network.errors"].into_iter().flat_map(move |name| {
            ["transmit", "receive"].map(|direction| (name, interface.clone(), direction))
        })
    })
}

fn sorted() -> Vec<(&'static str, String, &'static str)> {
    let mut all: Vec<_> = series().collect();
    all.sort_by_key(|(name, ..)| *name);
    all
}

struct MadeUp {
    store: Store,
    parts: BTreeMap<String, Vec<guest::Entity>>,
    /// What was pushed last.
    last: Arc<Mutex<Vec<u8>>>,
}

/// The figures of the host collector's own tests, and so many processes like the one there.
fn usual_host(processes: i64) -> BTreeMap<String, Vec<guest::Entity>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/host/tests/golden/host.json");
    let json: Json = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let attributes = |pairs: &Json| -> Vec<guest::Attribute> {
        let attribute = |pair: &Json| guest::Attribute {
            key: pair[0].as_str().unwrap().to_owned(),
            value: match &pair[1] {
                Json::String(text) => guest::Value::Text(text.clone()),
                number => guest::Value::Int(number.as_i64().unwrap()),
            },
        };
        pairs.as_array().unwrap().iter().map(attribute).collect()
    };
    let figure = |figure: &Json| guest::Figure {
        name: figure[0].as_str().unwrap().to_owned(),
        attributes: attributes(&figure[1]),
        start_ns: figure[2].as_u64().unwrap(),
        value: figure[3].as_f64().unwrap(),
    };
    let figures = |figures: &Json| figures.as_array().unwrap().iter().map(figure).collect();
    let parts = json["collects"][0]["parts"].as_object().unwrap().iter();
    let mut parts: BTreeMap<_, _> = parts
        .filter(|(part, _)| *part != "process.each")
        .map(|(part, told)| {
            (part.clone(), vec![guest::Entity { resource: Vec::new(), figures: figures(told) }])
        })
        .collect();
    let one = &json["collects"][0]["parts"]["process.each"][0];
    let each = (0..processes).map(|pid| {
        let mut resource = attributes(&one["resource"]);
        resource[0].value = guest::Value::Int(pid);
        guest::Entity { resource, figures: figures(&one["figures"]) }
    });
    parts.insert("process.each".to_owned(), each.collect());
    parts
}

impl MadeUp {
    fn new(store: Store, parts: BTreeMap<String, Vec<guest::Entity>>) -> Self {
        Self { store, parts, last: Arc::default() }
    }

    fn network(store: Store) -> Self {
        let text = |key: &str, value: &str| guest::Attribute {
            key: key.to_owned(),
            value: guest::Value::Text(value.to_owned()),
        };
        let figures =
            sorted().into_iter().enumerate().map(|(n, (name, interface, direction))| guest::Figure {
                name: name.to_owned(),
                attributes: vec![
                    text("network.interface.name", &interface),
                    text("network.io.direction", direction),
                ],
                start_ns: START,
                value: n as f64,
            });
        let entities = vec![guest::Entity { resource: Vec::new(), figures: figures.collect() }];
        Self::new(store, BTreeMap::from([("network".to_owned(), entities)]))
    }
}

async fn store(store: &Store, request: &[u8]) {
    let batch = Batch { signal: Signal::Metrics, request, source: "collectors/host", checkpoint: None };
    assert!(store.append(batch).await.unwrap().items > 0);
}

impl Services for MadeUp {
    fn push(
        &self,
        batch: Pushed,
        _checkpoint: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send + '_>> {
        Box::pin(async move {
            store(&self.store, &batch.request).await;
            *self.last.lock().unwrap() = batch.request;
            Ok(())
        })
    }

    fn snapshot(&self, part: &str, _select: &[(String, String)]) -> Result<Vec<guest::Entity>, GuestError> {
        Ok(self.parts.get(part).cloned().unwrap_or_default())
    }

    fn log(&self, line: LogLine) {
        assert!(line.level <= Level::Info, "{line:?}");
    }

    fn reveal(&self, _name: &str) -> Result<String, GuestError> {
        panic!("it asks for no secret")
    }

    fn denied(&self, what: &Denied) {
        panic!("{what}");
    }

    fn now_ns(&self) -> u64 {
        NOW
    }
}

fn native() -> testing::Running<whimbrel_collector_host::Host> {
    let figures = sorted().into_iter().enumerate().map(|(n, (name, interface, direction))| sdk::Figure {
        name: name.to_owned(),
        attributes: vec![
            sdk::Attribute::text("network.interface.name", interface),
            sdk::Attribute::text("network.io.direction", direction),
        ],
        start_ns: START,
        value: n as f64,
    });
    let entity = sdk::Entity { resource: Vec::new(), figures: figures.collect() };
    let mut host = testing::Host::new().now_ns(NOW).snapshot("network", vec![entity]);
    for part in ["cpu", "memory", "paging", "pressure", "disk", "filesystem", "process", "sensors", "host"] {
        host = host.snapshot(part, Vec::new());
    }
    host.start().unwrap()
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap(), u32::try_from(now.tv_nsec).unwrap())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2] / u32::try_from(COLLECTS).unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::generate().unwrap())));
    options.sync = SyncPolicy::Never;
    let (wal, _) = Wal::open(&folder.path().join("wal"), options).unwrap();
    let resource = Resource::new(&Attributes::new().with("host.name", "bench").with("os.type", "linux"));
    let into = Store::new(wal.clone(), resource, Arc::new(SystemClock), OnFull::DropOldest, OnFull::Block);

    let mut options = HostOptions::new(folder.path().join("cache"));
    // target/PROFILE/deps/this
    let beside =
        std::env::current_exe().unwrap().ancestors().nth(2).map(|p| p.join("whimbrel-plugin")).unwrap();
    options.compiler = Some(std::env::var_os("WHIMBREL_PLUGIN_TOOL").map_or(beside, PathBuf::from));
    let component = BUILTIN.iter().find(|(name, _)| *name == "host").unwrap().1;
    let host = Host::new(options).unwrap();
    let plugin = host.load("builtin:host", component).await.unwrap();
    let reach = host.load("reach.wasm", REACH).await.unwrap();
    let instance = async |plugin: &Plugin, services: MadeUp, config: &str| {
        let setup = Setup {
            instance: "bench".into(),
            config_json: config.into(),
            checkpoint: None,
            interval: Duration::from_secs(1),
            limits: Limits::default(),
            grants: Grants { system: SystemGrant::All, ..Grants::default() },
            services: Arc::new(services),
        };
        plugin.instantiate(setup).await.unwrap()
    };
    let start = async |services: MadeUp, config: &str| instance(&plugin, services, config).await;
    let mut sandboxed = start(MadeUp::network(into.clone()), "{}").await;
    let mut native = native();

    let (mut in_sandbox, mut natively) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = cpu();
        for _ in 0..COLLECTS {
            sandboxed.collect(Duration::from_secs(10)).await.unwrap();
        }
        in_sandbox.push(cpu() - before);
        let before = cpu();
        for _ in 0..COLLECTS {
            for push in native.collect().unwrap() {
                store(&into, &push.bytes).await;
            }
        }
        natively.push(cpu() - before);
    }
    let (sandbox, native) = (median(in_sandbox), median(natively));
    println!("collect of 1000 points into the WAL, CPU time, median of {ROUNDS} rounds");
    println!("  through the sandbox  {:>8.1} us", sandbox.as_secs_f64() * 1e6);
    println!("  the same code native {:>8.1} us", native.as_secs_f64() * 1e6);
    let ratio = sandbox.as_secs_f64() / native.as_secs_f64();
    println!("  ratio                {ratio:>8.2}    (limit {LIMIT})");

    println!("a usual host, once a second: crossing, sandbox and WAL");
    let on_request = format!(r#"{{"processes": {{"top": {PROCESSES}}}, "services": ["nginx.service"]}}"#);
    for (processes, config, limit) in [(0, "{}", LIMITS[0]), (PROCESSES, &*on_request, LIMITS[1])] {
        let services = MadeUp::new(into.clone(), usual_host(processes));
        let mut host = start(services, config).await;
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let before = cpu();
            for _ in 0..COLLECTS {
                host.collect(Duration::from_secs(10)).await.unwrap();
            }
            times.push(cpu() - before);
        }
        let us = median(times).as_secs_f64() * 1e6;
        println!("  {processes:>4} processes  {us:>8.1} us = {:.3} % of a core (limit {limit} %)", us / 1e4);
    }

    println!(
        "{POINTS} points of {ATTRIBUTES} attributes a collect: from the guest's start to the record in the WAL, a point"
    );
    for (step, what, limit) in [
        ("points", "as the SDK encodes them", POINT_LIMITS[0]),
        ("typed", "as a typed batch", POINT_LIMITS[1]),
    ] {
        let services = MadeUp::new(into.clone(), BTreeMap::new());
        let last = Arc::clone(&services.last);
        let config = format!(r#"{{"steps": [{{"{step}": [{POINTS}, {ATTRIBUTES}]}}]}}"#);
        let mut guest = instance(&reach, services, &config).await;
        let (mut times, mut alone) = (Vec::new(), Vec::new());
        let mut zstd = zstd::bulk::Compressor::new(1).unwrap();
        let mut frame = Vec::new();
        for _ in 0..ROUNDS {
            let before = cpu();
            for _ in 0..COLLECTS {
                guest.collect(Duration::from_secs(10)).await.unwrap();
            }
            times.push(cpu() - before);
            let request = last.lock().unwrap();
            frame.reserve(2 * request.len());
            let before = cpu();
            for _ in 0..COLLECTS {
                zstd.compress_to_buffer(&request[..], &mut frame).unwrap();
            }
            alone.push(cpu() - before);
        }
        let a_point = |times| median(times).as_secs_f64() * 1e9 / POINTS as f64;
        let (ns, alone) = (a_point(times), a_point(alone));
        println!(
            "  {what:24} {ns:>8.1} ns   (limit {limit}); compressing it alone {alone:.1} ns: {:.2}x",
            ns / alone
        );
    }
    wal.close().unwrap();
}
