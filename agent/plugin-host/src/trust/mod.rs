//! Who may ship plugins: keys, signatures, and which of them are trusted.
//!
//! A signature says: this key stands for these bytes, under this name and version. Trust says: of these keys the
//! operator takes plugins, and of these also code that was compiled elsewhere. Where no key is configured, any
//! component is taken (it runs in the sandbox all the same), and no compiled code is.
//!
//! Deliberately absent: chains of certificates, expiry and revocation. A key is trusted as long as it stands in the
//! configuration; a plugin that was signed by two keys lives through the exchange of one.

mod key;
mod policy;
mod signature;

pub use key::{KeyError, PublicKey, SecretKey};
pub use policy::{Trust, TrustedKey, Untrusted};
pub use signature::{ANNOTATION, Kind, MAX_SIGNATURES, Signature, SignatureError, Statement, read, write};
