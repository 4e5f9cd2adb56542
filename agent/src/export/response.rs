//! The bodies of OTLP's answers, as far as an exporter needs them.
//!
//! Binary protobuf is what OTLP says an answer to a protobuf request is; JSON is read too, because some receivers
//! always answer with it over HTTP. Anything else is no answer of OTLP's, which costs no data: the status line decides.

use std::time::Duration;

use serde::Deserialize;
use whimbrel_otlp::response;

/// What an answer of status 200 says about the items that were not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Partial {
    pub(super) rejected: u64,
    pub(super) message: String,
}

/// What an answer of another status says (`google.rpc.Status`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

/// `Export*ServiceResponse`: the same shape for all three signals. `None` if it is none.
pub(super) fn partial(body: &[u8], json: bool) -> Option<Partial> {
    if json {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Response {
            #[serde(default)]
            partial_success: Option<JsonPartial>,
        }
        let response: Response = serde_json::from_slice(body).ok()?;
        let partial = response.partial_success.unwrap_or_default();
        let rejected = partial.rejected.map_or(Some(0), Count::value)?;
        return Some(Partial { rejected, message: partial.error_message });
    }
    if let Some(partial) = response::partial_success(body) {
        return Some(Partial { rejected: partial.rejected, message: partial.message });
    }
    // Nothing to say is nothing, or the one field filling the answer and saying nothing.
    let empty = match body {
        [] => true,
        [0x0A, length, content @ ..] => usize::from(*length) == content.len(),
        _ => false,
    };
    empty.then(Partial::default)
}

/// `google.rpc.Status`, or else the text that the receiver sent instead. Never fails: it is for people.
pub(super) fn problem(body: &[u8], json: bool) -> Problem {
    if json {
        #[derive(Deserialize)]
        struct Status {
            message: String,
        }
        if let Ok(status) = serde_json::from_slice::<Status>(body) {
            return Problem { message: status.message, retry_after: None };
        }
    } else if let Some(status) = response::status(body) {
        return Problem { message: status.message, retry_after: status.retry_delay };
    }
    Problem { message: String::from_utf8_lossy(body).into_owned(), retry_after: None }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct JsonPartial {
    #[serde(alias = "rejectedDataPoints", alias = "rejectedLogRecords", alias = "rejectedSpans")]
    rejected: Option<Count>,
    #[serde(default)]
    error_message: String,
}

/// 64-bit integers are strings in protobuf's JSON, and numbers in some receivers'.
#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u64),
    Text(String),
}

impl Count {
    fn value(self) -> Option<u64> {
        match self {
            Count::Number(number) => Some(number),
            Count::Text(text) => text.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_read_in_both_encodings() {
        let expected = Some(Partial { rejected: 3, message: "too old".into() });
        let body = [&[0x0A, 11, 0x08, 3, 0x12, 7][..], b"too old"].concat();
        assert_eq!(partial(&body, false), expected);
        for body in [
            r#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"too old"}}"#,
            r#"{"partialSuccess":{"rejectedSpans":3,"errorMessage":"too old"},"more":1}"#,
        ] {
            assert_eq!(partial(body.as_bytes(), true), expected, "{body}");
        }
        for nothing in [&b""[..], &[0x0A, 0], &[0x0A, 2, 0x08, 0]] {
            assert_eq!(partial(nothing, false), Some(Partial::default()));
        }
        assert_eq!(partial(b"{}", true), Some(Partial::default()));
    }

    #[test]
    fn garbage_is_no_answer_and_no_panic() {
        for body in [&b"OK"[..], b"<html>", b"\x0A\xFF\xFF\xFF\xFF\x0F", b"{", &[0xFF; 64]] {
            assert_eq!(partial(body, false), None, "{body:?}");
            assert_eq!(partial(body, true), None, "{body:?}");
        }
        let negative = [0x0A, 11, 0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(partial(&negative, false), Some(Partial::default()));
    }

    #[test]
    fn a_problem_is_read_from_a_status_or_from_what_came_instead() {
        let retry_info = [&[0x0A, 0x04, 0x08, 5, 0x10, 10][..]].concat();
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let any = [&[0x0A, url.len() as u8][..], url, &[0x12, retry_info.len() as u8], &retry_info].concat();
        let body = [&[0x08, 8, 0x12, 4][..], b"slow", &[0x1A, any.len() as u8], &any].concat();
        let expected = Problem { message: "slow".into(), retry_after: Some(Duration::new(5, 10)) };
        assert_eq!(problem(&body, false), expected);
        assert_eq!(problem(br#"{"code":8,"message":"slow"}"#, true).message, "slow");
        assert_eq!(problem(b"no tenant\n", false).message, "no tenant\n");
        assert_eq!(problem(b"no tenant\n", true).message, "no tenant\n");
    }
}
