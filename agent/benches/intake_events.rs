//! Small events in -> durable: messages a CPU second, and the answer's time.
//!
//! `cargo bench -p whimbrel --bench intake_events`. LDJSON over TCP and `POST /ingest`, made durable (`sync: always`,
//! AES-256-GCM, zstd at level 1). This process is the agent's path and nothing else; the load is a child process, on
//! another core where there is one. `a core` is messages for each CPU second of this process; `limit` is what it must
//! reach. Beside it, in the same run: serde_json reading the same lines into values, in one thread.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints a table")]

#[path = "intake_otlp/measure.rs"]
mod measure;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use measure::{cpu, forget_peak, peak_mib, stay_on};
use whimbrel::{
    clock::{Clock, SystemClock},
    config::{
        Address, Answer, Endpoint, IngestReceiver, LdjsonReceiver, OnFull, Receiver, ReceiverKind,
        ReceiverLimits,
    },
    receive::Receivers,
    store::Store,
};
use whimbrel_otlp::{Resource, write::Attributes};
use whimbrel_wal::{Encryption, Key, KeyRing, Options, SyncPolicy, Wal};

/// Set for the child: `KIND ADDRESS COUNT CONNECTIONS`.
const LOAD: &str = "WHIMBREL_BENCH_LOAD";
const LINES: u64 = 2_000_000;
const REQUESTS: u64 = 204_800;
/// Lines of a chunk, as a busy client would write them at once.
const CHUNK: u64 = 256;

fn main() {
    if let Ok(what) = std::env::var(LOAD) {
        let what: Vec<&str> = what.split(' ').collect();
        let (count, connections) = (what[2].parse().unwrap(), what[3].parse().unwrap());
        return load(what[0], what[1].parse().unwrap(), count, connections);
    }
    stay_on(0);
    // One core, one worker.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    println!("{:<40} {:>12} {:>10} {:>12} {:>9}", "messages", "a core", "limit", "a second", "RSS MiB");
    let before = cpu();
    let lines: Vec<String> = (0..CHUNK).map(line).collect();
    for text in lines.iter().cycle().take(500_000) {
        std::hint::black_box(serde_json::from_str::<serde_json::Value>(text).unwrap());
    }
    let parsed = 500_000.0 / (cpu() - before).as_secs_f64();
    println!("{:<40} {parsed:>12.0}", "serde_json alone, the same lines");
    let tcp = || Endpoint::at(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))));
    let ldjson = || ReceiverKind::Ldjson(LdjsonReceiver { tcp: Some(tcp()), ..LdjsonReceiver::nowhere() });
    let ingest = |answer| ReceiverKind::Ingest(IngestReceiver { answer, ..IngestReceiver::at(tcp()) });
    for (what, kind, load, count, connections, limit) in [
        ("ldjson, 4 connections", ldjson(), "lines", LINES, 4, 700_000.0),
        ("ingest, accepted, 64 connections", ingest(Answer::Accepted), "posts", REQUESTS, 64, 100_000.0),
        ("ingest, durable, 512 connections", ingest(Answer::Durable), "posts", REQUESTS, 512, 100_000.0),
    ] {
        let (spent, elapsed, _, peak) = runtime.block_on(round(kind, load, count, connections));
        let (core, second) = (count as f64 / spent.as_secs_f64(), count as f64 / elapsed.as_secs_f64());
        println!("{what:<40} {core:>12.0} {limit:>10.0} {second:>12.0} {peak:>9.1}");
    }
    let (_, _, times, _) = runtime.block_on(round(ldjson(), "paced", 250_000, 1));
    println!("ldjson at 50,000/s, from the socket to the acknowledgement: {times} (limit of p50: 5 ms)");
}

/// One run: a new WAL, a new child; over when everything is durable.
async fn round(
    kind: ReceiverKind,
    load: &str,
    count: u64,
    connections: u64,
) -> (Duration, Duration, String, f64) {
    let base = std::env::var_os("WHIMBREL_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = tempfile::tempdir_in(base).unwrap();
    let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::generate().unwrap())));
    options.sync = SyncPolicy::Always;
    let (wal, _) = Wal::open(&folder.path().join("wal"), options).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let resource = Resource::new(&Attributes::new().with("host.name", "bench"));
    let store = Store::new(wal.clone(), resource, clock.clone(), OnFull::Block, OnFull::Block);
    let limits = ReceiverLimits::of(kind.name());
    let receiver = Receiver { name: kind.name().to_owned(), kind, limits };
    let agent = BTreeMap::from([("host.name".to_owned(), "bench".to_owned())]);
    let receivers = Receivers::start(&[receiver], &store, agent, &clock).await.unwrap();
    let listening = receivers.status().remove(0).listening.remove(0);
    let address = listening.split(' ').nth(1).unwrap();
    forget_peak();
    let (before, began) = (cpu(), Instant::now());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(LOAD, format!("{load} {address} {count} {connections}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while receivers.status()[0].logs.items < count {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(began.elapsed() < Duration::from_secs(120), "{:?}", receivers.status());
    }
    let (spent, elapsed, peak) = (cpu() - before, began.elapsed(), peak_mib());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    receivers.stop().await;
    drop(store);
    wal.close().unwrap();
    (spent, elapsed, said.trim().to_owned(), peak)
}

fn line(number: u64) -> String {
    format!(
        "{{\"type\":\"event\",\"source\":\"shop\",\"name\":\"order.paid\",\"message\":\"order {number} was paid for by card\",\
         \"severity\":\"info\",\"timestamp\":{}.{:03},\"attributes\":{{\"order.id\":{number},\"till\":\"north-{}\"}}}}\n",
        1_790_000_000 + number / 1000,
        number % 1000,
        number % 7
    )
}

/// The child: sends `count` messages over so many connections.
fn load(kind: &str, to: SocketAddr, count: u64, connections: u64) {
    stay_on(1);
    match kind {
        "lines" => {
            let chunk: String = (0..CHUNK).map(line).collect();
            let threads: Vec<_> = (0..connections)
                .map(|_| {
                    let chunk = chunk.clone();
                    std::thread::spawn(move || {
                        let mut stream = TcpStream::connect(to).unwrap();
                        let mut left = count / connections;
                        while left > 0 {
                            let lines = left.min(CHUNK);
                            let end = match lines == CHUNK {
                                true => chunk.len(),
                                false => chunk.match_indices('\n').nth(lines as usize - 1).unwrap().0 + 1,
                            };
                            stream.write_all(&chunk.as_bytes()[..end]).unwrap();
                            left -= lines;
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
        "paced" => paced(to, count),
        _ => posts(to, count, connections),
    }
}

/// 50 lines each millisecond; the last of each asks for an acknowledgement.
fn paced(to: SocketAddr, count: u64) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    let answers = BufReader::new(stream.try_clone().unwrap());
    let rounds = count / 50;
    let (tell, told) = std::sync::mpsc::channel::<Instant>();
    let listener = std::thread::spawn(move || {
        let mut times: Vec<Duration> =
            answers.lines().take(rounds as usize).map(|_| told.recv().unwrap().elapsed()).collect();
        times.sort_unstable();
        times
    });
    let began = Instant::now();
    for round in 0..rounds {
        std::thread::sleep((Duration::from_millis(round)).saturating_sub(began.elapsed()));
        let mut lines: String = (0..49).map(|number| line(round * 50 + number)).collect();
        lines.push_str(&line(round * 50 + 49).replacen('{', &format!("{{\"ack\":{round},"), 1));
        tell.send(Instant::now()).unwrap();
        stream.write_all(lines.as_bytes()).unwrap();
    }
    let times = listener.join().unwrap();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
}

fn posts(to: SocketAddr, count: u64, connections: u64) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..connections {
            senders.spawn(async move {
                let body = "{\"type\":\"order.paid\",\"name\":\"order 17\",\"value\":99.5,\"tags\":{\"till\":\"north\",\"card\":\"visa\"},\
                            \"source\":\"shop\",\"timestamp\":1790000000.25}";
                let request = format!(
                    "POST /ingest HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
                let mut buffer = [0; 1024];
                let mut sent = 0;
                while sent < count / connections {
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let read = stream.read(&mut buffer).await.unwrap();
                    if buffer[..read].starts_with(b"HTTP/1.1 202") {
                        sent += 1;
                    } else {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                sent
            });
        }
        let mut sent = 0;
        while let Some(done) = senders.join_next().await {
            sent += done.unwrap();
        }
        assert!(sent <= count);
    });
}
