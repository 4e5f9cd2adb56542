//! Receivers' answers, encoded by prost, and what is no answer at all.

#![allow(clippy::unwrap_used, reason = "what a test relies on is true, or the test fails")]

mod oracle;

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use oracle::Random;
use prost::Message;
use whimbrel_otlp::response::{MAX_MESSAGE, PartialSuccess, Status, partial_success, status};

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn partial(rejected: i64, message: &str) -> Vec<u8> {
    let partial =
        ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message: message.to_owned() };
    ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
}

fn retry_info(type_url: &[u8], delay: &[u8]) -> Vec<u8> {
    field(3, &[field(1, type_url), field(2, &field(1, delay))].concat())
}

#[test]
fn partial_success_is_read_as_prost_writes_it() {
    let read = partial_success(&partial(17, "too old"));
    assert_eq!(read, Some(PartialSuccess { rejected: 17, message: "too old".to_owned() }));
    let warning = partial_success(&partial(0, "deprecated"));
    assert_eq!(warning, Some(PartialSuccess { rejected: 0, message: "deprecated".to_owned() }));
}

#[test]
fn full_success_says_nothing() {
    assert_eq!(partial_success(&[]), None);
    assert_eq!(partial_success(&partial(0, "")), None);
    // A negative count is no count.
    assert_eq!(partial_success(&partial(-5, "")), None);
}

#[test]
fn a_status_with_a_delay_is_read() {
    let mut body = vec![0x08, 8];
    body.extend_from_slice(&field(2, b"slow down"));
    body.extend_from_slice(&field(3, &field(1, b"type.googleapis.com/google.rpc.DebugInfo")));
    // 2 s and 500 ms
    body.extend_from_slice(&retry_info(
        b"type.googleapis.com/google.rpc.RetryInfo",
        &[0x08, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01],
    ));
    let delay = Some(Duration::from_millis(2500));
    assert_eq!(status(&body), Some(Status { code: 8, message: "slow down".to_owned(), retry_delay: delay }));
}

#[test]
fn delays_are_bounded_and_never_negative() {
    let of = |delay: &[u8]| {
        status(&retry_info(b"/google.rpc.RetryInfo", delay)).and_then(|status| status.retry_delay)
    };
    assert_eq!(of(&[]), Some(Duration::ZERO), "a RetryInfo without delay: at once");
    let huge = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert_eq!(of(&huge), Some(Duration::from_secs(31_536_000)));
    let negative = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(of(&negative), Some(Duration::ZERO));
}

#[test]
fn messages_are_cut_and_break_no_line() {
    let long = "ä".repeat(MAX_MESSAGE);
    let message = partial_success(&partial(1, &long)).unwrap().message;
    assert!(message.len() <= MAX_MESSAGE + 3 && message.ends_with("ä..."), "{message}");
    let status = status(&field(2, b"two\nlines \x1b[31m\xff")).unwrap();
    assert_eq!(status.message, "two lines  [31m\u{fffd}");
}

#[test]
fn what_is_no_status_is_none() {
    for body in [
        &b""[..],
        b"<html><h1>502 Bad Gateway</h1></html>",
        b"{\"message\":\"no\"}",
        b"upstream",
        &[0x0a, 99],
    ] {
        assert_eq!(status(body), None, "{body:?}");
    }
}

#[test]
fn hostile_answers_are_never_a_panic() {
    let mut random = Random::new(5);
    for _ in 0..20_000 {
        let len = random.below(64);
        let mut noise = random.bytes(len);
        noise.iter_mut().for_each(|byte| *byte &= 0x3f);
        let _ = (status(&noise), partial_success(&noise));
    }
    let whole = [partial(1, "x"), retry_info(b"/google.rpc.RetryInfo", &[0x08, 2])].concat();
    for len in 0..whole.len() {
        let _ = (status(&whole[..len]), partial_success(&whole[..len]));
    }
    // A million fields cost no more than the first few.
    let many = [0x08, 1].repeat(1_000_000);
    assert_eq!(status(&many).map(|status| status.code), Some(1));
}
