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
};

/// What is to be seen of it.
enum Expect {
    /// Faults of these causes and no others, a hit of this limit, and these words.
    Faults { causes: &'static [&'static str], limit: Option<&'static str>, words: &'static [&'static str] },
    /// It lives; a hit of this limit.
    Hits(&'static str, u64),
    /// It lives, and collects.
    Lives,
    /// It lives; so many pushes are refused, or a multiple, and nothing is stored.
    Refused(u64),
    /// It lives, and is recycled.
    Recycled,
}

/// A misdeed: its name, the plugin, its limits, what is to be seen.
struct Kind {
    name: &'static str,
    guest: Guest<'static>,
    limits: &'static str,
    expect: Expect,
}

const PLAIN: Guest<'static> =
    Guest { items: "", init: "(i32.const 1024)", collect: "(i32.const 1024)", shutdown: "" };

fn collects(collect: &'static str) -> Guest<'static> {
    Guest { collect, ..PLAIN }
}

fn faults(causes: &'static [&'static str], limit: &'static str, words: &'static [&'static str]) -> Expect {
    Expect::Faults { causes, limit: Some(limit), words }
}

fn kinds() -> Vec<Kind> {
    let kind = |name, guest, limits, expect| Kind { name, guest, limits, expect };
    vec![
        kind(
            "endless_loop",
            collects("(loop $again (br $again)) (i32.const 1024)"),
            "deadline: 200ms",
            faults(&["deadline"], "deadline", &["deadline of 200ms"]),
        ),
        kind(
            "host_calls",
            collects("(loop $again (drop (call $now)) (br $again)) (i32.const 1024)"),
            "deadline: 200ms",
            faults(&["deadline"], "deadline", &["deadline of 200ms"]),
        ),
        // 250 of 400 ms each second; the most that it used shows.
        kind(
            "slow_drip",
            Guest {
                items: "(global $until (mut i64) (i64.const 0))",
                collect: "(global.set $until (i64.add (call $monotonic) (i64.const 250000000)))
                  (loop $again (br_if $again (i64.lt_u (call $monotonic) (global.get $until)))) (i32.const 1024)",
                ..PLAIN
            },
            "deadline: 400ms",
            Expect::Lives,
        ),
        kind(
            "memory_bomb",
            collects(
                "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
            ),
            "memory: 16MiB",
            faults(&["memory"], "memory", &["limit of 16 MiB", "limits.memory"]),
        ),
        kind(
            "asks_for_more",
            collects("(drop (memory.grow (i32.const 60000))) (i32.const 1024)"),
            "memory: 16MiB",
            Expect::Hits("memory", 2),
        ),
        kind(
            "table_bomb",
            Guest {
                items: "(table $t 1 funcref)",
                collect: "(loop $again (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 5000))
                  (i32.const -1)))) unreachable",
                ..PLAIN
            },
            "tables: 20000",
            faults(&["tables"], "tables", &["limit of 20000", "limits.tables"]),
        ),
        kind(
            "stack_overflow",
            Guest {
                items: "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))",
                collect: "(call $deep (i32.const 0))",
                ..PLAIN
            },
            "stack: 1MiB",
            faults(&["stack"], "stack", &["stack of 1024 KiB", "limits.stack"]),
        ),
        kind(
            "deep_host_calls",
            Guest {
                items: "(func $deep
                  (call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)) (call $deep))
                  (data (i32.const 0) \"x\")",
                collect: "(call $deep) (i32.const 1024)",
                ..PLAIN
            },
            "",
            faults(&["stack"], "stack", &["stack of 512 KiB"]),
        ),
        kind(
            "gibibyte_string",
            collects(
                "(drop (memory.grow (i32.const 16500)))
                 (call $log (i32.const 2) (i32.const 0) (i32.const 1073741824) (i32.const 0) (i32.const 0))
                 (i32.const 1024)",
            ),
            "memory: 2GiB",
            faults(&["output"], "output", &["limits.output"]),
        ),
        kind(
            "string_beyond_memory",
            collects(
                "(call $log (i32.const 2) (i32.const 65536) (i32.const 1073741824) (i32.const 0) (i32.const 0))
                 (i32.const 1024)",
            ),
            "",
            Expect::Faults { causes: &["contract", "output"], limit: None, words: &["in collect"] },
        ),
        kind(
            "huge_list",
            collects(
                "(drop (memory.grow (i32.const 16500)))
                 (call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 60000000))
                 (i32.const 1024)",
            ),
            "memory: 2GiB",
            faults(&["output"], "output", &["limits.output"]),
        ),
        kind(
            "log_flood",
            Guest {
                items: "(global $left (mut i32) (i32.const 0)) (data (i32.const 0) \"a line of a flood\")",
                collect: "(global.set $left (i32.const 5000))
                  (loop $again
                    (call $log (i32.const 2) (i32.const 0) (i32.const 17) (i32.const 0) (i32.const 0))
                    (global.set $left (i32.sub (global.get $left) (i32.const 1)))
                    (br_if $again (global.get $left)))
                  (i32.const 1024)",
                ..PLAIN
            },
            "log_rate: 10",
            Expect::Hits("log_rate", 9000),
        ),
        kind(
            "push_flood",
            collects("(loop $again (call $push_otlp (i32.const 0) (i32.const 0)) (br $again)) (i32.const 1024)"),
            "",
            faults(&["output"], "output", &["4096 batches"]),
        ),
        kind(
            "never_starts",
            Guest { init: "(loop $again (br $again)) (i32.const 1024)", ..PLAIN },
            "init: 200ms",
            faults(&["deadline"], "init", &["deadline of 200ms", "in init"]),
        ),
        kind("panics_at_the_end", Guest { shutdown: "unreachable", ..PLAIN }, "", Expect::Lives),
        kind("never_ends", Guest { shutdown: "(loop $again (br $again))", ..PLAIN }, "", Expect::Lives),
        kind(
            "grows",
            collects("(drop (memory.grow (i32.const 16))) (i32.const 1024)"),
            "memory: 4MiB",
            Expect::Recycled,
        ),
        kind("never_done", collects("(i32.const 1040)"), "", Expect::Lives),
    ]
}

#[test]
fn every_misdeed_is_contained_counted_and_named_and_the_host_keeps_its_second() {
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
