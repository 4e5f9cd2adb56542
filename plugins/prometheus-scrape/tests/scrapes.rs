//! What is asked, what becomes of the answers, and what is kept, with a network of the test's own.

#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach the helpers of tests.

use std::io::Write as _;
use std::time::Duration;

use whimbrel_collector_prometheus_scrape::Scrape;
use whimbrel_sdk::http::Error as HttpError;
use whimbrel_sdk::testing::http::Reply;
use whimbrel_sdk::testing::{Host, Kind, Point, PointValue, Running};
use whimbrel_sdk::{Described as _, Error};

const URL: &str = "http://node:9100/metrics";
const ONE: &str = r#"{"targets": [{"url": "http://node:9100/metrics"}]}"#;
const TEXT: &str = "# TYPE jobs_total counter\n# HELP jobs_total Jobs done.\njobs_total{q=\"a\"} 5\n\
                    # TYPE load gauge\nload 0.5\n";

fn start(host: Host) -> Running<Scrape> {
    host.start().unwrap()
}

fn text(body: impl Into<Vec<u8>>) -> Reply {
    Reply::new(200, body).header("content-type", "text/plain; version=0.0.4; charset=utf-8")
}

fn points(run: &mut Running<Scrape>) -> Vec<Point> {
    let pushes = run.collect().unwrap();
    pushes.iter().filter(|push| !push.bytes.is_empty()).flat_map(|push| push.points()).collect()
}

fn find<'a>(points: &'a [Point], name: &str) -> &'a Point {
    let found: Vec<_> = points.iter().filter(|point| point.metric.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {points:#?}");
    found[0]
}

fn number(points: &[Point], name: &str) -> f64 {
    match find(points, name).value {
        PointValue::Int(value) => value as f64,
        PointValue::Double(value) => value,
        ref other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_text_becomes_metrics_of_the_targets_resource() {
    let config = r#"{"job": "node", "targets": [
        {"url": "http://node:9100/metrics", "labels": {"zone": "b", "server.address": "n7"}}]}"#;
    let mut run = start(Host::new().config(config).http(URL, text(TEXT).after(Duration::from_millis(40))));
    let found = points(&mut run);
    let jobs = find(&found, "jobs_total");
    assert!(matches!(jobs.metric.kind, Kind::Sum { monotonic: true, .. }), "{jobs:?}");
    assert_eq!((jobs.metric.description.as_str(), jobs.attributes.text("q")), ("Jobs done.", Some("a")));
    let resource = &jobs.source.resource;
    for (key, value) in [
        ("service.name", "node"),
        ("service.instance.id", "node:9100"),
        ("server.address", "n7"),
        ("zone", "b"),
    ] {
        assert_eq!(resource.text(key), Some(value), "{resource:?}");
    }
    assert_eq!(jobs.source.scope_name, "prometheus-scrape");
    assert_eq!(number(&found, "load"), 0.5);
    let told =
        ["up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling"];
    assert_eq!(told.map(|name| number(&found, name)), [1.0, 0.04, 2.0, 2.0]);
    assert_eq!(find(&found, "up").source.resource.text("service.instance.id"), Some("node:9100"));
}

#[test]
fn targets_of_one_exporter_are_told_apart_by_path_or_label() {
    let config = r#"{"targets": [{"url": "http://a:1/metrics"}, {"url": "http://a:1/more"},
        {"url": "http://a:1/more?of=x", "labels": {"of": "x"}}]}"#;
    let mut host = Host::new().config(config);
    for target in ["http://a:1/metrics", "http://a:1/more", "http://a:1/more?of=x"] {
        host = host.http(target, text("load 1\n"));
    }
    let found = points(&mut start(host));
    let loads = found.iter().filter(|point| point.metric.name == "load");
    let mut told: Vec<_> = loads
        .map(|point| (point.source.resource.text("url.path"), point.source.resource.text("of")))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [(None, None), (Some("/more"), None), (Some("/more"), Some("x"))]);
}

#[test]
fn it_asks_as_prometheus_does() {
    let config = r#"{"targets": [
        {"url": "http://node:9100/metrics", "timeout": "2500ms"},
        {"url": "https://b/metrics", "bearer": "own", "headers": {"X-A": "own"}}],
        "bearer": "all", "headers": {"x-a": "all", "x-b": {"secret": "all", "prefix": "k "}}}"#;
    let host = Host::new().config(config).secret("all", "s0").secret("own", "s1");
    let mut run = start(host.http(URL, text("")).http("https://b/metrics", text("")));
    run.collect().unwrap();
    let sent = |url: &str, name: &str| {
        let request = run.requests().iter().find(|request| request.url() == url).unwrap();
        request.headers().get(name).map(str::to_owned)
    };
    assert!(sent(URL, "accept").unwrap().starts_with("application/openmetrics-text;version=1.0.0;q=0.5,"));
    assert_eq!(sent(URL, "accept-encoding").as_deref(), Some("gzip"));
    assert_eq!(sent(URL, "x-prometheus-scrape-timeout-seconds").as_deref(), Some("2.5"));
    assert_eq!(sent(URL, "authorization").as_deref(), Some("Bearer s0"));
    assert_eq!(sent(URL, "x-b").as_deref(), Some("k s0"));
    assert_eq!(sent("https://b/metrics", "authorization").as_deref(), Some("Bearer s1"));
    assert_eq!(sent("https://b/metrics", "x-a").as_deref(), Some("own"));
}

#[test]
fn one_target_that_fails_spoils_no_other() {
    let config = r#"{"max_body": "1KiB", "max_samples": 3, "targets": [
        {"url": "http://good/m"}, {"url": "http://down/m"}, {"url": "http://status/m"}, {"url": "http://html/m"},
        {"url": "http://broken/m"}, {"url": "http://large/m"}, {"url": "http://many/m"}, {"url": "http://slow/m"},
        {"url": "http://denied/m"}, {"url": "http://cut/m"}]}"#;
    let eof = Reply::new(200, "# TYPE a gauge\na 1\n").header("content-type", "application/openmetrics-text");
    let host = Host::new()
        .config(config)
        .http("http://good/m", text(TEXT))
        .http(
            "http://down/m",
            Reply::error(HttpError::Connect("http://down takes no connections".to_owned())),
        )
        .http("http://status/m", Reply::new(404, "not here"))
        .http("http://html/m", Reply::new(200, "<html>").header("content-type", "text/html"))
        .http("http://broken/m", text("a 1\nb 2\nc =\n"))
        .http("http://large/m", text(vec![b'#'; 2000]))
        .http("http://many/m", text("a 1\nb 1\nc 1\nd 1\n"))
        .http("http://cut/m", eof)
        .http("http://slow/m", text("a 1\n").after(Duration::from_secs(60)));
    let mut run = start(host);
    let found = points(&mut run);
    let up: Vec<_> = found
        .iter()
        .filter(|point| point.metric.name == "up")
        .map(|point| (point.source.resource.text("server.address").unwrap().to_owned(), point.value.clone()))
        .collect();
    assert_eq!(up.len(), 10);
    for (name, value) in up {
        assert_eq!(value, PointValue::Int(i64::from(name == "good")), "{name}");
    }
    assert_eq!(number(&found, "load"), 0.5);
    let own = found.iter().filter(|point| !point.metric.name.contains("scrape") && point.metric.name != "up");
    assert_eq!(own.count(), 2, "nothing of those that failed: {found:#?}");
    let lines: Vec<_> = run.lines().iter().map(|line| line.message.clone()).collect();
    for said in [
        "takes no connections",
        "it answered 404",
        "`text/html`",
        "line 3",
        "larger than 1024 bytes",
        "more than 3 samples",
        "within",
        "grants: {http: [\"http://denied\"]}",
        "# EOF",
    ] {
        let found = lines.iter().filter(|line| line.contains(said)).count();
        assert_eq!(found, 1, "{said}: {lines:#?}");
    }
    points(&mut run);
    assert_eq!(run.lines().len(), lines.len(), "what goes on is not said again");
}

#[test]
fn what_is_not_wanted_is_left_out_and_counted() {
    let config = r#"{"targets": [{"url": "http://node:9100/metrics"}],
        "metrics": {"include": ["jobs*", "load"], "exclude": ["l*d"]}}"#;
    let found = points(&mut start(Host::new().config(config).http(URL, text(TEXT))));
    assert!(found.iter().all(|point| point.metric.name != "load"), "{found:#?}");
    assert_eq!(number(&found, "jobs_total"), 5.0);
    assert_eq!(number(&found, "scrape_samples_scraped"), 2.0);
    assert_eq!(number(&found, "scrape_samples_post_metric_relabeling"), 1.0);
}

#[test]
fn gzip_is_read_within_its_bound() {
    let zipped = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let reply = |body: Vec<u8>| text(body).header("content-encoding", "gzip");
    let found = points(&mut start(Host::new().config(ONE).http(URL, reply(zipped(TEXT.as_bytes())))));
    assert_eq!((number(&found, "up"), number(&found, "load")), (1.0, 0.5));
    let bomb = zipped(&vec![b'\n'; 64 << 20]);
    for body in [bomb, b"no gzip".to_vec(), zipped(TEXT.as_bytes())[..20].to_vec()] {
        let mut run = start(Host::new().config(ONE).http(URL, reply(body)));
        assert_eq!(number(&points(&mut run), "up"), 0.0, "{:?}", run.lines());
    }
}

#[test]
fn since_when_a_series_counts_is_kept_over_restarts_and_begins_anew_with_a_reset() {
    let count = |value: u32| text(format!("# TYPE jobs_total counter\njobs_total {value}\n"));
    let host = Host::new().config(ONE);
    let mut run = start([5, 7, 9, 2].into_iter().fold(host, |host, value| host.http(URL, count(value))));
    let next = |run: &mut Running<Scrape>| {
        run.advance(Duration::from_secs(10));
        let found = points(run);
        let jobs = find(&found, "jobs_total");
        (jobs.start_ns, jobs.time_ns)
    };
    let first = next(&mut run);
    assert_eq!(first.0, first.1, "the specification: it starts where it is seen");
    assert_eq!(next(&mut run).0, first.0);
    let mut run = run.restart().unwrap();
    assert_eq!(next(&mut run).0, first.0, "over a restart");
    let reset = next(&mut run);
    assert_eq!(reset.0, reset.1, "it fell");
    let mut run = start(Host::new().config(ONE).checkpoint(*b"something else").http(URL, count(1)));
    next(&mut run);
    assert!(run.lines()[0].message.contains("not mine"), "{:?}", run.lines());
}

/// Names, with the attribute `q`, of the points without a value.
fn ended(points: &[Point]) -> Vec<String> {
    let ended = points.iter().filter(|point| point.value == PointValue::None);
    let mut named: Vec<_> = ended
        .map(|point| format!("{}{}", point.metric.name, point.attributes.text("q").unwrap_or_default()))
        .collect();
    named.sort();
    named
}

#[test]
fn a_series_that_is_gone_gets_one_last_point_without_a_value() {
    let jobs = "# TYPE jobs_total counter\njobs_total{q=\"a\"} 5\njobs_total{q=\"b\"} 6\nload 1\n";
    let fewer = "# TYPE jobs_total counter\njobs_total{q=\"a\"} 7\n";
    let zipped = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(jobs.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    for first in [text(jobs), text(zipped).header("content-encoding", "gzip")] {
        let host =
            [first, text(fewer), text(fewer), text(jobs), Reply::new(500, "busy"), Reply::new(500, "busy")]
                .into_iter()
                .fold(Host::new().config(ONE), |host, reply| host.http(URL, reply));
        let mut run = start(host);
        let mut next = || {
            run.advance(Duration::from_secs(10));
            points(&mut run)
        };
        let began = find(&next(), "load").time_ns;
        let found = next();
        assert_eq!(ended(&found), ["jobs_totalb", "load"]);
        let load = find(&found, "load");
        assert_eq!(load.time_ns, began + 10_000_000_000, "at the scrape that has it no more");
        assert_eq!(load.source.resource.text("service.instance.id"), Some("node:9100"));
        assert_eq!(ended(&next()), [""; 0], "once");
        assert_eq!(ended(&next()), [""; 0], "they are back");
        assert_eq!(ended(&next()), ["jobs_totala", "jobs_totalb", "load"], "the scrape failed");
        assert_eq!(ended(&next()), [""; 0], "and fails again");
    }
}

#[test]
fn nobody_is_told_of_ends_who_does_not_want_to_be_and_filtered_series_have_none() {
    let of = |config: &str| {
        let host = Host::new().config(config).http(URL, text(TEXT)).http(URL, text(""));
        let mut run = start(host);
        assert_eq!(ended(&points(&mut run)), [""; 0]);
        ended(&points(&mut run))
    };
    let with = |more: &str| format!(r#"{{"targets": [{{"url": "{URL}"}}], {more}}}"#);
    assert_eq!(of(&with(r#""stale_markers": true"#)), ["jobs_totala", "load"]);
    assert_eq!(of(&with(r#""stale_markers": false"#)), [""; 0]);
    assert_eq!(of(&with(r#""metrics": {"exclude": ["jobs*"]}"#)), ["load"]);
}

#[test]
fn an_end_that_could_not_be_told_is_told_later() {
    let host = [TEXT, "", ""].iter().fold(Host::new().config(ONE), |host, body| host.http(URL, text(*body)));
    let mut run = start(host);
    points(&mut run);
    run.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
    run.collect().unwrap_err();
    assert_eq!(ended(&points(&mut run)), ["jobs_totala", "load"]);
}

#[test]
fn a_push_that_is_refused_fails_the_collect_and_the_next_one_goes_on() {
    let mut run = start(Host::new().config(ONE).http(URL, text(TEXT)));
    run.refuse_push(Error::Unavailable("the WAL is full".to_owned()));
    assert!(run.collect().unwrap_err().is_retryable());
    assert_eq!(number(&points(&mut run), "up"), 1.0);
    assert!(run.checkpoint().is_some());
}

#[test]
fn many_points_are_pushed_in_requests_of_a_thousand() {
    let many: String = (0..2500).map(|index| format!("x{{i=\"{index}\"}} 1\n")).collect();
    let mut run = start(Host::new().config(ONE).http(URL, text(many)));
    let pushes = run.collect().unwrap();
    let sizes: Vec<usize> =
        pushes.iter().filter(|push| !push.bytes.is_empty()).map(|push| push.points().len()).collect();
    assert!(sizes.iter().all(|size| *size <= 1000), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 2500 + 4);
}

#[test]
fn whatever_bytes_come_nothing_panics() {
    // splitmix64: the same bytes each time.
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 27)
    };
    let words = [
        "a", "_total", "{", "}", "=", "\"", "\\", " ", "\n", "# TYPE", "# EOF", "NaN", "+Inf", "1e9",
        "\u{e9}", ",",
    ];
    for turn in 0..300 {
        let body: Vec<u8> = (0..next() % 200)
            .flat_map(|_| match turn % 2 {
                0 => vec![next() as u8],
                _ => words[next() as usize % words.len()].as_bytes().to_vec(),
            })
            .collect();
        let kind = ["text/plain", "application/openmetrics-text; version=1.0.0"][turn / 2 % 2];
        let reply = Reply::new(200, body).header("content-type", kind);
        points(&mut start(Host::new().config(ONE).http(URL, reply)));
    }
}

#[test]
fn mistakes_are_named() {
    for (config, said) in [
        (r#"{"targets": []}"#, "targets: 0 of them"),
        (r#"{"targets": [{"url": "node:9100"}]}"#, "targets[0].url: `node:9100` is not a URL"),
        (
            r#"{"targets": [{"url": "http://a/"}, {"url": "http://a"}]}"#,
            "targets[1].url: http://a/ stands twice",
        ),
        (
            r#"{"targets": [{"url": "http://a/probe?of=x"}, {"url": "http://a/probe?of=y"}]}"#,
            "targets[1]: nothing would tell its metrics from those of targets[0]",
        ),
        (r#"{"targets": [{"url": "http://a/"}], "metrics": {"include": ["["]}}"#, "`[` is no pattern"),
        (r#"{"targets": [{"url": "http://a/"}], "max_body": 5}"#, "max_body: invalid type"),
        (r#"{"targets": [{"url": "http://a/"}], "at_once": 0}"#, "at_once: write 1 to 12"),
        (r#"{"target": []}"#, "unknown field `target`"),
    ] {
        let error = Host::new().config(config).start::<Scrape>().unwrap_err().to_string();
        assert!(error.starts_with("configuration: ") && error.contains(said), "{config}: {error}");
    }
    let secret = r#"{"targets": [{"url": "http://a/", "bearer": "none"}]}"#;
    assert!(Host::new().config(secret).start::<Scrape>().unwrap_err().is_denied());
}

#[test]
fn the_schema_knows_every_key_of_the_configuration() {
    let schema: serde_json::Value = serde_json::from_str(Scrape::PLUGIN.config_schema).unwrap();
    let keys =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let known = |config: &str| {
        let error = Host::new().config(config).start::<Scrape>().unwrap_err().to_string();
        let expected = error.split("expected ").nth(1).unwrap_or_else(|| panic!("{error}"));
        let mut known: Vec<String> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        known.sort();
        known
    };
    assert_eq!(keys(&schema["properties"]), known(r#"{"targets": [], "?": 1}"#));
    assert_eq!(keys(&schema["$defs"]["target"]["properties"]), known(r#"{"targets": [{"?": 1}]}"#));
    let metrics = known(r#"{"targets": [], "metrics": {"?": 1}}"#);
    assert_eq!(keys(&schema["properties"]["metrics"]["properties"]), metrics);
}
