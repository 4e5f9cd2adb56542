//! The thin clients: what they send arrives, once, over a restart of the agent; without an agent they cost little, and
//! say later what they had to drop; processes that hand on a trace appear as one.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use whimbrel_tests::{agent::Home, stub::Stub, wait};

const PATIENCE: Duration = Duration::from_secs(60);

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in the workspace")
        .join("agent/clients")
}

fn home(stub: &Stub) -> Home {
    let endpoint = format!("http://{}", stub.otlp);
    Home::new(&format!(
        "receivers:\n  ldjson: {{unix: ./l.sock}}\nexporters:\n  stub: {{endpoint: \"{endpoint}\", max_delay: 20ms}}\n"
    ))
}

/// A language, and the program in it.
struct Language {
    name: &'static str,
    /// Sends `sale` events up to the number given, ends with a flush, and prints `durable` or `lost`, and the count of
    /// what was dropped.
    program: fn(&Path) -> Command,
}

const LANGUAGES: [Language; 3] = [
    Language { name: "perl", program: perl },
    Language { name: "python", program: python },
    Language { name: "c", program: c },
];

fn perl(folder: &Path) -> Command {
    let source = r#"
use Whimbrel;
my ($address, $from, $to, $wait) = @ARGV;
my $w = Whimbrel->new(address => $address, source => 'till');
my $span = $w->span('day', kind => 'server');
$w->event('sale', message => "sale $_", attributes => {n => $_}) for $from .. $to;
$w->metric('till.open', 1);
$w->progress('day', 5, total => 10);
$w->heartbeat(60);
$span->end(status => 'ok');
print $w->flush($wait) ? 'durable' : 'lost', ' ', $w->dropped, "\n";
"#;
    let path = folder.join("till.pl");
    fs::write(&path, source).expect("a file can be written");
    let mut command = Command::new("perl");
    command.arg("-I").arg(clients().join("perl")).arg(path);
    command
}

fn python(folder: &Path) -> Command {
    let source = r#"
import sys
from whimbrel import Client
address, first, last, wait = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
w = Client(address, source="till")
with w.span("day", kind="server"):
    for n in range(first, last + 1):
        w.event("sale", "sale %d" % n, n=n)
    w.metric("till.open", 1)
    w.progress("day", 5, total=10)
    w.heartbeat(60)
print("durable" if w.flush(wait) else "lost", w.dropped)
"#;
    let path = folder.join("till.py");
    fs::write(&path, source).expect("a file can be written");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", clients().join("python")).env("PYTHONDONTWRITEBYTECODE", "1").arg(path);
    command
}

fn c(folder: &Path) -> Command {
    let source = r#"
#define _GNU_SOURCE
#define WHIMBREL_IMPLEMENTATION
#include "whimbrel.h"
#include <sys/wait.h>
int main(int count, char **given) {
    whimbrel *w = whimbrel_new(given[1], "till");
    int status = 0;
    whimbrel_span span = whimbrel_span_start(w, "day", NULL);
    char n[16], text[32];
    int i, durable;
    for (i = atoi(given[2]); i <= atoi(given[3]); i++) {
        sprintf(n, "%d", i);
        sprintf(text, "sale %d", i);
        whimbrel_event(w, "sale", "info", text, "n", n, NULL);
    }
    whimbrel_metric(w, "till.open", "gauge", 1, NULL);
    whimbrel_progress(w, "day", 5, 10, NULL);
    whimbrel_heartbeat(w, 60);
    whimbrel_span_end(w, &span, "ok", NULL);
    durable = whimbrel_flush(w, (int)(1000 * atof(given[4])));
    if (durable && fork() == 0) {
        int own = w->fd;
        whimbrel_event(w, "forked", "info", "from a child", NULL);
        _exit(!whimbrel_flush(w, (int)(1000 * atof(given[4]))) || w->pid != getpid() || own < 0);
    }
    if (durable) wait(&status);
    /* The parent's connection is as it was. */
    durable = durable && status == 0 && whimbrel_flush(w, (int)(1000 * atof(given[4])));
    printf("%s %lu\n", durable ? "durable" : "lost", whimbrel_dropped(w));
    whimbrel_free(w);
    return count != 5;
}
"#;
    let (path, program) = (folder.join("till.c"), folder.join("till"));
    fs::write(&path, source).expect("a file can be written");
    let built = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-I"])
        .arg(clients().join("c"))
        .arg("-o")
        .args([&program, &path])
        .args(["-lpthread", "-lm"])
        .output()
        .expect("a C compiler is there");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Command::new(program)
}

/// Runs a language's program; what it printed.
fn run(language: &Language, home: &Home, from: u32, to: u32, wait_s: u32) -> String {
    let mut command = (language.program)(home.path());
    command.arg(format!("unix:{}", home.path().join("l.sock").display()));
    let output =
        command.args([from, to, wait_s].map(|number| number.to_string())).output().expect("it starts");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}", language.name);
    said
}

/// The numbers of the sales that the stub holds, in order.
fn sales(stub: &Stub) -> Vec<u64> {
    let logs = stub.api("/api/logs?limit=5000");
    let mut numbers: Vec<u64> = logs["logs"]
        .as_array()
        .unwrap_or_else(|| panic!("{logs}"))
        .iter()
        .filter_map(|log| log["body"].as_str()?.strip_prefix("sale ")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

fn spans(stub: &Stub) -> Vec<Value> {
    let spans = stub.api("/api/spans?limit=1000");
    spans["spans"].as_array().unwrap_or_else(|| panic!("{spans}")).clone()
}

#[test]
fn what_is_sent_arrives_once_and_over_a_kill_of_the_agent() {
    for language in &LANGUAGES {
        let stub = Stub::start();
        let home = home(&stub);
        let agent = home.start_and_wait();
        assert_eq!(run(language, &home, 1, 300, 10).trim(), "durable 0", "{}", language.name);
        agent.kill();
        // The agent comes back while the program waits for it.
        let (said, agent) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| run(language, &home, 301, 600, 30));
            std::thread::sleep(Duration::from_millis(300));
            let agent = home.start_and_wait();
            (sending.join().expect("it ran"), agent)
        });
        assert_eq!(said.trim(), "durable 0", "{}", language.name);
        wait::until("all sales are at the stub", PATIENCE, || {
            let there = sales(&stub);
            if there == (1..=600).collect::<Vec<u64>>() { Ok(()) } else { Err((there.len(), home.log())) }
        });
        wait::until("the spans are at the stub", PATIENCE, || {
            let spans = spans(&stub);
            if spans.len() == 2 { Ok(()) } else { Err(spans) }
        });
        assert!(agent.terminate().success());
    }
}

#[test]
fn without_an_agent_calls_cost_little_and_what_was_dropped_is_told_later() {
    for language in &LANGUAGES {
        let stub = Stub::start();
        let home = home(&stub);
        let began = Instant::now();
        let said = run(language, &home, 1, 5000, 0);
        assert!(began.elapsed() < Duration::from_secs(20), "{}: {:?}", language.name, began.elapsed());
        let (state, dropped) = said.trim().split_once(' ').unwrap_or_else(|| panic!("{said}"));
        assert_eq!(state, "lost", "{}", language.name);
        // 5000 sales and 5 lines more, of which 1000 were kept.
        let dropped: u64 = dropped.parse().unwrap_or_else(|_| panic!("{said}"));
        assert!((4004..=4006).contains(&dropped), "{}: {dropped}", language.name);
        // Another run whose buffer overflows before the agent is there tells so once it is.
        let agent = std::thread::scope(|scope| {
            let sending = scope.spawn(|| run(language, &home, 1, 2000, 30));
            std::thread::sleep(Duration::from_millis(500));
            let agent = home.start_and_wait();
            assert!(sending.join().expect("it ran").starts_with("durable 100"), "about 1005 were dropped");
            agent
        });
        let mut agent = agent;
        let status = agent.status().expect("the agent answers");
        let told = status["receivers"][0]["dropped_by_senders"].as_u64().expect("a count");
        assert!((1004..=1006).contains(&told), "{}: {told}", language.name);
    }
}

#[test]
fn three_services_and_a_script_are_one_trace() {
    let stub = Stub::start();
    let home = home(&stub);
    let agent = home.start_and_wait();
    let output = Command::new("perl")
        .arg(clients().join("perl/demo.pl"))
        .arg(format!("unix:{}", home.path().join("l.sock").display()))
        .env_remove("TRACEPARENT")
        .output()
        .expect("perl starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let trace = said.trim().strip_prefix("trace ").expect("it says its trace");
    let spans = wait::until("the spans are at the stub", PATIENCE, || {
        let spans = spans(&stub);
        if spans.len() == 7 { Ok(spans) } else { Err(spans) }
    });
    assert!(spans.iter().all(|span| span["trace_id"] == trace), "{spans:#?}");
    let services: BTreeSet<String> =
        spans.iter().map(|span| span["resource"]["service.name"].to_string()).collect();
    assert_eq!(services.len(), 4, "{spans:#?}");
    let ids: BTreeSet<&str> = spans.iter().filter_map(|span| span["span_id"].as_str()).collect();
    let roots =
        spans.iter().filter(|span| !ids.contains(span["parent_span_id"].as_str().unwrap_or_default()));
    assert_eq!(roots.count(), 1, "one begins, the others are within it");
    assert!(agent.terminate().success());
}
