//! Changes while the agent runs: a new configuration or component takes over between two collects where the one before
//! stopped, and what fails is put back; files can be watched; what was set aside can be resumed.

use std::{collections::BTreeMap, fs, path::Path, process::Output, time::Duration};

use serde_json::{Value, json};
use whimbrel_tests::{
    agent::{Agent, Home},
    guest::{Guest, build},
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn collector(status: &Value, name: &str) -> Value {
    let collectors = status["collectors"].as_array().expect("an array");
    collectors.iter().find(|one| one["name"] == name).cloned().unwrap_or(Value::Null)
}

fn seen(agent: &mut Agent, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, PATIENCE, || {
        let status = agent.status().ok_or(Value::Null)?;
        if condition(&status) { Ok(status) } else { Err(status) }
    })
}

fn reload(home: &Home) -> Value {
    let output = home.run(&["reload", "--json"]);
    let answer: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)));
    assert_eq!(output.status.code(), Some(if answer["ok"] == true { 0 } else { 1 }), "{answer}");
    assert_eq!(answer["ok"], answer["not_as_configured"].is_null(), "{answer}");
    answer
}

fn yaml(stub: &Stub, collector: &str, more: &str) -> String {
    format!(
        "collectors:\n  one: {{{collector}}}\nexporters:\n  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}\n{more}",
        stub.otlp
    )
}

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../plugins/components/{name}.wasm"))
}

/// Every count of the heartbeat that arrived, and how often, over all its series.
fn counts(stub: &Stub) -> BTreeMap<u64, usize> {
    let found = stub.api("/api/series?name=whimbrel.heartbeat.count&limit=10000");
    let mut counts = BTreeMap::new();
    for series in found["series"].as_array().into_iter().flatten() {
        for point in series["points"].as_array().into_iter().flatten() {
            *counts.entry(point["value"].as_u64().expect("a count")).or_default() += 1;
        }
    }
    counts
}

/// The heartbeat leaves its count as its checkpoint: every number up to the last arrives, and none of them twice.
fn each_counted_once(stub: &Stub, up_to: u64) {
    let counts = wait::until("all that was counted arrives", PATIENCE, || {
        let counts = counts(stub);
        let last = counts.keys().next_back().copied().unwrap_or(0);
        if last >= up_to { Ok(counts) } else { Err(last) }
    });
    let last = counts.len() as u64;
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>(), "none is missing");
    assert!(counts.values().all(|times| *times == 1), "none comes twice: {counts:?}");
}

#[test]
fn changes_take_over_between_two_collects_and_none_is_missed_or_doubled() {
    let stub = Stub::start();
    let change = |n: u32| {
        yaml(
            &stub,
            &format!("plugin: \"builtin:heartbeat\", interval: 200ms, config: {{message: \"{n}\"}}"),
            "",
        )
    };
    let home = Home::new(&change(0));
    let mut agent = home.start_and_wait();
    let collects = |status: &Value| collector(status, "one")["collects"].as_u64().unwrap_or(0);
    seen(&mut agent, "it collects", |s| collects(s) > 2);
    let changes: u32 = 6;
    for n in 1..=changes {
        home.configure(&change(n));
        let answer = reload(&home);
        assert_eq!((&answer["changed"], &answer["failed"]), (&json!(["one"]), &Value::Null), "{answer}");
        let replaced = seen(&mut agent, "it has taken over", |s| collector(s, "one")["replaced"] == n);
        let before = collects(&replaced);
        seen(&mut agent, "it collects", |s| collects(s) > before);
    }
    let one = collector(&agent.status().expect("it answers"), "one");
    assert_eq!(
        (&one["restarts"], &one["faults"], &one["put_back"]),
        (&json!(0), &json!(0), &json!(0)),
        "{one}"
    );
    // On a machine that stalls, an interval may pass by itself; changes must not cost one each.
    assert!(one["missed"].as_u64() < Some(u64::from(changes)), "{one}");
    each_counted_once(&stub, one["collects"].as_u64().expect("a count"));
    assert!(agent.terminate().success());
    assert!(home.log().contains("\"message\":\"took over\""), "{}", home.log());
}

#[test]
fn what_does_not_start_or_fails_its_first_collect_is_put_back_and_the_count_goes_on() {
    let stub = Stub::start();
    let home = Home::new("");
    let file = home.path().join("mine.wasm");
    let put = |from: &Path| {
        fs::copy(from, home.path().join("new")).expect("copied");
        fs::rename(home.path().join("new"), &file).expect("renamed");
    };
    put(&shipped("heartbeat"));
    home.configure(&yaml(&stub, "plugin: ./mine.wasm, interval: 200ms, limits: {init: 300ms}", ""));
    let mut agent = home.start_and_wait();
    let collects = |status: &Value| collector(status, "one")["collects"].as_u64().unwrap_or(0);
    seen(&mut agent, "it collects", |s| collects(s) > 2);

    let build = |name: &str, guest: &Guest<'_>| build(home.path(), name, guest);
    let endless =
        build("endless", &Guest { init: "(loop $again (br $again)) (i32.const 1024)", ..Guest::default() });
    let text = home.path().join("text");
    fs::write(&text, "no component\n").expect("written");
    for (n, (component, word)) in
        [(&text, "no WebAssembly component"), (&endless, "in init")].into_iter().enumerate()
    {
        put(component);
        let answer = reload(&home);
        assert_eq!(answer["changed"], json!([]), "{answer}");
        assert_eq!(answer["failed"][0]["name"], "one", "{answer}");
        assert!(answer["failed"][0]["problem"].to_string().contains(word), "{word:?} is not in: {answer}");
        assert_eq!(answer["not_as_configured"], answer["failed"], "{answer}");
        let one = collector(&agent.status().expect("it answers"), "one");
        assert_eq!((&one["state"], &one["put_back"]), (&json!("running"), &json!(n + 1)), "{one}");
        assert!(one["refused_change"].to_string().contains(word), "{one}");
    }

    // It starts, and traps in its first collect: what ran before does that collect.
    put(&build("trapping", &Guest { collect: "unreachable", ..Guest::default() }));
    let answer = reload(&home);
    assert_eq!(answer["changed"], json!(["one"]), "{answer}");
    let back = seen(&mut agent, "it is put back", |s| collector(s, "one")["put_back"] == 3);
    let one = collector(&back, "one");
    assert_eq!(
        (&one["faults"], &one["restarts"], &one["replaced"]),
        (&json!(1), &json!(0), &json!(0)),
        "{one}"
    );
    assert!(one["refused_change"].to_string().contains("first collect"), "{one}");
    assert_eq!(one["identity"], "heartbeat 0.1.0", "{one}");
    let answer = reload(&home);
    assert_eq!(answer["unchanged"], 1, "what failed is not tried again before it changes");
    assert!(answer["not_as_configured"][0]["problem"].to_string().contains("first collect"), "{answer}");

    // And what is mended takes over.
    put(&shipped("heartbeat"));
    let answer = reload(&home);
    assert_eq!((&answer["changed"], &answer["ok"]), (&json!(["one"]), &json!(true)), "{answer}");
    let mended = seen(&mut agent, "it takes over", |s| collector(s, "one")["replaced"] == 1);
    assert_eq!(collector(&mended, "one")["refused_change"], Value::Null, "{mended}");
    let end = seen(&mut agent, "it goes on", |s| collects(s) > collects(&mended) + 2);
    each_counted_once(&stub, collects(&end));
    assert!(agent.terminate().success());
}

#[test]
fn watched_files_are_applied_when_they_change_and_nothing_else_is() {
    let stub = Stub::start();
    let home = Home::new("");
    let file = home.path().join("mine.wasm");
    fs::copy(shipped("heartbeat"), &file).expect("copied");
    fs::create_dir(home.path().join("conf.d")).expect("made");
    let watch = "reload: {watch: true}\ninclude: [conf.d/*.yaml]\n";
    let one = "plugin: ./mine.wasm, interval: 200ms";
    home.configure(&yaml(&stub, one, watch));
    let mut agent = home.start_and_wait();
    seen(&mut agent, "it collects", |s| collector(s, "one")["collects"].as_u64() > Some(1));

    let generation = |n: u64| move |status: &Value| status["generation"] == n;
    fs::write(
        home.path().join("conf.d/two.yaml"),
        "collectors: {two: {plugin: \"builtin:heartbeat\", interval: 200ms}}\n",
    )
    .expect("written");
    let status = seen(&mut agent, "a new file of the configuration", generation(2));
    assert_ne!(collector(&status, "two"), Value::Null, "{status}");

    fs::copy(shipped("host"), home.path().join("new")).expect("copied");
    fs::rename(home.path().join("new"), &file).expect("renamed");
    seen(&mut agent, "a new component", |s| collector(s, "one")["identity"] == "host 0.1.0");
    let status = agent.status().expect("it answers");
    assert_eq!(status["generation"], 3, "{status}");

    home.configure("collectors: {one: {}}\n");
    let socket = home.data().join("control.sock");
    let socket = socket.to_str().expect("a temporary folder's name is text");
    wait::until("a bad one is refused", PATIENCE, || {
        // `status` would read the bad configuration, to find the socket.
        let output = home.run(&["status", "--json", "--socket", socket]);
        let status: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)));
        if status["reloads_refused"] == 1 && status["generation"] == 3 { Ok(()) } else { Err(status) }
    });

    // The agent's own files beside it have changed all the time, and were no reason: four changes, three applied.
    home.configure(&yaml(&stub, one, "include: [conf.d/*.yaml]\n"));
    let status = seen(&mut agent, "without the watch", generation(4));
    assert_eq!(status["reloads_refused"], 1, "{status}");
    home.configure(&yaml(&stub, one, "include: [conf.d/*.yaml]\n# changed\n"));
    assert_eq!(reload(&home)["generation"], 5, "it is watched no more");
    assert!(agent.terminate().success());
    assert!(home.log().contains("a watched file has changed"), "{}", home.log());
}

#[test]
fn what_the_watch_could_not_apply_is_named_by_every_reload_until_it_is_mended() {
    let stub = Stub::start();
    let home = Home::new("");
    let file = home.path().join("mine.wasm");
    fs::copy(shipped("heartbeat"), &file).expect("copied");
    let with = |more: &str| {
        yaml(&stub, &format!("plugin: ./mine.wasm, interval: 200ms{more}"), "reload: {watch: true}\n")
    };
    home.configure(&with(""));
    let mut agent = home.start_and_wait();
    seen(&mut agent, "it collects", |s| collector(s, "one")["collects"].as_u64() > Some(1));
    fs::write(home.path().join("new"), "no component\n").expect("written");
    fs::rename(home.path().join("new"), &file).expect("renamed");
    seen(&mut agent, "the watch's try fails", |s| collector(s, "one")["put_back"] == 1);

    // The operator asks later, twice, and is told each time; so is the log.
    for _ in 0..2 {
        let output = home.run(&["reload"]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("no collector differs; 1 unchanged\none is not as configured: "), "{text}");
        assert!(text.contains("no WebAssembly component") && text.lines().count() == 2, "{text}");
    }
    let log = home.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("\"not as configured\"")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("no WebAssembly component")), "{log}");

    // What the schema refuses, on top of it, is what stands in the way then.
    home.configure(&with(", config: {message: 7}"));
    fs::copy(shipped("heartbeat"), &file).expect("copied");
    seen(&mut agent, "it is refused, too", |s| {
        collector(s, "one")["refused_change"].to_string().contains("config.message")
    });
    let output = home.run(&["reload"]);
    assert!(
        said(&output).contains("one is not as configured: ") && !output.status.success(),
        "{}",
        said(&output)
    );
    let status = said(&home.run(&["status"]));
    assert_eq!(status.matches("config.message").count(), 1, "{status}");

    home.configure(&with(", config: {message: mended}"));
    seen(&mut agent, "it takes over", |s| collector(s, "one")["replaced"] == 1);
    let output = home.run(&["reload"]);
    assert!(output.status.success() && !said(&output).contains("not as configured"), "{}", said(&output));
    assert!(agent.terminate().success());
}

#[test]
fn what_takes_over_has_its_start_measured_and_its_own_hits() {
    let stub = Stub::start();
    let home = Home::new("");
    // It asks for more memory than it may have in each collect, and goes on without.
    let grows =
        Guest { collect: "(drop (memory.grow (i32.const 4096))) (i32.const 1024)", ..Guest::default() };
    let slow = Guest {
        items: "(global $turns (mut i32) (i32.const 300000000))",
        init: "(loop $again (global.set $turns (i32.sub (global.get $turns) (i32.const 1)))
            (br_if $again (global.get $turns))) (i32.const 1024)",
        ..Guest::default()
    };
    build(home.path(), "grows", &grows);
    build(home.path(), "slow", &slow);
    let with = |component: &str, memory: &str| {
        let limits = format!("limits: {{memory: {memory}, init: 5m}}");
        home.configure(&yaml(&stub, &format!("plugin: ./{component}.wasm, interval: 200ms, {limits}"), ""));
    };
    let limit = |s: &Value, name: &str, key: &str| collector(s, "one")["limits"][name][key].as_u64();
    with("grows", "8MiB");
    let mut agent = home.start_and_wait();
    let met = seen(&mut agent, "it meets its limit", |s| limit(s, "memory", "hits") > Some(2));
    assert!(limit(&met, "init", "used") > Some(0), "{met}");
    assert!(said(&home.run(&["status"])).contains("limits met: memory (8.0 MiB) "));

    with("slow", "32MiB");
    assert_eq!(reload(&home)["failed"], Value::Null);
    let after = seen(&mut agent, "it takes over", |s| collector(s, "one")["replaced"] == 1);
    assert_eq!(
        (limit(&after, "memory", "limit"), limit(&after, "memory", "hits")),
        (Some(32 << 20), Some(0)),
        "{after}"
    );
    assert!(limit(&after, "init", "used") > limit(&met, "init", "used"), "{met} {after}");
    assert!(!said(&home.run(&["status"])).contains("limits met"));
    assert!(agent.terminate().success());
}

#[test]
fn what_was_set_aside_is_resumed_by_hand_with_a_whole_budget() {
    let stub = Stub::start();
    let home = Home::new("");
    build(home.path(), "trapping", &Guest { collect: "unreachable", ..Guest::default() });
    home.configure(&yaml(&stub, "plugin: ./trapping.wasm, interval: 200ms", ""));
    let mut agent = home.start_and_wait();
    let aside = |faults: u64| {
        move |s: &Value| {
            let one = collector(s, "one");
            one["state"] == "set_aside" && one["faults"] == faults
        }
    };
    let status = seen(&mut agent, "it is set aside", aside(5));
    let problem = collector(&status, "one")["last_problem"].to_string();
    assert!(problem.contains("whimbrel plugin resume one"), "{problem}");

    let text = said(&home.run(&["plugin", "resume", "one"]));
    assert_eq!(text, "one was set aside, and starts with a whole budget of faults\n");
    seen(&mut agent, "five more, and it is set aside again", aside(10));
    let output = home.run(&["plugin", "resume", "one", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer, json!({ "collector": "one", "was": "set_aside" }));

    let output = home.run(&["plugin", "resume", "two"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("no collector is named two; there are: one"), "{}", said(&output));
    assert!(agent.terminate().success());
}
