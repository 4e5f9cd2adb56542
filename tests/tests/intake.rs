//! The agent's "yes" means durable: what it answered applications for arrives, over crashes and full disks.
//!
//! The senders remember what was answered; a backend of the test's own remembers what arrived. What was sent and not
//! answered may arrive or not.

#![allow(clippy::print_stdout)] // the seed, so that a failing run can be repeated

use std::{collections::BTreeMap, ops::Range, thread, time::Duration};

use whimbrel_tests::{
    agent::{Agent, Home},
    disk::{SmallDisk, is_root},
    judge::Judge,
    load::{Load, Protocol},
    wait,
    witness::{Chance, free_port, pending},
};

const PATIENCE: Duration = Duration::from_secs(120);
const ROUNDS: u64 = 20;

/// The ports of an agent's receivers.
struct Ports {
    otlp: u16,
    ldjson: u16,
    ingest: u16,
}

impl Ports {
    fn free() -> Self {
        Self { otlp: free_port(), ldjson: free_port(), ingest: free_port() }
    }

    fn start(&self, load: &mut Load, protocol: Protocol, batch: u64, every: Duration) {
        let port = match protocol {
            Protocol::Otlp => self.otlp,
            Protocol::Ldjson => self.ldjson,
            Protocol::Ingest => self.ingest,
        };
        load.send(protocol, ([127, 0, 0, 1], port).into(), batch, every);
    }

    fn yaml(&self, backend: u16, wal: &str) -> String {
        let Self { otlp, ldjson, ingest } = self;
        format!(
            r#"
receivers:
  otlp: {{http: "127.0.0.1:{otlp}"}}
  ldjson: {{tcp: "127.0.0.1:{ldjson}"}}
  ingest: {{http: "127.0.0.1:{ingest}"}}
{wal}
exporters:
  judge:
    endpoint: "http://127.0.0.1:{backend}"
    compression: none
    max_delay: 50ms
    retry: {{initial: 50ms, maximum: 200ms}}
"#
        )
    }
}

fn everything_is_delivered(agent: &mut Agent, home: &Home) {
    wait::until("everything is delivered", PATIENCE, || {
        let status = agent.status().ok_or_else(|| home.log())?;
        if pending(&status, "judge") == 0 { Ok(()) } else { Err(status["exporters"].to_string()) }
    });
}

/// How many of what was answered did not arrive.
fn missing(answered: &[Range<u64>], seen: &BTreeMap<u64, u32>) -> Vec<u64> {
    answered.iter().flat_map(Clone::clone).filter(|number| !seen.contains_key(number)).collect()
}

fn twenty_kills_under(batch: u64, every: Duration, otlp_senders: u64) {
    let mut chance = Chance::new();
    let judge = Judge::start(0);
    let ports = Ports::free();
    let home = Home::new(&ports.yaml(judge.address().port(), ""));
    let mut load = Load::new();
    for _ in 0..otlp_senders {
        ports.start(&mut load, Protocol::Otlp, batch, every);
    }
    ports.start(&mut load, Protocol::Ldjson, batch, every);
    ports.start(&mut load, Protocol::Ingest, batch, every);
    let mut rounds_with_answers = 0;
    for _ in 0..ROUNDS {
        let before = load.answered();
        let agent = home.start_and_wait();
        thread::sleep(Duration::from_millis(50 + chance.below(350)));
        agent.kill();
        rounds_with_answers += u64::from(load.answered() > before);
    }
    let answered = load.stop();
    let mut agent = home.start_and_wait();
    everything_is_delivered(&mut agent, &home);
    assert!(agent.terminate().success(), "{}", home.log());
    let seen = judge.seen();
    let lost = missing(&answered, &seen);
    let repeated = seen.values().filter(|times| **times > 1).count();
    let total: u64 = answered.iter().map(|range| range.end - range.start).sum();
    println!(
        "{total} records answered for in {rounds_with_answers} of {ROUNDS} rounds; {} arrived, {repeated} of them more than once; lost: {}",
        seen.len(),
        lost.len()
    );
    assert!(rounds_with_answers > ROUNDS / 2, "the agent answered under load: {rounds_with_answers}");
    assert!(lost.is_empty(), "answered and lost: {lost:?}");
}

#[test]
fn twenty_kills_under_5000_records_a_second_lose_nothing_that_was_answered() {
    // 4 senders, 25 batches a second each, of 50.
    twenty_kills_under(50, Duration::from_millis(40), 2);
}

#[test]
fn twenty_kills_under_60000_records_a_second_lose_nothing_that_was_answered() {
    // 6 senders, 20 batches a second each, of 500.
    twenty_kills_under(500, Duration::from_millis(50), 4);
}

#[test]
fn a_small_disk_that_fills_is_told_and_what_was_answered_arrives_and_intake_recovers() {
    if !is_root() {
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let ports = Ports::free();
    let backend = free_port();
    // The disk is full before the WAL's own cap is met.
    let home = Home::new(&ports.yaml(backend, "wal: {max_size: 8MiB, zstd_level: 0}"));
    let _disk = SmallDisk::mount(&home.data(), 6);
    let mut agent = home.start_and_wait();
    let mut load = Load::new();
    for protocol in [Protocol::Otlp, Protocol::Ldjson, Protocol::Ingest] {
        ports.start(&mut load, protocol, 500, Duration::ZERO);
    }
    wait::until("intake is refused because the disk is full", PATIENCE, || {
        let status = agent.status().ok_or_else(|| home.log())?;
        let full = |at: usize| status["receivers"][at]["refused"]["full"].as_u64().unwrap_or(0) > 0;
        if load.refused() > 2 && full(0) && full(2) { Ok(()) } else { Err(status["receivers"].to_string()) }
    });
    let before = load.answered();
    assert!(before > 0, "something was answered before");
    let judge = Judge::start(backend);
    wait::until("intake goes on once there is room", PATIENCE, || {
        let answered = load.answered();
        if answered > before + 20_000 { Ok(()) } else { Err(format!("{answered} answered, {before} before")) }
    });
    let answered = load.stop();
    everything_is_delivered(&mut agent, &home);
    assert!(agent.terminate().success(), "{}", home.log());
    let lost = missing(&answered, &judge.seen());
    assert!(lost.is_empty(), "answered and lost: {} of {}", lost.len(), load_total(&answered));
}

fn load_total(answered: &[Range<u64>]) -> u64 {
    answered.iter().map(|range| range.end - range.start).sum()
}
