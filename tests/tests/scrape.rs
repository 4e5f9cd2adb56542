//! The collector `prometheus-scrape` in a running agent: several exporters, of which some fail, and a restart.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};
use whimbrel_tests::{
    agent::Home,
    server::{Page, Server},
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// The series of a metric as the stub holds them, once there are some.
fn series(stub: &Stub, home: &Home, metric: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    wait::until(metric, PATIENCE, || {
        let found = stub.api(&format!("/api/series?name={metric}&limit=10000"));
        let all = found["series"].as_array().cloned().unwrap_or_default();
        if enough(&all) { Ok(all) } else { Err((all, home.log())) }
    })
}

fn values(series: &Value) -> Vec<f64> {
    series["points"].as_array().into_iter().flatten().filter_map(|point| point["value"].as_f64()).collect()
}

const METRICS: &str = "\
# TYPE work_seconds histogram
# UNIT work_seconds seconds
# HELP work_seconds How long work takes.
work_seconds_bucket{le=\"0.1\"} 3 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\",span_id=\"b7ad6b7169203331\"} 0.05
work_seconds_bucket{le=\"1.0\"} 5
work_seconds_bucket{le=\"+Inf\"} 6
work_seconds_sum 7.5
work_seconds_count 6
# TYPE temperature gauge
temperature{room=\"a \\\"quoted\\\" one\"} 21.5
# TYPE build info
build_info{version=\"1.2\"} 1
";

#[test]
fn exporters_are_scraped_and_counters_go_on_over_a_restart() {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let exporter = Server::start(move |asked| match asked.target.as_str() {
        "/metrics" if asked.head.contains("openmetrics-text") => {
            let done = counted.fetch_add(1, SeqCst) + 1;
            let text = format!("{METRICS}# TYPE done counter\ndone_total {done}\n# EOF\n");
            Page::new(200, text)
                .header("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
        }
        "/text" => Page::new(200, "plain_reading 4\nnot_wanted 5\n")
            .header("content-type: text/plain; version=0.0.4"),
        "/broken" => Page::new(200, "good 1\nbad {\n").header("content-type: text/plain; version=0.0.4"),
        _ => Page::new(500, ""),
    });
    let other = Server::start(|_| Page::new(200, "secret_reading 1\n").header("content-type: text/plain"));
    let stub = Stub::start();
    let yaml = format!(
        "collectors:\n  exporters:\n    plugin: builtin:prometheus-scrape\n    interval: 200ms\n    \
         limits: {{deadline: 10s}}\n    config:\n      job: test\n      metrics: {{exclude: [not_*]}}\n      targets:\n        \
         - {{url: \"{}\", labels: {{zone: b}}}}\n        - url: \"{}\"\n        - url: \"{}\"\n        - url: \"{}\"\n    \
         grants: {{http: [\"{}\"]}}\nexporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\n",
        exporter.url("/metrics"),
        exporter.url("/text"),
        exporter.url("/broken"),
        other.url("/metrics"),
        exporter.origin(),
        stub.otlp
    );
    let home = Home::new(&yaml);
    let agent = home.start_and_wait();

    let done = series(&stub, &home, "done_total", |all| all.len() == 1 && values(&all[0]).len() > 3);
    let resource = &done[0]["resource"];
    assert_eq!(resource["service.name"], "test", "{resource}");
    assert_eq!(resource["service.instance.id"], exporter.address.to_string(), "{resource}");
    assert_eq!(resource["server.port"], json!(exporter.address.port()), "{resource}");
    assert_eq!(resource["zone"], "b", "{resource}");
    let work = series(&stub, &home, "work_seconds", |all| !all.is_empty());
    assert_eq!((&work[0]["unit"], &work[0]["kind"]), (&json!("s"), &json!("histogram")), "{}", work[0]);
    let temperature = series(&stub, &home, "temperature", |all| !all.is_empty());
    assert_eq!(temperature[0]["attributes"]["room"], "a \"quoted\" one");
    series(&stub, &home, "plain_reading", |all| !all.is_empty());
    let up = series(&stub, &home, "up", |all| all.len() == 4);
    let states: Vec<bool> = up.iter().map(|one| values(one).iter().all(|value| *value == 1.0)).collect();
    assert_eq!(states.iter().filter(|good| **good).count(), 2, "{up:#?}");
    for absent in ["not_wanted", "good", "secret_reading"] {
        let found = stub.api(&format!("/api/series?name={absent}"));
        assert_eq!(found["series"], json!([]), "{absent}");
    }
    let starts = |series: &Value| -> Vec<u64> {
        let points = series["points"].as_array().cloned().unwrap_or_default();
        let mut starts: Vec<u64> = points.iter().filter_map(|point| point["start_ns"].as_u64()).collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    };
    assert_eq!(starts(&done[0]).len(), 1, "{done:#?}");

    agent.kill();
    let before = count.load(SeqCst);
    let agent = home.start_and_wait();
    let done = series(&stub, &home, "done_total", |all| {
        all.iter().flat_map(values).any(|value| value > before as f64 + 2.0)
    });
    let all: Vec<u64> = done.iter().flat_map(starts).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "one start, over kill -9: {all:?}");

    // The exporter begins anew.
    count.store(0, SeqCst);
    series(&stub, &home, "done_total", |all| {
        let mut found: Vec<u64> = all.iter().flat_map(starts).collect();
        found.sort_unstable();
        found.dedup();
        found.len() == 2
    });
    assert!(agent.terminate().success());
    let log = home.log();
    assert!(log.contains("line 2") && log.contains("would grant it"), "{log}");
}
