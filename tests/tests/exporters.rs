//! What operators do with exporters: pause, resume, rewind, add one later, bound its lag and its records' age, forget it.
//!
//! An application sends numbered log records, one a request, and the agent answers when each is durable; the stub says how
//! often each number arrived. It drops repeats by their `Idempotency-Key`, as backends may: what is sent again on purpose
//! must arrive all the same.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::RangeInclusive,
    process::Output,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use whimbrel_otlp::write::{LogRecord, Logs};
use whimbrel_tests::{
    agent::{Agent, Home},
    http,
    stub::Stub,
    wait,
    witness::{free_port, pending},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Records that are told apart by their time lie so far from it: a busy machine is slow, its clock is not.
const APART: Duration = Duration::from_millis(400);

/// An agent that takes logs over OTLP.
struct Bench {
    home: Home,
    intake: u16,
}

impl Bench {
    /// `sections` are lines of the configuration, exporters by name and what stands below them.
    fn new(sections: &str, exporters: &[(&str, String)]) -> Self {
        let intake = free_port();
        Self { home: Home::new(&yaml(intake, sections, exporters)), intake }
    }

    fn configure(&self, sections: &str, exporters: &[(&str, String)]) {
        self.home.configure(&yaml(self.intake, sections, exporters));
    }

    /// Sends these numbers, a request each; each is durable then.
    fn send(&self, numbers: RangeInclusive<u64>) {
        for number in numbers {
            self.send_text(&format!("seq={number:010}"));
        }
    }

    fn send_text(&self, text: &str) {
        let mut request = Logs::new();
        request.record(&LogRecord { time_ns: 1, body: text.into(), ..LogRecord::default() });
        let response = ureq::post(format!("http://127.0.0.1:{}/v1/logs", self.intake))
            .content_type("application/x-protobuf")
            .send(&request.take())
            .unwrap_or_else(|error| panic!("{error}\n{}", self.home.log()));
        assert_eq!(response.status(), 200);
    }

    /// `whimbrel ARGS`, which succeeds; what it prints.
    fn does(&self, args: &[&str]) -> String {
        let output = self.home.run(args);
        assert!(output.status.success(), "{args:?}: {}\n{}", said(&output), self.home.log());
        said(&output)
    }

    /// `whimbrel ARGS`, which fails with this exit code; what it says.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.home.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        said(&output)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn yaml(intake: u16, sections: &str, exporters: &[(&str, String)]) -> String {
    let mut yaml = format!("receivers: {{otlp: {{http: \"127.0.0.1:{intake}\"}}}}\n{sections}\nexporters:\n");
    for (name, settings) in exporters {
        let usual = "max_delay: 0s, retry: {initial: 50ms, maximum: 200ms}";
        yaml.push_str(&format!("  {name}: {{{settings}, {usual}}}\n"));
    }
    yaml
}

/// An exporter's settings: this address, and more of them.
fn to(address: SocketAddr, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!("endpoint: \"http://{address}\"{comma}{more}")
}

fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

/// How often each number arrived.
fn arrived(stub: &Stub) -> BTreeMap<u64, u32> {
    let answer = stub.api("/api/logs?contains=seq%3D&limit=10000");
    let mut seen = BTreeMap::new();
    for log in answer["logs"].as_array().expect("an array") {
        let body = log["body"].as_str().unwrap_or_default();
        let number = body.strip_prefix("seq=").and_then(|digits| digits.parse().ok());
        *seen.entry(number.unwrap_or_else(|| panic!("{log}"))).or_default() += 1;
    }
    seen
}

/// So often each of these numbers.
fn times<const N: usize>(parts: [(RangeInclusive<u64>, u32); N]) -> BTreeMap<u64, u32> {
    parts.into_iter().flat_map(|(numbers, times)| numbers.map(move |number| (number, times))).collect()
}

/// Waits until exactly this has arrived.
fn arrives(stub: &Stub, bench: &Bench, expected: &BTreeMap<u64, u32>) {
    wait::until("the records arrive", PATIENCE, || {
        let got = arrived(stub);
        if got == *expected { Ok(()) } else { Err(format!("{got:?}\n{}", bench.home.log())) }
    });
}

/// Waits until nothing waits for an exporter, and gives the status of then.
fn is_drained(agent: &mut Agent, bench: &Bench, exporter: &str) -> Value {
    wait::until("nothing waits any more", PATIENCE, || {
        let status = agent.status().ok_or_else(|| bench.home.log())?;
        if pending(&status, exporter) == 0 { Ok(status) } else { Err(status["exporters"].to_string()) }
    })
}

/// The logs' lane of an exporter in the WAL's accounts.
fn account(status: &Value, exporter: &str) -> Value {
    let consumers = status["wal"]["consumers"].as_array().expect("an array");
    let consumer = consumers.iter().find(|one| one["name"] == exporter);
    let lanes = consumer.unwrap_or_else(|| panic!("no {exporter} in {status}"))["lanes"].as_array();
    lanes.expect("lanes").iter().find(|lane| lane["signal"] == "logs").expect("logs").clone()
}

/// RFC 3339, UTC, with milliseconds.
fn rfc3339(time: SystemTime) -> String {
    let ms = time.duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let (days, s) = (ms / 86_400_000, ms / 1000 % 86_400);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (s / 3600, s / 60 % 60, s % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", day + 1, ms % 1000)
}

#[test]
fn a_paused_exporter_holds_everything_and_resuming_delivers_it() {
    let stub = Stub::start();
    let health = free_port();
    let bench = Bench::new(
        &format!("health: {{listen: \"127.0.0.1:{health}\"}}"),
        &[("stub", to(stub.otlp, "")), ("other", to(stub.otlp, "headers: {x-other: yes}"))],
    );
    let mut agent = bench.home.start_and_wait();
    bench.send(1..=3);
    arrives(&stub, &bench, &times([(1..=3, 2)]));
    assert!(bench.does(&["exporter", "pause", "stub"]).contains("nothing is sent until"));
    assert!(bench.does(&["exporter", "pause", "stub"]).contains("paused already"));
    bench.send(4..=20);
    is_drained(&mut agent, &bench, "other");
    arrives(&stub, &bench, &times([(1..=3, 2), (4..=20, 1)]));
    let status = agent.status().expect("it answers");
    assert_eq!(pending(&status, "stub"), 17, "{}", status["exporters"]);
    for command in [&["status"][..], &["exporter", "status", "stub"]] {
        assert!(bench.does(command).contains("paused since"), "{command:?}");
    }
    let told: Value = serde_json::from_str(&bench.does(&["exporter", "status", "--json"])).expect("JSON");
    let states: Vec<_> =
        told.as_array().expect("an array").iter().map(|one| &one["state"]["state"]).collect();
    assert_eq!(states, ["idle", "paused"], "by name: other, stub");
    let (_, metrics) = http::get(([127, 0, 0, 1], health).into(), "/metrics").expect("metrics");
    assert!(metrics.contains("whimbrel_exporter_paused{exporter=\"stub\"} 1"), "{metrics}");
    assert!(metrics.contains("whimbrel_exporter_paused{exporter=\"other\"} 0"), "{metrics}");

    assert!(bench.does(&["exporter", "resume", "stub"]).contains("goes on"));
    is_drained(&mut agent, &bench, "stub");
    arrives(&stub, &bench, &times([(1..=20, 2)]));

    bench.does(&["exporter", "pause", "stub"]);
    bench.send(21..=21);
    assert!(agent.terminate().success(), "a pause does not hold up the end: {}", bench.home.log());
    let _agent = bench.home.start_and_wait();
    arrives(&stub, &bench, &times([(1..=21, 2)]));
}

#[test]
fn resuming_ends_the_waiting_of_an_exporter_that_is_held() {
    let stub = Stub::start();
    let bench = Bench::new("", &[("stub", to(stub.otlp, ""))]);
    let mut agent = bench.home.start_and_wait();
    stub.control("/control/fail?code=401&for=3600s");
    bench.send(1..=1);
    wait::until("the exporter is held", PATIENCE, || {
        let status = agent.status().ok_or(Value::Null)?;
        let state = status["exporters"][0]["state"].clone();
        if state["state"] == "held" { Ok(()) } else { Err(state) }
    });
    stub.control("/control/reset");
    assert!(bench.does(&["exporter", "resume", "stub"]).contains("was held, and tries at once"));
    // By itself it would have tried in about a minute.
    let before = SystemTime::now();
    arrives(&stub, &bench, &times([(1..=1, 1)]));
    assert!(before.elapsed().is_ok_and(|took| took < Duration::from_secs(30)));
}

#[test]
fn rewinding_delivers_exactly_what_came_since_again_and_survives_a_kill() {
    let stub = Stub::start();
    let bench = Bench::new("wal: {retain: 1h}", &[("stub", to(stub.otlp, ""))]);
    let mut agent = bench.home.start_and_wait();
    bench.send(1..=20);
    thread::sleep(APART);
    let since = rfc3339(SystemTime::now());
    thread::sleep(APART);
    bench.send(21..=50);
    is_drained(&mut agent, &bench, "stub");
    let told = bench.does(&["exporter", "rewind", "stub", "--since", &since]);
    agent.kill();
    assert!(told.contains("stub: 30 records will be sent again\n"), "since {since}: {told}");
    assert!(!told.contains("retain"), "{told}");

    let mut agent = bench.home.start_and_wait();
    let status = is_drained(&mut agent, &bench, "stub");
    arrives(&stub, &bench, &times([(1..=20, 1), (21..=50, 2)]));
    let account = account(&status, "stub");
    assert_eq!(
        (&account["seen"], &account["rewound"], &account["delivered"]),
        (&50.into(), &30.into(), &80.into())
    );

    // Again, under yet other keys, and while it runs.
    let told = bench.does(&["exporter", "rewind", "stub", "--since", &since]);
    assert!(told.contains("stub: 30 records will be sent again\n"), "{told}");
    bench.send(51..=55);
    is_drained(&mut agent, &bench, "stub");
    arrives(&stub, &bench, &times([(1..=20, 1), (21..=50, 3), (51..=55, 1)]));
    assert!(agent.terminate().success(), "{}", bench.home.log());
}

#[test]
fn what_is_retained_can_be_sent_again_over_restarts_and_what_is_not_is_said() {
    for (section, kept) in [("wal: {retain: 1h}", true), ("", false)] {
        let stub = Stub::start();
        let bench = Bench::new(section, &[("stub", to(stub.otlp, ""))]);
        for numbers in [1..=5, 6..=10, 11..=15] {
            // Each start begins a new segment, and what has been delivered lies in those before it.
            let mut agent = bench.home.start_and_wait();
            bench.send(numbers);
            is_drained(&mut agent, &bench, "stub");
            assert!(agent.terminate().success(), "{}", bench.home.log());
        }
        let mut agent = bench.home.start_and_wait();
        let told = bench.does(&["exporter", "rewind", "stub", "--oldest"]);
        if kept {
            assert!(told.contains("15 records will be sent again"), "{told}");
            is_drained(&mut agent, &bench, "stub");
            arrives(&stub, &bench, &times([(1..=15, 2)]));
        } else {
            assert!(told.contains("nothing to send again") && told.contains("wal.retain is 0s"), "{told}");
            arrives(&stub, &bench, &times([(1..=15, 1)]));
        }
    }
}

#[test]
fn an_exporter_that_is_added_later_begins_where_it_is_told_to() {
    let (first, all, new) = (Stub::start(), Stub::start(), Stub::start());
    let bench = Bench::new("wal: {retain: 1h}", &[("first", to(first.otlp, ""))]);
    let mut agent = bench.home.start_and_wait();
    bench.send(1..=10);
    is_drained(&mut agent, &bench, "first");
    assert!(agent.terminate().success(), "{}", bench.home.log());

    let three =
        [("first", to(first.otlp, "")), ("all", to(all.otlp, "")), ("new", to(new.otlp, "from: now"))];
    bench.configure("wal: {retain: 1h}", &three);
    let agent = bench.home.start_and_wait();
    bench.send(11..=15);
    arrives(&first, &bench, &times([(1..=15, 1)]));
    arrives(&all, &bench, &times([(1..=15, 1)]));
    arrives(&new, &bench, &times([(11..=15, 1)]));

    // It says where one begins, not where it goes on.
    agent.kill();
    let mut agent = bench.home.start_and_wait();
    bench.send(16..=16);
    for exporter in ["first", "all", "new"] {
        is_drained(&mut agent, &bench, exporter);
    }
    arrives(&new, &bench, &times([(11..=16, 1)]));
    arrives(&all, &bench, &times([(1..=16, 1)]));
}

#[test]
fn what_is_older_than_max_age_is_given_up_and_counted() {
    let stub = Stub::start();
    let bench = Bench::new("", &[("stub", to(stub.otlp, "max_age: 2s")), ("patient", to(nowhere(), ""))]);
    let mut agent = bench.home.start_and_wait();
    bench.does(&["exporter", "pause", "stub"]);
    bench.send(1..=7);
    thread::sleep(Duration::from_millis(2100));
    bench.does(&["exporter", "resume", "stub"]);
    let status = is_drained(&mut agent, &bench, "stub");
    bench.send(8..=9);
    arrives(&stub, &bench, &times([(8..=9, 1)]));
    let account = account(&status, "stub");
    assert_eq!((&account["dropped"], &account["losses"]["given_up"]), (&7.into(), &7.into()), "{account}");
    assert!(bench.home.log().contains("older than max_age are given up"), "{}", bench.home.log());
    assert_eq!(pending(&status, "patient"), 7, "another's records wait on");
}

#[test]
fn an_exporter_that_lags_alone_loses_its_oldest_beyond_max_lag() {
    let stub = Stub::start();
    let bench = Bench::new(
        "wal: {max_size: 16MiB, zstd_level: 0}",
        &[("alive", to(stub.otlp, "")), ("dead", to(nowhere(), "max_lag: 2MiB"))],
    );
    let mut agent = bench.home.start_and_wait();
    let padding = "x".repeat(200 << 10);
    let mut sent = 0;
    let status = wait::until("the dead one loses something", PATIENCE, || {
        bench.send_text(&padding);
        sent += 1;
        let status = agent.status().ok_or_else(|| bench.home.log())?;
        let lost = account(&status, "dead")["losses"]["dropped_for_lag"].as_u64().unwrap_or(0);
        if lost > 0 { Ok(status) } else { Err(account(&status, "dead").to_string()) }
    });
    let consumers = status["wal"]["consumers"].as_array().expect("an array");
    let dead = consumers.iter().find(|one| one["name"] == "dead").expect("it is there");
    let lag = dead["lag_bytes"].as_u64().expect("bytes");
    assert!(lag <= (2 << 20) + (1 << 20), "at most max_lag, and the segment that is being written: {lag}");
    assert!((8..60).contains(&sent), "2 MiB and no more are kept for it: {sent} of 200 KiB");
    let status = is_drained(&mut agent, &bench, "alive");
    let alive = account(&status, "alive");
    assert_eq!((&alive["delivered"], &alive["dropped"]), (&sent.into(), &0.into()), "{alive}");
}

#[test]
fn an_exporter_that_left_the_configuration_is_forgotten_on_the_disk_and_by_a_running_agent() {
    let stub = Stub::start();
    let stays = ("stays", to(stub.otlp, ""));
    let bench = Bench::new("", &[stays.clone(), ("gone", to(nowhere(), "")), ("left", to(nowhere(), ""))]);
    let mut agent = bench.home.start_and_wait();
    bench.send(1..=6);
    is_drained(&mut agent, &bench, "stays");
    assert!(bench.fails(1, &["wal", "forget", "gone"]).contains("exporters.gone is configured"));
    bench.configure("", &[stays]);
    assert!(bench.fails(1, &["wal", "forget", "gone", "--yes"]).contains("still sends to gone: restart it"));
    assert!(agent.terminate().success(), "{}", bench.home.log());

    assert!(bench.fails(1, &["wal", "forget", "nobody"]).contains("it knows: gone, left, stays"));
    assert!(bench.fails(1, &["wal", "forget", "gone"]).contains("6 records wait for gone"));
    assert!(bench.does(&["wal", "forget", "gone", "--yes"]).contains("6 records that waited"));
    assert!(bench.fails(1, &["wal", "forget", "stays", "--yes"]).contains("exporters.stays is configured"));

    let mut agent = bench.home.start_and_wait();
    assert!(bench.fails(1, &["wal", "forget", "left"]).contains("6 records wait for left"));
    let told: Value =
        serde_json::from_str(&bench.does(&["wal", "forget", "left", "--yes", "--json"])).expect("JSON");
    assert_eq!(told, serde_json::json!({"forgotten": "left", "pending_records": 6}));
    let status = agent.status().expect("it answers");
    let known: Vec<_> =
        status["wal"]["consumers"].as_array().expect("an array").iter().map(|c| &c["name"]).collect();
    assert_eq!(known, ["stays"]);
    bench.send(7..=7);
    arrives(&stub, &bench, &times([(1..=7, 1)]));
}

#[test]
fn what_cannot_be_done_is_said() {
    let bench = Bench::new("", &[("stub", to(nowhere(), ""))]);
    assert!(bench.fails(1, &["exporter", "pause", "stub"]).contains("no agent answers"));
    let _agent = bench.home.start_and_wait();
    for deed in [&["pause"][..], &["resume"], &["rewind", "--oldest"], &["status"]] {
        let args = [&["exporter", deed[0], "stbu"], &deed[1..]].concat();
        assert!(bench.fails(1, &args).contains("no exporter is named stbu; there are: stub"), "{args:?}");
    }
    let future = rfc3339(SystemTime::now() + Duration::from_secs(3600));
    assert!(bench.fails(2, &["exporter", "rewind", "stub", "--since", &future]).contains("in the future"));
    assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(1_709_210_096_789)), "2024-02-29T12:34:56.789Z");
}
