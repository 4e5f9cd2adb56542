//! An HTTP answer -> an outcome: pure.
//!
//! After the OTLP specification (OTLP/HTTP Response) where it protects data; beyond it, a refusal that does not
//! blame the data holds the exporter instead of costing a batch.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use super::{response, transport::Outcome};

/// The longest text of a receiver's that is kept, characters.
const MAX_TEXT: usize = 300;

/// How much of a text is looked through for secrets, bytes; far more than is kept of it.
const MAX_SCANNED: usize = 8192;

/// What could be read of an answer's body.
#[derive(Debug)]
pub(super) enum Body {
    Whole(Bytes),
    /// Over the limit; the rest was not read.
    TooLong,
    /// The connection ended inside it.
    Broken(String),
}

/// What the request's headers hold that a receiver may send back and nobody may see.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// The headers' values, and their words: `Bearer TOKEN` may come back as `TOKEN`. Shorter ones than six
    /// bytes are no secrets and would blacken innocent text.
    pub(super) fn new(values: impl Iterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = values
            .flat_map(|value| {
                value.split_whitespace().map(str::to_owned).chain([value.clone()]).collect::<Vec<_>>()
            })
            .filter(|secret| secret.len() >= 6)
            .collect();
        // The longest first, so that no part of one is left.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// A receiver's text, fit for a line of a terminal and a log.
    pub(super) fn one_line(&self, text: &str) -> String {
        let end = text.floor_char_boundary(MAX_SCANNED);
        let mut text = text[..end].to_owned();
        for secret in &self.0 {
            if text.contains(secret) {
                text = text.replace(secret, "[redacted]");
            }
        }
        one_line(&text)
    }
}

/// What the answer means.
pub(super) fn classify(
    status: StatusCode,
    headers: &HeaderMap,
    body: &Body,
    now: SystemTime,
    secrets: &Secrets,
) -> Outcome {
    if status.is_success() {
        return accepted(status, headers, body, secrets);
    }
    let problem = match body {
        Body::Whole(body) => response::problem(body, is(headers, "application/json")),
        Body::TooLong | Body::Broken(_) => response::Problem::default(),
    };
    let reason = match secrets.one_line(&problem.message) {
        text if text.is_empty() => status.to_string(),
        text => format!("{status}: {text}"),
    };
    match status {
        StatusCode::BAD_REQUEST => Outcome::DataRefused { reason, suspect_encoding: true },
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Outcome::DataRefused { reason, suspect_encoding: false }
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Outcome::EncodingRefused { reason },
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let retry_after = retry_after(headers, now).or(problem.retry_after);
            Outcome::Unavailable { reason, retry_after, disconnected: false }
        }
        _ if status.is_redirection() => {
            // Only the place is shown: a query may hold a secret.
            let place = headers.get(header::LOCATION).and_then(|place| place.to_str().ok()).unwrap_or("?");
            let place = secrets.one_line(place.split(['?', '#']).next().unwrap_or("?"));
            Outcome::held(format!("{status} to {place}, which is not followed: set the endpoint to it"))
        }
        _ => Outcome::held(reason),
    }
}

fn accepted(status: StatusCode, headers: &HeaderMap, body: &Body, secrets: &Secrets) -> Outcome {
    if is(headers, "text/html") {
        // A captive portal or a wrong address would otherwise swallow everything with a smile.
        return Outcome::held(format!("{status} with an HTML page: this is no OTLP receiver"));
    }
    let read = match body {
        Body::Broken(error) => {
            return Outcome::Unavailable {
                reason: format!("the answer broke off: {error}"),
                retry_after: None,
                disconnected: true,
            };
        }
        Body::TooLong => None,
        Body::Whole(body) => response::partial(body, is(headers, "application/json")),
    };
    let readable = read.is_some();
    let partial = read.unwrap_or_default();
    let message = Some(secrets.one_line(&partial.message)).filter(|message| !message.is_empty());
    Outcome::Accepted { rejected: partial.rejected, message, readable }
}

/// Seconds or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Whether the body is of this media type, whatever its parameters.
pub(super) fn is(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case(media_type))
}

/// Foreign text as one bounded line without control characters.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut characters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    line.extend(characters.by_ref().take(MAX_TEXT));
    if characters.next().is_some() {
        line.push_str(" ...");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Outcome {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        classify(status, &map, &Body::Whole(Bytes::copy_from_slice(body)), now, &Secrets::default())
    }

    #[test]
    fn every_status_falls_into_the_class_that_protects_the_data() {
        for status in 100..=599 {
            let outcome = answer(status, &[], b"");
            let fits = match status {
                200..=299 => matches!(outcome, Outcome::Accepted { .. }),
                400 => matches!(outcome, Outcome::DataRefused { suspect_encoding: true, .. }),
                413 | 422 => matches!(outcome, Outcome::DataRefused { suspect_encoding: false, .. }),
                415 => matches!(outcome, Outcome::EncodingRefused { .. }),
                429 | 502 | 503 | 504 => matches!(outcome, Outcome::Unavailable { .. }),
                _ => matches!(outcome, Outcome::Held { .. }),
            };
            assert!(fits, "{status}: {outcome:?}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let after = |value| match answer(503, &[("retry-after", value)], b"") {
            Outcome::Unavailable { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "it is now");
        assert_eq!(after("Sun, 06 Nov 1994 08:49:57 GMT"), Some(Duration::from_secs(20)));
        assert_eq!(after("Sun, 06 Nov 1994 08:48:00 GMT"), Some(Duration::ZERO), "in the past");
        assert_eq!(after("18446744073709551615"), Some(Duration::from_secs(u64::MAX)));
        for nonsense in ["", "-1", "soon", "1e3"] {
            assert_eq!(after(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn garbage_with_200_is_accepted_but_a_page_is_no_receiver() {
        for body in [&b"OK"[..], b"\xFF\xFF\xFF", b"{\"partialSuccess\":[]}"] {
            let expected = Outcome::Accepted { rejected: 0, message: None, readable: false };
            assert_eq!(answer(200, &[], body), expected);
        }
        let page = answer(200, &[("content-type", "text/html; charset=utf-8")], b"<html>Log in</html>");
        assert!(matches!(page, Outcome::Held { .. }), "{page:?}");
    }

    #[test]
    fn an_answer_that_breaks_off_is_sent_again_only_if_it_might_not_have_been_taken() {
        let broken = Body::Broken("reset".into());
        let headers = HeaderMap::new();
        let outcome = classify(StatusCode::OK, &headers, &broken, UNIX_EPOCH, &Secrets::default());
        assert!(matches!(outcome, Outcome::Unavailable { disconnected: true, .. }), "{outcome:?}");
        let outcome = classify(StatusCode::OK, &headers, &Body::TooLong, UNIX_EPOCH, &Secrets::default());
        assert!(matches!(outcome, Outcome::Accepted { readable: false, .. }), "{outcome:?}");
        let outcome = classify(StatusCode::UNAUTHORIZED, &headers, &broken, UNIX_EPOCH, &Secrets::default());
        assert!(matches!(outcome, Outcome::Held { .. }), "{outcome:?}");
    }

    #[test]
    fn a_receiver_s_text_is_one_bounded_line() {
        let text = format!("bad\r\n\u{1b}[31m{}", "x".repeat(1000));
        let Outcome::DataRefused { reason, .. } = answer(400, &[], text.as_bytes()) else { panic!() };
        assert!(reason.starts_with("400 Bad Request: bad   [31mxxx"), "{reason}");
        assert!(reason.len() < 350 && !reason.contains(char::is_control));
    }

    #[test]
    fn a_secret_that_the_receiver_sends_back_is_not_shown() {
        let secrets = Secrets::new(["Bearer s3cr3t-token".to_owned(), "a b".to_owned()].into_iter());
        let body = Body::Whole(Bytes::from_static(b"bad token s3cr3t-token in `Bearer s3cr3t-token`, a b"));
        let outcome = classify(StatusCode::UNAUTHORIZED, &HeaderMap::new(), &body, UNIX_EPOCH, &secrets);
        let Outcome::Held { reason, .. } = outcome else { panic!() };
        assert_eq!(reason, "401 Unauthorized: bad token [redacted] in `[redacted]`, a b");
    }

    #[test]
    fn a_redirect_shows_where_to_but_no_query() {
        let outcome = answer(302, &[("location", "https://login.example/x?token=abc")], b"");
        let Outcome::Held { reason, .. } = outcome else { panic!() };
        assert!(reason.contains("https://login.example/x,"), "{reason}");
        assert!(!reason.contains("abc"));
    }
}
