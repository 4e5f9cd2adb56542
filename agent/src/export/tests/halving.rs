//! A guilty record is found among innocent ones, and only it goes to the dead letters.

use whimbrel_otlp::Signal;

use super::{
    Bench, HOLD, config, in_time,
    memory::Memory,
    receiver::{Receiver, Reply},
};
use crate::{
    config::{Compression, Exporter},
    export::{Settled, State, Stored},
};

async fn squeamish() -> Receiver {
    Receiver::new(|request, _| {
        if request.text().contains("guilty") { Reply::status(400).saying("bad data") } else { Reply::ok() }
    })
    .await
}

#[tokio::test]
async fn halving_isolates_the_guilty_record() {
    for compression in [Compression::Auto, Compression::Gzip, Compression::None] {
        let receiver = squeamish().await;
        let bench = Bench::new(&Exporter { compression, ..config(&receiver) });
        let payloads: Vec<String> = (0..16)
            .map(|number| if number == 11 { "<guilty>".into() } else { format!("<{number}>") })
            .collect();
        bench.push_all(payloads.iter().map(String::as_str));
        bench.settles(16).await;

        let letters = bench.letters.kept();
        assert_eq!(letters.len(), 1, "{compression:?}");
        assert_eq!((letters[0].0, letters[0].1.as_str()), (11, "400 Bad Request: bad data"));
        for (sequence, settled) in bench.memory.settled() {
            let expected = if sequence == 11 { Settled::DeadLettered } else { Settled::Delivered };
            assert_eq!(settled, expected, "{sequence}");
        }
        let taken: String = receiver
            .received()
            .iter()
            .filter(|request| !request.key().is_empty())
            .map(|request| request.text())
            .filter(|text| !text.contains("guilty"))
            .collect();
        let innocent: String = payloads.iter().filter(|text| !text.contains("guilty")).cloned().collect();
        assert_eq!(taken, innocent, "each once, in order");
        let refused = bench.metrics().requests.data_refused;
        assert!(refused <= 7, "{compression:?}: {refused} refusals for a depth of four");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_until_it_fits() {
    let receiver =
        Receiver::new(|request, _| if request.raw.len() > 30 { Reply::status(413) } else { Reply::ok() })
            .await;
    let bench = Bench::new(&config(&receiver));
    bench.push_all(["0123456789"; 8]);
    bench.settles(8).await;
    assert_eq!(bench.letters.kept(), []);
    assert!(bench.memory.settled().iter().all(|(_, settled)| *settled == Settled::Delivered));
}

#[tokio::test]
async fn every_record_may_be_guilty() {
    let receiver = Receiver::new(|_, _| Reply::status(422)).await;
    let bench = Bench::new(&config(&receiver));
    bench.push_all(["a", "b", "c", "d", "e"]);
    bench.settles(5).await;
    let sequences: Vec<u64> = bench.letters.kept().iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4]);
    assert_eq!(bench.metrics().dead_lettered.records, 5);
}

#[tokio::test]
async fn a_dead_letter_that_can_t_be_kept_stays_in_the_wal() {
    let receiver = squeamish().await;
    let bench = Bench::new(&config(&receiver));
    bench.letters.fail(true);
    bench.push("guilty");
    in_time(bench.clock.someone_sleeps(HOLD)).await;
    let State::Held { reason, .. } = bench.metrics().state else { panic!() };
    assert_eq!(reason, "writing a dead letter: the dead letters are full");
    assert_eq!(bench.memory.settled(), []);
    bench.letters.fail(false);
    bench.exporter.resume();
    bench.settles(1).await;
    assert_eq!(bench.letters.kept().len(), 1);
    bench.reaches(Signal::Metrics, |state| *state == State::Idle).await;
}

#[tokio::test]
async fn a_record_that_does_not_unpack_goes_to_the_dead_letters_and_the_others_out() {
    let receiver = Receiver::willing().await;
    let memory = Memory::new();
    memory.push(Signal::Metrics, "one");
    memory.push_stored(Signal::Metrics, 10, Stored::Frame("no frame".into()));
    memory.push(Signal::Metrics, "three");
    let bench = Bench::over(&config(&receiver), memory);
    bench.settles(3).await;
    assert_eq!(receiver.texts(), ["one", "three"]);
    assert_eq!(bench.letters.kept()[0].0, 1);
}
