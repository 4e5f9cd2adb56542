//! The walk against prost: it takes what prost takes, counts what prost counts, and refuses by name.

#![allow(clippy::unwrap_used, reason = "what a test relies on is true, or the test fails")]

mod oracle;

use oracle::{Random, count};
use whimbrel_otlp::{Flaw, Signal, WalkError, walk};

#[test]
fn whatever_prost_encodes_is_taken_and_counted_alike() {
    for seed in 0..300 {
        for signal in Signal::ALL {
            let request = Random::new(seed).request(signal);
            let walked = walk(signal, &request).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(
                (walked.items, walked.resources),
                count(signal, &request).unwrap(),
                "{signal}, seed {seed}"
            );
        }
    }
}

#[test]
fn truncated_anywhere_it_is_taken_only_where_prost_takes_it() {
    for seed in 0..12 {
        for signal in Signal::ALL {
            let request = Random::new(1000 + seed).request(signal);
            for len in 0..request.len() {
                agrees_with_prost(signal, &request[..len]);
            }
        }
    }
}

#[test]
fn mutated_it_is_never_taken_where_prost_refuses() {
    let mut random = Random::new(7);
    let mut taken = 0u32;
    for round in 0..6000 {
        let signal = Signal::ALL[round % 3];
        let mut request = random.request(signal);
        for _ in 0..=random.below(3) {
            mutate(&mut random, &mut request);
        }
        taken += u32::from(agrees_with_prost(signal, &request));
    }
    // The loop must see both: refused and taken.
    assert!((100..5900).contains(&taken), "{taken}");
}

#[test]
fn noise_is_never_a_panic() {
    let mut random = Random::new(11);
    for round in 0..20_000 {
        let len = random.below(200);
        let mut noise = random.bytes(len);
        // Mostly small bytes: more of them pass for tags and lengths.
        if round % 2 == 0 {
            noise.iter_mut().for_each(|byte| *byte &= 0x3f);
        }
        agrees_with_prost(Signal::ALL[round % 3], &noise);
    }
}

/// Compares with prost, but for what the walk refuses on purpose. Whether it was taken.
fn agrees_with_prost(signal: Signal, request: &[u8]) -> bool {
    match (walk(signal, request), count(signal, request)) {
        (Ok(walked), Ok(counted)) => {
            assert_eq!((walked.items, walked.resources), counted, "{request:02x?}");
            true
        }
        (Ok(_), Err(error)) => panic!("taken, but prost says {error}: {request:02x?}"),
        (Err(error), Ok(_)) => {
            let on_purpose = matches!(
                error.flaw,
                Flaw::TraceId(_) | Flaw::SpanId(_) | Flaw::TwoKindsOfData | Flaw::TooDeep | Flaw::Group
            );
            assert!(on_purpose, "refused ({error}), but prost takes it: {request:02x?}");
            false
        }
        (Err(error), Err(_)) => {
            assert!(error.offset <= request.len(), "{error}");
            false
        }
    }
}

fn mutate(random: &mut Random, request: &mut Vec<u8>) {
    if request.is_empty() {
        return;
    }
    let at = random.below(request.len());
    match random.below(5) {
        0 => request[at] ^= 1 << random.below(8),
        1 => request[at] = random.next() as u8,
        2 => {
            request.remove(at);
        }
        3 => request.insert(at, random.next() as u8),
        _ => {
            let end = (at + random.below(16)).min(request.len());
            let piece = request[at..end].to_vec();
            let to = random.below(request.len());
            request.splice(to..to, piece);
        }
    }
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// A request of one resource and one scope with these contents.
fn in_scope(content: &[u8]) -> Vec<u8> {
    field(1, &field(2, content))
}

fn in_gauge(content: &[u8]) -> Vec<u8> {
    in_scope(&field(2, &field(5, content)))
}

fn refused(signal: Signal, request: &[u8]) -> WalkError {
    walk(signal, request).expect_err("must be refused")
}

const GAUGE: &str = "resource_metrics[0].scope_metrics[0].metrics[0].gauge";

#[test]
fn each_kind_of_invalid_otlp_is_named_with_its_place() {
    use Signal::{Logs, Metrics, Traces};
    let many_maps = (0..30).fold(Vec::new(), |inner, _| field(6, &field(1, &field(2, &inner))));
    let many_arrays = (0..60).fold(Vec::new(), |inner, _| field(5, &field(1, &inner)));
    let wire = |expected, found| Flaw::WrongWireType { expected, found };
    let (varint, len, eight, four) = ("a varint", "length-delimited", "8 bytes", "4 bytes");
    let cases: Vec<(&str, Signal, Vec<u8>, Flaw, &str)> = vec![
        ("a text", Logs, b"hello, OTLP".to_vec(), Flaw::Group, ""),
        ("an HTML page", Metrics, b"<html>".to_vec(), Flaw::Group, ""),
        ("JSON", Traces, b"{\"resourceSpans\":[]}".to_vec(), Flaw::Group, ""),
        ("a tag that never ends", Logs, vec![0xff; 11], Flaw::VarintTooLong, ""),
        ("a tag cut off", Logs, vec![0x8a], Flaw::Truncated, ""),
        ("field number 0", Logs, vec![0x02, 0x00], Flaw::FieldZero, ""),
        ("field number 2^29", Logs, vec![0x82, 0x80, 0x80, 0x80, 0x10, 0], Flaw::FieldNumberTooLarge, ""),
        ("wire type 6", Logs, in_scope(&[0x7e]), Flaw::UnknownWireType, "resource_logs[0].scope_logs[0]"),
        ("wire type 7", Logs, in_scope(&[0x7f]), Flaw::UnknownWireType, "resource_logs[0].scope_logs[0]"),
        ("a group", Metrics, in_gauge(&[0x53, 0x54]), Flaw::Group, GAUGE),
        (
            "a resource longer than the request",
            Logs,
            vec![0x0a, 5, 0],
            Flaw::PastTheEnd { len: 5, left: 1 },
            "resource_logs[0]",
        ),
        (
            "a name longer than its metric",
            Metrics,
            in_scope(&field(2, &[0x0a, 9, b'x'])),
            Flaw::PastTheEnd { len: 9, left: 1 },
            "resource_metrics[0].scope_metrics[0].metrics[0].name",
        ),
        (
            "a length of 2^63",
            Logs,
            vec![0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
            Flaw::PastTheEnd { len: 1 << 63, left: 0 },
            "resource_logs[0]",
        ),
        (
            "a time of four bytes",
            Metrics,
            in_gauge(&field(1, &[0x19, 1, 2, 3, 4])),
            Flaw::Truncated,
            "resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].time_unix_nano",
        ),
        (
            "flags of two bytes",
            Logs,
            in_scope(&field(2, &[0x45, 1, 2])),
            Flaw::Truncated,
            "resource_logs[0].scope_logs[0].log_records[0].flags",
        ),
        (
            "a time as a varint",
            Metrics,
            in_gauge(&field(1, &[0x18, 1])),
            wire(eight, varint),
            "resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].time_unix_nano",
        ),
        (
            "a name as a number",
            Traces,
            in_scope(&field(2, &[0x28, 1])),
            wire(len, varint),
            "resource_spans[0].scope_spans[0].spans[0].name",
        ),
        (
            "a temporality as a message",
            Metrics,
            in_scope(&field(2, &field(7, &field(2, b"x")))),
            wire(varint, len),
            "resource_metrics[0].scope_metrics[0].metrics[0].sum.aggregation_temporality",
        ),
        (
            "the flags of a record in 8 bytes",
            Logs,
            in_scope(&field(2, &[0x41, 0, 0, 0, 0, 0, 0, 0, 0])),
            wire(four, eight),
            "resource_logs[0].scope_logs[0].log_records[0].flags",
        ),
        (
            "a name that is not UTF-8",
            Metrics,
            in_scope(&field(2, &field(1, b"caf\xe9"))),
            Flaw::NotUtf8,
            "resource_metrics[0].scope_metrics[0].metrics[0].name",
        ),
        (
            "a key that is not UTF-8, the third attribute of the second record",
            Logs,
            in_scope(
                &[
                    field(2, &[]),
                    field(2, &[field(6, &[]), field(6, &[]), field(6, &field(1, b"\xc3\x28"))].concat()),
                ]
                .concat(),
            ),
            Flaw::NotUtf8,
            "resource_logs[0].scope_logs[0].log_records[1].attributes[2].key",
        ),
        (
            "a surrogate in a body",
            Logs,
            in_scope(&field(2, &field(5, &field(1, b"\xed\xa0\x80")))),
            Flaw::NotUtf8,
            "resource_logs[0].scope_logs[0].log_records[0].body.string_value",
        ),
        (
            "a trace id of 15 bytes",
            Traces,
            in_scope(&field(2, &field(1, &[7; 15]))),
            Flaw::TraceId(15),
            "resource_spans[0].scope_spans[0].spans[0].trace_id",
        ),
        (
            "a trace id in hexadecimal digits",
            Logs,
            in_scope(&field(2, &field(9, &[b'a'; 32]))),
            Flaw::TraceId(32),
            "resource_logs[0].scope_logs[0].log_records[0].trace_id",
        ),
        (
            "a parent's span id of 16 bytes",
            Traces,
            in_scope(&field(2, &field(4, &[7; 16]))),
            Flaw::SpanId(16),
            "resource_spans[0].scope_spans[0].spans[0].parent_span_id",
        ),
        (
            "a span id of 7 bytes in an exemplar",
            Metrics,
            in_gauge(&field(1, &field(5, &field(4, &[7; 7])))),
            Flaw::SpanId(7),
            "resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].exemplars[0].span_id",
        ),
        (
            "a link's trace id of one byte",
            Traces,
            in_scope(&field(2, &field(13, &field(1, &[7])))),
            Flaw::TraceId(1),
            "resource_spans[0].scope_spans[0].spans[0].links[0].trace_id",
        ),
        (
            "bounds in 12 bytes",
            Metrics,
            in_scope(&field(2, &field(9, &field(1, &field(7, &[0; 12]))))),
            Flaw::OddlyPacked(12),
            "resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0].explicit_bounds[0]",
        ),
        (
            "packed varints cut off",
            Metrics,
            in_scope(&field(2, &field(10, &field(1, &field(8, &field(2, &[1, 2, 0x80])))))),
            Flaw::Truncated,
            "resource_metrics[0].scope_metrics[0].metrics[0].exponential_histogram.data_points[0].positive.bucket_counts[0]",
        ),
        (
            "a gauge that is a sum, too",
            Metrics,
            in_scope(&field(2, &[field(5, &[]), field(7, &[])].concat())),
            Flaw::TwoKindsOfData,
            "resource_metrics[0].scope_metrics[0].metrics[0].sum",
        ),
        ("maps within maps", Logs, in_scope(&field(2, &field(5, &many_maps))), Flaw::TooDeep, "*"),
        ("arrays within arrays", Logs, in_scope(&field(2, &field(5, &many_arrays))), Flaw::TooDeep, "*"),
        (
            "a key of an entity that is a number",
            Metrics,
            field(1, &field(1, &field(3, &[0x18, 1]))),
            wire(len, varint),
            "resource_metrics[0].resource.entity_refs[0].id_keys[0]",
        ),
    ];
    for (what, signal, request, flaw, path) in &cases {
        let error = refused(*signal, request);
        assert_eq!(error.flaw, *flaw, "{what}: {error}");
        if *path != "*" {
            assert_eq!(error.path, *path, "{what}: {error}");
        }
    }
    let kinds: std::collections::HashSet<_> =
        cases.iter().map(|case| std::mem::discriminant(&case.3)).collect();
    assert!(cases.len() >= 20 && kinds.len() >= 14, "{} cases of {} kinds", cases.len(), kinds.len());
}

#[test]
fn an_error_says_what_at_which_byte_and_where() {
    let request = in_scope(&field(2, &field(1, b"caf\xe9")));
    let error = refused(Signal::Metrics, &request);
    // Three tags and lengths, one more of the name, and three letters.
    assert_eq!(error.offset, 11);
    assert_eq!(
        error.to_string(),
        "not OTLP metrics: not UTF-8 at byte 11, in resource_metrics[0].scope_metrics[0].metrics[0].name"
    );
}

#[test]
fn unknown_fields_pass() {
    let mut point = vec![0x19, 1, 2, 3, 4, 5, 6, 7, 8];
    point.extend_from_slice(&field(15, b"\xff\xfe of a newer sender"));
    // Field 100, all four wire types.
    point.extend_from_slice(&[0xa0, 0x06, 1]);
    point.extend_from_slice(&[0xa1, 0x06, 0, 0, 0, 0, 0, 0, 0, 0]);
    point.extend_from_slice(&[0xa2, 0x06, 1, 0xff]);
    point.extend_from_slice(&[0xa5, 0x06, 0, 0, 0, 0]);
    let request = in_gauge(&field(1, &point));
    assert_eq!(walk(Signal::Metrics, &request).unwrap().items, 1);
}

#[test]
fn nesting_within_the_bound_passes_and_prost_decodes_it() {
    let nested = |depth: usize| {
        let value = (0..depth).fold(field(1, b"deep"), |inner, _| field(5, &field(1, &inner)));
        in_scope(&field(2, &field(5, &value)))
    };
    let deepest = (0..60).take_while(|depth| walk(Signal::Logs, &nested(*depth)).is_ok()).count();
    // Request, resource, scope, record and body are 5 messages; an array and its value 2 more each.
    assert_eq!(deepest, 1 + (64 - 5) / 2);
    assert!(count(Signal::Logs, &nested(deepest - 1)).is_ok());
}

#[test]
fn lengths_longer_than_they_need_be_are_taken() {
    // A request of one resource of one empty scope, its lengths padded as the builders do.
    let request = [0x0a, 0x85, 0x80, 0x80, 0x00, 0x12, 0x80, 0x80, 0x80, 0x00];
    assert_eq!(walk(Signal::Metrics, &request).unwrap().resources, 1);
    assert!(count(Signal::Metrics, &request).is_ok());
}
