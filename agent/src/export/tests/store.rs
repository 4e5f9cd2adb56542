//! What happens when the WAL itself fails.

use whimbrel_otlp::Signal;

use super::{
    Bench, FIRST_BACKOFF, config, in_time,
    memory::{Memory, Step},
    receiver::{Receiver, Reply},
};
use crate::export::{Settled, State};

#[tokio::test]
async fn a_failing_step_is_tried_again_and_nothing_is_sent_twice() {
    for (step, sent_meanwhile) in [(Step::Read, 0), (Step::Plan, 0), (Step::Acknowledge, 1)] {
        let receiver = Receiver::willing().await;
        let memory = Memory::new();
        memory.push(Signal::Metrics, "one");
        memory.fail(Some(step));
        let bench = Bench::over(&config(&receiver), memory);
        // Reading fails in all three lanes.
        in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
        bench.reaches(Signal::Metrics, |state| matches!(state, State::Waiting { .. })).await;
        let State::Waiting { reason, .. } = bench.metrics().state else { panic!("{step:?}") };
        assert!(reason.ends_with(&format!("{step:?} fails on command")), "{reason}");
        assert_eq!(receiver.received().len(), sent_meanwhile, "{step:?}");
        bench.memory.fail(None);
        bench.exporter.resume();
        bench.settles(1).await;
        assert_eq!(receiver.received().len(), 1, "{step:?}");
        assert_eq!(bench.memory.settled(), [(0, Settled::Delivered)]);
    }
}

#[tokio::test]
async fn records_that_left_the_wal_before_they_were_planned_are_passed_over() {
    // "a" hangs while "b" and "c" wait to be planned; then a full WAL takes "b".
    let receiver =
        Receiver::new(|_, number| if number == 0 { Reply::status(503) } else { Reply::ok() }).await;
    let memory = Memory::new();
    let ids: Vec<_> = ["a", "b", "c"].map(|payload| memory.push(Signal::Metrics, payload)).into();
    memory.fail(Some(Step::Plan));
    let bench = Bench::over(&config(&receiver), memory);
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    bench.memory.lose(ids[0]);
    bench.memory.fail(None);
    bench.clock.advance(FIRST_BACKOFF);
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    bench.clock.advance(FIRST_BACKOFF);
    bench.settles(2).await;
    assert_eq!(receiver.texts(), ["bc", "bc"]);
}
