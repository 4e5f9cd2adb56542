//! OTLP logs in -> durable -> out: CPU seconds a million records, the answer's time, and memory.
//!
//! `cargo bench -p whimbrel --bench intake_otlp` (`-- --records N` for a shorter run). `WHIMBREL_BENCH_DIR` says where the
//! WAL is; default this build's own temporary folder, for `/tmp` is often memory.
//!
//! Records of 209 bytes come in through the receiver's listener, are made durable (`sync: always`, AES-256-GCM, zstd at
//! level 1) and go out by zstd. This process is the agent's path and nothing else: load and sink are a child process,
//! on another core where there is one, and the CPU time is all of this process. `ideal` is measured in the same run:
//! zstd, AES-256-GCM and CRC-32 of the same batches on the way in, and CRC and AES again on the way out, in one thread
//! that does nothing else. `limit` is what the figure must not exceed.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints a table")]

mod load;
mod measure;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::AeadInOut as _};
use measure::{cpu, forget_peak, peak_mib, stay_on};
use tokio::sync::Notify;
use whimbrel::{
    clock::{Clock, SystemClock},
    config::{
        Address, Beginning, Compression, Endpoint, Exporter, OnFull, OtlpReceiver, Protocol, Receiver,
        ReceiverKind, ReceiverLimits, Retry, Signals, Tls,
    },
    export::{DeadLetters, Plan, ReadLimit, Record, RecordId, RewindTo, Settled, Source, SourceError, start},
    receive::Receivers,
    store::Store,
};
use whimbrel_otlp::{
    Resource, Signal,
    write::{Attributes, LogRecord, Logs, Scope, Severity},
};
use whimbrel_wal::{Encryption, Key, KeyRing, Options, SyncPolicy, Wal};

const RECORD: usize = 209;
const RECORDS: u64 = 1_000_000;
/// Batches unlike each other, sent in turn.
const UNLIKE: usize = 64;
const ROUNDS: usize = 3;
/// A round that takes longer has lost something.
const LONGEST_ROUND: Duration = Duration::from_secs(300);
/// Set for the child: `PROTOCOL BATCH CONNECTIONS BATCHES RATE`, the rate in batches a second, 0 for as fast as answers
/// come.
const LOAD: &str = "WHIMBREL_BENCH_LOAD";

/// batch, connections, limit in CPU seconds a million records
const CASES: [(usize, usize, f64); 2] = [(1000, 8, 0.9), (100, 64, 1.1)];
/// Records a second for the answer's time, and its limits.
const PACE: u64 = 10_000;
const P50: Duration = Duration::from_millis(3);
const P99: Duration = Duration::from_millis(20);
const MOST_MIB: f64 = 60.0;

fn main() {
    if let Ok(what) = std::env::var(LOAD) {
        return load::load(&what);
    }
    let records = std::env::args()
        .skip_while(|argument| argument != "--records")
        .nth(1)
        .map_or(RECORDS, |count| count.parse().unwrap());
    stay_on(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>11} {:>9}",
        "CPU s a million records", "measured", "limit", "ideal", "records/s", "RSS MiB"
    );
    let ideal: Vec<f64> = CASES.iter().map(|(batch, ..)| ideal(*batch, records)).collect();
    for protocol in ["grpc", "http"] {
        for (&(batch, connections, limit), ideal) in CASES.iter().zip(&ideal) {
            let batches = records / batch as u64;
            let mut rounds: Vec<Round> = (0..ROUNDS)
                .map(|_| runtime.block_on(round(protocol, batch, connections, batches, 0)))
                .collect();
            rounds.sort_by_key(|round| round.cpu);
            let peak = rounds.iter().map(|round| round.peak_mib).fold(0.0, f64::max);
            let median = &rounds[ROUNDS / 2];
            let million = (batches * batch as u64) as f64 / 1e6;
            let what = format!("{protocol}, {batch} a batch, {connections} connections");
            println!(
                "{what:<34} {:>9.2} {limit:>9.2} {ideal:>9.2} {:>11.0} {peak:>9.1}",
                median.cpu.as_secs_f64() / million,
                million * 1e6 / median.load.elapsed.as_secs_f64(),
            );
        }
    }
    println!("(RSS: the highest of a run, limit {MOST_MIB})");
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>9}",
        "answer at 10,000 records/s, ms", "p50", "limit", "p99", "limit"
    );
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    for protocol in ["grpc", "http"] {
        let per_second = PACE / 100;
        let round =
            runtime.block_on(round(protocol, 100, 8, per_second * records.div_ceil(100_000), per_second));
        let (p50, p99) = (ms(round.load.p50), ms(round.load.p99));
        let what = format!("{protocol}, 100 a batch, 8 connections");
        println!("{what:<34} {p50:>9.2} {:>9.1} {p99:>9.2} {:>9.1}", ms(P50), ms(P99));
    }
}

struct Round {
    cpu: Duration,
    peak_mib: f64,
    load: Load,
}

/// What the child saw.
struct Load {
    elapsed: Duration,
    p50: Duration,
    p99: Duration,
}

/// All of one run: a new WAL, a new child; over when the sink has answered for everything.
async fn round(protocol: &str, batch: usize, connections: usize, batches: u64, rate: u64) -> Round {
    let base = std::env::var_os("WHIMBREL_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = tempfile::tempdir_in(base).unwrap();
    let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::generate().unwrap())));
    options.sync = SyncPolicy::Always;
    options.consumers = vec!["bench".into()];
    let (wal, _) = Wal::open(&folder.path().join("wal"), options).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let resource = Resource::new(&Attributes::new().with("host.name", "bench"));
    let store = Store::new(wal.clone(), resource, clock.clone(), OnFull::Block, OnFull::Block);
    let endpoint = || Some(Endpoint::at(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))));
    let receiver = Receiver {
        name: "otlp".to_owned(),
        kind: ReceiverKind::Otlp(OtlpReceiver { grpc: endpoint(), http: endpoint(), add_resource: false }),
        limits: ReceiverLimits::of("otlp"),
    };
    let receivers = Receivers::start(&[receiver], &store, BTreeMap::new(), &clock).await.unwrap();
    let listening = receivers.status().remove(0).listening;
    let address = listening.iter().find_map(|one| one.strip_prefix(protocol)).unwrap().trim().to_owned();

    let what = format!("{protocol} {batch} {connections} {batches} {rate}");
    let mut child = spawn_load(&what);
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let sink = said.next().unwrap();
    let consumer = wal.consumer("bench").unwrap();
    let source = Arc::new(Counted {
        source: Arc::new(consumer.clone()),
        left: AtomicU64::new(batches),
        empty: Notify::new(),
    });
    let exporter = start(&exporter(&sink), source.clone(), Arc::new(NoLetters), clock.clone()).unwrap();
    let waker = exporter.clone();
    consumer.on_visible(move || waker.wake());

    forget_peak();
    let before = cpu();
    writeln!(child.stdin.as_mut().unwrap(), "{address}").unwrap();
    tokio::time::timeout(LONGEST_ROUND, source.empty.notified()).await.unwrap();
    let spent = cpu() - before;
    let peak_mib = peak_mib();
    let numbers: Vec<u64> = said.next().unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
    let load = Load {
        elapsed: Duration::from_micros(numbers[0]),
        p50: Duration::from_micros(numbers[1]),
        p99: Duration::from_micros(numbers[2]),
    };
    let status = receivers.status().remove(0);
    assert_eq!(status.logs.items, batches * batch as u64, "{status:?}");
    exporter.stop().await;
    receivers.stop().await;
    // The end of its input is the end of the child.
    drop(child.stdin.take());
    child.wait().unwrap();
    consumer.on_visible(|| {});
    drop(store);
    wal.close().unwrap();
    Round { cpu: spent, peak_mib, load }
}

fn exporter(sink: &str) -> Exporter {
    Exporter {
        name: "bench".to_owned(),
        endpoint: format!("http://{sink}"),
        protocol: Protocol::HttpProtobuf,
        headers: Vec::new(),
        tls: Tls::default(),
        compression: Compression::Zstd,
        timeout: Duration::from_secs(60),
        concurrency: None,
        max_request: 4 << 20,
        max_delay: Duration::from_secs(1),
        max_lag: None,
        max_age: None,
        from: Beginning::Oldest,
        retry: Retry {
            initial: Duration::from_millis(100),
            maximum: Duration::from_secs(1),
            give_up_after: None,
        },
        signals: Signals::default(),
    }
}

/// What the work itself costs, CPU seconds a million records: no sockets, no files, no threads.
fn ideal(batch: usize, records: u64) -> f64 {
    let batches = requests(batch);
    let cipher = Aes256Gcm::new(&[7; 32].into());
    let nonce = [1; 12].into();
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    let mut frame = Vec::new();
    let before = cpu();
    let count = records / batch as u64;
    for request in batches.iter().cycle().take(count as usize) {
        frame.clear();
        frame.reserve(zstd::zstd_safe::compress_bound(request.len()));
        compressor.compress_to_buffer(request, &mut frame).unwrap();
        cipher.encrypt_in_place(&nonce, &[], &mut frame).unwrap();
        std::hint::black_box(crc32fast::hash(&frame));
        // And out.
        std::hint::black_box(crc32fast::hash(&frame));
        cipher.decrypt_in_place(&nonce, &[], &mut frame).unwrap();
    }
    (cpu() - before).as_secs_f64() / ((count * batch as u64) as f64 / 1e6)
}

/// Requests of so many log records, each of 209 bytes with its tag and length, as unlike each other as those of a web
/// service.
fn requests(batch: usize) -> Vec<Vec<u8>> {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let request = |_| {
        let mut logs = Logs::new();
        logs.resource(&Attributes::new().with("service.name", "shop").with("service.instance.id", "shop-7"));
        logs.scope(&Scope { name: "shop.requests", ..Scope::default() });
        for number in 0..batch {
            let random = next();
            let route = ["/orders", "/orders/{id}", "/basket", "/products/{id}"][random as usize % 4];
            let status = [200, 200, 200, 201, 304, 404, 500][(random >> 8) as usize % 7];
            let attributes = Attributes::new()
                .with("http.request.method", ["GET", "POST"][(random >> 4) as usize % 2])
                .with("http.route", route)
                .with("http.response.status_code", status);
            let body = format!("answered order {} in {} us", random % 1_000_000, (random >> 16) % 100_000);
            let mut trace_id = [0; 16];
            trace_id[..8].copy_from_slice(&next().to_le_bytes());
            trace_id[8..].copy_from_slice(&next().to_le_bytes());
            let mut record = LogRecord {
                time_ns: 1_767_225_600_000_000_000 + number as u64 * 1_000_000 + random % 1_000_000,
                severity: Severity::INFO,
                body: body.as_str().into(),
                attributes: Some(&attributes),
                trace_id: Some(trace_id),
                ..LogRecord::default()
            };
            let mut alone = Vec::new();
            whimbrel_otlp::write::append_log_record(&mut alone, &record);
            let filler = "x".repeat(RECORD.saturating_sub(alone.len()));
            let body = format!("{body}{filler}");
            record.body = body.as_str().into();
            alone.clear();
            whimbrel_otlp::write::append_log_record(&mut alone, &record);
            assert_eq!(alone.len(), RECORD);
            logs.record(&record);
        }
        logs.take()
    };
    (0..UNLIKE).map(request).collect()
}

/// Another source, and when it is empty.
struct Counted {
    source: Arc<dyn Source>,
    left: AtomicU64,
    empty: Notify,
}

impl Source for Counted {
    fn read(
        &self,
        signal: Signal,
        after: Option<RecordId>,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, SourceError> {
        self.source.read(signal, after, limit)
    }

    fn plan(&self, signal: Signal, plan: Plan) -> Result<(), SourceError> {
        self.source.plan(signal, plan)
    }

    fn plans(&self, signal: Signal) -> Result<Vec<Plan>, SourceError> {
        self.source.plans(signal)
    }

    fn read_plan(&self, signal: Signal, plan: &Plan) -> Result<Vec<Record>, SourceError> {
        self.source.read_plan(signal, plan)
    }

    fn acknowledge(&self, signal: Signal, records: &[RecordId], settled: Settled) -> Result<(), SourceError> {
        self.source.acknowledge(signal, records, settled)?;
        let before = self.left.fetch_sub(records.len() as u64, Relaxed);
        if before == records.len() as u64 {
            self.empty.notify_one();
        }
        Ok(())
    }

    fn rewind(&self, to: RewindTo) -> Result<u64, SourceError> {
        self.source.rewind(to)
    }

    fn rewound(&self, signal: Signal) -> u64 {
        self.source.rewound(signal)
    }
}

/// Nothing is refused here.
struct NoLetters;

impl DeadLetters for NoLetters {
    fn put(&self, _: &str, _: Signal, _: &Record, reason: &str) -> Result<(), SourceError> {
        Err(SourceError::new(reason))
    }
}

fn spawn_load(what: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(LOAD, what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
