//! The file collector over the real programs: a writer that numbers its lines and rotates, an agent that is killed;
//! each line arrives once.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use whimbrel_tests::{
    agent::{Agent, Home},
    single::{plugin, shipped, text},
    stub::Stub,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(120);
const KILLS: usize = 10;
const LINES_BETWEEN: u64 = 300;
/// The agent is killed somewhere in it.
const WRITING: Duration = Duration::from_millis(600);

struct Writer {
    path: PathBuf,
    file: File,
    written: u64,
}

impl Writer {
    fn new(folder: &Path) -> Self {
        let path = folder.join("app.log");
        let file = Self::open(&path);
        Self { path, file, written: 0 }
    }

    fn open(path: &Path) -> File {
        OpenOptions::new().append(true).create(true).open(path).expect("the log opens")
    }

    fn write(&mut self, lines: u64) {
        for _ in 0..lines {
            self.written += 1;
            writeln!(self.file, "{} a line of the log", self.written).expect("written");
        }
    }

    fn old(&self, n: usize) -> PathBuf {
        self.path.with_extension(format!("log.{n}"))
    }

    fn shift(&self) {
        // The older ones are still there while the one that moves is read.
        let _ = fs::rename(self.old(1), self.old(2));
    }

    fn rename(&mut self) {
        self.shift();
        fs::rename(&self.path, self.old(1)).expect("renamed");
        // As with a writer that is told by a signal: some lines go to the old one.
        self.write(5);
        self.file = Self::open(&self.path);
    }

    fn copy_and_cut(&mut self) {
        self.shift();
        fs::copy(&self.path, self.old(1)).expect("copied");
        self.file.set_len(0).expect("cut");
    }
}

/// The numbers of all lines that arrived, in the order of their arrival.
fn numbers(stub: &Stub) -> Vec<u64> {
    let (mut found, mut before) = (Vec::new(), String::new());
    loop {
        let page = stub.api(&format!("/api/logs?limit=1000{before}"));
        let logs = page["logs"].as_array().unwrap_or_else(|| panic!("no logs in {page}"));
        let Some(last) = logs.last() else { break };
        before = format!("&before={}", last["id"].as_u64().unwrap_or_else(|| panic!("no id in {last}")));
        for log in logs {
            let body = log["body"].as_str().unwrap_or_default();
            if let Some(number) = body.strip_suffix(" a line of the log") {
                found.push(number.parse().unwrap_or_else(|e| panic!("{body:?}: {e}")));
            }
        }
    }
    found.reverse();
    found
}

fn each_once(stub: &Stub, upto: u64) {
    let found = wait::until("all lines arrive", PATIENCE, || {
        let found = numbers(stub);
        if found.len() as u64 >= upto { Ok(found) } else { Err(found.len()) }
    });
    let mut sorted = found;
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=upto).collect::<Vec<_>>(), "each once");
}

fn home(stub: &Stub, folder: &Path, pattern: &str) -> Home {
    let folder = folder.display();
    Home::new(&format!(
        "collectors:
  files:
    plugin: builtin:file-tail
    interval: 200ms
    grants: {{read: [{folder}]}}
    config: {{paths: ['{folder}/{pattern}'], start_at: beginning}}
exporters:
  stub: {{endpoint: \"http://{}\", max_delay: 50ms}}
",
        stub.otlp
    ))
}

/// Until everything that was written so far was read.
fn read(agent: &mut Agent, stub: &Stub, writer: &Writer) {
    wait::until("what was written arrives", PATIENCE, || {
        let there = numbers(stub).len() as u64;
        if there >= writer.written { Ok(()) } else { Err((there, agent.status())) }
    });
}

#[test]
fn each_line_arrives_once_over_kills_and_rotations() {
    let stub = Stub::start();
    let logs = tempfile::tempdir().expect("a folder");
    let mut writer = Writer::new(logs.path());
    let home = home(&stub, logs.path(), "app.log");
    for round in 0..KILLS {
        let mut agent = home.start_and_wait();
        // No pattern finds the older files: somebody has to look between two rotations.
        writer.write(1);
        read(&mut agent, &stub, &writer);
        let steps = 20;
        for step in 0..steps {
            writer.write(LINES_BETWEEN / steps);
            if step == steps / 2 && round % 3 == 1 {
                writer.rename();
            }
            thread::sleep(WRITING / steps as u32);
        }
        agent.kill();
        writer.write(LINES_BETWEEN);
        if round % 3 == 2 {
            // Nobody looks while this happens.
            writer.copy_and_cut();
            writer.write(LINES_BETWEEN);
        }
    }
    let agent = home.start_and_wait();
    each_once(&stub, writer.written);
    assert!(agent.terminate().success());
}

#[test]
fn lines_arrive_in_order_over_rotations_in_a_running_agent() {
    let stub = Stub::start();
    let logs = tempfile::tempdir().expect("a folder");
    let mut writer = Writer::new(logs.path());
    let home = home(&stub, logs.path(), "app.log*");
    let mut agent = home.start_and_wait();
    // It is slow to begin, and whoever has not looked knows no order.
    writer.write(1);
    read(&mut agent, &stub, &writer);
    for round in 0..6 {
        writer.write(LINES_BETWEEN);
        if round % 2 == 0 {
            writer.rename();
        } else {
            writer.copy_and_cut();
        }
        writer.write(LINES_BETWEEN);
        read(&mut agent, &stub, &writer);
    }
    each_once(&stub, writer.written);
    let found = numbers(&stub);
    let wrong = found.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "in order");
    assert!(agent.terminate().success());
}

#[test]
fn without_the_grant_nothing_is_read_and_the_log_says_what_would_allow_it() {
    let stub = Stub::start();
    let logs = tempfile::tempdir().expect("a folder");
    Writer::new(logs.path()).write(1);
    let home = home(&stub, logs.path(), "app.log");
    let yaml = fs::read_to_string(home.path().join("whimbrel.yaml")).expect("it is there");
    let without: String =
        yaml.lines().filter(|line| !line.contains("grants:")).map(|l| format!("{l}\n")).collect();
    home.configure(&without);
    let agent = home.start_and_wait();
    wait::until("it is told", PATIENCE, || {
        let log = home.log();
        if log.contains("lies in no granted folder") { Ok(()) } else { Err(log) }
    });
    assert!(numbers(&stub).is_empty());
    assert!(agent.terminate().success());
}

#[test]
fn plugin_test_finds_what_was_written_down() {
    let home = Home::new("");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/file-tail");
    let said =
        plugin(&home, &["test", "--dir", text(&folder), "--component", text(&shipped("file-tail.wasm"))]);
    for case in ["denied", "end", "flushed", "json", "multiline", "plain", "refused", "regex"] {
        assert!(said.lines().any(|line| line.starts_with(case) && line.contains(" ok ")), "{case}: {said}");
    }
}
