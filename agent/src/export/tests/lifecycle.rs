//! Stopping, starting again, and draining.

use std::{sync::Arc, time::Duration};

use whimbrel_otlp::Signal;

use super::{
    Bench, FIRST_BACKOFF, HOLD, config, in_time,
    memory::Memory,
    receiver::{Received, Receiver, Reply},
};
use crate::export::{Drained, Settled};

#[tokio::test]
async fn requests_in_flight_go_out_again_identically_after_a_restart() {
    let receiver = Receiver::new(|_, number| if number < 2 { Reply::Hang } else { Reply::ok() }).await;
    let memory = Memory::new();
    for number in 10..14 {
        memory.push(Signal::Logs, &format!("<{number}>"));
    }
    let mut small = config(&receiver);
    small.max_request = 8;
    let first = Bench::over(&small, Arc::clone(&memory));
    let before = receiver.gets(2).await;
    first.exporter.stop().await;
    assert_eq!(memory.settled(), []);
    assert_eq!(memory.plans().len(), 2, "what was under way stays planned");

    // More has come, and the limits allow it to be joined: the planned requests stay as they were.
    for number in 14..20 {
        memory.push(Signal::Logs, &format!("<{number}>"));
    }
    let second = Bench::over(&config(&receiver), Arc::clone(&memory));
    second.memory.settles(10).await;
    // Two at a time: they may arrive in any order.
    let same = |requests: &[Received]| {
        let mut same: Vec<_> = requests.iter().map(|one| (one.key().to_owned(), one.raw.clone())).collect();
        same.sort();
        same
    };
    let planned = same(&before);
    let (again, new): (Vec<_>, Vec<_>) = receiver.received()[2..]
        .iter()
        .cloned()
        .partition(|one| planned.iter().any(|(key, _)| one.key() == key));
    assert_eq!(same(&again), planned);
    assert_eq!(new.iter().map(Received::text).collect::<String>(), "<14><15><16><17><18><19>");
}

#[tokio::test]
async fn a_half_in_flight_is_planned_as_a_half() {
    // The whole is refused, its first half hangs.
    let receiver = Receiver::new(|_, number| match number {
        0 => Reply::status(400),
        1 => Reply::Hang,
        _ => Reply::ok(),
    })
    .await;
    let memory = Memory::new();
    for payload in ["a", "b", "c", "d"] {
        memory.push(Signal::Metrics, payload);
    }
    let first = Bench::over(&config(&receiver), Arc::clone(&memory));
    receiver.gets(2).await;
    first.exporter.stop().await;
    let second = Bench::over(&config(&receiver), Arc::clone(&memory));
    second.memory.settles(4).await;
    let received = receiver.received();
    assert_eq!(received.iter().map(|request| request.text()).collect::<Vec<_>>(), ["abcd", "ab", "ab", "cd"]);
    assert_eq!(received[1].key(), received[2].key());
}

#[tokio::test]
async fn records_before_a_planned_request_are_not_mixed_into_it() {
    let memory = Memory::new();
    let ids: Vec<_> = ["a", "b", "c", "d", "e"].map(|payload| memory.push(Signal::Metrics, payload)).into();
    let plan = |first: usize, last: usize, count| crate::export::Plan {
        first: ids[first],
        last: ids[last],
        count,
        generation: 0,
    };
    use crate::export::Source as _;
    memory.plan(Signal::Metrics, plan(2, 3, 2)).unwrap();
    let receiver = Receiver::willing().await;
    let bench = Bench::over(&config(&receiver), memory);
    bench.memory.settles(5).await;
    assert_eq!(receiver.texts(), ["ab", "cd", "e"]);
}

#[tokio::test]
async fn a_plan_whose_records_are_gone_is_forgotten() {
    let memory = Memory::new();
    let ids: Vec<_> = ["a", "b", "c"].map(|payload| memory.push(Signal::Metrics, payload)).into();
    let plan = crate::export::Plan { first: ids[0], last: ids[1], count: 2, generation: 0 };
    use crate::export::Source as _;
    memory.plan(Signal::Metrics, plan).unwrap();
    memory.lose(ids[0]);
    memory.lose(ids[1]);
    let receiver = Receiver::willing().await;
    let bench = Bench::over(&config(&receiver), memory);
    bench.memory.settles(1).await;
    assert_eq!(receiver.texts(), ["c"]);
}

#[tokio::test]
async fn draining_sends_everything_without_waiting_for_more() {
    let receiver = Receiver::willing().await;
    let mut config = config(&receiver);
    config.max_delay = Duration::from_secs(5);
    let bench = Bench::new(&config);
    bench.push("one");
    bench.push_as(Signal::Traces, "two");
    in_time(bench.clock.asleep(|left| left.len() == 2)).await;
    assert_eq!(in_time(bench.exporter.drain(Duration::from_secs(8))).await, Drained::Empty);
    assert_eq!(bench.memory.settled(), [(0, Settled::Delivered), (1, Settled::Delivered)]);
    assert_eq!(in_time(bench.exporter.drain(Duration::from_secs(8))).await, Drained::Empty, "again");
    in_time(bench.exporter.stop()).await;
}

#[tokio::test]
async fn an_exporter_with_nothing_to_send_is_drained_at_once() {
    let receiver = Receiver::willing().await;
    let bench = Bench::new(&config(&receiver));
    assert_eq!(in_time(bench.exporter.drain(Duration::from_secs(8))).await, Drained::Empty);
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn draining_tries_again_within_its_time_and_not_beyond() {
    let receiver =
        Receiver::new(|_, number| if number == 0 { Reply::status(503) } else { Reply::ok() }).await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    let exporter = bench.exporter.clone();
    let drain = tokio::spawn(async move { exporter.drain(Duration::from_secs(8)).await });
    in_time(bench.clock.someone_sleeps(Duration::from_secs(8))).await;
    bench.clock.advance(FIRST_BACKOFF);
    assert_eq!(in_time(drain).await.unwrap(), Drained::Empty);

    let receiver = Receiver::new(|_, _| Reply::status(401)).await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    in_time(bench.clock.someone_sleeps(HOLD)).await;
    // It would be tried in 75 s: no time need pass to know that.
    assert_eq!(in_time(bench.exporter.drain(Duration::from_secs(8))).await, Drained::Left);

    let receiver = Receiver::new(|_, _| Reply::Hang).await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    receiver.gets(1).await;
    let exporter = bench.exporter.clone();
    let drain = tokio::spawn(async move { exporter.drain(Duration::from_secs(8)).await });
    in_time(bench.clock.someone_sleeps(Duration::from_secs(8))).await;
    bench.clock.advance(Duration::from_secs(8));
    assert_eq!(in_time(drain).await.unwrap(), Drained::Left);
    in_time(bench.exporter.stop()).await;
    assert_eq!(bench.memory.settled(), []);
}

#[tokio::test]
async fn stopping_ends_every_kind_of_waiting() {
    for (reply, sleep) in [(503, FIRST_BACKOFF), (401, HOLD)] {
        let receiver = Receiver::new(move |_, _| Reply::status(reply)).await;
        let bench = Bench::new(&config(&receiver));
        bench.push("one");
        in_time(bench.clock.someone_sleeps(sleep)).await;
        in_time(bench.exporter.stop()).await;
        assert_eq!(bench.memory.plans().len(), 1);
    }
    let receiver = Receiver::willing().await;
    let mut config = config(&receiver);
    config.max_delay = Duration::from_secs(5);
    let bench = Bench::new(&config);
    bench.push("one");
    in_time(bench.clock.someone_sleeps(Duration::from_secs(5))).await;
    in_time(bench.exporter.stop()).await;
    assert!(receiver.received().is_empty());
}
