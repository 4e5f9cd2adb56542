//! What an operator does with a running exporter: pause, resume, rewind.

use std::{sync::Arc, time::Duration};

use tokio::sync::Barrier;
use whimbrel_otlp::Signal;

use super::{
    Bench, FIRST_BACKOFF, HOLD, config, in_time,
    memory::{Memory, Step},
    receiver::{Received, Receiver, Reply},
};
use crate::{
    clock::manual::START,
    export::{Drained, RewindError, RewindTo, Rewound, Settled, State},
};

/// Lets everything run that can.
async fn runs_as_far_as_it_can() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    // The sockets' side, too.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn is_paused(state: &State) -> bool {
    matches!(state, State::Paused { .. })
}

#[tokio::test]
async fn a_paused_exporter_sends_nothing_until_it_is_resumed() {
    let receiver = Receiver::willing().await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    bench.settles(1).await;
    assert!(bench.exporter.pause());
    assert!(!bench.exporter.pause(), "it is already");
    bench.push("two");
    bench.push_as(Signal::Logs, "three");
    runs_as_far_as_it_can().await;
    assert_eq!(receiver.texts(), ["one"]);
    let status = bench.exporter.status();
    assert_eq!(status.state, State::Paused { since_unix_ms: START.as_millis() as u64 });
    assert!(status.lanes.iter().all(|lane| is_paused(&lane.state) && lane.in_flight == 0));
    assert!(bench.exporter.resume());
    bench.settles(3).await;
    assert!(!bench.exporter.resume(), "it was not paused any more");
    bench.reaches(Signal::Metrics, |state| *state == State::Idle).await;
}

#[tokio::test]
async fn what_is_on_the_wire_when_it_is_paused_is_acknowledged() {
    let answer = Arc::new(Barrier::new(2));
    let receiver = Receiver::new(gated(&answer)).await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    receiver.gets(1).await;
    bench.exporter.pause();
    bench.push("two");
    answer.wait().await;
    bench.settles(1).await;
    runs_as_far_as_it_can().await;
    assert_eq!(receiver.texts(), ["one"]);
    assert_eq!(bench.metrics().in_flight, 0);
}

/// Each request is answered with 200 once the test says so.
fn gated(answer: &Arc<Barrier>) -> impl Fn(&Received, usize) -> Reply + Send + Sync + 'static {
    let answer = Arc::clone(answer);
    move |_, _| Reply::Together(Arc::clone(&answer), 200)
}

#[tokio::test]
async fn a_request_that_waits_for_its_next_try_is_not_tried_while_paused() {
    let receiver =
        Receiver::new(|_, number| if number == 0 { Reply::status(503) } else { Reply::ok() }).await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    bench.exporter.pause();
    bench.clock.advance(FIRST_BACKOFF);
    runs_as_far_as_it_can().await;
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(in_time(bench.exporter.drain(HOLD)).await, Drained::Left, "no time need pass to know that");
    bench.exporter.resume();
    bench.settles(1).await;
    assert_eq!(receiver.received()[0].key(), receiver.received()[1].key());
}

#[tokio::test]
async fn a_paused_exporter_that_waited_for_more_records_sends_them_all_when_resumed() {
    let receiver = Receiver::willing().await;
    let mut config = config(&receiver);
    config.max_delay = Duration::from_secs(5);
    let bench = Bench::new(&config);
    bench.push("a");
    in_time(bench.clock.someone_sleeps(Duration::from_secs(5))).await;
    bench.exporter.pause();
    bench.push("b");
    runs_as_far_as_it_can().await;
    assert!(receiver.received().is_empty());
    bench.clock.advance(Duration::from_secs(5));
    bench.exporter.resume();
    bench.settles(2).await;
    assert_eq!(receiver.texts(), ["ab"]);
}

#[tokio::test]
async fn a_paused_exporter_is_stopped_and_drained_at_once() {
    let receiver = Receiver::willing().await;
    let bench = Bench::new(&config(&receiver));
    bench.exporter.pause();
    bench.push("one");
    assert_eq!(in_time(bench.exporter.drain(HOLD)).await, Drained::Left);
    in_time(bench.exporter.stop()).await;
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_rewound_exporter_sends_what_came_since_again_under_other_keys() {
    let receiver = Receiver::willing().await;
    let memory = Memory::new();
    for (payload, second) in [("a", 0), ("b", 1), ("c", 2), ("d", 3)] {
        memory.push_later(Signal::Metrics, payload, Duration::from_secs(second));
    }
    memory.push_later(Signal::Logs, "log", Duration::from_secs(1));
    let bench = Bench::over(&config(&receiver), memory);
    bench.settles(5).await;
    let since = (START + Duration::from_secs(2)).as_nanos() as u64;
    let rewound = in_time(bench.exporter.rewind(RewindTo::Since(since))).await.unwrap();
    assert_eq!(rewound, Rewound { records: 2, oldest_ns: Some(since), beyond_max_age: false });
    bench.memory.settles(5).await;
    let mut texts = receiver.texts();
    texts.sort();
    assert_eq!(texts, ["abcd", "cd", "log"]);

    let rewound = in_time(bench.exporter.rewind(RewindTo::Since(since))).await.unwrap();
    assert_eq!(rewound.records, 2);
    bench.memory.settles(5).await;
    let received = receiver.received();
    let keys: Vec<_> = received.iter().filter(|one| one.text() == "cd").map(Received::key).collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1], "the second time differs from the first");
    assert!(keys[0].starts_with("backend@2/metrics/"), "{keys:?}");
    assert!(keys[1].starts_with("backend@4/metrics/"), "{keys:?}");
}

#[tokio::test]
async fn rewinding_waits_for_what_is_on_the_wire_and_does_not_send_it_twice() {
    let answer = Arc::new(Barrier::new(2));
    let receiver = Receiver::new(gated(&answer)).await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    receiver.gets(1).await;
    let exporter = bench.exporter.clone();
    let rewinding = tokio::spawn(async move { exporter.rewind(RewindTo::Oldest).await });
    in_time(bench.clock.someone_sleeps(Duration::from_secs(30))).await;
    bench.push("two");
    let busy = in_time(bench.exporter.rewind(RewindTo::Oldest)).await;
    assert!(matches!(busy, Err(RewindError::Busy { .. })), "{busy:?}");
    runs_as_far_as_it_can().await;
    assert_eq!(receiver.texts(), ["one"], "nothing new is sent meanwhile");
    answer.wait().await;
    assert_eq!(in_time(rewinding).await.unwrap().unwrap().records, 1, "it had been acknowledged");
    receiver.gets(2).await;
    answer.wait().await;
    bench.memory.settles(2).await;
    assert_eq!(receiver.texts(), ["one", "onetwo"]);
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_stops_a_rewinding_and_nothing_is_set_back() {
    let answer = Arc::new(Barrier::new(2));
    let receiver = Receiver::new(gated(&answer)).await;
    let mut config = config(&receiver);
    config.timeout = Duration::from_secs(600);
    let bench = Bench::new(&config);
    bench.push("one");
    receiver.gets(1).await;
    let exporter = bench.exporter.clone();
    let rewinding = tokio::spawn(async move { exporter.rewind(RewindTo::Oldest).await });
    in_time(bench.clock.someone_sleeps(Duration::from_secs(30))).await;
    bench.clock.advance(Duration::from_secs(30));
    let error = in_time(rewinding).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("backend is still unanswered after 30 s"), "{error}");
    answer.wait().await;
    bench.settles(1).await;
    bench.push("two");
    receiver.gets(2).await;
    answer.wait().await;
    bench.settles(2).await;
    assert_eq!(receiver.texts(), ["one", "two"]);
}

#[tokio::test]
async fn an_exporter_can_be_rewound_while_its_receiver_is_away_and_repeats_what_was_planned() {
    // Metrics are refused once, and no metric was delivered: their cursor does not move.
    let receiver = Receiver::new(|request, number| {
        if request.path.ends_with("metrics") && number == 1 { Reply::status(503) } else { Reply::ok() }
    })
    .await;
    let bench = Bench::new(&config(&receiver));
    bench.push_as(Signal::Logs, "log");
    bench.settles(1).await;
    bench.push("metric");
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    let rewound = in_time(bench.exporter.rewind(RewindTo::Oldest)).await.unwrap();
    assert_eq!(rewound.records, 1, "the log");
    bench.memory.settles(2).await;
    let received = receiver.received();
    let keys: Vec<_> = received.iter().filter(|one| one.text() == "metric").map(Received::key).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1], "the same request again");
    assert_eq!(receiver.texts().iter().filter(|text| *text == "log").count(), 2);
}

#[tokio::test]
async fn a_paused_exporter_can_be_rewound_and_stays_paused() {
    let receiver = Receiver::willing().await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    bench.settles(1).await;
    bench.exporter.pause();
    assert_eq!(in_time(bench.exporter.rewind(RewindTo::Oldest)).await.unwrap().records, 1);
    runs_as_far_as_it_can().await;
    assert_eq!(receiver.received().len(), 1);
    bench.exporter.resume();
    bench.memory.settles(1).await;
    assert_eq!(receiver.texts(), ["one", "one"]);
}

#[tokio::test]
async fn a_rewinding_that_fails_leaves_the_exporter_running() {
    let receiver = Receiver::willing().await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    bench.settles(1).await;
    bench.memory.fail(Some(Step::Rewind));
    let error = in_time(bench.exporter.rewind(RewindTo::Oldest)).await.unwrap_err();
    assert!(error.to_string().contains("setting the cursor of backend back: Rewind fails"), "{error}");
    bench.push("two");
    bench.settles(2).await;
    assert_eq!(bench.memory.settled(), [(0, Settled::Delivered), (1, Settled::Delivered)]);
}

#[tokio::test]
async fn a_stopped_exporter_is_not_rewound() {
    let receiver = Receiver::willing().await;
    let bench = Bench::new(&config(&receiver));
    in_time(bench.exporter.stop()).await;
    let stopping = in_time(bench.exporter.rewind(RewindTo::Oldest)).await;
    assert!(matches!(stopping, Err(RewindError::Stopping)), "{stopping:?}");
}
