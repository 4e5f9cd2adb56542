//! What no sender should send, over real sockets: each is told what is wrong, is counted, and others go on.

use http_body_util::StreamBody;
use hyper::{
    body::Frame,
    client::conn::{http1, http2},
};
use tokio::time::Instant;

use super::*;

/// A connection that stays open from request to request.
enum Kept {
    Http(http1::SendRequest<Full<Bytes>>),
    Grpc(http2::SendRequest<Full<Bytes>>),
}

/// Without Nagle's delay, as real clients do.
async fn connect(to: SocketAddr) -> TokioIo<TcpStream> {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    TokioIo::new(stream)
}

impl Kept {
    async fn http(rig: &Rig) -> Self {
        let stream = connect(rig.address("http")).await;
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self::Http(sender)
    }

    async fn grpc(rig: &Rig) -> Self {
        let stream = connect(rig.address("grpc")).await;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self::Grpc(sender)
    }

    /// The status and what is said.
    async fn send(&mut self, signal: Signal, body: &[u8]) -> (String, String) {
        let answer = match self {
            Self::Http(sender) => {
                sender.ready().await.expect("the connection goes on");
                let request = request("POST", signal.path(), &[PROTOBUF], body.to_vec());
                answered(sender.send_request(request).await.expect("the connection goes on")).await
            }
            Self::Grpc(sender) => {
                sender.ready().await.expect("the connection goes on");
                let headers = [("content-type", "application/grpc"), ("te", "trailers")];
                let request = request("POST", signal.grpc_path(), &headers, framed(0, body));
                answered(sender.send_request(request).await.expect("the connection goes on")).await
            }
        };
        let status = match self {
            Self::Http(_) => answer.status.as_str().to_owned(),
            Self::Grpc(_) => answer.grpc_status().to_owned(),
        };
        (status, answer.text())
    }
}

/// A message as the field of another.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut rest = content.len();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend_from_slice(content);
    out
}

/// A request of one item of a scope.
fn one(item: &[u8]) -> Vec<u8> {
    field(1, &field(2, &field(2, item)))
}

fn unsound_metrics_and_spans() -> Vec<(&'static str, Signal, Vec<u8>, &'static str)> {
    // Metric: 1 name, 5 gauge, 7 sum, 9 histogram, 12 metadata; each data: 1 points.
    let metric = |data: u8, point: &[u8]| one(&field(data, &field(1, point)));
    let id = |number: u8, length: usize| field(number, &vec![7; length]);
    let (metrics, traces) = (Signal::Metrics, Signal::Traces);
    vec![
        (
            "two kinds of data",
            metrics,
            one(&[field(5, &[]), field(7, &[])].concat()),
            "a metric with two kinds of data",
        ),
        ("a name that is not UTF-8", metrics, one(&field(1, b"cpu\xff")), "metrics[0].name"),
        (
            "a point's time as a varint",
            metrics,
            metric(5, &[3 << 3, 1]),
            "gauge.data_points[0].time_unix_nano",
        ),
        ("a value as text", metrics, metric(7, &field(4, b"1.5")), "sum.data_points[0].as_double"),
        (
            "an exemplar's trace id of 3 bytes",
            metrics,
            metric(7, &field(5, &id(5, 3))),
            "a trace id of 3 bytes",
        ),
        ("counts in 12 bytes", metrics, metric(9, &id(6, 12)), "packed 8-byte numbers in 12 bytes"),
        ("bounds in 7 bytes", metrics, metric(9, &id(7, 7)), "packed 8-byte numbers in 7 bytes"),
        (
            "a sum's temporality as text",
            metrics,
            one(&field(7, &field(2, b"delta"))),
            "aggregation_temporality",
        ),
        ("a span's trace id of 8 bytes", traces, one(&id(1, 8)), "a trace id of 8 bytes, not 16"),
        ("a span id of 16 bytes", traces, one(&id(2, 16)), "a span id of 16 bytes, not 8"),
        ("a parent of 7 bytes", traces, one(&id(4, 7)), "parent_span_id"),
        ("a link's span id of 1 byte", traces, one(&field(13, &id(2, 1))), "links[0].span_id"),
        ("an event's name that is not UTF-8", traces, one(&field(11, &field(2, b"\x80"))), "events[0].name"),
        ("a status as a number", traces, one(&[15 << 3, 2]), "status"),
        (
            "the second span of two",
            traces,
            field(1, &field(2, &[field(2, &id(1, 16)), field(2, &id(1, 15))].concat())),
            "spans[1].trace_id",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn unsound_metrics_and_spans_are_named_and_the_connection_goes_on() {
    let rig = rig().await;
    let cases = unsound_metrics_and_spans();
    for (mut kept, refused, taken) in
        [(Kept::http(&rig).await, "400", "200"), (Kept::grpc(&rig).await, "3", "0")]
    {
        for (what, signal, body, expected) in &cases {
            let (status, said) = kept.send(*signal, body).await;
            assert_eq!(status, refused, "{what}: {said}");
            assert!(said.contains(expected), "{what}: {said}");
            let (status, said) = kept.send(*signal, &one(&[])).await;
            assert_eq!(status, taken, "after {what}: {said}");
        }
    }
    assert_eq!(rig.status().refused["invalid"], 2 * cases.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cut_at_any_byte_is_refused_and_the_connection_goes_on() {
    let rig = rig().await;
    let whole = logs(2);
    for (mut kept, refused, taken) in
        [(Kept::http(&rig).await, "400", "200"), (Kept::grpc(&rig).await, "3", "0")]
    {
        for end in 1..whole.len() {
            let (status, said) = kept.send(Signal::Logs, &whole[..end]).await;
            assert_eq!(status, refused, "cut at {end}: {said}");
            assert!(said.contains("not OTLP logs"), "cut at {end}: {said}");
        }
        assert_eq!(kept.send(Signal::Logs, &whole).await.0, taken);
    }
    assert_eq!(rig.status().refused["invalid"], 2 * (whole.len() as u64 - 1));
    assert_eq!(rig.status().logs.items, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_bytes_never_end_the_connection() {
    let rig = rig().await;
    let whole = zstd::bulk::compress(&logs(3), 1).unwrap();
    let stream = connect(rig.address("http")).await;
    let (mut sender, connection) = http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let headers = [PROTOBUF, ("content-encoding", "zstd")];
    for bit in 0..whole.len() * 8 {
        let mut altered = whole.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        sender.ready().await.expect("it goes on");
        let request = request("POST", Signal::Logs.path(), &headers, altered);
        let answer = answered(sender.send_request(request).await.expect("it goes on")).await;
        assert!(matches!(answer.status.as_u16(), 200 | 400 | 413), "bit {bit}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_taken_with_integers_as_text_and_as_numbers_and_refused_with_the_place() {
    let rig = rig().await;
    let record = |record: &str| {
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#).into_bytes()
    };
    for sound in [
        r#"{"timeUnixNano":"18446744073709551615"}"#,
        r#"{"timeUnixNano":18446744073709551615}"#,
        r#"{"body":{"intValue":"-9223372036854775808"}}"#,
        r#"{"body":{"intValue":-9223372036854775808}}"#,
        r#"{"body":{"doubleValue":"NaN"}}"#,
        r#"{"body":{"doubleValue":"-Infinity"}}"#,
        r#"{"somethingNew":[{"deep":null}],"traceId":null}"#,
    ] {
        let answer = post(rig.address("http"), "/v1/logs", &[JSON], record(sound)).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"{}"[..]), "{sound}");
    }
    let stored = rig.status().logs.items;
    let cases: [(&str, &str); 9] = [
        (r#"{"timeUnixNano":"18446744073709551616"}"#, "logRecords[0].timeUnixNano"),
        (r#"{"timeUnixNano":-1}"#, "timeUnixNano"),
        (r#"{"timeUnixNano":1.5}"#, "timeUnixNano"),
        (r#"{"body":{"doubleValue":NaN}}"#, "doubleValue"),
        (r#"{"body":{"intValue":1,"stringValue":"1"}}"#, "only one can be given"),
        (r#"{"traceId":"abc"}"#, "traceId"),
        (r#"{"severityText":5}"#, "severityText"),
        (r#"{"body":{"stringValue":"a","stringValue":"b"}}"#, "stands twice"),
        (r#"{"attributes":{"a":1}}"#, "attributes"),
    ];
    for (unsound, expected) in cases {
        let answer = post(rig.address("http"), "/v1/logs", &[JSON], record(unsound)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{unsound}: {}", answer.text());
        assert!(answer.text().contains(expected), "{unsound}: {}", answer.text());
    }
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(1000), close.repeat(1000));
    let values = format!(r#"{{"body":{}}}"#, nested(r#"{"arrayValue":{"values":["#, "]}}"));
    let unknown = nested(r#"{"a":["#, "]}").into_bytes();
    for text in [&record(&values)[..], b"", b"[]", b"{} {}", b"{", &unknown[..unknown.len() - 1]] {
        let answer = post(rig.address("http"), "/v1/logs", &[JSON], text.to_vec()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{:?}: {}", text.get(..20), answer.text());
    }
    let answer = post(rig.address("http"), "/v1/logs", &[JSON], unknown).await;
    assert_eq!(answer.status, StatusCode::OK, "what is not known is passed over, however deep");
    assert_eq!(rig.status().logs.items, stored);
}

/// A call that sends so much and then nothing, and does not end.
async fn begun(rig: &Rig, headers: &[(&str, &str)], first: &'static [u8]) -> Answered {
    let stream = connect(rig.address("grpc")).await;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(first)))]);
    let body = StreamBody::new(futures_util::StreamExt::chain(first, futures_util::stream::pending()));
    let mut call = http::Request::post(format!("http://here{}", Signal::Logs.grpc_path()))
        .header("content-type", "application/grpc");
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    answered(sender.send_request(call.body(body).unwrap()).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_says_it_is_too_large_is_refused_before_it_comes() {
    let rig = rig().await;
    // Four GiB are said to follow, and nothing does.
    let answer = begun(&rig, &[], &[0, 0xff, 0xff, 0xff, 0xff]).await;
    assert_eq!(answer.grpc_status(), "8", "{}", answer.text());
    assert!(!answer.headers.contains_key("grpc-status-details-bin"), "never again, so no RetryInfo");
    assert_eq!(rig.status().refused["too_large"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_longer_than_it_may_is_told_so() {
    let rig = rig().await;
    for timeout in ["1n", "1000u", "50m"] {
        let answer = begun(&rig, &[("grpc-timeout", timeout)], &[0, 0, 0, 0, 9, 0x0a]).await;
        assert_eq!(answer.grpc_status(), "4", "{timeout}: {}", answer.text());
    }
    assert_eq!(rig.status().refused["late"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_is_cut_off_long_before_its_time_and_does_not_keep_the_room_from_others() {
    let limits = ReceiverLimits {
        request: 1 << 20,
        memory: 1 << 20,
        request_time: Duration::from_secs(6),
        ..limits()
    };
    let rig = Rig::with(ReceiverKind::Otlp(config()), limits).await;
    let mut slow = TcpStream::connect(rig.address("http")).await.unwrap();
    let head = "POST /v1/logs HTTP/1.1\r\nhost: here\r\ncontent-type: application/x-protobuf\r\n";
    slow.write_all(format!("{head}content-length: 1048576\r\n\r\n").as_bytes()).await.unwrap();
    let begin = Instant::now();
    let (mut read, mut write) = slow.split();
    let trickle = async {
        let mut every = tokio::time::interval(Duration::from_millis(50));
        loop {
            every.tick().await;
            if write.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    let mut answer = vec![0; 1024];
    let length = tokio::select! {
        length = read.read(&mut answer) => length.unwrap(),
        () = trickle => panic!("the connection broke without an answer"),
    };
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("less than 1024 bytes a second"), "{answer}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(rig.status().refused["slow"], 1);
    let answer = post(rig.address("http"), "/v1/logs", &[PROTOBUF], logs(1)).await;
    assert_eq!(answer.status, StatusCode::OK, "what it held is free again: {}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_room_is_told_to_come_again() {
    let limits = ReceiverLimits { request: 1 << 20, memory: 1 << 20, ..limits() };
    let rig = Rig::with(ReceiverKind::Otlp(config()), limits).await;
    let mut holder = TcpStream::connect(rig.address("http")).await.unwrap();
    let head = "POST /v1/logs HTTP/1.1\r\nhost: here\r\ncontent-type: application/x-protobuf\r\nexpect: 100-continue\r\n";
    holder.write_all(format!("{head}content-length: 1048576\r\n\r\n").as_bytes()).await.unwrap();
    // The receiver asks for the body once it has room for it.
    let mut asked = [0; 25];
    holder.read_exact(&mut asked).await.unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100 Continue"), "{}", String::from_utf8_lossy(&asked));
    let answer = post(rig.address("http"), "/v1/logs", &[PROTOBUF], logs(1)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    assert_eq!(answer.headers["retry-after"], "1");
    let answer = call(rig.address("grpc"), Signal::Logs.grpc_path(), &[], framed(0, &logs(1))).await;
    assert_eq!(answer.grpc_status(), "14", "{}", answer.text());
    assert!(answer.headers.contains_key("grpc-status-details-bin"), "RetryInfo");
    assert_eq!(rig.status().refused["overloaded"], 2);
    drop(holder);
    rig.until("the room is free again", || async {
        post(rig.address("http"), "/v1/logs", &[PROTOBUF], logs(1)).await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_on_many_connections_at_once_are_refused_and_a_sound_request_beside_them_is_taken() {
    let rig = rig().await;
    // Each within the limit, and together ten times the room; unpacked, none is OTLP.
    let bomb = zstd::bulk::compress(&vec![0; 15 << 20], 1).unwrap();
    let bombs = (0..16).map(|_| {
        let (address, bomb) = (rig.address("http"), bomb.clone());
        async move {
            post(address, "/v1/logs", &[PROTOBUF, ("content-encoding", "zstd")], bomb).await.status.as_u16()
        }
    });
    let bombs = tokio::spawn(futures_util::future::join_all(bombs.collect::<Vec<_>>()));
    rig.until("a sound request is taken", || async {
        post(rig.address("http"), "/v1/logs", &[PROTOBUF], logs(1)).await.status == StatusCode::OK
    })
    .await;
    let statuses = bombs.await.unwrap();
    assert!(statuses.iter().all(|status| [400, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&400), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_on_one_connection_are_all_answered() {
    let rig = rig().await;
    let stream = connect(rig.address("grpc")).await;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let calls = (0..500).map(|_| {
        let mut sender = sender.clone();
        async move {
            sender.ready().await.unwrap();
            let headers = [("content-type", "application/grpc"), ("te", "trailers")];
            let request = request("POST", Signal::Logs.grpc_path(), &headers, framed(0, &logs(100)));
            answered(sender.send_request(request).await.unwrap()).await.grpc_status().to_owned()
        }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|status| status == "0"), "{answers:?}");
    assert_eq!(rig.status().logs.items, 50_000);
}
