//! A plugin that loops, traps, eats memory or pushes nonsense costs its own data only: the host collector beside it
//! keeps its second, and `status` says who did what.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use whimbrel_tests::{
    agent::{Agent, Home},
    guest::component,
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

const LOOP: &str = "(loop $again (br $again)) (i32.const 1024)";
const TRAP: &str = "unreachable";
const BOMB: &str =
    "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
const NONSENSE: &str = "(call $push_otlp (i32.const 0) (i32.const 64)) (i32.const 1024)";
const NONSENSE_BYTES: &str =
    r#"(data (i32.const 0) "\ff\fe\fd this is no protobuf at all, and quite long enough")"#;
/// Asks for `system`, which is not granted, and goes on.
const CURIOUS: &str = "(call $snapshot (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 2048)) (i32.const 1024)";
const CURIOUS_BYTES: &str = r#"(data (i32.const 0) "cpu")"#;

fn collector(status: &Value, name: &str) -> Value {
    let collectors = status["collectors"].as_array().expect("an array");
    collectors.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no {name} in {status}")).clone()
}

pub(crate) fn seen(agent: &mut Agent, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, PATIENCE, || {
        let one = collector(&agent.status().expect("the agent answers"), name);
        if condition(&one) { Ok(one) } else { Err(one) }
    })
}

pub(crate) fn problem(one: &Value) -> &str {
    one["last_problem"].as_str().unwrap_or_default()
}

#[test]
fn hostile_plugins_cost_their_own_data_only() {
    let _machine = crate::alone();
    let stub = Stub::start();
    let home = Home::new("");
    for (name, items, collect) in [
        ("looping", "", LOOP),
        ("trapping", "", TRAP),
        ("growing", "", BOMB),
        ("lying", NONSENSE_BYTES, NONSENSE),
        ("curious", CURIOUS_BYTES, CURIOUS),
    ] {
        component(home.path(), name, items, collect);
    }
    home.configure(&format!(
        r#"
collectors:
  host: {{plugin: "builtin:host", interval: 1s, grants: {{system: [cpu, memory, host]}}}}
  looping: {{plugin: ./looping.wasm, interval: 1s, limits: {{deadline: 200ms}}}}
  trapping: {{plugin: ./trapping.wasm, interval: 1s}}
  growing: {{plugin: ./growing.wasm, interval: 1s, limits: {{memory: 16MiB}}}}
  lying: {{plugin: ./lying.wasm, interval: 1s}}
  curious: {{plugin: ./curious.wasm, interval: 1s}}
exporters:
  stub: {{endpoint: "http://{}", max_delay: 50ms}}
"#,
        stub.otlp
    ));
    let mut agent = home.start_and_wait();

    let looping = seen(&mut agent, "looping", "the loop is stopped", |c| c["faults"].as_u64() > Some(0));
    assert!(problem(&looping).contains("deadline"), "{looping}");
    let trapping = seen(&mut agent, "trapping", "the trap is set aside", |c| c["state"] == "set_aside");
    assert_eq!(trapping["faults"], 5, "{trapping}");
    let growing = seen(&mut agent, "growing", "the bomb is named", |c| c["faults"].as_u64() > Some(0));
    assert!(problem(&growing).contains("memory"), "{growing}");
    let lying =
        seen(&mut agent, "lying", "nonsense is refused", |c| c["refused"]["invalid"].as_u64() > Some(1));
    assert_eq!((&lying["faults"], &lying["items"]), (&Value::from(0), &Value::from(0)), "{lying}");
    let curious = seen(&mut agent, "curious", "the denial is told", |c| problem(c).contains("not granted"));
    assert!(problem(&curious).contains("system: [cpu]"), "it says which grant would allow it: {curious}");

    host_keeps_its_second(&mut agent, &home);
    assert!(home.log().contains("set aside"), "the log names it");
    assert!(agent.terminate().success());
}

/// Each misdeed of the shipped plugin, and what `status` says of it: the cause, and words of the last fault.
const FAULTS: [(&str, &[&str], &[&str]); 4] = [
    ("loop", &["deadline"], &["stopped after its deadline of 500ms"]),
    ("memory", &["memory"], &["its limit of 64 MiB", "limits.memory"]),
    ("panic", &["panic", "stack"], &["(in collect)"]),
    ("flood", &["output"], &["limits.output"]),
];

#[test]
fn the_shipped_hostile_plugin_is_stopped_named_counted_and_set_aside() {
    let _machine = crate::alone();
    let stub = Stub::start();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/components/hostile.wasm");
    let mut collectors = String::new();
    for does in ["loop", "memory", "panic", "flood", "garbage", "escape"] {
        collectors.push_str(&format!(
            "  {does}: {{plugin: {shipped:?}, interval: 1s, config: {{does: [{does}]}}}}\n"
        ));
    }
    let home = Home::new(&format!(
        r#"
collectors:
{collectors}  host: {{plugin: "builtin:host", interval: 1s, grants: {{system: true}}}}
exporters:
  stub: {{endpoint: "http://{}", max_delay: 50ms}}
"#,
        stub.otlp
    ));
    let mut agent = home.start_and_wait();
    for (name, causes, words) in FAULTS {
        let one = seen(&mut agent, name, "it is set aside", |c| c["state"] == "set_aside");
        assert_eq!((&one["faults"], &one["collects"]), (&Value::from(5), &Value::from(0)), "{one}");
        let by_cause = one["faults_by_cause"].as_object().expect("an object");
        let counted: u64 = by_cause.values().filter_map(Value::as_u64).sum();
        assert!(counted == 5 && by_cause.keys().all(|cause| causes.contains(&cause.as_str())), "{one}");
        let said = problem(&one);
        assert!(said.starts_with("set aside after 5 faults in ten minutes"), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        let past = one["past_faults"].as_array().expect("an array");
        assert_eq!(past.len(), 5, "{one}");
        assert!(past.iter().all(|fault| fault["at_unix_ms"].as_u64() > Some(1_600_000_000_000)), "{one}");
        if name == "flood" {
            // Of 5000 lines each time, a hundred a second pass, and the line that says why it ended.
            assert!(one["log_lines_dropped"].as_u64() > Some(20_000), "{one}");
        }
    }
    let garbage =
        seen(&mut agent, "garbage", "it is refused", |c| c["refused"]["invalid"].as_u64() > Some(2));
    assert_eq!((&garbage["faults"], &garbage["items"]), (&Value::from(0), &Value::from(0)), "{garbage}");
    let escape = seen(&mut agent, "escape", "it is denied", |c| c["denied"].as_u64() > Some(10));
    assert_eq!((&escape["faults"], &escape["denied"]), (&Value::from(0), &Value::from(11)), "{escape}");
    assert!(!home.log().contains("was given"), "nothing escaped:\n{}", home.log());
    let table = String::from_utf8(home.run(&["status"]).stdout).expect("text");
    assert!(table.contains("5 (5 deadline)"), "{table}");

    host_keeps_its_second(&mut agent, &home);
    assert!(agent.terminate().success());
}

/// Ten collects in ten seconds, none missed. On a machine that stalls by itself a window may fail; if the hostile ones
/// were the cause, all of them would.
pub(crate) fn host_keeps_its_second(agent: &mut Agent, home: &Home) {
    let collected = |c: &Value| c["collects"].as_u64().expect("a count");
    let mut windows = Vec::new();
    let kept = (0..6).any(|_| {
        let before = seen(agent, "host", "the host collector runs", |c| collected(c) > 2);
        let since = Instant::now();
        let after = seen(agent, "host", "ten more collects", |c| collected(c) >= collected(&before) + 10);
        let took = since.elapsed();
        assert_eq!(after["faults"], 0, "{after}");
        windows.push(format!("{took:?}, missed {} and {}", before["missed"], after["missed"]));
        after["missed"] == before["missed"] && took < Duration::from_secs(13)
    });
    assert!(kept, "the host collector keeps its second: {windows:#?}\n{}", home.log());
}

#[test]
fn what_is_no_plugin_is_named_and_the_others_run() {
    let _machine = crate::alone();
    let stub = Stub::start();
    let home = Home::new("");
    std::fs::write(home.path().join("text.wasm"), "this is a text file\n").expect("written");
    let core = wat::parse_str("(module)").expect("valid");
    std::fs::write(home.path().join("core.wasm"), core).expect("written");
    let other =
        wat::parse_str(r#"(component (import "example:other/thing@1.0.0" (instance)))"#).expect("valid");
    std::fs::write(home.path().join("other.wasm"), other).expect("written");
    home.configure(&format!(
        r#"
collectors:
  beat: {{plugin: "builtin:heartbeat", interval: 100ms}}
  text: {{plugin: ./text.wasm}}
  core: {{plugin: ./core.wasm}}
  other: {{plugin: ./other.wasm}}
exporters:
  stub: {{endpoint: "http://{}", max_delay: 50ms}}
"#,
        stub.otlp
    ));
    let mut agent = home.start_and_wait();
    for (name, words) in [
        ("text", &["text.wasm", "no WebAssembly component", "text file"][..]),
        ("core", &["core.wasm", "core WebAssembly module", "whimbrel-plugin component"][..]),
        ("other", &["other.wasm", "another world", "whimbrel:plugin/collect"][..]),
    ] {
        let one = seen(&mut agent, name, "it is set aside", |c| c["state"] == "set_aside");
        for word in words {
            assert!(problem(&one).contains(word), "{word:?} is not in: {}", problem(&one));
        }
        println!("{name}: {}", problem(&one));
    }
    seen(&mut agent, "beat", "the heartbeat goes on", |c| c["items"].as_u64() > Some(10));
    assert!(agent.terminate().success());
}
