//! `${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}` and `$$`, put into one text.
//!
//! Works on texts that are parsed already, so that what is put in can't become structure. What is put in is not
//! looked through again. A `$` that neither `{` nor `$` follows is a dollar.

use std::{
    borrow::Cow,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    environment::Environment,
    problem::{Wrong, quote},
    tree::Scalar,
    yaml::MAX_TEXT,
};

/// The text of a scalar with everything put in; paths are relative to `folder`. With `secret`, no message quotes it.
///
/// # Errors
/// With all that can't be put in, if anything can't.
pub(super) fn interpolate<'s>(
    scalar: &'s Scalar,
    folder: &Path,
    environment: &dyn Environment,
    secret: bool,
) -> Result<Cow<'s, str>, Vec<Wrong>> {
    if !scalar.may_interpolate() {
        return Ok(Cow::Borrowed(&scalar.text));
    }
    let mut text = String::with_capacity(scalar.text.len());
    let mut wrongs = Vec::new();
    let mut rest = scalar.text.as_str();
    while let Some(dollar) = rest.find('$') {
        text.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some(end) = after.find('}') else {
                wrongs.push(Wrong::new("has a `${` without its `}`", "close it, or write `$$` for a dollar"));
                break;
            };
            match look_up(&after[..end], folder, environment) {
                Err(_) if secret && !is_understood(&after[..end]) => {
                    wrongs.push(Wrong::new("has a `${...}` that is not understood", REFERENCES));
                }
                Ok(value) => text.push_str(&value),
                Err(wrong) => wrongs.push(wrong),
            }
            rest = &after[end + 1..];
        } else {
            text.push('$');
        }
        if text.len() > MAX_TEXT {
            let what = format!("has more than {MAX_TEXT} bytes once everything is put in");
            return Err(vec![Wrong::new(what, "put less in")]);
        }
    }
    text.push_str(rest);
    if wrongs.is_empty() { Ok(Cow::Owned(text)) } else { Err(wrongs) }
}

const REFERENCES: &str =
    "write `${env:NAME}`, `${env:NAME:-default}` or `${file:PATH}`, or `$$` for a dollar";

/// Whether `reference` names a variable or a file, and so is no secret that happens to hold `${`.
fn is_understood(reference: &str) -> bool {
    match reference.split_once(':') {
        Some(("env", rest)) => {
            check_variable_name(rest.split_once(":-").map_or(rest, |(name, _)| name)).is_ok()
        }
        Some(("file", path)) => !path.is_empty(),
        _ => false,
    }
}

/// What stands for `reference`, the text between the braces.
fn look_up(reference: &str, folder: &Path, environment: &dyn Environment) -> Result<String, Wrong> {
    if reference.contains("${") {
        return Err(Wrong::new(
            "has a `${` within a `${`",
            "what is put in can't be put together; set one variable",
        ));
    }
    match reference.split_once(':') {
        Some(("env", reference)) => {
            let (name, default) = match reference.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (reference, None),
            };
            check_variable_name(name)?;
            match (read_variable(name, environment)?, default) {
                (Some(value), None) => Ok(value),
                (Some(value), Some(_)) if !value.is_empty() => Ok(value),
                (_, Some(default)) => Ok(default.to_owned()),
                (None, None) => Err(Wrong::new(
                    format!("asks for ${name}, which is not set"),
                    format!("set it, or give a default: `${{env:{name}:-default}}`"),
                )),
            }
        }
        Some(("file", path)) if !path.is_empty() => read_value(&folder.join(path)),
        _ => {
            let what = format!("asks for {}, which is neither `env:NAME` nor `file:PATH`", quote(reference));
            let remedy = match check_variable_name(reference) {
                Ok(()) => format!("write `${{env:{reference}}}`, or `$$` for a dollar"),
                Err(_) => REFERENCES.to_owned(),
            };
            Err(Wrong::new(what, remedy))
        }
    }
}

/// The names that a shell can set.
pub(super) fn check_variable_name(name: &str) -> Result<(), Wrong> {
    let good = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match good {
        true => Ok(()),
        false => Err(Wrong::new(
            "names no environment variable",
            "use the name of one: letters, digits and `_`, not beginning with a digit",
        )),
    }
}

/// A variable's text; `None` where it is not set.
pub(super) fn read_variable(name: &str, environment: &dyn Environment) -> Result<Option<String>, Wrong> {
    let Some(value) = environment.variable(name) else { return Ok(None) };
    value.into_string().map(Some).map_err(|_| {
        Wrong::new(format!("asks for ${name}, which is not UTF-8"), format!("set ${name} to a text in UTF-8"))
    })
}

/// The value of a variable that a key names, which has to be set. A name that is not in capitals is not shown: it may
/// well be the secret itself, put where its variable's name belongs.
pub(super) fn read_named_variable(name: &str, environment: &dyn Environment) -> Result<String, Wrong> {
    check_variable_name(name)?;
    let capitals = !name.contains(|letter: char| letter.is_ascii_lowercase());
    let shown = if capitals { format!("${name}") } else { "a variable".to_owned() };
    let missing = || Wrong::new(format!("asks for {shown}, which is not set"), "set it, or name another");
    let Some(value) = environment.variable(name) else { return Err(missing()) };
    let remedy = "set it to a text in UTF-8";
    value.into_string().map_err(|_| Wrong::new(format!("asks for {shown}, which is not UTF-8"), remedy))
}

/// The text of a file that holds one value: a token, say. Line breaks at its end are left out.
pub(super) fn read_value(path: &Path) -> Result<String, Wrong> {
    let bytes = read_bounded(path).map_err(|error| {
        Wrong::new(
            format!("asks for the file {}: {error}", path.display()),
            "make it, or let this user read it",
        )
    })?;
    let mut text = String::from_utf8(bytes).map_err(|_| {
        Wrong::new(format!("asks for the file {}, which is not UTF-8", path.display()), "save it as UTF-8")
    })?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

/// Why a file gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{}", describe(.0))]
    Io(#[from] std::io::Error),
    #[error("it is longer than {MAX_TEXT} bytes")]
    TooLong,
}

/// The bytes of a file, at most [`MAX_TEXT`] of them: endless devices included.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_TEXT { Err(ReadError::TooLong) } else { Ok(bytes) }
}

/// An I/O error as a person says it.
pub(super) fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}

/// `path`, relative to `folder`, absolute, without `.` parts.
pub(super) fn absolute(folder: &Path, path: &str) -> PathBuf {
    folder.join(path).components().collect()
}
