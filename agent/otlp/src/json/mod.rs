//! OTLP/JSON (OTLP specification, "JSON Protobuf Encoding"): written for people and tools, read from senders.
//!
//! Names are lowerCamelCase, 64-bit integers are strings or numbers, enums numbers, trace and span ids hexadecimal, other
//! bytes base64; NaN and the infinities are strings; the rest is as protojson has it. Both ways go by the tables of
//! `schema`. Reading is behind the feature `json`, so that plugins don't carry it.

#[cfg(feature = "json")]
mod number;
#[cfg(feature = "json")]
mod read;
mod scalar;
mod write;

#[cfg(feature = "json")]
pub use read::{JsonError, from_json};
pub use write::{Json, to_json, to_json_within};
