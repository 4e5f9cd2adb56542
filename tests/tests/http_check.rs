//! The collector `http-check` in a running agent: servers good and bad, certificates good and bad, and what is not
//! granted.

use std::{collections::BTreeMap, fs, time::Duration};

use serde_json::Value;
use whimbrel_tests::{
    agent::Home,
    server::{Authority, Page, Server},
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// The last value of each series of a metric, by the URL's path (or port) and another attribute.
fn last(stub: &Stub, metric: &str, by: &str) -> BTreeMap<(String, String), f64> {
    let found = stub.api(&format!("/api/series?name={metric}&limit=10000"));
    let mut values = BTreeMap::new();
    for series in found["series"].as_array().into_iter().flatten() {
        let text = |key: &str| series["attributes"][key].as_str().unwrap_or_default().to_owned();
        let points = series["points"].as_array().into_iter().flatten();
        let latest = points.max_by_key(|point| point["time_ns"].as_u64()).map(|point| &point["value"]);
        if let Some(value) = latest.and_then(Value::as_f64) {
            values.insert((text("name"), text(by)), value);
        }
    }
    values
}

fn with(values: &BTreeMap<(String, String), f64>, value: f64) -> Vec<(&str, &str)> {
    values.iter().filter(|(_, it)| **it == value).map(|((a, b), _)| (a.as_str(), b.as_str())).collect()
}

#[test]
fn servers_and_their_certificates_are_told_as_they_are() {
    let plain = Server::start(|asked| match asked.target.as_str() {
        "/well" => Page::new(200, "all is well"),
        "/moved" => Page::new(302, "").header("location: /well"),
        "/large" => Page::new(200, vec![b'x'; 100_000]),
        "/key" if asked.head.contains("authorization: bearer s3cret\r\n") => Page::new(200, "welcome"),
        "/key" => Page::new(401, ""),
        "/slow" => Page { after: Duration::from_secs(20), ..Page::new(200, "late") },
        _ => Page::new(503, "ill"),
    });
    let other = Server::start(|_| Page::new(200, "nobody may ask me"));
    let (trusted, unknown) = (Authority::new(), Authority::new());
    let well = |_: &_| Page::new(200, "well");
    let secure = Server::start_secure(&trusted.sign("127.0.0.1", (2020, 2100)), well);
    let expired = Server::start_secure(&trusted.sign("127.0.0.1", (2020, 2021)), well);
    let named = Server::start_secure(&trusted.sign("www.example.com", (2020, 2100)), well);
    let hidden = Server::start_secure(&trusted.sign("127.0.0.1", (2020, 2100)), well);
    let strange = Server::start_secure(&unknown.sign("127.0.0.1", (2020, 2100)), well);

    let stub = Stub::start();
    let mut targets = String::new();
    for (name, url, more) in [
        ("well", plain.url("/well"), "expect: {status: [200], body: well, body_matches: '^all .* well$'}"),
        ("other-text", plain.url("/well"), "expect: {body: ill}"),
        ("moved", plain.url("/moved"), "redirects: 1, expect: {status: [200]}"),
        ("ill", plain.url("/ill"), "method: HEAD"),
        ("large", plain.url("/large"), "max_body: 10kB"),
        ("key", plain.url("/key"), "bearer: token"),
        ("slow", plain.url("/slow"), "timeout: 200ms"),
        ("not-granted", other.url("/"), "certificate: false"),
        ("hidden", hidden.url("/"), "certificate: true"),
        ("nobody", "http://127.0.0.1:1/".to_owned(), "certificate: false"),
        ("secure", secure.url("/"), "certificate: true"),
        ("expired", expired.url("/"), "certificate: true"),
        ("named", named.url("/"), "certificate: true"),
        ("strange", strange.url("/"), "certificate: true"),
    ] {
        targets.push_str(&format!("        - {{url: \"{url}\", {more}, attributes: {{name: {name}}}}}\n"));
    }
    let granted =
        [&plain, &secure, &expired, &named, &strange].map(|server| format!("\"{}\"", server.origin()));
    let yaml = format!(
        "collectors:\n  checks:\n    plugin: builtin:http-check\n    interval: 1s\n    limits: {{deadline: 30s}}\n    \
         config:\n      targets:\n{targets}    grants: {{http: [\"http://127.0.0.1:1\", {}], secrets: [token]}}\n\
         secrets: {{token: s3cret}}\n\
         exporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\n",
        granted.join(", "),
        stub.otlp
    );
    let home = Home::new(&yaml);
    let authorities = home.path().join("authorities.pem");
    fs::write(&authorities, trusted.pem()).expect("a file");
    let home = home.with_variable("SSL_CERT_FILE", authorities.to_str().expect("text"));
    let agent = home.start_and_wait();

    let up = wait::until("all targets are told of", PATIENCE, || {
        let up = last(&stub, "httpcheck.up", "");
        if up.len() == 14 { Ok(up) } else { Err((up, home.log())) }
    });
    let good: Vec<&str> = with(&up, 1.0).into_iter().map(|(name, _)| name).collect();
    assert_eq!(good, ["key", "moved", "secure", "well"], "{}", home.log());

    let errors = wait::until("errors are told", PATIENCE, || {
        let errors = last(&stub, "httpcheck.error", "error.type");
        if errors.len() >= 8 { Ok(errors) } else { Err(errors) }
    });
    let kinds: Vec<_> = errors.keys().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("expired", "certificate"),
            ("hidden", "denied"),
            ("large", "too_large"),
            ("named", "certificate"),
            ("nobody", "connect"),
            ("not-granted", "denied"),
            ("slow", "timeout"),
            ("strange", "certificate"),
        ]
    );
    let classes = last(&stub, "httpcheck.status", "http.status_class");
    assert_eq!(classes[&("ill".to_owned(), "5xx".to_owned())], 1.0);
    let failed = last(&stub, "httpcheck.validation.failed", "validation.type");
    assert_eq!(with(&failed, 1.0), [("ill", "status"), ("other-text", "contains")]);

    // A certificate that no client takes is told of nevertheless: what is wrong with it, and what is left of its time.
    let flaws = wait::until("certificates are told of", PATIENCE, || {
        let flaws = last(&stub, "httpcheck.tls.cert_flaw", "http.tls.flaw");
        if flaws.len() == 4 * 5 { Ok(flaws) } else { Err((flaws, home.log())) }
    });
    assert_eq!(
        with(&flaws, 1.0),
        [("expired", "expired"), ("named", "wrong_name"), ("strange", "untrusted")]
    );
    let left = last(&stub, "httpcheck.tls.cert_remaining", "http.tls.cn");
    assert_eq!(left.len(), 4);
    for ((name, cn), left) in &left {
        assert_eq!(cn, "test server");
        assert_eq!(*left < 0.0, name == "expired", "{name}: {left}");
    }

    assert!(agent.terminate().success());
    let log = home.log();
    for origin in [other.origin(), hidden.origin()] {
        let told =
            log.lines().filter(|line| line.contains(&origin) && line.contains("would grant it")).count();
        assert!(told > 0, "{origin} is not told in {log}");
    }
    assert!(!log.contains("s3cret"), "{log}");
}
