//! Which encoding is sent, and what is learned from refusals and probes.

use whimbrel_otlp::Signal;

use super::{
    Bench, HOLD, config, in_time,
    receiver::{Received, Receiver, Reply},
};
use crate::{
    config::{Compression, Exporter},
    export::{State, Stored, dialect},
};

fn with(compression: Compression, receiver: &Receiver) -> Exporter {
    Exporter { compression, ..config(receiver) }
}

fn encodings(receiver: &Receiver) -> Vec<String> {
    receiver
        .received()
        .iter()
        .map(|request| request.header("content-encoding").unwrap_or("identity").to_owned())
        .collect()
}

fn is_probe(request: &Received) -> bool {
    request.key().is_empty()
}

/// As a receiver that decodes everything it is sent, and refuses broken protobuf.
fn thorough(request: &Received) -> Reply {
    match zstd::decode_all(&*request.raw) {
        Ok(decoded) if decoded != [0x0A] => Reply::ok(),
        _ => Reply::status(400),
    }
}

#[tokio::test]
async fn each_configured_encoding_is_what_is_sent() {
    for (compression, name) in
        [(Compression::Zstd, "zstd"), (Compression::Gzip, "gzip"), (Compression::None, "identity")]
    {
        let receiver = Receiver::willing().await;
        let bench = Bench::new(&with(compression, &receiver));
        bench.push("one");
        bench.settles(1).await;
        bench.memory.push_stored(Signal::Metrics, 3, Stored::Plain("two".into()));
        bench.exporter.wake();
        bench.settles(2).await;
        assert_eq!(receiver.texts(), ["one", "two"]);
        assert_eq!(encodings(&receiver), [name, name]);
        assert_eq!(bench.metrics().encoding, name);
    }
}

#[tokio::test]
async fn a_receiver_without_zstd_is_sent_gzip_and_that_is_remembered() {
    for status in [400, 415] {
        let receiver = Receiver::new(move |request, _| match request.header("content-encoding") {
            Some("zstd") => Reply::status(status),
            _ => Reply::ok(),
        })
        .await;
        let bench = Bench::new(&with(Compression::Auto, &receiver));
        for (number, payload) in ["one", "two"].into_iter().enumerate() {
            bench.push(payload);
            bench.settles(number + 1).await;
        }
        assert_eq!(encodings(&receiver), ["zstd", "gzip", "gzip"], "{status}");
        let received = receiver.received();
        assert_eq!(received[0].key(), received[1].key(), "the same data");
        assert_eq!(bench.letters.kept(), []);
        assert_eq!(bench.metrics().encoding, "gzip");
    }
}

#[tokio::test]
async fn a_receiver_without_any_compression_is_sent_plain_bytes() {
    let receiver = Receiver::new(|request, _| match request.header("content-encoding") {
        Some(_) => Reply::status(415),
        None => Reply::ok(),
    })
    .await;
    let bench = Bench::new(&with(Compression::Auto, &receiver));
    bench.push("one");
    bench.settles(1).await;
    assert_eq!(encodings(&receiver), ["zstd", "gzip", "identity"]);
}

#[tokio::test]
async fn a_configured_encoding_that_is_refused_holds_the_exporter() {
    for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
        let receiver = Receiver::new(|_, _| Reply::status(415)).await;
        let bench = Bench::new(&with(compression, &receiver));
        bench.push("one");
        in_time(bench.clock.someone_sleeps(HOLD)).await;
        assert!(matches!(bench.metrics().state, State::Held { .. }));
        assert_eq!((receiver.received().len(), bench.letters.kept().len()), (1, 0));
    }
}

#[tokio::test]
async fn frames_are_joined_untouched_for_a_receiver_that_reads_all_of_them() {
    let receiver = Receiver::new(|request, _| thorough(request)).await;
    let bench = Bench::new(&with(Compression::Auto, &receiver));
    bench.push_all(["one", "two", "three"]);
    bench.settles(3).await;
    let received = receiver.received();
    assert_eq!(received.len(), 3, "two probes and the request");
    assert_eq!(received[0].raw, dialect::PROBE.concat());
    assert_eq!(received[1].raw, dialect::CONTROL.concat());
    assert!(is_probe(&received[0]) && is_probe(&received[1]));
    let frames = ["one", "two", "three"].map(|text| zstd::bulk::compress(text.as_bytes(), 1).unwrap());
    assert_eq!(received[2].raw, frames.concat());
    assert_eq!(bench.metrics().frames, "many");

    bench.push_all(["four", "five"]);
    bench.settles(5).await;
    assert_eq!(receiver.received().len(), 4, "asked once");
}

#[tokio::test]
async fn a_receiver_that_reads_one_frame_only_is_sent_one_frame_and_loses_nothing() {
    let first_frame = |raw: &[u8]| {
        let length = zstd::zstd_safe::find_frame_compressed_size(raw).unwrap();
        zstd::decode_all(&raw[..length]).unwrap()
    };
    let receiver = Receiver::new(move |request, _| match first_frame(&request.raw).as_slice() {
        [0x0A] => Reply::status(400),
        _ => Reply::ok(),
    })
    .await;
    let bench = Bench::new(&with(Compression::Auto, &receiver));
    bench.push_all(["one", "two", "three"]);
    bench.settles(3).await;
    bench.push("four");
    bench.settles(4).await;
    let received = receiver.received();
    assert_eq!(received.len(), 3, "one probe is enough");
    assert_eq!(first_frame(&received[1].raw), b"onetwothree");
    assert_eq!(first_frame(&received[2].raw), b"four");
    assert_eq!(bench.metrics().frames, "single");
}

#[tokio::test]
async fn a_lone_record_needs_no_probe() {
    let receiver = Receiver::new(|request, _| thorough(request)).await;
    let bench = Bench::new(&with(Compression::Zstd, &receiver));
    for number in 1..=3 {
        bench.push("x");
        bench.settles(number).await;
    }
    assert!(!receiver.received().iter().any(is_probe));
    assert_eq!(bench.metrics().frames, "unknown");
}

#[tokio::test]
async fn a_probe_that_meets_an_outage_is_made_again() {
    let receiver = Receiver::new(|request, number| match number {
        0 => Reply::status(503),
        2 => Reply::status(401),
        _ => thorough(request),
    })
    .await;
    let bench = Bench::new(&with(Compression::Zstd, &receiver));
    bench.push_all(["one", "two"]);
    in_time(bench.clock.someone_sleeps(super::FIRST_BACKOFF)).await;
    bench.clock.advance(super::FIRST_BACKOFF);
    in_time(bench.clock.someone_sleeps(HOLD)).await;
    bench.clock.advance(HOLD);
    bench.settles(2).await;
    let probes: Vec<bool> = receiver.received().iter().map(is_probe).collect();
    assert_eq!(probes, [true, true, true, true, true, false]);
    assert_eq!(receiver.texts().last().unwrap(), "onetwo");
}

#[tokio::test]
async fn another_version_of_the_receiver_is_asked_again() {
    let receiver = Receiver::new(|request, number| {
        thorough(request).with("server", if number < 3 { "otelcol/1" } else { "otelcol/2" })
    })
    .await;
    let bench = Bench::new(&with(Compression::Zstd, &receiver));
    bench.push_all(["one", "two"]);
    bench.settles(2).await;
    bench.push_all(["three", "four"]);
    bench.settles(4).await;
    assert_eq!(bench.metrics().frames, "unknown", "the second version was heard");
    bench.push_all(["five", "six"]);
    bench.settles(6).await;
    let probes: Vec<bool> = receiver.received().iter().map(is_probe).collect();
    assert_eq!(probes, [true, true, false, false, true, true, false]);
}
