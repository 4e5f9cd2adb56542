//! What `whimbrel-plugin compile` writes to its standard output.
//!
//! ```text
//!  0        8          12         16              24
//!  +--------+----------+----------+---------------+------------------+--------------------+
//!  | magic  | json len | zero     | code len      | JSON: Reply      | compiled code      |
//!  | 8      | u32 LE   | u32      | u64 LE        | json len bytes   | code len bytes     |
//!  +--------+----------+----------+---------------+------------------+--------------------+
//! ```
//!
//! A refusal has no code. Nothing may follow the code: a reply that was cut off or added to is none.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::{description::Description, world::Misfit};

/// The first bytes; the last of them is the version of the layout and of the JSON.
const MAGIC: [u8; 8] = *b"WHIMPLG\x01";
const HEADER: usize = 24;

/// What became of a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The code follows.
    Compiled {
        /// The compiler's [`crate::engine::fingerprint`].
        engine: String,
        /// What the component is.
        description: Box<Description>,
    },
    /// No code follows.
    Refused(Refusal),
}

/// Why a component was not compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// It is something else than WebAssembly.
    #[error(
        "it is no WebAssembly component but {found}{}",
        remedy.as_deref().map(|remedy| format!(": {remedy}")).unwrap_or_default()
    )]
    NotWasm {
        /// What it looks like.
        found: String,
        /// What to do, where that is clear.
        remedy: Option<String>,
    },
    /// It is a core module.
    #[error(
        "it is a core WebAssembly module, and a plugin is a component: make one of it with \
         `whimbrel-plugin component FILE -o OUT.wasm`"
    )]
    CoreModule,
    /// It is damaged, truncated, or uses what the engine does not have.
    #[error("it is damaged, or uses what this engine does not have: {detail}")]
    Invalid {
        /// What the parser says, with the offset.
        detail: String,
    },
    /// The section with the schema of the configuration can't be used.
    #[error("its section `whimbrel:config-schema` is no JSON object: {detail}")]
    Schema {
        /// What the JSON parser says.
        detail: String,
    },
    /// It does not fit this host.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

/// A reply that can't be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FrameError {
    #[error("it is no reply of this version of whimbrel-plugin")]
    Magic,
    #[error("it was cut off, or something follows it: {found} bytes instead of {expected}")]
    Length { expected: u64, found: u64 },
    #[error("its JSON can't be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes a reply and its code.
///
/// # Errors
/// Those of `out`, and a JSON text of more than 4 GiB.
pub fn write(reply: &Reply, code: &[u8], out: &mut impl Write) -> io::Result<()> {
    let json = serde_json::to_vec(reply)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    out.write_all(&MAGIC)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&[0; 4])?;
    out.write_all(&(code.len() as u64).to_le_bytes())?;
    out.write_all(&json)?;
    out.write_all(code)?;
    out.flush()
}

/// Takes a reply and its code apart.
///
/// # Errors
/// The bytes are no whole reply, or one of another version.
pub fn read(bytes: &[u8]) -> Result<(Reply, &[u8]), FrameError> {
    let found = bytes.len() as u64;
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
        return Err(FrameError::Length { expected: HEADER as u64, found });
    };
    let (magic, lengths) = header.split_at(8);
    if magic != MAGIC {
        return Err(FrameError::Magic);
    }
    let number = |at: std::ops::Range<usize>| {
        lengths[at].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (json, code) = (number(0..4), number(8..16));
    let expected = code.saturating_add(json).saturating_add(HEADER as u64);
    if expected != found {
        return Err(FrameError::Length { expected, found });
    }
    let (json, code) = rest.split_at(json as usize);
    Ok((serde_json::from_slice(json)?, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Vec<u8> {
        let mut out = Vec::new();
        write(&Reply::Refused(Refusal::CoreModule), b"code", &mut out).unwrap();
        out
    }

    #[test]
    fn golden_bytes() {
        let json = br#"{"refused":"core-module"}"#;
        let mut expected = b"WHIMPLG\x01\x19\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(json);
        expected.extend_from_slice(b"code");
        assert_eq!(reply(), expected);
        assert_eq!(read(&expected).unwrap(), (Reply::Refused(Refusal::CoreModule), b"code".as_slice()));
    }

    #[test]
    fn nothing_shorter_or_longer_is_a_reply() {
        let whole = reply();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "cut at {length}");
        }
        assert!(read(&[whole.as_slice(), b"x"].concat()).is_err());
    }

    #[test]
    fn hostile_lengths_do_not_panic() {
        let mut bytes = reply();
        bytes[8..12].fill(0xff);
        assert!(matches!(read(&bytes), Err(FrameError::Length { .. })));
        bytes[16..24].fill(0xff);
        assert!(matches!(read(&bytes), Err(FrameError::Length { .. })));
    }
}
