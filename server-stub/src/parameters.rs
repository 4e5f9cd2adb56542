//! The query of a request to `/api` or `/control`: each parameter is taken once, and none is left over.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

/// The parameters of a query that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Parameters {
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

/// What is wrong with a query. The text is for whoever wrote it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParameterError {
    #[error("{name} is given twice")]
    Twice { name: String },
    #[error("there is no parameter {name}; known here: {known}")]
    Unknown { name: String, known: String },
    #[error("{name} is missing")]
    Missing { name: &'static str },
    #[error("{name}={value}: {reason}")]
    Bad { name: &'static str, value: String, reason: String },
}

impl Parameters {
    /// Reads `a=1&b=2` (application/x-www-form-urlencoded).
    pub(crate) fn read(query: &str) -> Result<Self, ParameterError> {
        let mut left = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if left.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(ParameterError::Twice { name: name.into_owned() });
            }
        }
        Ok(Self { left, known: Vec::new() })
    }

    /// The text of a parameter, if it is given.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.left.remove(name)
    }

    /// A parameter that must be given.
    pub(crate) fn required(&mut self, name: &'static str) -> Result<String, ParameterError> {
        self.text(name).ok_or(ParameterError::Missing { name })
    }

    /// A parameter that `read` understands.
    pub(crate) fn read_with<T, E: ToString>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ParameterError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        match read(&value) {
            Ok(read) => Ok(Some(read)),
            Err(reason) => Err(ParameterError::Bad { name, value, reason: reason.to_string() }),
        }
    }

    /// A parameter of a type that reads itself.
    pub(crate) fn parse<T: FromStr<Err: ToString>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, ParameterError> {
        self.read_with(name, str::parse)
    }

    /// A duration such as `20s`, `500ms` or `1m 30s`.
    pub(crate) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, ParameterError> {
        self.read_with(name, parse_duration)
    }

    /// A parameter that is on with `1`, `true`, or no value at all.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, ParameterError> {
        let read = |text: &str| match text {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err("1 or 0"),
        };
        Ok(self.read_with(name, read)?.unwrap_or(false))
    }

    /// Refuses what nobody took.
    pub(crate) fn done(self) -> Result<(), ParameterError> {
        match self.left.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
                Err(ParameterError::Unknown { name, known })
            }
        }
    }
}

/// A duration as people write it: `20s`, `500ms`, `1m 30s`, `24h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    // Days are no fixed length for calendars; for us they are 24 hours.
    let span: jiff::Span = text.parse().map_err(|_| "not a duration such as 20s, 500ms or 24h".to_owned())?;
    let signed = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| "not a duration such as 20s, 500ms or 24h (no months or years)".to_owned())?;
    Duration::try_from(signed).map_err(|_| "a duration can't be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_refused_with_what_is_known() {
        let mut parameters = Parameters::read("code=503&cod=400").unwrap();
        assert_eq!(parameters.parse::<u16>("code").unwrap(), Some(503));
        let error = parameters.done().unwrap_err();
        assert_eq!(error.to_string(), "there is no parameter cod; known here: code");
    }

    #[test]
    fn the_same_parameter_twice_is_refused() {
        assert_eq!(Parameters::read("a=1&a=2").unwrap_err().to_string(), "a is given twice");
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ms) in
            [("20s", 20_000), ("500ms", 500), ("1m30s", 90_000), ("24h", 86_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "20", "-1s", "1 month", "soon"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
