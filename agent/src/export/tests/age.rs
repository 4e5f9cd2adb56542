//! `max_age`: what is too old is given up and counted, and nothing else is.

use std::{sync::Arc, time::Duration};

use whimbrel_otlp::Signal;

use super::{
    Bench, FIRST_BACKOFF, config, in_time,
    memory::Memory,
    receiver::{Receiver, Reply},
};
use crate::{
    clock::manual::START,
    config::Exporter,
    export::{Amount, Plan, Settled, Source as _},
};

const MAX_AGE: Duration = Duration::from_secs(3600);
const OLD: Duration = Duration::ZERO;
const YOUNG: Duration = Duration::from_secs(3600);

/// An exporter over this memory, an hour and a second after the clock began.
fn bench(config: &Exporter, memory: Arc<Memory>) -> Bench {
    // The exporter runs once this thread waits.
    let bench = Bench::over(&Exporter { max_age: Some(MAX_AGE), ..config.clone() }, memory);
    bench.clock.advance(MAX_AGE + Duration::from_secs(1));
    bench
}

#[tokio::test]
async fn records_beyond_max_age_are_given_up_and_the_others_are_sent() {
    let receiver = Receiver::willing().await;
    let memory = Memory::new();
    for (payload, came) in [("a", OLD), ("b", OLD), ("c", YOUNG), ("d", OLD), ("e", YOUNG)] {
        memory.push_later(Signal::Metrics, payload, came);
    }
    let bench = bench(&config(&receiver), memory);
    bench.settles(5).await;
    assert_eq!(receiver.texts(), ["ce"]);
    let given_up: Vec<_> =
        bench.memory.settled().into_iter().filter(|(_, how)| *how == Settled::Dropped).collect();
    assert_eq!(given_up, [(0, Settled::Dropped), (1, Settled::Dropped), (3, Settled::Dropped)]);
    assert_eq!(bench.metrics().dropped, Amount { records: 3, items: 9, bytes: 3 });
}

#[tokio::test]
async fn what_waits_is_sent_behind_a_backlog_that_is_given_up() {
    let receiver = Receiver::willing().await;
    let memory = Memory::new();
    for _ in 0..10 {
        memory.push_later(Signal::Metrics, "old", OLD);
    }
    memory.push_later(Signal::Metrics, "young", YOUNG);
    let bench = bench(&Exporter { max_request: 6, ..config(&receiver) }, memory);
    bench.settles(11).await;
    assert_eq!(receiver.texts(), ["young"]);
}

#[tokio::test]
async fn a_request_that_grows_old_in_an_outage_is_given_up() {
    let receiver = Receiver::new(|_, _| Reply::status(503)).await;
    let memory = Memory::new();
    memory.push_later(Signal::Metrics, "a", YOUNG);
    let bench = bench(&config(&receiver), memory);
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    bench.clock.advance(MAX_AGE);
    bench.settles(1).await;
    assert_eq!(bench.memory.settled(), [(0, Settled::Dropped)]);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_planned_request_goes_out_as_it_was_while_one_of_its_records_is_young() {
    let receiver = Receiver::willing().await;
    let memory = Memory::new();
    let ids: Vec<_> = [("a", OLD), ("b", OLD), ("c", YOUNG), ("d", OLD)]
        .map(|(payload, came)| memory.push_later(Signal::Metrics, payload, came))
        .into();
    let plan = |first: usize, last: usize| Plan {
        first: ids[first],
        last: ids[last],
        count: (last - first + 1) as u32,
        generation: 0,
    };
    memory.plan(Signal::Metrics, plan(1, 2)).unwrap();
    memory.plan(Signal::Metrics, plan(3, 3)).unwrap();
    let bench = bench(&config(&receiver), memory);
    bench.settles(4).await;
    assert_eq!(receiver.texts(), ["bc"]);
    assert!(receiver.received()[0].key().ends_with("/2"));
}

#[tokio::test]
async fn a_record_from_the_future_is_sent() {
    let receiver = Receiver::willing().await;
    let memory = Memory::new();
    memory.push_later(Signal::Metrics, "a", START);
    let bench = bench(&config(&receiver), memory);
    bench.settles(1).await;
    assert_eq!(bench.memory.settled(), [(0, Settled::Delivered)]);
}
