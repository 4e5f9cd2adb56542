//! gRPC's status codes, and which of them says what an HTTP status says.

use std::str::FromStr;

use http::StatusCode;

/// A status code of gRPC, by its number (grpc/doc/statuscodes.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(u8);

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Code {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const UNKNOWN: Self = Self(2);
    pub(crate) const INVALID_ARGUMENT: Self = Self(3);
    pub(crate) const DEADLINE_EXCEEDED: Self = Self(4);
    pub(crate) const NOT_FOUND: Self = Self(5);
    pub(crate) const PERMISSION_DENIED: Self = Self(7);
    pub(crate) const RESOURCE_EXHAUSTED: Self = Self(8);
    pub(crate) const UNIMPLEMENTED: Self = Self(12);
    pub(crate) const INTERNAL: Self = Self(13);
    pub(crate) const UNAVAILABLE: Self = Self(14);
    pub(crate) const UNAUTHENTICATED: Self = Self(16);

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    /// The `google.rpc.Code` that says the same (google/rpc/code.proto names the HTTP mapping).
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::OK,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::NOT_FOUND,
            405 | 501 => Self::UNIMPLEMENTED,
            408 | 504 => Self::DEADLINE_EXCEEDED,
            413 | 429 => Self::RESOURCE_EXHAUSTED,
            502 | 503 => Self::UNAVAILABLE,
            400..=499 => Self::INVALID_ARGUMENT,
            500..=599 => Self::INTERNAL,
            _ => Self::UNKNOWN,
        }
    }
}

impl FromStr for Code {
    type Err = String;

    /// A name as above, in any case, or a number.
    fn from_str(text: &str) -> Result<Self, String> {
        let number =
            NAMES.iter().position(|name| name.eq_ignore_ascii_case(text)).or_else(|| text.parse().ok());
        match number.and_then(|number| u8::try_from(number).ok()) {
            Some(number) if usize::from(number) < NAMES.len() => Ok(Self(number)),
            _ => Err(format!("a status code of gRPC: {}", NAMES.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_by_name_and_by_number() {
        for (text, number) in [("UNAVAILABLE", 14), ("unavailable", 14), ("14", 14), ("OK", 0)] {
            assert_eq!(text.parse::<Code>().unwrap().number(), number, "{text}");
        }
        assert_eq!(Code::UNAUTHENTICATED.name(), "UNAUTHENTICATED");
        for text in ["", "17", "-1", "UNAVAIL"] {
            assert!(text.parse::<Code>().unwrap_err().contains("UNAVAILABLE"), "{text}");
        }
    }
}
