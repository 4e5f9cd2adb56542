//! OTLP over gRPC: what goes out, and what follows from each kind of answer.

use std::{io::Write as _, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use whimbrel_otlp::Signal;

use super::{
    Bench, FIRST_BACKOFF, HOLD, TIMEOUT, config, config_to, in_time,
    receiver::{Received, Receiver, Reply},
};
use crate::{
    config::{Compression, Exporter, Protocol},
    export::{Settled, State, dialect},
};

fn over_grpc(receiver: &Receiver, compression: Compression) -> Exporter {
    Exporter { protocol: Protocol::Grpc, compression, ..config(receiver) }
}

fn zstd_to(receiver: &Receiver) -> Exporter {
    over_grpc(receiver, Compression::Zstd)
}

/// Decodes everything it is sent; this code for what can't be parsed.
fn thorough(request: &Received, broken: u8) -> Reply {
    match zstd::decode_all(request.message()) {
        Ok(decoded) if decoded != [0x0A] => Reply::message(b""),
        _ => Reply::code(broken),
    }
}

fn is_probe(request: &Received) -> bool {
    request.key().is_empty()
}

#[tokio::test]
async fn a_call_is_the_stored_frame_behind_five_bytes() {
    let receiver = Receiver::new(|_, _| Reply::message(b"")).await;
    let bench = Bench::new(&zstd_to(&receiver));
    bench.push("one");
    bench.settles(1).await;

    let request = receiver.received().remove(0);
    assert_eq!(request.version, http::Version::HTTP_2);
    assert_eq!(request.path, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
    assert_eq!(request.message(), zstd::bulk::compress(b"one", 1).unwrap(), "the stored frame, untouched");
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-encoding", "zstd"),
        ("grpc-accept-encoding", "identity,gzip,zstd"),
        ("grpc-timeout", "10000m"),
        ("user-agent", concat!("whimbrel/", env!("CARGO_PKG_VERSION"))),
        ("x-token", "s3cr3t-token"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let id = "abababababababababababababababab-0";
    assert_eq!(request.key(), format!("backend/metrics/{id}..{id}/1"));
    assert_eq!(bench.memory.settled(), [(0, Settled::Delivered)]);
    assert_eq!(bench.exporter.status().protocol, "grpc");
    let status = bench.metrics();
    assert_eq!((status.requests.accepted, status.requests.unreadable_answers), (1, 0));
}

#[tokio::test]
async fn each_encoding_and_signal_has_its_call() {
    for (compression, name) in
        [(Compression::Zstd, "zstd"), (Compression::Gzip, "gzip"), (Compression::None, "identity")]
    {
        let receiver = Receiver::new(|_, _| Reply::message(b"")).await;
        let bench = Bench::new(&over_grpc(&receiver, compression));
        for (number, signal) in Signal::ALL.into_iter().enumerate() {
            bench.push_as(signal, signal.name());
            bench.settles(number + 1).await;
        }
        for (request, signal) in receiver.received().iter().zip(Signal::ALL) {
            assert_eq!((request.encoding(), request.path.as_str()), (name, signal.grpc_path()));
        }
        assert_eq!(receiver.texts(), Signal::ALL.map(Signal::name));
        assert_eq!(receiver.connections(), 1, "the signals share one");
    }
}

#[tokio::test]
async fn a_signal_may_speak_another_protocol() {
    let receiver = Receiver::new(|request, _| match request.version {
        http::Version::HTTP_2 => Reply::message(b""),
        _ => Reply::ok(),
    })
    .await;
    let mut config = config(&receiver);
    config.signals.logs.protocol = Some(Protocol::Grpc);
    let bench = Bench::new(&config);
    bench.push_as(Signal::Metrics, "a metric");
    bench.settles(1).await;
    bench.push_as(Signal::Logs, "a log");
    bench.settles(2).await;
    let paths: Vec<String> = receiver.received().iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, ["/v1/metrics", Signal::Logs.grpc_path()]);
}

#[tokio::test]
async fn what_may_be_better_soon_is_tried_again_under_the_same_key() {
    for code in [1, 4, 10, 11, 14, 15] {
        let receiver = Receiver::new(move |_, number| match number {
            0 => Reply::code(code).with("grpc-message", "s3cr3t-token%20is%20busy"),
            // The same in trailers, after a message.
            1 => {
                Reply::ok().with("content-type", "application/grpc").saying([0; 5]).ending(&code.to_string())
            }
            _ => Reply::message(b""),
        })
        .await;
        let bench = Bench::new(&zstd_to(&receiver));
        bench.push("one");
        for round in 0..2 {
            let backoff = FIRST_BACKOFF * (1 << round);
            in_time(bench.clock.someone_sleeps(backoff)).await;
            bench.clock.advance(backoff);
        }
        bench.settles(1).await;
        let keys: Vec<String> = receiver.received().iter().map(|request| request.key().to_owned()).collect();
        assert_eq!(keys, vec![keys[0].clone(); 3]);
        let status = bench.metrics();
        assert_eq!((status.requests.unavailable, status.requests.accepted), (2, 1), "{code}");
        assert!(!status.last_error.unwrap().contains("s3cr3t"));
    }
}

#[tokio::test]
async fn a_refusal_of_the_exporter_holds_it_and_costs_no_data() {
    for (code, name) in [
        (2, "UNKNOWN"),
        (5, "NOT_FOUND"),
        (6, "ALREADY_EXISTS"),
        (7, "PERMISSION_DENIED"),
        (9, "FAILED_PRECONDITION"),
        (12, "UNIMPLEMENTED: unknown service x"),
        (13, "INTERNAL"),
        (16, "UNAUTHENTICATED"),
    ] {
        let message = name.split_once(": ").map(|(_, message)| message).unwrap_or_default();
        let receiver = Receiver::new(move |_, number| match number {
            0 => Reply::code(code).with("grpc-message", message),
            _ => Reply::message(b""),
        })
        .await;
        let bench = Bench::new(&over_grpc(&receiver, Compression::Auto));
        bench.push("one");
        in_time(bench.clock.someone_sleeps(HOLD)).await;
        let State::Held { reason, .. } = bench.metrics().state else { panic!("{code}") };
        assert_eq!(reason, name);
        assert_eq!(bench.memory.settled(), [], "nothing leaves the WAL");
        bench.exporter.resume();
        bench.settles(1).await;
        assert_eq!(receiver.received()[1].encoding(), "zstd", "nothing was learned of the encoding");
        assert_eq!(bench.letters.kept(), []);
    }
}

#[tokio::test]
async fn a_server_that_is_exhausted_is_left_alone_as_long_as_it_says() {
    let retry_info = {
        let delay = [0x0A, 0x02, 0x08, 7];
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let any = [&[0x0A, url.len() as u8][..], url, &[0x12, delay.len() as u8], &delay].concat();
        [&[0x08, 8, 0x1A, any.len() as u8][..], &any].concat()
    };
    let encoded = STANDARD_NO_PAD.encode(retry_info);
    let receiver = Receiver::new(move |_, number| match number {
        0 => Reply::code(8).with("grpc-status-details-bin", &*encoded),
        _ => Reply::message(b""),
    })
    .await;
    let bench = Bench::new(&zstd_to(&receiver));
    bench.push("one");
    let delay = Duration::from_secs(7) + FIRST_BACKOFF;
    in_time(bench.clock.someone_sleeps(delay)).await;
    bench.clock.advance(delay);
    bench.settles(1).await;
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_until_it_fits() {
    let receiver = Receiver::new(|request, _| match request.message().len() {
        0..=30 => Reply::message(b""),
        _ => Reply::code(8).with("grpc-message", "grpc: received message larger than max (80 vs. 30)"),
    })
    .await;
    let bench = Bench::new(&over_grpc(&receiver, Compression::None));
    bench.push_all(["0123456789"; 8]);
    bench.settles(8).await;
    assert_eq!(bench.letters.kept(), []);
    assert!(bench.memory.settled().iter().all(|(_, settled)| *settled == Settled::Delivered));
}

#[tokio::test]
async fn only_the_guilty_record_goes_to_the_dead_letters() {
    for compression in [Compression::Auto, Compression::Gzip, Compression::None] {
        let receiver = Receiver::new(|request, _| match request.text().contains("guilty") {
            true => Reply::code(3).with("grpc-message", "bad data"),
            false => Reply::message(b""),
        })
        .await;
        let bench = Bench::new(&over_grpc(&receiver, compression));
        bench.push_all(["<1>", "<2>", "<guilty>", "<4>"]);
        bench.settles(4).await;
        let letters = bench.letters.kept();
        assert_eq!(letters.len(), 1, "{compression:?}");
        assert_eq!((letters[0].0, letters[0].1.as_str()), (2, "INVALID_ARGUMENT: bad data"));
    }
}

#[tokio::test]
async fn a_receiver_without_zstd_is_sent_gzip_and_that_is_remembered() {
    for (code, message) in
        [(12, "grpc: Decompressor is not installed for grpc-encoding %22zstd%22"), (3, "can't read this")]
    {
        let receiver = Receiver::new(move |request, _| match request.encoding() {
            "zstd" => Reply::code(code).with("grpc-message", message),
            _ => Reply::message(b""),
        })
        .await;
        let bench = Bench::new(&over_grpc(&receiver, Compression::Auto));
        for (number, payload) in ["one", "two"].into_iter().enumerate() {
            bench.push(payload);
            bench.settles(number + 1).await;
        }
        let encodings: Vec<String> = receiver.received().iter().map(|r| r.encoding().to_owned()).collect();
        assert_eq!(encodings, ["zstd", "gzip", "gzip"], "{code}");
        assert_eq!(bench.metrics().encoding, "gzip");
    }
}

#[tokio::test]
async fn frames_are_joined_after_a_probe_that_the_receiver_stumbles_over() {
    // INVALID_ARGUMENT, and what gRPC's own libraries say: INTERNAL, which must come twice to count.
    for (broken, probes) in [(3, 2), (13, 3), (2, 3)] {
        let receiver = Receiver::new(move |request, _| thorough(request, broken)).await;
        let bench = Bench::new(&zstd_to(&receiver));
        bench.push_all(["one", "two", "three"]);
        bench.settles(3).await;
        let received = receiver.received();
        assert_eq!(received.len(), probes + 1, "{broken}");
        assert_eq!(received[0].message(), dialect::PROBE.concat());
        assert_eq!(received[1].message(), dialect::CONTROL.concat());
        assert!(received[..probes].iter().all(is_probe));
        let frames = ["one", "two", "three"].map(|text| zstd::bulk::compress(text.as_bytes(), 1).unwrap());
        assert_eq!(received[probes].message(), frames.concat(), "the stored frames, untouched");
        assert_eq!(bench.metrics().frames, "many");
    }
}

#[tokio::test]
async fn frames_are_not_joined_for_a_receiver_that_reads_one_or_can_t_read_two() {
    let first_frame = |raw: &[u8]| zstd::zstd_safe::find_frame_compressed_size(raw).unwrap();
    for careless in [true, false] {
        let receiver = Receiver::new(move |request, _| {
            let whole = first_frame(request.message()) == request.message().len();
            if whole || careless { Reply::message(b"") } else { Reply::code(3) }
        })
        .await;
        let bench = Bench::new(&zstd_to(&receiver));
        bench.push_all(["one", "two"]);
        bench.settles(2).await;
        let last = receiver.received().pop().unwrap();
        assert_eq!(first_frame(last.message()), last.message().len());
        assert_eq!((last.text().as_str(), bench.metrics().frames), ("onetwo", "single"));
    }
}

#[tokio::test]
async fn a_receiver_that_fails_at_everything_is_not_taken_for_one_that_reads_on() {
    let receiver =
        Receiver::new(|_, number| if number < 2 { Reply::code(13) } else { Reply::message(b"") }).await;
    let bench = Bench::new(&zstd_to(&receiver));
    bench.push_all(["one", "two"]);
    in_time(bench.clock.someone_sleeps(HOLD)).await;
    assert_eq!((receiver.received().len(), bench.metrics().frames), (2, "unknown"));
    bench.exporter.resume();
    bench.settles(2).await;
    assert_eq!(bench.metrics().frames, "single", "it took the broken frame: it does not read it");
}

#[tokio::test]
async fn a_partial_success_is_counted_and_never_sent_again() {
    let partial = [&[0x0A, 11, 0x08, 2, 0x12, 7][..], b"too old"].concat();
    let receiver = Receiver::new(move |_, number| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&partial).unwrap();
        let (encoding, packed) = match number {
            0 => return Reply::message(&partial),
            1 => ("gzip", gzip.finish().unwrap()),
            _ => ("zstd", zstd::bulk::compress(&partial, 1).unwrap()),
        };
        let prefix = [&[1][..], &(packed.len() as u32).to_be_bytes()].concat();
        Reply::ok()
            .with("content-type", "application/grpc")
            .with("grpc-encoding", encoding)
            .saying([prefix, packed].concat())
            .ending("0")
    })
    .await;
    let bench = Bench::new(&zstd_to(&receiver));
    for (number, payload) in ["one", "two", "three"].into_iter().enumerate() {
        bench.push(payload);
        bench.settles(number + 1).await;
    }
    assert_eq!(receiver.texts(), ["one", "two", "three"]);
    let status = bench.metrics();
    assert_eq!((status.rejected_items, status.last_partial.as_deref()), (6, Some("too old")));
    assert_eq!(status.requests.unreadable_answers, 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_never_comes_means_again() {
    let receiver = Receiver::new(|_, number| match number {
        0 => Reply::Close,
        1 => Reply::Half,
        2 => Reply::Hang,
        _ => Reply::message(b""),
    })
    .await;
    let bench = Bench::new(&zstd_to(&receiver));
    bench.push("one");
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    let reset = bench.metrics().last_error.unwrap();
    assert!(reset.contains("stream error"), "{reset}");
    let hint = "nothing was understood yet";
    assert!(reset.contains(hint));
    bench.clock.advance(FIRST_BACKOFF);
    in_time(bench.clock.someone_sleeps(2 * FIRST_BACKOFF)).await;
    let broken = bench.metrics().last_error.unwrap();
    assert!(broken.starts_with("the answer broke off") && !broken.contains(hint), "{broken}");
    assert_eq!(receiver.connections(), 1, "a stream is not a connection");
    bench.clock.advance(2 * FIRST_BACKOFF);
    receiver.gets(3).await;
    in_time(bench.clock.someone_sleeps(TIMEOUT)).await;
    bench.clock.advance(TIMEOUT);
    in_time(bench.clock.someone_sleeps(4 * FIRST_BACKOFF)).await;
    assert_eq!(bench.metrics().last_error.as_deref(), Some("no answer within 10s"));
    bench.clock.advance(4 * FIRST_BACKOFF);
    bench.settles(1).await;
    assert_eq!(receiver.connections(), 2, "one that does not answer may have nobody at its other end");
    let keys: Vec<String> = receiver.received().iter().map(|request| request.key().to_owned()).collect();
    assert_eq!(keys, vec![keys[0].clone(); 4]);
}

#[tokio::test]
async fn a_call_that_times_out_takes_no_other_with_it() {
    let together = Arc::new(tokio::sync::Barrier::new(2));
    let answered = Arc::clone(&together);
    let receiver = Receiver::new(move |request, _| match request.path.contains("LogsService") {
        true => Reply::Hang,
        false => Reply::Together(Arc::clone(&answered), 503),
    })
    .await;
    let bench = Bench::new(&zstd_to(&receiver));
    bench.push_as(Signal::Logs, "a log");
    receiver.gets(1).await;
    bench.clock.advance(TIMEOUT / 2);
    bench.push("a metric");
    receiver.gets(2).await;
    bench.clock.advance(TIMEOUT / 2);
    bench.reaches(Signal::Logs, |state| matches!(state, State::Waiting { .. })).await;
    assert_eq!(bench.lane(Signal::Logs).last_error.as_deref(), Some("no answer within 10s"));
    // The client of both is another one by now; the call under way keeps its connection.
    in_time(together.wait()).await;
    bench.reaches(Signal::Metrics, |state| matches!(state, State::Waiting { .. })).await;
    assert_eq!(bench.metrics().last_error.as_deref(), Some("503 Service Unavailable"));
    assert_eq!((receiver.received().len(), receiver.connections()), (2, 1));
}

#[tokio::test]
async fn a_connection_is_kept_and_made_anew_after_goaway() {
    let receiver = Receiver::new(|_, _| Reply::message(b"")).await;
    let bench = Bench::new(&zstd_to(&receiver));
    for number in 1..=10 {
        bench.push("x");
        bench.settles(number).await;
    }
    assert_eq!(receiver.connections(), 1);
    receiver.retire();
    bench.push("y");
    // Where the end is not yet known, the call may still go the old way and be told to come again.
    in_time(async {
        while bench.memory.settled().len() < 11 {
            bench.clock.advance(FIRST_BACKOFF);
            tokio::task::yield_now().await;
        }
    })
    .await;
    bench.push("z");
    bench.settles(12).await;
    assert_eq!(receiver.connections(), 2);
    assert_eq!(receiver.texts().iter().filter(|text| *text == "y").count(), 1);
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_it() {
    let receiver = Receiver::new(|_, _| Reply::Endless).await;
    let bench = Bench::new(&zstd_to(&receiver));
    bench.push("one");
    in_time(bench.clock.someone_sleeps(HOLD)).await;
    assert_eq!(bench.memory.settled(), [], "no status, so nothing was taken");
}

#[tokio::test]
async fn another_kind_of_server_holds_the_exporter() {
    for (reply, says) in [
        (
            (|| Reply::status(404)) as fn() -> Reply,
            "404 Not Found without a gRPC status: this is no gRPC receiver",
        ),
        (|| Reply::ok().with("content-type", "text/html").saying("<html>"), "200 OK without a gRPC status"),
        (|| Reply::status(403).with("content-type", "text/plain").saying("no\nway"), "403 Forbidden: no way"),
        (
            || Reply::ok().with("content-type", "application/grpc").saying([0; 5]),
            "the answer ended without a status",
        ),
    ] {
        let receiver = Receiver::new(move |_, _| reply()).await;
        let bench = Bench::new(&zstd_to(&receiver));
        bench.push("one");
        in_time(bench.clock.someone_sleeps(HOLD)).await;
        let State::Held { reason, .. } = bench.metrics().state else { panic!("{says}") };
        assert!(reason.starts_with(says), "{reason}");
        assert_eq!(bench.memory.settled(), []);
    }
}

#[tokio::test]
async fn a_server_of_http_1_only_is_waited_for_with_a_reason() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let old = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        assert!(socket.read(&mut buffer).await.unwrap() > 0);
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        while socket.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
    let bench = Bench::new(&Exporter { protocol: Protocol::Grpc, ..config_to(&endpoint) });
    bench.push("one");
    in_time(bench.clock.someone_sleeps(FIRST_BACKOFF)).await;
    let State::Waiting { reason, .. } = bench.metrics().state else { panic!() };
    assert!(reason.contains("http2") && reason.ends_with("does it speak grpc?"), "{reason}");
    drop(bench);
    in_time(old).await.unwrap();
}

#[tokio::test]
async fn a_request_larger_than_every_window_arrives_whole() {
    let receiver = Receiver::new(|_, _| Reply::message(b"")).await;
    let config = Exporter { max_request: 8 << 20, ..over_grpc(&receiver, Compression::None) };
    let bench = Bench::new(&config);
    let large: Arc<str> = "0123456789abcdef".repeat(400_000).into();
    bench.push(&large);
    bench.settles(1).await;
    assert!(receiver.texts()[0] == *large, "6.4 MB, byte for byte");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_read_counts() {
    use hyper::service::service_fn;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let impatient = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let service = service_fn(|_request: hyper::Request<hyper::body::Incoming>| async {
            let answer = hyper::Response::builder().header("content-type", "application/grpc");
            let answer = answer.header("grpc-status", "8").header("grpc-message", "too large");
            answer.body(http_body_util::Empty::<bytes::Bytes>::new())
        });
        let executor = hyper_util::rt::TokioExecutor::new();
        let io = hyper_util::rt::TokioIo::new(socket);
        // Ends when the exporter does.
        let _ = hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service).await;
    });
    let config = Exporter { protocol: Protocol::Grpc, max_request: 8 << 20, ..config_to(&endpoint) };
    let bench = Bench::new(&config);
    bench.push(&"x".repeat(6 << 20));
    bench.settles(1).await;
    assert_eq!(bench.letters.kept()[0].1, "RESOURCE_EXHAUSTED: too large");
    impatient.abort();
}
