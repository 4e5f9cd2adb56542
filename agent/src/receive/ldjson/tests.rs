//! The receiver over real sockets: the examples of its document, acknowledgements, bad lines, bounds.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        TcpStream, UnixStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use whimbrel_otlp::Signal;

use crate::{
    clock::{SystemClock, manual::ManualClock},
    config::{Address, Endpoint, LdjsonReceiver, ReceiverKind, ReceiverLimits, Secret},
    receive::testing::{PATIENCE, Rig, examples, holds},
};

const DOCUMENT: &str = include_str!("../../../docs/ldjson.md");

fn tcp() -> Endpoint {
    Endpoint::at(Address::Tcp(([127, 0, 0, 1], 0).into()))
}

fn config() -> LdjsonReceiver {
    LdjsonReceiver { tcp: Some(tcp()), ..LdjsonReceiver::nowhere() }
}

async fn rig() -> Rig {
    Rig::start(ReceiverKind::Ldjson(config())).await
}

fn limits() -> ReceiverLimits {
    ReceiverLimits::of("ldjson")
}

struct Client {
    write: OwnedWriteHalf,
    read: Lines<BufReader<OwnedReadHalf>>,
}

impl Client {
    async fn to(rig: &Rig) -> Self {
        let (read, write) = TcpStream::connect(rig.address("tcp")).await.unwrap().into_split();
        Self { write, read: BufReader::new(read).lines() }
    }

    async fn send(&mut self, lines: impl AsRef<[u8]>) {
        self.write.write_all(lines.as_ref()).await.unwrap();
    }

    async fn say(&mut self, line: Value) {
        self.send(format!("{line}\n")).await;
    }

    /// The next answer; null at the end of the connection.
    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.read.next_line()).await.expect("an answer comes");
        match line {
            Ok(Some(line)) => serde_json::from_str(&line).unwrap(),
            _ => Value::Null,
        }
    }

    /// Sends a line that asks for an acknowledgement, and waits for it.
    async fn flush(&mut self) {
        self.say(json!({"type": "event", "name": "flush", "ack": 99})).await;
        assert_eq!(self.hear().await, json!({"type": "ack", "ack": 99}));
    }
}

fn event(number: usize) -> String {
    format!("{{\"type\":\"event\",\"name\":\"e\",\"attributes\":{{\"n\":{number}}}}}\n")
}

/// All log records, without what encloses them.
fn records(rig: &Rig) -> Vec<Value> {
    let mut all = Vec::new();
    for request in rig.json(Signal::Logs) {
        for resource in request["resourceLogs"].as_array().unwrap() {
            all.extend(resource["scopeLogs"][0]["logRecords"].as_array().unwrap().clone());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_document_become_what_it_says() {
    let examples = examples(DOCUMENT);
    assert!(examples.len() >= 9, "{}", examples.len());
    for (line, expected) in examples {
        let rig = rig().await;
        let mut client = Client::to(&rig).await;
        let asking = line.replacen('{', "{\"ack\":1,", 1);
        client.send(format!("{asking}\n")).await;
        let mut answer = client.hear().await;
        if answer["type"] == "hello" {
            answer = client.hear().await;
        }
        assert_eq!(answer, json!({"type": "ack", "ack": 1}), "{line}");
        let Some(expected) = expected else { continue };
        let all = rig.all();
        assert!(all.iter().any(|stored| holds(stored, &expected)), "{line} became {all:#?}");
        let resource = json!({"key": "host.name", "value": {"stringValue": "test-host"}});
        assert!(all.iter().all(|stored| stored.to_string().contains(&resource.to_string())), "{all:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_covers_every_line_before_it() {
    let rig = rig().await;
    let mut client = Client::to(&rig).await;
    for round in 0..5u64 {
        for number in 0..200 {
            client.send(event(number)).await;
            client.say(json!({"type": "metric", "name": "m", "value": number})).await;
        }
        client.say(json!({"type": "heartbeat", "ack": round})).await;
        assert_eq!(client.hear().await, json!({"type": "ack", "ack": round}));
        let durable = |signal| rig.stored(signal).iter().map(|record| u64::from(record.items)).sum::<u64>();
        assert_eq!(durable(Signal::Logs), 200 * (round + 1));
        assert_eq!(durable(Signal::Metrics), 201 * (round + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_events_of_many_connections_share_records() {
    let rig = rig().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::to(&rig).await);
    }
    for number in 0..50 {
        for client in &mut clients {
            client.send(event(number)).await;
        }
    }
    let records = rig.wait_for(Signal::Logs, |items| items == 1000).await;
    assert!(records.len() < 500, "{} records for 1000 events", records.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_told_and_counted_and_the_connection_goes_on() {
    let rig = rig().await;
    let mut client = Client::to(&rig).await;
    let ids = r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7""#;
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (b"hello".to_vec(), "bad_json", "expected"),
        (b"{".to_vec(), "bad_json", "EOF"),
        (b"[1,2]".to_vec(), "bad_value", "invalid"),
        (br#"{"name":"x"}"#.to_vec(), "bad_value", "missing field `type`"),
        (br#"{"type":"evnt"}"#.to_vec(), "bad_type", "type must be event"),
        (br#"{"type":"event","type":"event","name":"x"}"#.to_vec(), "bad_value", "duplicate field `type`"),
        (
            br#"{"type":"event","name":"x","attributes":{"a":1,"a":2}}"#.to_vec(),
            "bad_value",
            "\"a\" stands twice",
        ),
        (br#"{"type":"event"}"#.to_vec(), "missing", "an event needs `name`"),
        (br#"{"type":"event","name":"x","severity":"loud"}"#.to_vec(), "bad_value", "severity must be"),
        (br#"{"type":"event","name":"x","timestamp":-5}"#.to_vec(), "bad_value", "before 1970"),
        (
            br#"{"type":"event","name":"x","timestamp":1790000000000}"#.to_vec(),
            "bad_value",
            "seconds, not milliseconds",
        ),
        (br#"{"type":"event","name":"x","trace_id":"12"}"#.to_vec(), "bad_value", "trace_id must be 32"),
        (b"{\"type\":\"event\",\"name\":\"\xff\"}".to_vec(), "bad_utf8", "byte 24"),
        (br#"{"type":"metric","name":"x","value":NaN}"#.to_vec(), "bad_json", "JSON has no NaN"),
        (br#"{"type":"metric","name":"x"}"#.to_vec(), "missing", "`value`"),
        (br#"{"type":"metric","name":"x","value":"7"}"#.to_vec(), "bad_value", "a number is due"),
        (br#"{"type":"metric","name":"x","value":-1,"kind":"counter"}"#.to_vec(), "bad_value", "only grows"),
        (br#"{"type":"span","name":"x","start":1,"end":2}"#.to_vec(), "missing", "`trace_id`"),
        (
            format!(r#"{{"type":"span","name":"x",{ids},"start":2,"end":1}}"#).into_bytes(),
            "bad_value",
            "ends before",
        ),
    ];
    for (number, (line, code, message)) in cases.iter().enumerate() {
        client.send([line, &b"\n"[..]].concat()).await;
        let told = client.hear().await;
        assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!(code)), "{told}");
        assert_eq!(told["line"], number + 1);
        assert!(told["message"].as_str().unwrap().contains(message), "{told}");
    }
    client.flush().await;
    assert_eq!(records(&rig).len(), 1, "only the last line");
    let refused = rig.status().refused;
    assert_eq!(refused.values().sum::<u64>(), cases.len() as u64, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_that_asks_for_an_acknowledgement_is_told_with_its_number() {
    let rig = rig().await;
    let mut client = Client::to(&rig).await;
    for line in [r#"{"type":"event","ack":5}"#, r#"{"type":"event","name":7,"ack":5}"#] {
        client.send(format!("{line}\n")).await;
        let told = client.hear().await;
        assert_eq!((&told["type"], &told["ack"]), (&json!("error"), &json!(5)), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_lines_is_counted_and_not_all_told() {
    let rig = rig().await;
    let mut client = Client::to(&rig).await;
    client.send("x\n".repeat(5000)).await;
    let status = rig.wait_for_status(|status| status.refused.get("bad_json") == Some(&5000)).await;
    assert_eq!(status.refused.len(), 1);
    client.say(json!({"type": "event", "name": "last", "ack": 1})).await;
    let mut told = 0;
    while client.hear().await["type"] == "error" {
        told += 1;
    }
    assert!((1..200).contains(&told), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_is_passed_over() {
    let rig = rig().await;
    let mut client = Client::to(&rig).await;
    let line = |length: usize| {
        let empty = json!({"type": "event", "name": "long", "message": ""}).to_string();
        empty.replace("\"message\":\"\"", &format!("\"message\":\"{}\"", "x".repeat(length - empty.len())))
            + "\n"
    };
    client.send(line(65_536)).await;
    client.send(line(65_537)).await;
    let told = client.hear().await;
    assert_eq!((&told["code"], &told["line"]), (&json!("too_long"), &json!(2)), "{told}");
    client.send(vec![b'y'; 3 << 20]).await;
    assert_eq!(client.hear().await["code"], "too_long");
    client.send("\n").await;
    client.flush().await;
    assert_eq!(records(&rig).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_line_at_the_end_is_taken_if_it_can_be_read_and_counted_if_not() {
    let rig = rig().await;
    for half in [r#"{"type":"event","name":"whole"}"#, r#"{"type":"event","na"#] {
        let mut client = Client::to(&rig).await;
        client.send(half).await;
        client.write.shutdown().await.unwrap();
    }
    rig.wait_for(Signal::Logs, |items| items == 1).await;
    rig.wait_for_status(|status| status.refused.get("bad_json") == Some(&1)).await;
    rig.wait_for_status(|status| status.connections.open == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_holds_for_its_source_on_its_connection() {
    let rig = rig().await;
    let mut client = Client::to(&rig).await;
    client.say(json!({"type": "resource", "source": "a", "attributes": {"service.version": "2", "host.name": "else"}})).await;
    client.say(json!({"type": "event", "name": "of a"})).await;
    client.say(json!({"type": "event", "source": "b", "name": "of b"})).await;
    client.flush().await;
    let requests = rig.json(Signal::Logs);
    let resources: Vec<&Value> =
        requests.iter().flat_map(|r| r["resourceLogs"].as_array().unwrap()).collect();
    let of =
        |name: &str| resources.iter().find(|r| r.to_string().contains(name)).unwrap()["resource"].to_string();
    assert!(of("of a").contains("service.version") && of("of a").contains("else"), "{}", of("of a"));
    assert!(!of("of a").contains("test-host") && of("of b").contains("test-host"));
    assert!(!of("of b").contains("service.version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_in_two_halves_is_one_and_its_start_is_durable_before_its_end() {
    let rig = rig().await;
    let (mut one, mut other) = (Client::to(&rig).await, Client::to(&rig).await);
    let ids = json!({"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"});
    let with = |more: Value| {
        let mut line = ids.clone();
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    one.say(with(json!({"type": "span", "phase": "start", "name": "night", "kind": "server", "start": 5, "attributes": {"a": 1}, "ack": 1}))).await;
    assert_eq!(one.hear().await["ack"], 1);
    assert_eq!(records(&rig)[0]["eventName"], "span.start");
    other.say(with(json!({"type": "span", "phase": "end", "end": 8.5, "status": "ok", "attributes": {"b": 2}, "ack": 2}))).await;
    assert_eq!(other.hear().await["ack"], 2);
    let traces = rig.json(Signal::Traces);
    let span = &traces[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    let expected = json!({"name": "night", "kind": 2, "startTimeUnixNano": "5000000000", "endTimeUnixNano": "8500000000",
        "status": {"code": 1}, "attributes": [{"key": "a"}, {"key": "b"}]});
    assert!(holds(span, &expected), "{span:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_after_heartbeats_is_reported_and_so_is_the_return() {
    let clock = ManualClock::new();
    let rig = Rig::over(ReceiverKind::Ldjson(config()), limits(), 16 << 20, clock.clone()).await;
    let mut client = Client::to(&rig).await;
    client.say(json!({"type": "heartbeat", "source": "backup", "interval": 10, "ack": 1})).await;
    assert_eq!(client.hear().await["ack"], 1);
    let advance = |seconds: u64| {
        let clock = clock.clone();
        async move {
            for _ in 0..seconds {
                clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    };
    advance(29).await;
    assert!(rig.status().silent.is_empty());
    advance(5).await;
    rig.wait_for_status(|status| status.silent == ["backup"]).await;
    rig.wait_for(Signal::Logs, |items| items == 1).await;
    assert_eq!(
        (&records(&rig)[0]["eventName"], &records(&rig)[0]["severityNumber"]),
        (&json!("source.silent"), &json!(13))
    );
    client.say(json!({"type": "heartbeat", "source": "backup", "interval": 10, "ack": 2})).await;
    assert_eq!(client.hear().await["ack"], 2);
    assert_eq!(records(&rig)[1]["eventName"], "source.returned");
    advance(2).await;
    rig.wait_for_status(|status| status.silent.is_empty()).await;
    let ups = rig.json(Signal::Metrics);
    let text = serde_json::to_string(&ups).unwrap();
    assert!(text.contains(r#""asInt":"0""#) && text.contains(r#""asInt":"1""#), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_token_is_wanted_the_first_line_must_show_it() {
    let mut endpoint = tcp();
    endpoint.token = Some(Secret::new("0123456789abcdef".to_owned()));
    let rig = Rig::start(ReceiverKind::Ldjson(LdjsonReceiver { tcp: Some(endpoint), ..config() })).await;
    for first in
        [r#"{"type":"event","name":"x"}"#, r#"{"type":"hello","token":"0123456789abcdeX"}"#, "nonsense"]
    {
        let mut client = Client::to(&rig).await;
        client.send(format!("{first}\n{first}\n")).await;
        assert_eq!(client.hear().await["type"], "bye", "{first}");
        assert_eq!(client.hear().await, Value::Null);
    }
    let mut client = Client::to(&rig).await;
    client.say(json!({"type": "hello", "version": 1, "token": "0123456789abcdef"})).await;
    assert_eq!(client.hear().await["type"], "hello");
    client.flush().await;
    assert_eq!(rig.status().refused["unauthenticated"], 3);
    assert_eq!(records(&rig).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_never_ends_closes_its_connection() {
    let limits = ReceiverLimits { request_time: Duration::from_millis(200), ..limits() };
    let rig = Rig::with(ReceiverKind::Ldjson(config()), limits).await;
    let mut client = Client::to(&rig).await;
    client.flush().await;
    client.send("{\"type\":\"ev").await;
    assert_eq!(client.hear().await["type"], "bye");
    assert_eq!(rig.status().refused["slow"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_wal_holds_the_sender_back_and_nothing_is_lost() {
    let rig = Rig::over(ReceiverKind::Ldjson(config()), limits(), 8 << 20, Arc::new(SystemClock)).await;
    let mut client = Client::to(&rig).await;
    let mut random = 1u64;
    let mut noise = || {
        let digits = (0..2000).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:08x}", random >> 32)
        });
        digits.collect::<String>()
    };
    let total = 1500;
    let lines: Vec<String> = (0..total)
        .map(|n| {
            json!({"type": "event", "name": "n", "message": noise(), "attributes": {"n": n}}).to_string()
                + "\n"
        })
        .collect();
    let sending = tokio::spawn(async move {
        for line in lines {
            client.send(line).await;
        }
        client.say(json!({"type": "event", "name": "end", "ack": 1})).await;
        client.hear().await
    });
    let mut seen = 0;
    let end = tokio::time::Instant::now() + 3 * PATIENCE;
    while !sending.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if rig.wal.status().full {
            seen += rig.acknowledge_all(Signal::Logs);
        }
        assert!(tokio::time::Instant::now() < end, "{:?}", rig.status());
    }
    assert_eq!(sending.await.unwrap(), json!({"type": "ack", "ack": 1}));
    assert!(seen > 0, "the WAL was full at least once");
    seen += rig.stored(Signal::Logs).iter().map(|record| u64::from(record.items)).sum::<u64>();
    assert_eq!(seen, total + 1);
    assert_eq!(rig.status().logs.items, total + 1);
    assert!(rig.status().lost.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_let_go_and_holds_up_nobody() {
    let rig = rig().await;
    let mut deaf = TcpStream::connect(rig.address("tcp")).await.unwrap();
    let flood = tokio::spawn(async move {
        let lines = "{\"type\":\"event\",\"name\":7,\"ack\":1}\n".repeat(1000);
        while deaf.write_all(lines.as_bytes()).await.is_ok() {}
    });
    let mut other = Client::to(&rig).await;
    for _ in 0..20 {
        other.flush().await;
    }
    rig.wait_for_status(|status| status.refused.get("unread_answers") == Some(&1)).await;
    tokio::time::timeout(PATIENCE, flood).await.expect("its connection is closed").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_private_and_a_stop_keeps_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ldjson.sock");
    let unix = Some(Endpoint::at(Address::Unix(path.clone())));
    let rig = Rig::start(ReceiverKind::Ldjson(LdjsonReceiver { tcp: None, unix, ..config() })).await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(event(1).as_bytes()).await.unwrap();
    rig.wait_for_status(|status| status.logs.items == 1).await;
    stream.write_all((event(2) + &event(3)).as_bytes()).await.unwrap();
    let (_, rest) = tokio::join!(rig.stop(), async {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.map(|_| rest)
    });
    // What was not read when it closed makes the end an abrupt one.
    assert!(rest.is_err() || rest.unwrap().contains("the agent is stopping"));
    assert!(!path.exists(), "the socket is gone");
    let items: u32 = rig.stored(Signal::Logs).iter().map(|record| record.items).sum();
    assert!((1..=3).contains(&items), "what was read is stored: {items}");
}
