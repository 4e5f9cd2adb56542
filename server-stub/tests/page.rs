//! The page: it says what arrived and that nothing did, follows, bears every name, and turns away the one too many.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, and these call the rest")]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, any_value},
    logs::v1::LogRecord,
    metrics::v1::{Gauge, Metric, NumberDataPoint, metric, number_data_point},
};
use prost::Message;
use server_stub::{Options, Stub};
use support::*;
use tokio::net::TcpStream;

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&";
/// As many as may follow.
const VIEWERS: usize = 500;

fn start() -> Stub {
    Stub::start(Options::default()).unwrap()
}

async fn page(stub: &Stub, path: &str) -> String {
    let reply = send(stub.ui_addr, request(stub.ui_addr, Method::GET, path, &[], "")).await.unwrap();
    assert_eq!(reply.status, 200, "{path}: {:?}", reply.body);
    assert!(reply.header("content-security-policy").starts_with("default-src 'none'"));
    String::from_utf8(reply.body.to_vec()).unwrap()
}

/// A browser that follows. Dropped, it goes away.
struct Viewer {
    events: Incoming,
    _sender: http1::SendRequest<Full<Bytes>>,
}

async fn follow(stub: &Stub, path: &str) -> Result<Viewer, StatusCode> {
    let stream = TcpStream::connect(stub.ui_addr).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request(stub.ui_addr, Method::GET, path, &[], "")).await.unwrap();
    match answer.status() {
        StatusCode::OK => Ok(Viewer { events: answer.into_body(), _sender: sender }),
        status => Err(status),
    }
}

impl Viewer {
    /// The next fragments; none when the stream has ended.
    async fn next(&mut self) -> Option<serde_json::Value> {
        let mut text = String::new();
        while !text.ends_with("\n\n") {
            let frame = self.events.frame().await?.unwrap();
            text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        Some(serde_json::from_str(data).unwrap())
    }

    async fn until(&mut self, id: &str, contains: &str) -> String {
        loop {
            let fragments = self.next().await.unwrap();
            match fragments[id].as_str() {
                Some(html) if html.contains(contains) => return html.to_owned(),
                _ => {}
            }
        }
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn gauge(name: &str, unit: &str, points: Vec<NumberDataPoint>) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        data: Some(metric::Data::Gauge(Gauge { data_points: points })),
        ..Default::default()
    }
}

fn point(time_unix_nano: u64, value: f64, attributes: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano,
        attributes: attributes.iter().map(|(key, value)| text(key, value)).collect(),
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    }
}

#[tokio::test]
async fn it_says_that_nothing_arrived_and_follows_what_does() {
    let stub = start();
    let empty = page(&stub, "/").await;
    assert!(empty.contains("Nothing has arrived yet."));
    assert!(empty.contains(&stub.http_addr.to_string()) && empty.contains(&stub.grpc_addr.to_string()));

    let mut viewer = follow(&stub, "/live").await.unwrap();
    viewer.until("silence", "Nothing has arrived yet.").await;
    let load = |ago: u64, value| {
        let point = point(now_ns() - ago * 1_000_000_000, value, &[]);
        metrics_of(vec![gauge("system.cpu.load_average.1m", "{thread}", vec![point])])
    };
    post_metrics(&stub, &[], &load(4, 1.0)).await;
    post_metrics(&stub, &[], &load(2, 3.0)).await;
    viewer.until("metrics", "system.cpu.load_average.1m").await;
    let full = page(&stub, "/?host=box&metric=system.cpu.load_average.1m").await;
    assert!(!full.contains("Nothing has arrived yet."));
    assert!(full.contains("Host box"));
    let mut chosen = follow(&stub, "/live?host=box&metric=system.cpu.load_average.1m").await.unwrap();
    let fragments = chosen.next().await.unwrap();
    for id in ["charts", "metric"] {
        assert_eq!(fragments[id].as_str().unwrap().matches("stroke=\"#000001\"").count(), 1, "{id}");
    }
    assert!(page(&stub, "/?host=another").await.contains("No system.cpu.load_average yet."));
}

#[tokio::test]
async fn what_senders_write_stays_text() {
    let stub = start();
    let mut request =
        metrics_of(vec![gauge(HOSTILE, HOSTILE, vec![point(now_ns(), 1.0, &[(HOSTILE, HOSTILE)])])]);
    let resource = request.resource_metrics[0].resource.as_mut().unwrap();
    resource.attributes =
        ["host.name", "service.name", "os.description", "host.arch"].map(|key| text(key, HOSTILE)).to_vec();
    post_metrics(&stub, &[], &request).await;
    let mut logs = all_logs();
    let record = LogRecord {
        severity_text: HOSTILE.to_owned(),
        event_name: HOSTILE.to_owned(),
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(HOSTILE.repeat(1000))) }),
        attributes: vec![text(HOSTILE, HOSTILE)],
        ..Default::default()
    };
    logs.resource_logs[0].scope_logs[0].log_records.push(record);
    post(&stub, "/v1/logs", PROTOBUF, &[], logs.encode_to_vec()).await.unwrap();
    let mut spans = all_spans();
    spans.resource_spans[0].scope_spans[0].spans[0].name = HOSTILE.to_owned();
    post(&stub, "/v1/traces", PROTOBUF, &[], spans.encode_to_vec()).await.unwrap();

    let encoded: String = form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    for path in ["/".to_owned(), format!("/?host={encoded}&metric={encoded}")] {
        let html = page(&stub, &path).await;
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;"), "{path}: it is shown");
        assert!(!html.contains("<script>alert") && !html.contains("<img"), "{path}");
        assert_eq!(html.matches("<script").count(), 1, "{path}: the page's own");
        assert!(!html.contains(&"alert(1)".repeat(2)) && html.len() < 100_000, "{path}: long values are cut");
    }
}

#[tokio::test]
async fn a_thousand_series_are_drawn_in_part_and_said_so() {
    let stub = start();
    let now = now_ns();
    let points = |time: u64| (0..1000).map(|n| point(time, f64::from(n), &[("n", &n.to_string())])).collect();
    for ago in [2, 1] {
        let many = gauge("many", "1", points(now - ago * 1_000_000_000));
        post_metrics(&stub, &[], &metrics_of(vec![many])).await;
    }
    let mut viewer = follow(&stub, "/live?metric=many").await.unwrap();
    let html = viewer.until("metric", "More series than can be followed").await;
    for colour in 1..=6 {
        assert_eq!(html.matches(&format!("stroke=\"#00000{colour}\"")).count(), 1, "one for each colour");
    }
}

#[tokio::test]
async fn clocks_that_are_wrong_are_borne() {
    let stub = start();
    let times = [0, 1, now_ns(), u64::MAX, i64::MAX as u64, now_ns() + 86_400_000_000_000, 2];
    for time in times {
        let odd = vec![
            point(time, 1.0, &[]),
            point(time, f64::NAN, &[("k", "nan")]),
            point(time, 1e300, &[("k", "large")]),
        ];
        post_metrics(&stub, &[], &metrics_of(vec![gauge("system.cpu.load_average.1m", "1", odd)])).await;
        page(&stub, "/?metric=system.cpu.load_average.1m").await;
    }
}

#[tokio::test]
async fn as_many_follow_as_may_and_who_goes_makes_room() {
    let stub = start();
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        viewers.push(follow(&stub, "/live").await.unwrap());
    }
    for viewer in &mut viewers {
        viewer.next().await.unwrap();
    }
    assert_eq!(follow(&stub, "/live").await.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
    page(&stub, "/").await;
    let told = &get(&stub, "/api/stats").await["page"];
    assert_eq!((&told["viewers"], &told["refused_viewers"]), (&VIEWERS.into(), &1.into()));
    viewers.truncate(VIEWERS / 2);
    let mut again = loop {
        match follow(&stub, "/live").await {
            Ok(viewer) => break viewer,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    again.next().await.unwrap();
    // A stub that stops ends the streams; nobody is left waiting.
    tokio::task::spawn_blocking(|| stub.stop()).await.unwrap();
    while again.next().await.is_some() {}
}

#[tokio::test]
async fn looks_are_bounded() {
    let stub = start();
    let mut viewers = Vec::new();
    let refused = loop {
        match follow(&stub, &format!("/live?metric=m{}", viewers.len())).await {
            Ok(viewer) => viewers.push(viewer),
            Err(status) => break status,
        }
        assert!(viewers.len() < 100);
    };
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&stub, "/api/stats").await["page"]["refused_looks"], 1);
    follow(&stub, "/live?metric=m0").await.unwrap();
}

#[tokio::test]
async fn buttons_are_for_demos_and_pages_of_others_are_kept_out() {
    let stub = start();
    let ask = |method, path: &'static str, headers: &'static [(&str, &str)]| {
        send(stub.ui_addr, request(stub.ui_addr, method, path, headers, ""))
    };
    assert_eq!(ask(Method::POST, "/demo/kill", &[]).await.unwrap().status, 404);
    assert_eq!(ask(Method::GET, "/demo/kill", &[]).await.unwrap().status, 405);
    assert_eq!(ask(Method::POST, "/", &[]).await.unwrap().status, 405);
    assert_eq!(ask(Method::GET, "/?nonsense=1", &[]).await.unwrap().status, 400);
    for path in ["/", "/live", "/page.js"] {
        let foreign = ask(Method::GET, path, &[("origin", "http://evil.example")]).await.unwrap();
        assert_eq!(foreign.status, 403, "{path}");
    }
    assert!(ask(Method::GET, "/page.css", &[]).await.unwrap().header("content-type").starts_with("text/css"));
}
