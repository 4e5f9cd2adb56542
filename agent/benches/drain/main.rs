//! Draining a backlog of metrics over HTTP/1.1 and gRPC: million points a second and core, with the limits beside it.
//!
//! `cargo bench -p whimbrel --bench drain`
//!
//! The source is memory, but for one line. CPU time is that of this process less that of the receiver's threads, which
//! only count bytes. `raw` is the same bytes through a blocking socket in the same run: what this machine's loopback
//! allows. `limit` is what was measured once on an idle machine of this kind with nothing but the named step. Of a
//! gRPC line, `to HTTP` is its share of the HTTP/1.1 line of the same work.
#![allow(missing_docs, clippy::print_stdout, reason = "a program that prints a table")]

mod source;

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use whimbrel::{
    clock::SystemClock,
    config::{Beginning, Compression, Exporter, Protocol, Retry, Signals, Tls},
    export::{ExporterHandle, Source, start},
    store::lane_of,
};
use whimbrel_otlp::{
    Signal,
    write::{Attributes, Metric, Metrics, Scope},
};
use whimbrel_wal::{Encryption, Key, KeyRing, NewRecord, Options, SyncPolicy, Wal, WhenFull};

use source::{Backlog, Counted, NoLetters};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:<60} {:>9} {:>9} {:>9} {:>9}", "M points/s and core", "measured", "raw", "limit", "to HTTP");
    let small = Batch::new(1000);
    let large = Batch::new(8192);
    println!("(a batch of 1000 points: {} bytes, {} as a frame)", small.length, small.frame.len());
    const JOINED: usize = 4 << 20;
    use Compression::{Gzip, None as Plain, Zstd};
    let mut over_http = std::collections::BTreeMap::new();
    let lines = [
        ("stored frame, untouched, 1000 points a request", &small, 20_000, false, false, Zstd, 1, Some(19.0)),
        (
            "stored frame, untouched, 8192 points a request",
            &large,
            20_000,
            false,
            false,
            Zstd,
            1,
            Some(425.0),
        ),
        ("stored frames joined to 4 MiB, untouched", &small, 20_000, false, true, Zstd, JOINED, Some(425.0)),
        (
            "the same out of the WAL: read, checked, decrypted",
            &small,
            5_000,
            true,
            true,
            Zstd,
            JOINED,
            Some(163.0),
        ),
        (
            "frames: single, unpacked, compressed again to 4 MiB",
            &small,
            3_000,
            false,
            false,
            Zstd,
            JOINED,
            None,
        ),
        ("unpacked, joined to 4 MiB", &small, 3_000, false, false, Plain, JOINED, Some(22.7)),
        ("unpacked, joined to 4 MiB, gzip", &small, 3_000, false, false, Gzip, JOINED, None),
    ];
    // Of gRPC those whose work is mostly sending; the first has the limit that was measured over h2.
    let http = lines.into_iter().enumerate().map(|(number, line)| (number, Protocol::HttpProtobuf, line));
    let grpc = lines[..4].iter().enumerate().map(|(number, line)| (number, Protocol::Grpc, *line));
    let of_h2 = |number: usize| (number == 0).then_some(47.0);
    let grpc = grpc.map(|(number, protocol, line)| {
        let (what, batch, records, from_wal, many, compression, max_request, _) = line;
        let limit = of_h2(number);
        (number, protocol, (what, batch, records, from_wal, many, compression, max_request, limit))
    });
    for (number, protocol, line) in http.chain(grpc) {
        let (what, batch, records, from_wal, many, compression, max_request, limit) = line;
        let receiver = match protocol {
            Protocol::HttpProtobuf => Receiver::new(many)?,
            Protocol::Grpc => Receiver::grpc(many)?,
        };
        let points = records as f64 * f64::from(batch.points);
        let dir = tempfile::tempdir()?;
        let wal = if from_wal { Some(filled(dir.path(), batch, records)?) } else { None };
        let source: Arc<dyn Source> = match wal.as_ref().and_then(|wal| wal.consumer("bench")) {
            Some(consumer) => Arc::new(consumer),
            None => Arc::new(Backlog::new(batch, records)),
        };
        let source = Arc::new(Counted { source, left: AtomicU64::new(records), empty: Notify::new() });
        let spent = drain(source, &receiver, protocol, compression, max_request)?;
        let (bytes, requests) = (receiver.bytes(), receiver.requests());
        let counter = Receiver::new(many)?;
        let raw = raw(counter.address, bytes / requests.max(1), requests)?;
        let rate = |spent: Duration| points / spent.as_secs_f64() / 1e6;
        let limit = limit.map_or("-".to_owned(), |limit| format!("{limit:.1}"));
        let what = format!("{}: {what}", if protocol == Protocol::Grpc { "gRPC" } else { "HTTP" });
        let to_http = match protocol {
            Protocol::HttpProtobuf => {
                over_http.insert(number, spent);
                "-".to_owned()
            }
            Protocol::Grpc => over_http.get(&number).map_or("-".to_owned(), |http: &Duration| {
                format!("{:.2}", http.as_secs_f64() / spent.as_secs_f64())
            }),
        };
        println!("{what:<60} {:>9.1} {:>9.1} {limit:>9} {to_http:>9}", rate(spent), rate(raw));
        if let Some(wal) = wal {
            wal.close()?;
        }
    }
    Ok(())
}

/// A WAL that holds so many batches, encrypted.
fn filled(dir: &Path, batch: &Batch, records: u64) -> Result<Wal, Box<dyn std::error::Error>> {
    let mut options = Options::new(Encryption::Aes256Gcm(KeyRing::new(Key::generate()?)));
    options.consumers = vec!["bench".into()];
    options.sync = SyncPolicy::Never;
    let (wal, _) = Wal::open(dir, options)?;
    let payload = zstd::bulk::decompress(&batch.frame, batch.length)?;
    for _ in 0..records {
        wal.append_blocking(wal.prepare(NewRecord {
            lane: lane_of(Signal::Metrics),
            source: "bench",
            label: "",
            items: batch.points,
            ingest_ns: 0,
            payload: &payload,
            checkpoint: None,
            when_full: WhenFull::DropNewest,
        })?)?;
    }
    Ok(wal)
}

/// What the exporter spends on draining the source.
fn drain(
    source: Arc<Counted>,
    receiver: &Receiver,
    protocol: Protocol,
    compression: Compression,
    max_request: usize,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let config = Exporter {
        name: "bench".to_owned(),
        endpoint: format!("http://{}", receiver.address),
        protocol,
        headers: Vec::new(),
        tls: Tls::default(),
        compression,
        timeout: Duration::from_secs(60),
        concurrency: Some(1),
        max_request,
        max_delay: Duration::ZERO,
        max_lag: None,
        max_age: None,
        from: Beginning::Oldest,
        retry: Retry {
            initial: Duration::from_millis(100),
            maximum: Duration::from_secs(1),
            give_up_after: None,
        },
        signals: Signals::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let before = process_cpu().saturating_sub(receiver.cpu());
        let exporter: ExporterHandle =
            start(&config, source.clone(), Arc::new(NoLetters), Arc::new(SystemClock))?;
        source.empty.notified().await;
        let spent = process_cpu().saturating_sub(receiver.cpu()).saturating_sub(before);
        exporter.stop().await;
        Ok(spent)
    })
}

/// The same number of requests of the same size through a blocking socket.
fn raw(address: SocketAddr, bytes: u64, requests: u64) -> io::Result<Duration> {
    let before = thread_cpu();
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n");
    let request = [head.as_bytes(), &vec![b'x'; bytes as usize]].concat();
    let mut answer = [0; ACCEPTED.len()];
    for _ in 0..requests {
        socket.write_all(&request)?;
        socket.read_exact(&mut answer)?;
    }
    Ok(thread_cpu().saturating_sub(before))
}

const ACCEPTED: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

/// As cheap a receiver as there can be: reads, counts, says yes.
struct Receiver {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    requests: AtomicU64,
    cpu_ns: AtomicU64,
}

impl Receiver {
    /// `many`: refuses the broken second frame of the probe, as a receiver that reads on does.
    fn new(many: bool) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        // Ends with the process.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A connection that breaks off ends its thread, and nothing else.
                std::thread::spawn(move || serve(socket, many, &shared).ok());
            }
        });
        Ok(Self { address, seen })
    }

    /// The same over gRPC, on hyper's server.
    fn grpc(many: bool) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Ends with the process.
        std::thread::spawn(move || runtime.block_on(serve_grpc(listener, many, shared)).ok());
        Ok(Self { address, seen })
    }

    fn bytes(&self) -> u64 {
        self.seen.bytes.load(Ordering::Relaxed)
    }

    fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    fn cpu(&self) -> Duration {
        Duration::from_nanos(self.seen.cpu_ns.load(Ordering::Relaxed))
    }
}

fn serve(mut socket: TcpStream, many: bool, seen: &Seen) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; 1 << 18];
    let mut filled = 0;
    let mut counted = 0;
    loop {
        let head = loop {
            if let Some(end) = find(&buffer[..filled], b"\r\n\r\n") {
                break end + 4;
            }
            match socket.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                read => filled += read,
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length = text
            .split("content-length:")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.trim().parse::<usize>().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut got = filled - head;
        let mut last = if got > 0 { buffer[filled - 1] } else { 0 };
        while got < length {
            let read = socket.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            got += read;
            last = buffer[read - 1];
        }
        filled = 0;
        let probe = length < 30;
        let answer = if many && probe && last == 0x0A { REFUSED } else { ACCEPTED };
        if !probe {
            seen.bytes.fetch_add(length as u64, Ordering::Relaxed);
            seen.requests.fetch_add(1, Ordering::Relaxed);
        }
        // Before answering, so that nothing is missing when the last answer arrives.
        let now = thread_cpu().as_nanos() as u64;
        seen.cpu_ns.fetch_add(now - counted, Ordering::Relaxed);
        counted = now;
        socket.write_all(answer)?;
    }
}

/// Counts and answers calls, all on one thread.
async fn serve_grpc(listener: TcpListener, many: bool, seen: Arc<Seen>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let seen = Arc::clone(&seen);
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let seen = Arc::clone(&seen);
            async move {
                let (mut body, mut length, mut last) = (request.into_body(), 0, 0);
                while let Some(frame) = body.frame().await {
                    let Ok(data) = frame?.into_data() else { continue };
                    length += data.len() as u64;
                    last = data.last().copied().unwrap_or(last);
                }
                let probe = length < 40;
                let code = if many && probe && last == 0x0A { "3" } else { "0" };
                if !probe {
                    seen.bytes.fetch_add(length, Ordering::Relaxed);
                    seen.requests.fetch_add(1, Ordering::Relaxed);
                }
                seen.cpu_ns.store(thread_cpu().as_nanos() as u64, Ordering::Relaxed);
                let answer = hyper::Response::builder().header("content-type", "application/grpc");
                let answer = answer.header("grpc-status", code).body(http_body_util::Empty::<Bytes>::new());
                Ok::<_, hyper::Error>(answer.unwrap_or_default())
            }
        });
        let server = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        // A connection that breaks off ends its task, and nothing else.
        tokio::spawn(async move {
            let _ = server.serve_connection(hyper_util::rt::TokioIo::new(socket), service).await;
        });
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A request of so many points, as it is stored.
struct Batch {
    points: u32,
    length: usize,
    frame: Bytes,
}

impl Batch {
    fn new(points: u32) -> Self {
        let mut request = Metrics::new();
        request.resource(&Attributes::default().with("host.name", "edge-7").with("os.type", "linux"));
        request.scope(&Scope { name: "whimbrel/bench", ..Scope::default() });
        let metric = Metric::counter("system.cpu.time", "s", "CPU time");
        let mut numbers = request.metric(&metric);
        for point in 0..points {
            let series = Attributes::default()
                .with("cpu.logical_number", i64::from(point))
                .with("cpu.mode", ["user", "system", "idle", "iowait"][point as usize % 4]);
            // Values as unlike each other as measured ones.
            let value = f64::from(point.wrapping_mul(2_654_435_761)) / 1000.0;
            numbers.point(&series, 1_767_225_600_000_000_000, 1_767_225_660_000_000_000, value);
        }
        let request = request.take();
        let frame = zstd::bulk::compress(&request, 1).unwrap_or_default();
        Self { points, length: request.len(), frame: frame.into() }
    }
}

fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
