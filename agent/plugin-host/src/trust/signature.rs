//! A signature and what it is over, and the file that holds some of them (`X.wasm.sig`).
//!
//! The file is text: one signature a line, each the base64 of the bytes below, at most 16 of them, one a key. The same
//! text is the value of the annotation [`ANNOTATION`] of a manifest in a registry.
//!
//! ```text
//!  0        8            40           104
//!  +--------+------------+------------+--------------------------+
//!  | magic  | public key | ed25519    | statement, to the end    |
//!  | 8      | 32         | 64         |                          |
//!  +--------+------------+------------+--------------------------+
//!
//!  statement: these bytes are what ed25519 signs (RFC 8032, 5.1: no prehash, no context)
//!  0        8         40           42       42+n           44+n      44+n+m
//!  +--------+---------+------------+--------+--------------+---------+
//!  | kind   | SHA-256 | n: u16 LE  | name   | m: u16 LE    | version |
//!  | 8      | 32      |            | UTF-8  |              | UTF-8   |
//!  +--------+---------+------------+--------+--------------+---------+
//!
//!  kind: "WHPLUGN" 01, the SHA-256 is of a component      the 8th byte of magic and of kind
//!        "WHNATIV" 01, it is of a bundle of compiled code  is the version of the layout
//! ```
//!
//! The kind is part of what is signed: a signature of a component never passes for one of native code. Name and
//! version are those of the component's metadata, empty where it has none. The public key says which key to check
//! with and proves nothing: [`super::Trust`] has its own.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::key::{PublicKey, SecretKey};
use crate::{bundle, text::hex};

/// The annotation of an OCI manifest that holds signatures of its one layer, one a line.
pub const ANNOTATION: &str = "dev.whimbrel.plugin.signature.v1";
/// The most signatures of one plugin.
pub const MAX_SIGNATURES: usize = 16;

const MAGIC: [u8; 8] = *b"WHSIGNA\x01";
const KEY: std::ops::Range<usize> = 8..40;
const SIGNATURE: std::ops::Range<usize> = 40..104;
const KIND: usize = 8;
const SHA256: std::ops::Range<usize> = 8..40;
/// Longest line, in bytes of text: names and versions are cut at 4 KiB where they are read.
const MAX_LINE: usize = 16 << 10;

/// What was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A component: it runs in the sandbox.
    Component,
    /// A bundle of compiled code: it can do what the agent can.
    Native,
}

impl Kind {
    /// Of these bytes, by their first.
    pub fn of(bytes: &[u8]) -> Kind {
        if bundle::is_bundle(bytes) { Kind::Native } else { Kind::Component }
    }

    fn tag(self) -> [u8; KIND] {
        match self {
            Kind::Component => *b"WHPLUGN\x01",
            Kind::Native => *b"WHNATIV\x01",
        }
    }
}

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What the hash is of.
    pub kind: Kind,
    /// Of the whole file.
    pub sha256: [u8; 32],
    /// From the metadata; may be empty.
    pub name: String,
    /// From the metadata; may be empty.
    pub version: String,
}

/// One key's signature of one plugin. What it says is only worth something once it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    key: PublicKey,
    signature: [u8; 64],
    message: Vec<u8>,
    statement: Statement,
}

/// A text that holds no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SignatureError {
    #[error("line {line} is no signature: {detail}")]
    Line { line: usize, detail: &'static str },
    #[error("it holds more than {MAX_SIGNATURES} signatures")]
    TooMany,
    #[error("it holds no signature")]
    Empty,
    #[error("a name or version of more than 65535 bytes can't be signed")]
    TooLong,
}

impl Statement {
    fn to_bytes(&self) -> Result<Vec<u8>, SignatureError> {
        let mut bytes = Vec::with_capacity(44 + self.name.len() + self.version.len());
        bytes.extend_from_slice(&self.kind.tag());
        bytes.extend_from_slice(&self.sha256);
        for text in [&self.name, &self.version] {
            let length = u16::try_from(text.len()).map_err(|_| SignatureError::TooLong)?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Statement> {
        let (tag, rest) = bytes.split_at_checked(KIND)?;
        let kind = [Kind::Component, Kind::Native].into_iter().find(|kind| kind.tag() == tag)?;
        let (sha256, rest) = rest.split_at_checked(SHA256.len())?;
        let (name, rest) = text(rest)?;
        let (version, rest) = text(rest)?;
        let sha256 = sha256.try_into().ok()?;
        rest.is_empty().then_some(Statement { kind, sha256, name, version })
    }
}

/// A length of 16 bits and so much text.
fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

impl Signature {
    /// Signs.
    ///
    /// # Errors
    /// [`SignatureError::TooLong`].
    pub fn sign(key: &SecretKey, statement: Statement) -> Result<Signature, SignatureError> {
        let message = statement.to_bytes()?;
        Ok(Signature { key: key.public(), signature: key.sign(&message), message, statement })
    }

    /// The key that it names; only [`Signature::verify`] shows that it is that key's.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// What it is over, if this key made it.
    pub fn verify(&self, key: &PublicKey) -> Option<&Statement> {
        key.verify(&self.message, &self.signature).then_some(&self.statement)
    }

    fn parse(line: &str) -> Result<Signature, &'static str> {
        if line.len() > MAX_LINE {
            return Err("it is too long");
        }
        let bytes = STANDARD.decode(line).map_err(|_| "it is not base64")?;
        if bytes.len() < SIGNATURE.end || bytes[..KEY.start] != MAGIC {
            return Err("it is cut off, or of another kind or version");
        }
        let key = PublicKey::parse(&STANDARD.encode(&bytes[KEY])).map_err(|_| "its key is none")?;
        let signature = bytes[SIGNATURE].try_into().expect("the range has 64 bytes");
        let message = bytes[SIGNATURE.end..].to_vec();
        let statement = Statement::parse(&message).ok_or("what it signs can't be read")?;
        Ok(Signature { key, signature, message, statement })
    }

    fn line(&self) -> String {
        let bytes = [&MAGIC[..], self.key.as_bytes(), &self.signature, &self.message].concat();
        STANDARD.encode(bytes)
    }
}

/// Reads the text of a `.sig` file or of an annotation.
///
/// # Errors
/// It holds none, or something else.
pub fn read(text: &str) -> Result<Vec<Signature>, SignatureError> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut signatures = Vec::new();
    for (line, text) in lines.filter(|(_, text)| !text.is_empty()) {
        if signatures.len() == MAX_SIGNATURES {
            return Err(SignatureError::TooMany);
        }
        signatures.push(Signature::parse(text).map_err(|detail| SignatureError::Line { line, detail })?);
    }
    if signatures.is_empty() { Err(SignatureError::Empty) } else { Ok(signatures) }
}

/// The text of a `.sig` file.
pub fn write(signatures: &[Signature]) -> String {
    signatures.iter().map(|signature| signature.line() + "\n").collect()
}

impl std::fmt::Display for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_none = |text: &str| match text {
            "" => "(none)".to_owned(),
            text => crate::text::clean(text.to_owned(), 256),
        };
        write!(
            f,
            "name {}, version {}, SHA-256 {}",
            or_none(&self.name),
            or_none(&self.version),
            hex(&self.sha256)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of RFC 8032, 7.1, test 1; ed25519 has no randomness, so the bytes below are always the same.
    const SEED: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----";

    fn statement() -> Statement {
        Statement { kind: Kind::Component, sha256: [7; 32], name: "uptime".into(), version: "1.2.3".into() }
    }

    fn signed() -> Signature {
        Signature::sign(&SecretKey::parse(SEED).unwrap(), statement()).unwrap()
    }

    #[test]
    fn the_bytes_are_those_of_the_diagram() {
        let bytes = STANDARD.decode(signed().line()).unwrap();
        let message = [&b"WHPLUGN\x01"[..], &[7; 32], &[6, 0], b"uptime", &[5, 0], b"1.2.3"].concat();
        assert_eq!(bytes[..8], *b"WHSIGNA\x01");
        assert_eq!(hex(&bytes[8..40]), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(hex(&bytes[40..104]), GOLDEN);
        assert_eq!(bytes[104..], message);
    }

    /// By OpenSSL: `openssl pkeyutl -sign -rawin` with the key over the statement's bytes.
    const GOLDEN: &str = "c3f4a45ad8f258fd95360657fa46f3ac83c2735df6720ea5c5d24cc8b5d7319a84bbee601d01ca2700cc1cbbad52a450c7e1df2372d175d267dbd71f17e9730e";

    #[test]
    fn what_was_signed_is_read_back_and_verified() {
        let text = write(&[signed()]);
        let read = read(&format!("\n  {text}\r\n")).unwrap();
        assert_eq!(read, [signed()]);
        assert_eq!(read[0].verify(&read[0].key()), Some(&statement()));
        assert_eq!(read[0].verify(&SecretKey::generate().unwrap().public()), None);
    }

    #[test]
    fn no_cut_and_no_flipped_bit_passes() {
        let key = signed().key();
        let whole = STANDARD.decode(signed().line()).unwrap();
        let passes = |bytes: &[u8]| {
            let text = STANDARD.encode(bytes);
            read(&text).is_ok_and(|read| read[0].verify(&key).is_some() && read[0].key() == key)
        };
        assert!(passes(&whole));
        for at in 0..whole.len() {
            assert!(!passes(&whole[..at]), "cut at {at}");
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                assert!(!passes(&changed), "bit {bit} of byte {at}");
            }
        }
        assert!(!passes(&[&whole[..], b"x"].concat()));
    }

    #[test]
    fn other_texts_are_refused_in_words() {
        let many = write(&vec![signed(); MAX_SIGNATURES + 1]);
        assert_eq!(read(&many), Err(SignatureError::TooMany));
        assert_eq!(read(" \n"), Err(SignatureError::Empty));
        for text in ["what?", "AAAA", &"A".repeat(MAX_LINE + 4)] {
            assert!(matches!(read(text), Err(SignatureError::Line { line: 1, .. })), "{text}");
        }
        let long = Statement { name: "x".repeat(1 << 16), ..statement() };
        let key = SecretKey::generate().unwrap();
        assert_eq!(Signature::sign(&key, long), Err(SignatureError::TooLong));
    }
}
