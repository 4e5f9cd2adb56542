//! What this program is called in its own words: as it was typed.
//!
//! The agent starts it as `whimbrel plugin`, by the zeroth argument. clap takes the usage from there; errors begin
//! with it too.

use std::ffi::OsStr;

use clap::{
    Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use whimbrel_plugin_host::CALLED_BY_AGENT;

/// What to begin an error of this command with: `whimbrel plugin new`, or the program's own name.
pub(crate) fn speaker(zeroth: Option<&OsStr>, command: &str) -> String {
    match zeroth {
        Some(name) if name == CALLED_BY_AGENT => format!("{CALLED_BY_AGENT} {command}"),
        _ => "whimbrel-plugin".to_owned(),
    }
}

/// Wrong usage as it is told. To a single letter all that holds it is similar: `c` is no tip for `cobol`.
pub(crate) fn sensible(mut error: Error) -> Error {
    let is_letter = |value: &ContextValue| matches!(value, ContextValue::String(text) if text.len() == 1);
    if error.kind() == ErrorKind::InvalidValue
        && error.get(ContextKind::SuggestedValue).is_some_and(is_letter)
    {
        error.remove(ContextKind::SuggestedValue);
    }
    error
}
