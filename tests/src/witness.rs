//! The heartbeat collector as a witness: it pushes 1, 2, 3, ... and goes on where its last durable checkpoint stood.

#![allow(clippy::print_stdout)] // the seed, so that a failing run can be repeated

use std::{collections::BTreeMap, net::TcpListener};

use serde_json::Value;

use crate::{
    agent::{Agent, Home},
    stub::Stub,
};

/// A port that was free a moment ago: the backend must come back on the same one.
///
/// # Panics
/// When the system has none.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port can be had").port()
}

/// All heartbeats that the stub holds, in the order of their arrival.
///
/// # Panics
/// When there is more than one series of them.
pub fn heartbeats(stub: &Stub) -> Vec<i64> {
    let answer = stub.api("/api/values?name=whimbrel.heartbeat.count");
    assert_eq!(answer["truncated"], false, "the stub shows all values");
    let series = answer["series"].as_array().expect("an array");
    assert!(series.len() <= 1, "one heartbeat has one series: {answer}");
    series
        .first()
        .and_then(|s| s["values"].as_array())
        .map(|values| values.iter().map(|v| v.as_i64().expect("a whole number")).collect())
        .unwrap_or_default()
}

/// Records that an agent has appended to its WAL since its start; 0 where it does not answer.
///
/// # Panics
/// When its status has no such count.
pub fn appended(agent: &mut Agent) -> u64 {
    agent.status().map_or(0, |s| s["wal"]["appended_records"].as_u64().expect("a count"))
}

/// Records that wait for an exporter.
///
/// # Panics
/// When the status is none.
pub fn pending(status: &Value, exporter: &str) -> u64 {
    let consumers = status["wal"]["consumers"].as_array().expect("an array");
    let lanes = consumers
        .iter()
        .filter(|c| c["name"] == exporter)
        .flat_map(|c| c["lanes"].as_array().expect("lanes"));
    lanes.map(|lane| lane["pending"].as_u64().expect("a count")).sum()
}

/// xorshift64*, so that a failing run can be repeated from the seed it printed.
pub struct Chance(u64);

impl Chance {
    /// From `WHIMBREL_TEST_SEED`, or else the time; printed.
    ///
    /// # Panics
    /// Before 1970.
    #[allow(clippy::new_without_default, reason = "it prints, and differs each time")]
    pub fn new() -> Self {
        let seed =
            std::env::var("WHIMBREL_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
                now.as_nanos() as u64 | 1
            });
        println!("WHIMBREL_TEST_SEED={seed}");
        Self(seed)
    }

    /// The next number, below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// Checks that the stub holds every heartbeat from 1 to the last exactly once, in order; how many those are.
///
/// # Panics
/// When one is missing, came twice or out of order.
pub fn arrived_once(stub: &Stub, home: &Home) -> u64 {
    let values = heartbeats(stub);
    let last = values.iter().copied().max().unwrap_or(0);
    let mut times = BTreeMap::<i64, u32>::new();
    values.iter().for_each(|v| *times.entry(*v).or_default() += 1);
    let lost: Vec<_> = (1..=last).filter(|n| !times.contains_key(n)).collect();
    let repeated: Vec<_> = times.iter().filter(|(_, n)| **n > 1).collect();
    assert!(lost.is_empty(), "lost: {lost:?} of {last}\n{}", home.log());
    assert!(repeated.is_empty(), "came twice: {repeated:?}\n{}", home.log());
    assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "a lane keeps its order: {values:?}");
    last.unsigned_abs()
}
