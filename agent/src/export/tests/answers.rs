//! What follows from each kind of answer.

use std::{sync::Arc, time::Duration};

use whimbrel_otlp::Signal;

use super::{
    Bench, FIRST_BACKOFF, HOLD, TIMEOUT, config, config_to, in_time,
    receiver::{Receiver, Reply},
};
use crate::{
    config::Compression,
    export::{Settled, State},
};

#[tokio::test]
async fn a_record_goes_out_as_it_is_stored_under_its_own_key() {
    let receiver = Receiver::willing().await;
    let bench = Bench::new(&crate::config::Exporter { compression: Compression::Zstd, ..config(&receiver) });
    bench.push("one");
    bench.settles(1).await;

    let request = receiver.received().remove(0);
    assert_eq!(request.path, "/v1/metrics");
    assert_eq!(request.raw, zstd::bulk::compress(b"one", 1).unwrap(), "the stored frame, untouched");
    assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(request.header("content-encoding"), Some("zstd"));
    assert_eq!(request.header("content-length"), Some(&*request.raw.len().to_string()));
    assert_eq!(request.header("x-token"), Some("s3cr3t-token"));
    assert_eq!(request.header("user-agent"), Some(concat!("whimbrel/", env!("CARGO_PKG_VERSION"))));
    let id = "abababababababababababababababab-0";
    assert_eq!(request.key(), format!("backend/metrics/{id}..{id}/1"));

    assert_eq!(bench.memory.settled(), [(0, Settled::Delivered)]);
    assert_eq!(bench.memory.plans(), []);
    bench.reaches(Signal::Metrics, |state| *state == State::Idle).await;
    let status = bench.metrics();
    assert_eq!((status.delivered.records, status.delivered.items, status.delivered.bytes), (1, 3, 3));
    assert_eq!((status.requests.accepted, status.sent_bytes), (1, request.raw.len() as u64));
    let shown = serde_json::to_string(&bench.exporter.status()).unwrap();
    assert!(shown.contains(r#""state":{"state":"idle"}"#) && !shown.contains("s3cr3t"), "{shown}");
}

#[tokio::test]
async fn an_unavailable_receiver_is_tried_again_with_backoff_under_the_same_key() {
    let receiver = Receiver::new(|_, number| if number < 3 { Reply::status(503) } else { Reply::ok() }).await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    for round in 0..3 {
        let backoff = FIRST_BACKOFF * (1 << round);
        in_time(bench.clock.someone_sleeps(backoff)).await;
        assert_eq!(receiver.received().len(), round + 1, "not before its time");
        assert!(matches!(bench.metrics().state, State::Waiting { .. }));
        bench.clock.advance(backoff);
    }
    bench.settles(1).await;
    let received = receiver.received();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|request| request.key() == received[0].key() && request.text() == "one"));
    let status = bench.metrics();
    assert_eq!((status.requests.unavailable, status.requests.accepted), (3, 1));
    assert_eq!(status.last_error.as_deref(), Some("503 Service Unavailable"));
}

#[tokio::test]
async fn retry_after_is_waited_for_as_seconds_and_as_a_date() {
    let receiver = Receiver::new(|_, number| match number {
        0 => Reply::status(429).with("retry-after", "7"),
        // The manual clock stands at 08:00:07.5 then.
        1 => Reply::status(503).with("retry-after", "Fri, 15 Jan 2027 08:01:08 GMT"),
        _ => Reply::ok(),
    })
    .await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    let spread = FIRST_BACKOFF;
    in_time(bench.clock.someone_sleeps(Duration::from_secs(7) + spread)).await;
    bench.clock.advance(Duration::from_secs(7) + spread);
    in_time(bench.clock.someone_sleeps(Duration::from_millis(60_500) + spread)).await;
    bench.clock.advance(Duration::from_secs(61));
    bench.settles(1).await;
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_never_comes_means_again() {
    let receiver = Receiver::new(|_, number| match number {
        0 => Reply::Close,
        1 => Reply::Half,
        2 => Reply::Hang,
        _ => Reply::ok(),
    })
    .await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    bench.clock.advance(FIRST_BACKOFF);
    in_time(bench.clock.someone_sleeps(2 * FIRST_BACKOFF)).await;
    assert!(bench.metrics().last_error.unwrap().starts_with("the answer broke off"));
    bench.clock.advance(2 * FIRST_BACKOFF);
    receiver.gets(3).await;
    in_time(bench.clock.someone_sleeps(TIMEOUT)).await;
    bench.clock.advance(TIMEOUT);
    in_time(bench.clock.someone_sleeps(4 * FIRST_BACKOFF)).await;
    assert_eq!(bench.metrics().last_error.as_deref(), Some("no answer within 10s"));
    bench.clock.advance(4 * FIRST_BACKOFF);
    bench.settles(1).await;
    let keys: Vec<String> = receiver.received().iter().map(|request| request.key().to_owned()).collect();
    assert_eq!(keys, vec![keys[0].clone(); 4]);
}

#[tokio::test]
async fn nobody_listening_is_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let bench = Bench::new(&config_to(&endpoint));
    bench.push("one");
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    let State::Waiting { reason, since_unix_ms, until_unix_ms } = bench.metrics().state else { panic!() };
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(until_unix_ms - since_unix_ms, 500);
}

#[tokio::test]
async fn a_refusal_of_the_exporter_holds_it_and_costs_no_data() {
    for status in [401, 403, 404, 407, 408, 410, 418, 451, 500, 501, 505, 507, 300, 304] {
        let receiver = Receiver::new(move |_, number| {
            if number < 2 { Reply::status(status).saying("token s3cr3t-token expired") } else { Reply::ok() }
        })
        .await;
        let bench = Bench::new(&config(&receiver));
        bench.push_all(["one", "two"]);
        in_time(bench.clock.someone_sleeps(HOLD)).await;
        let State::Held { reason, .. } = bench.exporter.status().state else { panic!("{status}") };
        assert!(reason.starts_with(&status.to_string()), "{reason}");
        assert!(!reason.contains("s3cr3t"), "a receiver may send a secret back: {reason}");
        // New records don't make it knock more often.
        bench.push("three");
        bench.clock.advance(HOLD - Duration::from_millis(1));
        in_time(bench.clock.someone_sleeps(Duration::from_millis(1))).await;
        assert_eq!(receiver.received().len(), 1);
        bench.clock.advance(Duration::from_millis(1));
        receiver.gets(2).await;
        in_time(bench.clock.someone_sleeps(HOLD)).await;
        assert_eq!(bench.memory.settled(), [], "nothing leaves the WAL");
        bench.exporter.resume();
        bench.settles(3).await;
        assert_eq!(receiver.received().len(), 4, "three for the first request, one for the second");
        assert_eq!(bench.letters.kept(), []);
        assert_eq!(bench.metrics().requests.held, 2);
    }
}

#[tokio::test]
async fn a_partial_success_is_counted_and_never_sent_again() {
    let body = [&[0x0A, 11, 0x08, 2, 0x12, 7][..], b"too old"].concat();
    let receiver = Receiver::new(move |_, _| Reply::ok().saying(&body)).await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    bench.settles(1).await;
    bench.push("two");
    bench.settles(2).await;
    assert_eq!(receiver.texts(), ["one", "two"]);
    let status = bench.metrics();
    assert_eq!((status.rejected_items, status.last_partial.as_deref()), (4, Some("too old")));
    assert_eq!(status.requests.unreadable_answers, 0);
}

#[tokio::test]
async fn an_answer_of_garbage_or_without_end_costs_nothing() {
    let receiver = Receiver::new(|_, number| match number {
        0 => Reply::ok().saying([0xFF; 1000]),
        1 => Reply::Endless,
        _ => Reply::ok(),
    })
    .await;
    let bench = Bench::new(&config(&receiver));
    for (number, payload) in ["one", "two", "three"].into_iter().enumerate() {
        bench.push(payload);
        bench.settles(number + 1).await;
    }
    assert_eq!(receiver.texts(), ["one", "two", "three"]);
    assert_eq!(bench.metrics().requests.unreadable_answers, 2);
}

#[tokio::test]
async fn a_page_with_200_holds_the_exporter() {
    let receiver =
        Receiver::new(|_, _| Reply::ok().with("content-type", "text/html").saying("<html>Log in</html>"))
            .await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    in_time(bench.clock.someone_sleeps(HOLD)).await;
    assert_eq!(bench.memory.settled(), []);
}

#[tokio::test]
async fn a_redirect_is_followed_to_the_same_server_and_to_no_other() {
    let other = Arc::new(Receiver::willing().await);
    let elsewhere = format!("{}/v1/metrics", other.url());
    let receiver = Receiver::new(move |request, number| match number {
        0 => Reply::status(307).with("location", "/otlp/v1/metrics"),
        1 => {
            assert_eq!(request.path, "/otlp/v1/metrics");
            Reply::ok()
        }
        _ => Reply::status(308).with("location", &*elsewhere),
    })
    .await;
    let bench = Bench::new(&config(&receiver));
    bench.push("one");
    bench.settles(1).await;
    bench.push("two");
    in_time(bench.clock.someone_sleeps(HOLD)).await;
    assert!(other.received().is_empty(), "its headers hold a secret");
    let State::Held { reason, .. } = bench.metrics().state else { panic!() };
    assert!(reason.contains("308") && reason.contains(&other.url()), "{reason}");
}

#[tokio::test]
async fn a_request_is_given_up_only_after_the_configured_time() {
    let receiver = Receiver::new(|request, _| match request.text().as_str() {
        "one" => Reply::status(503),
        _ => Reply::ok(),
    })
    .await;
    let mut config = config(&receiver);
    config.retry.give_up_after = Some(Duration::from_secs(1));
    config.max_request = 3;
    let bench = Bench::new(&config);
    bench.push_all(["one", "two"]);
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    bench.clock.advance(FIRST_BACKOFF);
    in_time(bench.clock.someone_sleeps(2 * FIRST_BACKOFF)).await;
    bench.clock.advance(2 * FIRST_BACKOFF);
    bench.settles(2).await;
    assert_eq!(bench.memory.settled(), [(0, Settled::Dropped), (1, Settled::Delivered)]);
    assert_eq!(bench.metrics().dropped.items, 3);
}

#[tokio::test]
async fn connections_are_kept_between_requests() {
    let receiver = Receiver::willing().await;
    let bench = Bench::new(&config(&receiver));
    for number in 1..=10 {
        bench.push("x");
        bench.settles(number).await;
    }
    assert_eq!(receiver.received().len(), 10);
    assert_eq!(receiver.connections(), 1);
}
