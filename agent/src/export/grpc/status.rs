//! The answer to a gRPC call -> an outcome: pure.
//!
//! After the OTLP specification (OTLP/gRPC Response) where it protects data; beyond it, a refusal that does not
//! blame the data holds the exporter instead of costing a batch.

use std::time::SystemTime;

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, StatusCode, header};

use super::{GRPC_ACCEPT_ENCODING, GRPC_ENCODING, GRPC_STATUS, frame};
use crate::export::{
    answer::{Body, Secrets, is, retry_after},
    response,
    transport::{Encoding, Outcome},
};

/// Binary headers are base64, "with or without padding" (PROTOCOL-HTTP2.md).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What came back.
pub(super) struct Reply<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Body,
    /// Those after the body; empty, if the headers are all there is.
    pub(super) trailers: Option<&'a HeaderMap>,
}

/// A status code of gRPC (grpc/doc/statuscodes.md), in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

/// In the order of their numbers, and as people know them.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];

/// What the answer means. `sent`: how the message of the call was compressed.
pub(super) fn classify(reply: &Reply<'_>, sent: Encoding, now: SystemTime, secrets: &Secrets) -> Outcome {
    // In "Trailers-Only" the headers are the trailers.
    let held_by = [reply.trailers, Some(reply.headers)].into_iter().flatten();
    let Some((trailers, status)) = held_by.filter_map(|of| Some((of, of.get(GRPC_STATUS)?))).next() else {
        return without_status(reply, now, secrets);
    };
    let number = status.to_str().ok().and_then(|status| status.parse::<usize>().ok());
    // "Unknown" is what a client makes of a number that it does not know.
    let (code, name) =
        number.and_then(|number| CODES.get(number).copied()).unwrap_or((Code::Unknown, "UNKNOWN"));
    if code == Code::Ok {
        return accepted(reply, secrets);
    }
    let details =
        trailers.get("grpc-status-details-bin").and_then(|value| BASE64.decode(value.as_bytes()).ok());
    let details = details.and_then(|bytes| whimbrel_otlp::response::status(&bytes)).unwrap_or_default();
    let message =
        trailers.get("grpc-message").map(|value| percent_decode(value.as_bytes())).unwrap_or_default();
    let message = if message.is_empty() { details.message } else { message };
    let reason = match secrets.one_line(&message) {
        text if text.is_empty() => name.to_owned(),
        text => format!("{name}: {text}"),
    };
    // RetryInfo where the specification has it, or the header where a proxy speaks.
    let retry_after = details.retry_delay.or_else(|| retry_after(reply.headers, now));
    let unavailable = |reason| Outcome::Unavailable { reason, retry_after, disconnected: false };
    match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => unavailable(reason),
        Code::ResourceExhausted if retry_after.is_some() => unavailable(reason),
        Code::ResourceExhausted => Outcome::DataRefused { reason, suspect_encoding: false },
        Code::InvalidArgument => Outcome::DataRefused { reason, suspect_encoding: true },
        Code::Unimplemented if refuses_encoding(reply.headers, trailers, &message, sent) => {
            Outcome::EncodingRefused { reason }
        }
        // "Error parsing request proto" and "could not decompress" are these, says statuscodes.md; so is every
        // other failure, and of a real request it must not be said that its data is to blame.
        Code::Internal | Code::Unknown => Outcome::Held { reason, suspect_data: true },
        Code::Ok
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Unauthenticated => Outcome::held(reason),
    }
}

/// Whether UNIMPLEMENTED is about the compression, and not about the service: the answer should then list what is
/// supported (grpc/doc/compression.md); not every server does, but they say what it is about.
fn refuses_encoding(headers: &HeaderMap, trailers: &HeaderMap, message: &str, sent: Encoding) -> bool {
    if sent == Encoding::Identity {
        return false;
    }
    let message = message.to_ascii_lowercase();
    if ["unknown service", "unknown method", "method not found"].iter().any(|text| message.contains(text)) {
        return false;
    }
    let listed = trailers.get(GRPC_ACCEPT_ENCODING).or_else(|| headers.get(GRPC_ACCEPT_ENCODING));
    match listed.and_then(|listed| listed.to_str().ok()) {
        Some(listed) => !listed.split(',').any(|name| name.trim().eq_ignore_ascii_case(sent.name())),
        None => ["compress", "encoding", sent.name()].iter().any(|text| message.contains(text)),
    }
}

fn accepted(reply: &Reply<'_>, secrets: &Secrets) -> Outcome {
    let encoding = reply.headers.get(GRPC_ENCODING).and_then(|value| value.to_str().ok());
    let partial = match reply.body {
        Body::Whole(body) => frame::message(body, encoding),
        Body::TooLong | Body::Broken(_) => None,
    }
    .and_then(|message| response::partial(&message, false));
    let readable = partial.is_some();
    let partial = partial.unwrap_or_default();
    let message = Some(secrets.one_line(&partial.message)).filter(|message| !message.is_empty());
    Outcome::Accepted { rejected: partial.rejected, message, readable }
}

/// An answer that is not gRPC's: of a proxy, of another kind of server, or of one that broke off. Statuses are
/// mapped after grpc/doc/http-grpc-status-mapping.md: four mean "again", and all others that the exporter is
/// refused, not its data.
fn without_status(reply: &Reply<'_>, now: SystemTime, secrets: &Secrets) -> Outcome {
    let Reply { status, headers, body, .. } = *reply;
    if let Body::Broken(error) = body {
        let reason = format!("the answer broke off: {error}");
        return Outcome::Unavailable { reason, retry_after: None, disconnected: true };
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if status == StatusCode::OK && kind.starts_with("application/grpc") {
        return Outcome::held(match body {
            Body::TooLong => {
                "an answer of more than 4 MiB without a status: this is no OTLP receiver".to_owned()
            }
            _ => "the answer ended without a status".to_owned(),
        });
    }
    let text = match body {
        Body::Whole(text) if is(headers, "text/plain") => secrets.one_line(&String::from_utf8_lossy(text)),
        _ => String::new(),
    };
    let said = if text.is_empty() { String::new() } else { format!(": {text}") };
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Unavailable {
            reason: format!("{status}{said}"),
            retry_after: retry_after(headers, now),
            disconnected: false,
        },
        _ if status.is_success() || status == StatusCode::NOT_FOUND => {
            let remedy = "this is no gRPC receiver, which is commonly on port 4317";
            Outcome::held(format!("{status} without a gRPC status{said}: {remedy}"))
        }
        _ => Outcome::held(format!("{status}{said}")),
    }
}

/// Percent-encoded UTF-8; what is not is left as it is (PROTOCOL-HTTP2.md: a receiver must not throw it away).
fn percent_decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digit = |index: usize| char::from(*after.get(index)?).to_digit(16);
        let decoded = || u8::try_from(digit(0)? * 16 + digit(1)?).ok();
        match decoded().filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use bytes::Bytes;

    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>()
    }

    fn whole(
        status: u16,
        headers: &[(&'static str, &str)],
        body: &Body,
        trailers: &[(&'static str, &str)],
    ) -> Outcome {
        let (headers, trailers) = (map(headers), map(trailers));
        let status = StatusCode::from_u16(status).unwrap();
        let reply = Reply { status, headers: &headers, body, trailers: Some(&trailers) };
        let secrets = Secrets::new(["Bearer s3cr3t-token".to_owned()].into_iter());
        classify(&reply, Encoding::Zstd, UNIX_EPOCH, &secrets)
    }

    /// A status in the trailers, after an empty message.
    fn answer(trailers: &[(&'static str, &str)]) -> Outcome {
        let body = Body::Whole(Bytes::from_static(&[0; 5]));
        whole(200, &[("content-type", "application/grpc")], &body, trailers)
    }

    /// `grpc-status-details-bin` of code 8 with a RetryInfo of 5 s and 10 ns.
    fn retry_info() -> Vec<u8> {
        let delay = [0x0A, 0x04, 0x08, 5, 0x10, 10];
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let any = [&[0x0A, url.len() as u8][..], url, &[0x12, delay.len() as u8], &delay].concat();
        [&[0x08, 8, 0x12, 4][..], b"slow", &[0x1A, any.len() as u8], &any].concat()
    }

    #[test]
    fn every_status_falls_into_the_class_that_protects_the_data() {
        for number in 0..=20_usize {
            let outcome = answer(&[("grpc-status", &number.to_string())]);
            let fits = match number {
                0 => matches!(outcome, Outcome::Accepted { rejected: 0, message: None, readable: true }),
                1 | 4 | 10 | 11 | 14 | 15 => {
                    matches!(outcome, Outcome::Unavailable { retry_after: None, disconnected: false, .. })
                }
                3 => matches!(outcome, Outcome::DataRefused { suspect_encoding: true, .. }),
                8 => matches!(outcome, Outcome::DataRefused { suspect_encoding: false, .. }),
                2 | 13 | 17.. => matches!(outcome, Outcome::Held { suspect_data: true, .. }),
                _ => matches!(outcome, Outcome::Held { suspect_data: false, .. }),
            };
            assert!(fits, "{number}: {outcome:?}");
        }
        for nonsense in ["", "-1", "OK", "99999999999999999999"] {
            let outcome = answer(&[("grpc-status", nonsense)]);
            assert!(matches!(outcome, Outcome::Held { .. }), "{nonsense}: {outcome:?}");
        }
    }

    #[test]
    fn a_status_in_the_headers_is_all_there_is() {
        let nothing = Body::Whole(Bytes::new());
        let headers = [
            ("grpc-status", "14"),
            ("grpc-message", "going %C3%A4way%"),
            ("content-type", "application/grpc"),
        ];
        let outcome = whole(200, &headers, &nothing, &[]);
        let reason = "UNAVAILABLE: going äway%".to_owned();
        assert_eq!(outcome, Outcome::Unavailable { reason, retry_after: None, disconnected: false });
        // A status of gRPC's goes before that of HTTP.
        let outcome = whole(503, &[("grpc-status", "16")], &nothing, &[]);
        assert_eq!(outcome, Outcome::held("UNAUTHENTICATED".to_owned()));
    }

    #[test]
    fn retry_info_is_read_with_and_without_padding() {
        use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
        for encoded in [STANDARD.encode(retry_info()), STANDARD_NO_PAD.encode(retry_info())] {
            for (status, reason) in [("8", "RESOURCE_EXHAUSTED: slow"), ("14", "UNAVAILABLE: slow")] {
                let outcome = answer(&[("grpc-status", status), ("grpc-status-details-bin", &encoded)]);
                let retry_after = Some(Duration::new(5, 10));
                let expected =
                    Outcome::Unavailable { reason: reason.to_owned(), retry_after, disconnected: false };
                assert_eq!(outcome, expected);
            }
        }
        let outcome = answer(&[("grpc-status", "8"), ("grpc-status-details-bin", "!!!")]);
        assert!(matches!(outcome, Outcome::DataRefused { suspect_encoding: false, .. }), "{outcome:?}");
    }

    #[test]
    fn unimplemented_is_about_the_compression_or_the_service() {
        for (message, listed, about_encoding) in [
            ("grpc: Decompressor is not installed for grpc-encoding %22zstd%22", None, true),
            ("Content is compressed with `zstd` which isn't supported", Some("gzip,identity"), true),
            ("", Some("gzip"), true),
            ("Compression algorithm not supported", None, true),
            ("unknown service opentelemetry.proto.collector.logs.v1.LogsService", None, false),
            ("unknown service zstd", Some("gzip"), false),
            ("unknown method Export for service x", None, false),
            ("", Some("gzip, zstd"), false),
            ("", None, false),
        ] {
            let mut trailers = vec![("grpc-status", "12"), ("grpc-message", message)];
            trailers.extend(listed.map(|listed| ("grpc-accept-encoding", listed)));
            let outcome = answer(&trailers);
            assert_eq!(
                matches!(outcome, Outcome::EncodingRefused { .. }),
                about_encoding,
                "{message:?} {outcome:?}"
            );
            assert!(
                about_encoding || matches!(outcome, Outcome::Held { suspect_data: false, .. }),
                "{outcome:?}"
            );
        }
        let headers = HeaderMap::new();
        assert!(!refuses_encoding(&headers, &headers, "no compression here", Encoding::Identity));
    }

    #[test]
    fn an_http_status_alone_is_mapped_as_grpc_says() {
        for status in 200..=599 {
            let outcome =
                whole(status, &[("content-type", "text/plain")], &Body::Whole("go away".into()), &[]);
            match status {
                429 | 502 | 503 | 504 => {
                    assert!(matches!(outcome, Outcome::Unavailable { .. }), "{status}: {outcome:?}")
                }
                _ => {
                    let Outcome::Held { reason, suspect_data: false } = outcome else {
                        panic!("{status}: {outcome:?}")
                    };
                    assert!(
                        reason.starts_with(&status.to_string()) && reason.contains("go away"),
                        "{reason}"
                    );
                }
            }
        }
        let outcome = whole(503, &[("retry-after", "7")], &Body::Whole(Bytes::new()), &[]);
        let Outcome::Unavailable { retry_after, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn an_answer_without_a_status_takes_nothing() {
        let grpc = [("content-type", "application/grpc+proto")];
        let message = Body::Whole(Bytes::from_static(&[0; 5]));
        let outcome = whole(200, &grpc, &message, &[]);
        assert_eq!(outcome, Outcome::held("the answer ended without a status".to_owned()));
        let outcome = whole(200, &grpc, &Body::TooLong, &[]);
        assert!(matches!(outcome, Outcome::Held { .. }), "{outcome:?}");
        let outcome = whole(200, &grpc, &Body::Broken("reset".to_owned()), &[]);
        assert!(matches!(outcome, Outcome::Unavailable { disconnected: true, .. }), "{outcome:?}");
        let outcome = whole(200, &[("content-type", "text/html")], &message, &[]);
        assert!(matches!(outcome, Outcome::Held { .. }), "{outcome:?}");
    }

    #[test]
    fn a_taken_request_with_garbage_or_nothing_is_taken() {
        let ok = [("grpc-status", "0")];
        for body in [&b""[..], b"\x00\x00\x00\x00\x09OK", b"\x00\x00\x00\x00\x02OK", &[0xFF; 64]] {
            let outcome = whole(200, &[], &Body::Whole(Bytes::copy_from_slice(body)), &ok);
            assert_eq!(
                outcome,
                Outcome::Accepted { rejected: 0, message: None, readable: false },
                "{body:?}"
            );
        }
        let partial = [&[0, 0, 0, 0, 13, 0x0A, 11, 0x08, 3, 0x12, 7][..], b"too old"].concat();
        let outcome = whole(200, &[], &Body::Whole(partial.into()), &ok);
        assert_eq!(
            outcome,
            Outcome::Accepted { rejected: 3, message: Some("too old".into()), readable: true }
        );
    }

    #[test]
    fn a_receiver_s_text_is_one_bounded_line_without_secrets() {
        let long = format!("bad%0D%0A token s3cr3t-token {}", "x".repeat(1000));
        let Outcome::Held { reason, .. } = answer(&[("grpc-status", "7"), ("grpc-message", &long)]) else {
            panic!()
        };
        assert!(reason.starts_with("PERMISSION_DENIED: bad   token [redacted] xxx"), "{reason}");
        assert!(reason.len() < 350, "{reason}");
        assert_eq!(percent_decode(b"%41%zz%4"), "A%zz%4");
        assert_eq!(percent_decode(b"%FF"), "\u{FFFD}");
    }
}
