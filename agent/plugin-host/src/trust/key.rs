//! Keys, as files: ed25519 (RFC 8032) in the PEM forms of RFC 8410, which OpenSSL reads and writes too
//! (`openssl genpkey -algorithm ed25519`, `openssl pkey -pubout`).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{
    Signer as _, SigningKey, VerifyingKey,
    pkcs8::{
        DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
        KeypairBytes, spki::der::pem::LineEnding,
    },
};
use zeroize::Zeroizing;

/// A key's text that can't be used. No message quotes the text.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum KeyError {
    #[error(
        "it is no ed25519 secret key in PEM (`-----BEGIN PRIVATE KEY-----`): make one with `whimbrel plugin keygen`"
    )]
    NoSecretKey,
    #[error("it is a public key, and signing needs the secret one")]
    PublicForSecret,
    #[error(
        "it is no ed25519 public key: a PEM file (`-----BEGIN PUBLIC KEY-----`) or 32 bytes in base64 are needed"
    )]
    NoPublicKey,
    #[error(
        "it is a secret key, which belongs with whoever signs: give the public one (the file `.pub` beside it)"
    )]
    SecretForPublic,
    #[error("it is a key under which anybody can forge signatures")]
    Weak,
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

/// What signs. Its bytes are zeroed when it is dropped.
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn generate() -> Result<SecretKey, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|error| KeyError::Random(error.to_string()))?;
        Ok(SecretKey(SigningKey::from_bytes(&seed)))
    }

    /// Reads PKCS#8 in PEM.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<SecretKey, KeyError> {
        match SigningKey::from_pkcs8_pem(text.trim()) {
            Ok(key) => Ok(SecretKey(key)),
            Err(_) if PublicKey::parse(text).is_ok() => Err(KeyError::PublicForSecret),
            Err(_) => Err(KeyError::NoSecretKey),
        }
    }

    /// PKCS#8 in PEM, of the version that every OpenSSL reads (without the public key).
    pub fn to_pem(&self) -> Zeroizing<String> {
        let bytes = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        bytes.to_pkcs8_pem(LineEnding::LF).expect("32 bytes have an encoding")
    }

    /// What others check its signatures with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// What signatures are checked with. Shown as base64 of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads PEM (SubjectPublicKeyInfo), or 32 bytes in base64.
    ///
    /// # Errors
    /// It is something else, or a key of small order, under which signatures can be made by anybody.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        let text = text.trim();
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::SecretForPublic);
        }
        let key = if text.starts_with("-----BEGIN") {
            VerifyingKey::from_public_key_pem(text).map_err(|_| KeyError::NoPublicKey)?
        } else {
            let bytes = STANDARD.decode(text).map_err(|_| KeyError::NoPublicKey)?;
            let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| KeyError::NoPublicKey)?;
            VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NoPublicKey)?
        };
        if key.is_weak() { Err(KeyError::Weak) } else { Ok(PublicKey(key)) }
    }

    /// SubjectPublicKeyInfo in PEM.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("32 bytes have an encoding")
    }

    /// Its 32 bytes (RFC 8032, 5.1.5).
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// By the strict rules, which leave one signature one encoding.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `openssl pkey` writes the key of RFC 8032, 7.1, test 1.
    const SECRET: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";
    /// By the same test.
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn a_key_of_openssl_is_read_and_written_as_it_was() {
        let key = SecretKey::parse(SECRET).unwrap();
        assert_eq!(*key.to_pem(), SECRET);
        let public = key.public();
        assert_eq!(crate::text::hex(public.as_bytes()), PUBLIC);
        assert_eq!(PublicKey::parse(&public.to_pem()).unwrap(), public);
        assert_eq!(PublicKey::parse(&public.to_string()).unwrap(), public);
        assert!(format!("{key:?}").contains(&public.to_string()), "and its secret is not shown");
    }

    #[test]
    fn new_keys_differ_and_live_through_a_file() {
        let (one, two) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        assert_ne!(one.public(), two.public());
        assert_eq!(SecretKey::parse(&one.to_pem()).unwrap().public(), one.public());
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let key = SecretKey::generate().unwrap();
        let public = key.public();
        assert!(matches!(PublicKey::parse(&key.to_pem()), Err(KeyError::SecretForPublic)));
        assert!(matches!(SecretKey::parse(&public.to_pem()), Err(KeyError::PublicForSecret)));
        for text in ["", "x", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
            assert!(matches!(PublicKey::parse(text), Err(KeyError::NoPublicKey)), "{text}");
            assert!(matches!(SecretKey::parse(text), Err(KeyError::NoSecretKey)), "{text}");
        }
        let zero = STANDARD.encode([0; 32]);
        assert!(matches!(PublicKey::parse(&zero), Err(KeyError::Weak)), "a point of small order");
    }
}
