//! From a request to `/control` to a rule.

use std::time::Instant;

use http::{HeaderValue, StatusCode};

use super::rule::{AnswerBody, Condition, Effect, Refusal, Rule, Stage, Terminal};
use crate::parameters::{ParameterError, Parameters};

/// The verbs of `/control` that make a rule, with what each takes besides `signal`, `for`, `rate`, `count`
/// (and, where a point of time can be chosen, `when=headers|before|after`).
pub(crate) const VERBS: [(&str, &str); 8] = [
    (
        "fail",
        "answers code=503 (over gRPC what fits it, or grpc_code=UNAVAILABLE) with \
         body=status|garbage|empty|html|cut|huge, retry_after=, location=, message=",
    ),
    ("slow", "waits delay= before it goes on"),
    ("partial", "refuses rejected= items of each request, in a partial success with message="),
    ("close", "closes the connection without an answer"),
    ("hang", "gives no answer"),
    ("poison", "answers code=400 to requests that contain a metric, span, event or log body called name="),
    ("token", "answers 401 to requests without the bearer token require="),
    (
        "encoding",
        "answers 415 (over gRPC UNIMPLEMENTED) to requests in the encoding refuse=, or with first_frame=1 reads one \
         frame only",
    ),
];

/// Makes the rule that `verb?query` asks for.
pub(crate) fn parse_rule(verb: &str, query: &str, now: Instant) -> Result<Rule, ParameterError> {
    let mut given = Parameters::read(query)?;
    let mut condition = Condition { signal: given.parse("signal")?, ..Condition::default() };
    let (stage, effect) = match verb {
        "fail" => {
            let code = given.read_with("code", status)?.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let refusal = refusal(&mut given, code, "told to fail")?;
            (when(&mut given)?, Effect::End(Terminal::Refuse(refusal)))
        }
        "slow" => {
            let delay = given.duration("delay")?.ok_or(ParameterError::Missing { name: "delay" })?;
            (when(&mut given)?, Effect::Delay(delay))
        }
        "partial" => {
            let rejected = given.parse("rejected")?.ok_or(ParameterError::Missing { name: "rejected" })?;
            let message = given.text("message").unwrap_or_else(|| "told to refuse these".to_owned());
            (Stage::Decoded, Effect::Partial { rejected, message })
        }
        "close" => (when(&mut given)?, Effect::End(Terminal::Close)),
        "hang" => (when(&mut given)?, Effect::End(Terminal::Hang)),
        "poison" => {
            condition.contains = Some(given.required("name")?);
            let code = given.read_with("code", status)?.unwrap_or(StatusCode::BAD_REQUEST);
            (
                Stage::Decoded,
                Effect::End(Terminal::Refuse(refusal(&mut given, code, "the data is poisoned")?)),
            )
        }
        "token" => {
            condition.lacks_token = Some(given.required("require")?);
            let code = given.read_with("code", status)?.unwrap_or(StatusCode::UNAUTHORIZED);
            let refusal = refusal(&mut given, code, "the bearer token is missing or wrong")?;
            (Stage::Headers, Effect::End(Terminal::Refuse(refusal)))
        }
        "encoding" => {
            if given.flag("first_frame")? {
                (Stage::Body, Effect::FirstFrameOnly)
            } else {
                condition.encoding = Some(given.required("refuse")?.to_ascii_lowercase());
                let code = given.read_with("code", status)?.unwrap_or(StatusCode::UNSUPPORTED_MEDIA_TYPE);
                let refusal = refusal(&mut given, code, "told not to take this content encoding")?;
                (Stage::Headers, Effect::End(Terminal::Refuse(refusal)))
            }
        }
        _ => {
            let known = VERBS.map(|(verb, _)| verb).join(", ");
            return Err(ParameterError::Unknown { name: format!("/control/{verb}"), known });
        }
    };
    let rate = given.read_with("rate", share)?.unwrap_or(1.0);
    let until = match given.duration("for")? {
        None => None,
        Some(length) => Some(now.checked_add(length).ok_or_else(|| ParameterError::Bad {
            name: "for",
            value: format!("{length:?}"),
            reason: "too long".to_owned(),
        })?),
    };
    let left = given.parse("count")?;
    given.done()?;
    let text = if query.is_empty() { verb.to_owned() } else { format!("{verb}?{query}") };
    Ok(Rule { text, stage, condition, effect, rate, until, left, struck: 0 })
}

fn when(given: &mut Parameters) -> Result<Stage, ParameterError> {
    let stage = given.read_with("when", |text| match text {
        "headers" => Ok(Stage::Headers),
        "before" => Ok(Stage::Body),
        "after" => Ok(Stage::Stored),
        _ => Err("headers (the body is not read), before (read, not stored) or after (stored)"),
    })?;
    Ok(stage.unwrap_or(Stage::Body))
}

fn refusal(given: &mut Parameters, status: StatusCode, message: &str) -> Result<Refusal, ParameterError> {
    let header = |text: &str| HeaderValue::from_str(text).map_err(|_| "no value for a header");
    let body = given.read_with("body", |text| match text {
        "status" => Ok(AnswerBody::Status),
        "garbage" => Ok(AnswerBody::Garbage),
        "empty" => Ok(AnswerBody::Empty),
        "html" => Ok(AnswerBody::Html),
        "cut" => Ok(AnswerBody::Cut),
        "huge" => Ok(AnswerBody::Huge),
        _ => Err("status, garbage, empty, html, cut or huge"),
    })?;
    Ok(Refusal {
        status,
        code: given.parse("grpc_code")?,
        retry_after: given.read_with("retry_after", header)?,
        location: given.read_with("location", header)?,
        body: body.unwrap_or(AnswerBody::Status),
        message: given.text("message").unwrap_or_else(|| message.to_owned()),
    })
}

fn status(text: &str) -> Result<StatusCode, &'static str> {
    // 1xx is no final answer, and above 599 nothing is defined.
    match text.parse::<u16>() {
        Ok(code @ 200..=599) => StatusCode::from_u16(code).map_err(|_| "no HTTP status"),
        _ => Err("an HTTP status from 200 to 599"),
    }
}

fn share(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("a share from 0 to 1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_named() {
        for (verb, query, says) in [
            ("fail", "code=99", "code=99: an HTTP status from 200 to 599"),
            ("fail", "code=600", "code=600: an HTTP status from 200 to 599"),
            ("fail", "rate=1.5", "rate=1.5: a share from 0 to 1"),
            ("fail", "rate=NaN", "rate=NaN: a share from 0 to 1"),
            ("fail", "for=ever", "for=ever: not a duration such as 20s, 500ms or 24h"),
            (
                "fail",
                "signal=profiles",
                "signal=profiles: \"profiles\" is no signal: metrics, logs or traces",
            ),
            ("fail", "retry_after=%0a", "retry_after=\n: no value for a header"),
            ("slow", "", "delay is missing"),
            (
                "slow",
                "delay=1s&code=3",
                "there is no parameter code; known here: signal, delay, when, rate, for, count",
            ),
            ("poison", "", "name is missing"),
            ("token", "", "require is missing"),
            ("encoding", "", "refuse is missing"),
        ] {
            let error = parse_rule(verb, query, Instant::now()).unwrap_err();
            assert_eq!(error.to_string(), says, "{verb}?{query}");
        }
        let error = parse_rule("explode", "", Instant::now()).unwrap_err().to_string();
        assert!(error.contains("/control/explode") && error.contains("fail, slow"), "{error}");
    }
}
