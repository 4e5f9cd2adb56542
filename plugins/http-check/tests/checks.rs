//! What is told of answers good and bad, with a network of the test's own.

#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach the helpers of tests.

use std::collections::BTreeMap;
use std::time::Duration;

use whimbrel_collector_http_check::HttpCheck;
use whimbrel_sdk::certificates::{Certificate, Flaw};
use whimbrel_sdk::http::Error as HttpError;
use whimbrel_sdk::testing::http::Reply;
use whimbrel_sdk::testing::{Host, Kind, Point, PointValue, Running};
use whimbrel_sdk::{Described as _, Error};

/// 2026-01-01, the time of the test's host.
const NOW: i64 = 1_767_225_600;

fn start(host: Host) -> Running<HttpCheck> {
    host.start().unwrap()
}

fn points(run: &mut Running<HttpCheck>) -> Vec<Point> {
    run.collect().unwrap().iter().flat_map(|push| push.points()).collect()
}

/// The values of one metric, by the URL and another attribute.
fn values(points: &[Point], metric: &str, by: &str) -> BTreeMap<(String, String), i64> {
    let value = |point: &Point| match point.value {
        PointValue::Int(value) => value,
        ref other => panic!("{metric}: {other:?}"),
    };
    let text = |point: &Point, key: &str| point.attributes.text(key).unwrap_or_default().to_owned();
    points
        .iter()
        .filter(|point| point.metric.name == metric)
        .map(|point| ((text(point, "http.url"), text(point, by)), value(point)))
        .collect()
}

fn one(points: &[Point], metric: &str) -> i64 {
    let found = values(points, metric, "");
    assert_eq!(found.len(), 1, "{metric}: {found:?}");
    *found.values().next().unwrap()
}

#[test]
fn a_good_answer_is_up_with_its_class_and_its_time() {
    let host = Host::new()
        .config(r#"{"targets": [{"url": "http://a/health", "attributes": {"team": "web"}}]}"#)
        .http("http://a/health", Reply::new(200, "well").after(Duration::from_millis(31)));
    let points = points(&mut start(host));
    assert_eq!((one(&points, "httpcheck.up"), one(&points, "httpcheck.duration")), (1, 31));
    assert_eq!(one(&points, "httpcheck.response.size"), 4);
    let classes = values(&points, "httpcheck.status", "http.status_class");
    let set: Vec<_> = classes.iter().map(|((_, class), value)| (class.as_str(), *value)).collect();
    assert_eq!(set, [("1xx", 0), ("2xx", 1), ("3xx", 0), ("4xx", 0), ("5xx", 0)]);
    assert!(values(&points, "httpcheck.error", "").is_empty());
    for point in &points {
        assert_eq!(point.attributes.text("team"), Some("web"), "{point:?}");
    }
    let status = points.iter().find(|point| point.metric.name == "httpcheck.status").unwrap();
    assert!(matches!(status.metric.kind, Kind::Sum { monotonic: false, .. }), "as the Collector has it");
}

#[test]
fn one_that_does_not_answer_is_told_and_spoils_no_other() {
    let host = Host::new()
        .config(r#"{"targets": [{"url": "http://a/"}, {"url": "http://b/"}, {"url": "http://c/"}]}"#)
        .http("http://a/", Reply::new(503, ""))
        .http("http://b/", Reply::error(HttpError::Connect("http://b takes no connections".to_owned())));
    let mut run = start(host);
    let found = points(&mut run);
    let up = values(&found, "httpcheck.up", "");
    assert_eq!(up.values().copied().collect::<Vec<_>>(), [0, 0, 0]);
    let errors = values(&found, "httpcheck.error", "error.type");
    let kinds: Vec<_> = errors.keys().map(|(url, kind)| (url.as_str(), kind.as_str())).collect();
    assert_eq!(kinds, [("http://b/", "connect"), ("http://c/", "denied")]);
    let classes = values(&found, "httpcheck.status", "http.status_class");
    assert_eq!(classes[&("http://a/".to_owned(), "5xx".to_owned())], 1);
    assert_eq!(classes[&("http://b/".to_owned(), "5xx".to_owned())], 0);
    let said = |run: &Running<HttpCheck>| run.lines().len();
    assert_eq!(said(&run), 3, "{:?}", run.lines());
    points(&mut run);
    assert_eq!(said(&run), 3, "what goes on is not said again");
    run.change(|host| host.no_http("http://b/").http("http://b/", Reply::new(200, "")));
    points(&mut run);
    assert_eq!(run.lines()[3].message, "a target is well again");
}

#[test]
fn what_is_expected_of_an_answer_is_held_against_it() {
    let config = r#"{"targets": [{"url": "http://a/", "expect": {
        "status": [204, "3xx"], "body": "ok", "body_matches": "^v[0-9]+ ok$"}}]}"#;
    let of = |status: u16, body: &str| {
        let found =
            points(&mut start(Host::new().config(config).http("http://a/", Reply::new(status, body))));
        let failed = values(&found, "httpcheck.validation.failed", "validation.type");
        let passed = values(&found, "httpcheck.validation.passed", "validation.type");
        for (key, value) in &failed {
            assert_eq!(passed[key], 1 - value);
        }
        let failed: Vec<String> =
            failed.into_iter().filter(|(_, value)| *value == 1).map(|((_, what), _)| what).collect();
        (one(&found, "httpcheck.up"), failed)
    };
    assert_eq!(of(204, "v12 ok"), (1, vec![]));
    assert_eq!(of(301, "v12 ok"), (1, vec![]));
    assert_eq!(of(200, "v12 ok"), (0, vec!["status".to_owned()]));
    assert_eq!(of(204, "v ok"), (0, vec!["regex".to_owned()]));
    assert_eq!(of(204, "v12"), (0, vec!["contains".to_owned(), "regex".to_owned()]));
}

#[test]
fn methods_headers_and_secrets_are_sent() {
    let config = r#"{"targets": [{"url": "http://a/", "method": "POST", "body": "{}", "bearer": "token",
        "headers": {"content-type": "application/json", "x-key": {"secret": "key", "prefix": "k "}}}]}"#;
    let host = Host::new().config(config).http("http://a/", Reply::new(200, ""));
    let error = host.clone().start::<HttpCheck>().unwrap_err();
    assert!(error.is_denied(), "{error}");
    let mut run = start(host.secret("token", "t0").secret("key", "k0"));
    points(&mut run);
    let request = &run.requests()[0];
    assert_eq!(request.method(), "POST");
    assert_eq!(request.headers().get("authorization"), Some("Bearer t0"));
    assert_eq!(request.headers().get("x-key"), Some("k k0"));
    assert_eq!(
        request.headers().get("user-agent"),
        Some(concat!("whimbrel-http-check/", env!("CARGO_PKG_VERSION")))
    );
}

fn certificate(not_after: i64, flaws: &[Flaw]) -> Certificate {
    Certificate {
        subject: "CN=www.example.com, O=Example".to_owned(),
        issuer: "CN=An Authority".to_owned(),
        serial: "01".to_owned(),
        names: vec!["www.example.com".to_owned(), "example.com".to_owned()],
        not_before: NOW - 1000,
        not_after,
        fingerprint: vec![0; 32],
        flaws: flaws.iter().map(|flaw| (*flaw, "words".to_owned())).collect(),
    }
}

const SECURE: &str =
    r#"{"targets": [{"url": "https://a/x"}, {"url": "https://a/y"}], "certificate_interval": "1h"}"#;

#[test]
fn what_is_left_of_a_certificate_is_told_between_two_looks() {
    let host = Host::new()
        .config(SECURE)
        .http("https://a/x", Reply::new(200, ""))
        .http("https://a/y", Reply::new(200, ""))
        .certificate("https://a", Ok(certificate(NOW + 5, &[])));
    let mut run = start(host);
    let found = points(&mut run);
    let left = values(&found, "httpcheck.tls.cert_remaining", "http.tls.cn");
    assert_eq!(left[&("https://a/x".to_owned(), "www.example.com".to_owned())], 5);
    assert_eq!(left.len(), 2, "both targets of the origin");
    assert!(values(&found, "httpcheck.tls.cert_flaw", "http.tls.flaw").values().all(|value| *value == 0));

    run.advance(Duration::from_secs(10));
    let found = points(&mut run);
    assert!(values(&found, "httpcheck.tls.cert_remaining", "").values().all(|left| *left == -5));
    let flaws = values(&found, "httpcheck.tls.cert_flaw", "http.tls.flaw");
    let has: Vec<_> =
        flaws.iter().filter(|(_, value)| **value == 1).map(|((_, flaw), _)| flaw.as_str()).collect();
    assert_eq!(has, ["expired", "expired"]);
}

#[test]
fn a_certificate_that_begins_to_be_refused_is_looked_at_at_once() {
    let refused = HttpError::Certificate("the certificate of https://a is not trusted".to_owned());
    let host = Host::new()
        .config(SECURE)
        .http("https://a/x", Reply::new(200, ""))
        .http("https://a/y", Reply::new(200, ""))
        .certificate("https://a", Ok(certificate(NOW + 900_000, &[])));
    let mut run = start(host);
    points(&mut run);
    run.advance(Duration::from_secs(10));
    run.change(|host| {
        host.no_http("https://a/x")
            .http("https://a/x", Reply::error(refused.clone()))
            .certificate("https://a", Ok(certificate(NOW + 900_000, &[Flaw::WrongName])))
    });
    let found = points(&mut run);
    assert_eq!(values(&found, "httpcheck.error", "error.type").len(), 1);
    let flaws = values(&found, "httpcheck.tls.cert_flaw", "http.tls.flaw");
    assert_eq!(flaws[&("https://a/x".to_owned(), "wrong_name".to_owned())], 1);
}

#[test]
fn a_certificate_that_can_not_be_had_is_said_once() {
    let host = Host::new()
        .config(SECURE)
        .http("https://a/x", Reply::new(200, ""))
        .http("https://a/y", Reply::new(200, ""))
        .certificate("https://a", Err(Error::transient("no TLS there")));
    let mut run = start(host);
    for _ in 0..3 {
        let found = points(&mut run);
        assert!(values(&found, "httpcheck.tls.cert_remaining", "").is_empty());
        run.advance(Duration::from_secs(100));
    }
    assert_eq!(run.lines().len(), 1, "{:?}", run.lines());
}

#[test]
fn mistakes_are_named() {
    for (config, said) in [
        (r#"{"targets": []}"#, "targets: 0 of them"),
        (r#"{"targets": [{"url": "example.com"}]}"#, "targets[0].url: `example.com` is not a URL"),
        (r#"{"targets": [{"url": "http://a", "method": "G T"}]}"#, "targets[0].method: `G T` can't be sent"),
        (
            r#"{"targets": [{"url": "http://a", "timeout": "5"}]}"#,
            "targets[0].timeout: `5` is not a duration",
        ),
        (r#"{"targets": [{"url": "http://a", "expect": {"status": [99]}}]}"#, "`99` is no status"),
        (r#"{"targets": [{"url": "http://a", "expect": {"status": ["6xx"]}}]}"#, "`6xx` is no status"),
        (r#"{"targets": [{"url": "http://a", "expect": {"body_matches": "("}}]}"#, "`(` is no pattern"),
        (r#"{"targets": [{"url": "http://a"}], "at_once": 13}"#, "at_once: write 1 to 12"),
        (r#"{"targets": [{"uri": "http://a"}]}"#, "unknown field `uri`"),
    ] {
        let error = Host::new().config(config).start::<HttpCheck>().unwrap_err().to_string();
        assert!(error.starts_with("configuration: ") && error.contains(said), "{config}: {error}");
    }
}

#[test]
fn the_schema_knows_every_key_of_the_configuration() {
    let schema: serde_json::Value = serde_json::from_str(HttpCheck::PLUGIN.config_schema).unwrap();
    let keys =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let known = |config: &str| {
        let error = Host::new().config(config).start::<HttpCheck>().unwrap_err().to_string();
        let expected = error.split("expected one of ").nth(1).unwrap_or_else(|| panic!("{error}")).to_owned();
        let mut known: Vec<String> =
            expected.split(", ").map(|key| key.trim_matches('`').to_owned()).collect();
        known.sort();
        known
    };
    assert_eq!(keys(&schema["properties"]), known(r#"{"targets": [], "?": 1}"#));
    let target = &schema["$defs"]["target"]["properties"];
    assert_eq!(keys(target), known(r#"{"targets": [{"?": 1}]}"#));
    let expect = known(r#"{"targets": [{"url": "http://a", "expect": {"?": 1}}]}"#);
    assert_eq!(keys(&target["expect"]["properties"]), expect);
}

#[test]
fn the_readme_names_every_metric_that_is_emitted() {
    let readme = include_str!("../README.md");
    let host = Host::new()
        .config(SECURE)
        .http("https://a/x", Reply::new(200, ""))
        .certificate("https://a", Ok(certificate(NOW, &[])));
    let found = points(&mut start(host));
    let mut names: Vec<&str> = found.iter().map(|point| point.metric.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 9, "{names:?}");
    for point in &found {
        let line = readme.lines().find(|line| line.starts_with(&format!("| `{}` ", point.metric.name)));
        let line = line.unwrap_or_else(|| panic!("{} is not in the README", point.metric.name));
        assert!(line.contains(&format!("| `{}` |", point.metric.unit)), "the unit of {line}");
    }
}
