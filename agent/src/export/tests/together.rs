//! How records become requests.

use std::time::Duration;

use whimbrel_otlp::Signal;

use super::{
    Bench, config, in_time,
    memory::Memory,
    receiver::{Receiver, Reply},
};

const DELAY: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_backlog_is_joined_up_to_max_request() {
    let receiver = Receiver::willing().await;
    let memory = Memory::new();
    for number in 10..31 {
        memory.push(Signal::Metrics, &format!("<{number}>"));
    }
    let mut config = config(&receiver);
    config.max_request = 4 * 10 + 3;
    config.max_delay = DELAY;
    let bench = Bench::over(&config, memory);
    // Full requests go at once; the last record alone waits for others.
    bench.settles(20).await;
    let texts = receiver.texts();
    assert_eq!(texts.len(), 2);
    assert!(texts.iter().all(|text| text.len() == 40), "{texts:?}");
    assert_eq!(receiver.received()[0].key().rsplit('/').next(), Some("10"));
    in_time(bench.clock.someone_sleeps(DELAY)).await;
    bench.clock.advance(DELAY);
    bench.settles(21).await;
    assert_eq!(receiver.texts().concat(), (10..31).map(|number| format!("<{number}>")).collect::<String>());
}

#[tokio::test]
async fn a_record_waits_for_others_until_the_oldest_is_max_delay_old() {
    let receiver = Receiver::willing().await;
    let mut config = config(&receiver);
    config.max_delay = DELAY;
    let bench = Bench::new(&config);
    bench.push("one");
    in_time(bench.clock.someone_sleeps(DELAY)).await;
    bench.clock.advance(DELAY * 6 / 10);
    bench.push("two");
    in_time(bench.clock.someone_sleeps(DELAY * 4 / 10)).await;
    assert!(receiver.received().is_empty());
    bench.clock.advance(DELAY * 4 / 10);
    bench.settles(2).await;
    assert_eq!(receiver.texts(), ["onetwo"]);
    // What is old already (it came when the clock began) goes at once.
    bench.push("three");
    bench.settles(3).await;
    assert_eq!(receiver.texts(), ["onetwo", "three"]);
}

#[tokio::test]
async fn a_record_larger_than_max_request_goes_alone() {
    let receiver = Receiver::willing().await;
    let memory = Memory::new();
    for payload in ["a", "much larger than that", "b"] {
        memory.push(Signal::Metrics, payload);
    }
    let mut config = config(&receiver);
    config.max_request = 5;
    let bench = Bench::over(&config, memory);
    bench.settles(3).await;
    assert_eq!(receiver.texts(), ["a", "much larger than that", "b"]);
}

#[tokio::test]
async fn an_idle_exporter_reads_only_when_it_is_woken() {
    let receiver = Receiver::new(|_, _| Reply::ok()).await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    bench.settles(1).await;
    bench.reaches(Signal::Metrics, |state| *state == crate::export::State::Idle).await;
    // The wake-up may still be under way in each of the three lanes.
    let reads = bench.memory.reads() + 3;
    for _minute in 0..60 {
        bench.clock.advance(Duration::from_secs(60));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    assert!(bench.memory.reads() <= reads, "{} reads in an hour", bench.memory.reads());
}
