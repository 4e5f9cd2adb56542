//! `Idempotency-Key`: how a sender says "this is that request again".
//!
//! The agent writes `<exporter>/<signal>/<first id>..<last id>/<count>`; once the exporter's cursor has been set back,
//! `<exporter>@<records set back so far>`, because those records come again on purpose. Any other key is honoured as well;
//! of the agent's form the parts are kept, so that a request that was put together anew from records that
//! had been sent already can be told from a repeat.

use http::HeaderMap;

use crate::signal::Signal;

/// The header, in lower case as HTTP/2 and gRPC spell it.
pub(crate) const HEADER: &str = "idempotency-key";

/// A key is kept for a long time: this is enough for any exporter's name and two ids.
const MAX_LENGTH: usize = 512;

/// A key as it was sent, and its parts if it has the agent's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) parts: Option<Parts>,
}

/// The parts of a key of the agent's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) exporter: String,
    pub(crate) first: String,
    pub(crate) last: String,
    pub(crate) count: u64,
}

/// A key that can't be honoured, and so must be refused: its sender counts on it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("there is more than one idempotency-key")]
    Several,
    #[error("the idempotency-key must be 1 to {MAX_LENGTH} visible ASCII characters")]
    Characters,
    #[error("the idempotency-key is for {key}, this is {request}")]
    OtherSignal { key: Signal, request: Signal },
}

impl Key {
    /// The key of a request, if it bears one.
    pub(crate) fn from_headers(headers: &HeaderMap, signal: Signal) -> Result<Option<Self>, KeyError> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(KeyError::Several);
        }
        let text = value.to_str().map_err(|_| KeyError::Characters)?;
        if text.is_empty() || text.len() > MAX_LENGTH || text.contains(' ') {
            return Err(KeyError::Characters);
        }
        let parts = match parse(text) {
            Some((key, _)) if key != signal => return Err(KeyError::OtherSignal { key, request: signal }),
            parsed => parsed.map(|(_, parts)| parts),
        };
        Ok(Some(Self { text: text.to_owned(), parts }))
    }
}

/// From the back, because an exporter's name may hold slashes.
fn parse(text: &str) -> Option<(Signal, Parts)> {
    let (rest, count) = text.rsplit_once('/')?;
    let (rest, range) = rest.rsplit_once('/')?;
    let (exporter, signal) = rest.rsplit_once('/')?;
    let (first, last) = range.split_once("..")?;
    let parts = Parts {
        exporter: exporter.to_owned(),
        first: first.to_owned(),
        last: last.to_owned(),
        count: count.parse().ok()?,
    };
    Some((signal.parse().ok()?, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Option<Key>, KeyError> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, text.parse().unwrap());
        Key::from_headers(&headers, Signal::Metrics)
    }

    #[test]
    fn the_agents_form_is_taken_apart() {
        let parts = key("a/b/metrics/ab12-7..ab12-19/13").unwrap().unwrap().parts.unwrap();
        assert_eq!(
            parts,
            Parts { exporter: "a/b".into(), first: "ab12-7".into(), last: "ab12-19".into(), count: 13 }
        );
    }

    #[test]
    fn what_is_sent_again_on_purpose_is_another_sender() {
        let parts = |text: &str| key(text).unwrap().unwrap().parts.unwrap();
        let (before, after) =
            (parts("a/metrics/ab12-7..ab12-19/13"), parts("a@30/metrics/ab12-7..ab12-19/13"));
        assert_eq!((before.exporter.as_str(), after.exporter.as_str()), ("a", "a@30"));
        assert_eq!(Parts { exporter: "a".into(), ..after }, before);
    }

    #[test]
    fn another_form_is_a_key_without_parts() {
        for text in ["8e03978e-40d5-43dd-bc93-6894a57f9324", "a/metrics/1..2/many", "a/metrics/12/1", "a/b"] {
            assert_eq!(key(text).unwrap().unwrap().parts, None, "{text}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_honoured_is_refused() {
        assert_eq!(key(""), Err(KeyError::Characters));
        assert_eq!(key("a b"), Err(KeyError::Characters));
        assert_eq!(key(&"a".repeat(MAX_LENGTH + 1)), Err(KeyError::Characters));
        assert!(matches!(key("a/logs/1..2/2"), Err(KeyError::OtherSignal { .. })));
        let mut headers = HeaderMap::new();
        headers.append(HEADER, "a".parse().unwrap());
        headers.append(HEADER, "a".parse().unwrap());
        assert_eq!(Key::from_headers(&headers, Signal::Metrics), Err(KeyError::Several));
    }
}
