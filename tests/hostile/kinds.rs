//! One plugin a misdeed, all in one agent: what the agent says of each, and what the host collector beside them does.

use std::time::Duration;

use serde_json::Value;
use whimbrel_tests::{
    agent::Home,
    guest::{Guest, build},
    http,
    stub::Stub,
};

use crate::{
    garbage,
    shipped::{host_keeps_its_second, problem, seen},
    table::{Expect, Kind, PLAIN, kinds},
};

#[test]
fn every_misdeed_is_contained_counted_and_named_and_the_host_keeps_its_second() {
    let _machine = crate::alone();
    let stub = Stub::start();
    let home = Home::new("");
    let mut collectors = String::new();
    let all = kinds();
    let mut line = |name: &str, limits: &str| {
        collectors
            .push_str(&format!("  {name}: {{plugin: ./{name}.wasm, interval: 1s, limits: {{{limits}}}}}\n"));
    };
    for kind in &all {
        build(home.path(), kind.name, &kind.guest);
        line(kind.name, kind.limits);
    }
    let (items, collect) = garbage::guest();
    build(home.path(), "garbage", &Guest { items: &items, collect: &collect, ..Guest::default() });
    line("garbage", "");
    let health = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    home.configure(&format!(
        "collectors:\n{collectors}  host: {{plugin: \"builtin:host\", interval: 1s, grants: {{system: [cpu, memory, host]}}}}\n\
         health: {{listen: \"{health}\"}}\n\
         exporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\n",
        stub.otlp
    ));
    let mut agent = home.start_and_wait();

    let garbage = Kind {
        name: "garbage",
        guest: PLAIN,
        limits: "",
        expect: Expect::Refused(garbage::kinds().len() as u64),
    };
    for kind in all.iter().chain([&garbage]) {
        let hits = |one: &Value, limit: &str| one["limits"][limit]["hits"].as_u64().expect("a count");
        let lives = |one: &Value| {
            assert_eq!(one["faults"], 0, "{}: {one}", kind.name);
            one["collects"].as_u64() > Some(3)
        };
        match &kind.expect {
            Expect::Faults { causes, limit, words } => {
                let one = seen(&mut agent, kind.name, "a fault", |c| c["faults"].as_u64() > Some(0));
                let by_cause = one["faults_by_cause"].as_object().expect("an object");
                assert!(
                    by_cause.keys().all(|cause| causes.contains(&cause.as_str())),
                    "{}: {one}",
                    kind.name
                );
                for word in *words {
                    assert!(
                        problem(&one).contains(word),
                        "{}: {word:?} is not in: {}",
                        kind.name,
                        problem(&one)
                    );
                }
                if let Some(limit) = limit {
                    assert!(
                        hits(&one, limit) >= one["faults"].as_u64().expect("a count"),
                        "{}: {one}",
                        kind.name
                    );
                }
            }
            Expect::Hits(limit, least) => {
                let one = seen(&mut agent, kind.name, "it goes on", |c| lives(c) && hits(c, limit) >= *least);
                assert_eq!(one["state"], "running", "{one}");
            }
            Expect::Lives => drop(seen(&mut agent, kind.name, "it goes on", lives)),
            Expect::Refused(times) => {
                let one = seen(&mut agent, kind.name, "all are refused", |c| {
                    lives(c) && c["refused"]["invalid"].as_u64() >= Some(2 * times)
                });
                let refused = one["refused"]["invalid"].as_u64().expect("a count");
                assert_eq!((refused % times, &one["items"]), (0, &Value::from(0)), "{one}");
            }
            Expect::Recycled => {
                let one = seen(&mut agent, kind.name, "it is recycled", |c| c["recycled"].as_u64() > Some(1));
                assert!(lives(&one) && one["missed"].as_u64() <= Some(2), "{one}");
                assert!(one["limits"]["memory"]["used"].as_u64() <= Some(4 << 20), "{one}");
            }
        }
    }
    let drip = seen(&mut agent, "slow_drip", "its time is told", |c| c["collects"].as_u64() > Some(3));
    let used = drip["limits"]["deadline"]["used"].as_u64().expect("measured");
    assert!((200_000..400_000).contains(&used), "{drip}");

    // Each limit of each collector can be scraped, with what was used and how often it was met.
    let (_, text) = http::get(health, "/metrics").expect("metrics");
    for line in [
        "whimbrel_collector_limit{collector=\"memory_bomb\",limit=\"memory\",unit=\"bytes\"} 16777216",
        "whimbrel_collector_limit{collector=\"host\",limit=\"stack\",unit=\"bytes\"} 524288",
        "whimbrel_collector_limit_used{collector=\"slow_drip\",limit=\"deadline\",unit=\"microseconds\"} ",
        "whimbrel_collector_limit_hits_total{collector=\"log_flood\",limit=\"log_rate\",unit=\"lines_per_second\"} ",
        "whimbrel_collector_recycled_total{collector=\"grows\"} ",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    for limit in ["memory", "deadline", "init", "output", "tables", "resources", "log_rate", "stack"] {
        let series = format!("whimbrel_collector_limit_hits_total{{collector=\"host\",limit=\"{limit}\",");
        assert!(text.contains(&series), "{series}");
    }

    host_keeps_its_second(&mut agent, &home);
    let since = std::time::Instant::now();
    assert!(agent.terminate().success());
    assert!(since.elapsed() < Duration::from_secs(30), "shutdowns are bounded: {:?}", since.elapsed());
    for name in ["panics_at_the_end", "never_ends"] {
        let told = home.log().lines().any(|line| line.contains(name) && line.contains("shutdown failed"));
        assert!(told, "{name} is named in the log");
    }
}
