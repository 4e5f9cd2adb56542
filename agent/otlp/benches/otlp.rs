//! What the crate costs an item, with the limit beside it, and `prost` on the same data in the same run.
//!
//! `cargo bench -p whimbrel-otlp`

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use whimbrel_otlp::write::{Attributes, LogRecord, Logs, Metric, Metrics, Scope, Severity};
use whimbrel_otlp::{Resource, Signal, merge_resource, part, walk};

const POINTS: usize = 1000;
const TIME_NS: u64 = 1_767_225_600_000_000_000;

fn main() {
    if std::env::args().any(|argument| argument == "--profile") {
        return profile();
    }
    println!("{:<52} {:>9} {:>9} {:>9}", "ns an item, 1000 items a request", "measured", "limit", "prost");
    for attributes in [0, 2, 6] {
        let series = series(attributes);
        let request = metrics(&series);
        let prost = time(|| {
            black_box(
                ExportMetricsServiceRequest::decode(black_box(request.as_slice())).expect("well-formed"),
            );
        });
        let walked = time(|| {
            black_box(walk(Signal::Metrics, black_box(&request)).expect("well-formed"));
        });
        report(&format!("walk: points, {attributes} attributes"), walked, Some(4.4), Some(prost));
    }
    let request = logs();
    let prost = time(|| {
        black_box(ExportLogsServiceRequest::decode(black_box(request.as_slice())).expect("well-formed"));
    });
    let walked = time(|| {
        black_box(walk(Signal::Logs, black_box(&request)).expect("well-formed"));
    });
    report("walk: log records, 4 attributes", walked, Some(7.0), Some(prost));

    merge_and_part();

    let request = metrics(&series(6));
    let prost = time(|| {
        let decoded =
            ExportMetricsServiceRequest::decode(black_box(request.as_slice())).expect("well-formed");
        black_box(serde_json::to_string(&decoded).expect("it has a JSON form"));
    });
    let written = time(|| {
        black_box(whimbrel_otlp::to_json(Signal::Metrics, black_box(&request)).expect("well-formed"));
    });
    report("to JSON: points, 6 attributes", written, None, Some(prost));

    for attributes in [2, 6] {
        let series = series(attributes);
        let decoded = ExportMetricsServiceRequest::decode(metrics(&series).as_slice()).expect("well-formed");
        let mut request = Metrics::new();
        let built = time(|| {
            request.clear();
            write_metrics(&mut request, black_box(&series));
            black_box(request.finish());
        });
        let mut buffer = Vec::new();
        let prost = time(|| {
            // What a producer with prost does: build the structures, then encode them.
            buffer.clear();
            black_box(decoded.clone()).encode(&mut buffer).expect("a Vec grows");
            black_box(&buffer);
        });
        report(
            &format!("build: points, {attributes} attributes encoded before"),
            built,
            Some(11.0),
            Some(prost),
        );
    }
}

/// The walk is part of each; prost decodes, changes and encodes.
fn merge_and_part() {
    let request = metrics(&series(6));
    let host =
        Attributes::new().with("host.name", "sandpiper").with("host.id", "4f2c").with("service.name", "edge");
    let agent = Resource::new(&host);
    let mut out = Vec::new();
    let merged = time(|| {
        out.clear();
        black_box(
            merge_resource(Signal::Metrics, black_box(&request), &agent, &mut out).expect("well-formed"),
        );
    });
    let prost = time(|| {
        let mut request =
            ExportMetricsServiceRequest::decode(black_box(request.as_slice())).expect("well-formed");
        for resource in &mut request.resource_metrics {
            resource.resource.get_or_insert_default().dropped_attributes_count = 0;
        }
        out.clear();
        request.encode(&mut out).expect("a Vec grows");
        black_box(&out);
    });
    report("walk and merge the resource: points, 6 attributes", merged, None, Some(prost));
    let parted = time(|| {
        black_box(part(Signal::Metrics, black_box(&request), request.len() / 4).expect("well-formed"));
    });
    report("walk and part into 5: points, 6 attributes", parted, None, None);
}

/// The walk alone for a while, for a profiler.
fn profile() {
    let (points, logs) = (metrics(&series(6)), logs());
    for _ in 0..20_000 {
        black_box(walk(Signal::Metrics, black_box(&points)).expect("well-formed"));
        black_box(walk(Signal::Logs, black_box(&logs)).expect("well-formed"));
    }
}

fn series(attributes: usize) -> Vec<Attributes> {
    let keys =
        ["system.device", "disk.io.direction", "cpu.mode", "host.rack", "service.zone", "process.owner"];
    (0..POINTS)
        .map(|i| {
            keys.iter()
                .take(attributes)
                .map(|key| (key, format!("value-{}", i % 50)))
                .fold(Attributes::new(), |series, (key, value)| series.with(key, &value))
        })
        .collect()
}

fn write_metrics(request: &mut Metrics, series: &[Attributes]) {
    request.resource(&Attributes::new().with("host.name", "sandpiper").with("os.type", "linux"));
    request.scope(&Scope { name: "host", version: "0.1.0", attributes: None });
    for (i, chunk) in series.chunks(50).enumerate() {
        let name = format!("system.example.{i}");
        let mut points = request.metric(&Metric::counter(&name, "By", "Bytes of this and that."));
        for series in chunk {
            points.point(series, TIME_NS, TIME_NS + 1, 123_456_789u64);
        }
    }
}

fn metrics(series: &[Attributes]) -> Vec<u8> {
    let mut request = Metrics::new();
    write_metrics(&mut request, series);
    request.take()
}

fn logs() -> Vec<u8> {
    let mut request = Logs::new();
    request.resource(&Attributes::new().with("host.name", "sandpiper").with("os.type", "linux"));
    request.scope(&Scope { name: "journal", version: "0.1.0", attributes: None });
    let attributes = Attributes::new()
        .with("log.file.path", "/var/log/nginx/access.log")
        .with("http.request.method", "GET")
        .with("http.response.status_code", 200i64)
        .with("url.path", "/api/v1/things");
    for i in 0..POINTS {
        let body = format!(
            "10.0.0.{} - - \"GET /api/v1/things?page={i} HTTP/1.1\" 200 5124 \"-\" \"curl/8.5.0\"",
            i % 256
        );
        request.record(&LogRecord {
            time_ns: TIME_NS + i as u64,
            observed_ns: TIME_NS + i as u64,
            severity: Severity::INFO,
            body: body.as_str().into(),
            attributes: Some(&attributes),
            ..LogRecord::default()
        });
    }
    request.take()
}

/// Nanoseconds an item: the best of many rounds, so that what else runs on the machine counts less.
fn time(mut run: impl FnMut()) -> f64 {
    let until = Instant::now() + Duration::from_millis(400);
    let mut best = Duration::MAX;
    while Instant::now() < until {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
    }
    best.as_nanos() as f64 / POINTS as f64
}

fn report(what: &str, measured: f64, limit: Option<f64>, prost: Option<f64>) {
    let show = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1}"));
    println!("{what:<52} {measured:>9.1} {:>9} {:>9}", show(limit), show(prost));
}
