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
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
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
    assert_eq!(reload(&home)["unchanged"], 1, "what failed is not tried again before it changes");

    // And what is mended takes over.
    put(&shipped("heartbeat"));
    assert_eq!(reload(&home)["changed"], json!(["one"]));
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
