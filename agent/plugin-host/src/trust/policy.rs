//! Which keys are trusted, and with what.

use std::fmt;

use super::{
    key::PublicKey,
    signature::{self, Kind, SignatureError, Statement},
};
use crate::text::{clean, hex};

/// The keys whose plugins are taken. The default, none, takes any component and no compiled code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// In the order of the configuration.
    pub keys: Vec<TrustedKey>,
}

/// A key and what it is trusted with.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// What the operator calls it: for messages.
    pub name: String,
    /// It.
    pub key: PublicKey,
    /// Whether code that was compiled elsewhere is taken from it: such code runs outside the sandbox.
    pub may_ship_native: bool,
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let native = if self.may_ship_native { ", may ship native code" } else { "" };
        write!(f, "{} ({}{native})", self.name, self.key)
    }
}

/// Why a plugin is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// There is no signature, and one is needed.
    #[error(
        "it is not signed, and plugins.trust takes only what a key of it has signed ({keys}): have it signed with \
         `whimbrel plugin sign`, which puts the signature beside the file, or into the registry by `whimbrel plugin push`"
    )]
    Unsigned {
        /// Names of the trusted keys.
        keys: String,
    },
    /// What should be a signature is none.
    #[error("its signature can't be read: {0}; sign it again with `whimbrel plugin sign`")]
    Unreadable(#[from] SignatureError),
    /// The signatures are of other keys.
    #[error(
        "it is signed by {signers}, and plugins.trust takes {keys} only: add that key to plugins.trust if you know \
         whose it is, or have the plugin signed by a trusted one"
    )]
    UnknownKey {
        /// The keys that signed.
        signers: String,
        /// Names of the trusted keys.
        keys: String,
    },
    /// A signature names a trusted key and is not of it.
    #[error("its signature is not by the key {key}, which it names: it was forged or damaged")]
    Forged {
        /// The trusted key's name.
        key: String,
    },
    /// A trusted key has signed other bytes.
    #[error(
        "it was changed after it was signed by {key}: the signature is of SHA-256 {signed}, and this is {found}; \
         fetch it anew, or have this version signed"
    )]
    Changed {
        /// The trusted key's name.
        key: String,
        /// What was signed.
        signed: String,
        /// What is there.
        found: String,
    },
    /// A signature of a component beside compiled code, or the other way round.
    #[error("its signature by {key} is of {signed}, and this is {found}: sign the file itself")]
    OtherKind {
        /// The trusted key's name.
        key: String,
        /// What was signed.
        signed: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// Compiled code, and the key is not trusted with that.
    #[error(
        "it is compiled code, which runs outside the sandbox, and the key {key} is trusted with components only: give \
         the .wasm file, or set may_ship_native for that key in plugins.trust if you trust it as you trust the agent"
    )]
    NotNative {
        /// The trusted key's name.
        key: String,
    },
    /// Compiled code, and there is no trusted key at all.
    #[error(
        "it is compiled code, which runs outside the sandbox and is taken only when a key of plugins.trust with \
         may_ship_native has signed it: give the .wasm file, or configure such a key"
    )]
    NoNativeKey,
    /// The component says another name or version than was signed.
    #[error("it is signed as {signed}, and its metadata says {found}")]
    OtherIdentity {
        /// As it was signed.
        signed: String,
        /// As it stands in the component.
        found: String,
    },
}

impl Untrusted {
    /// The nearer to being taken the higher, so that of several signatures the best is told of.
    fn rank(&self) -> u8 {
        match self {
            Untrusted::NotNative { .. } => 4,
            Untrusted::Changed { .. } => 3,
            Untrusted::OtherKind { .. } => 2,
            Untrusted::Forged { .. } => 1,
            _ => 0,
        }
    }
}

impl Trust {
    /// Whether every component must be signed.
    pub fn is_configured(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What a trusted key says about these bytes; `None` where nothing needs to be said: a component, and no key is
    /// configured. `signatures` is the text of the `.sig` file or of the annotation.
    ///
    /// # Errors
    /// They are not to be used.
    pub fn check(
        &self,
        kind: Kind,
        sha256: &[u8; 32],
        signatures: Option<&str>,
    ) -> Result<Option<(&TrustedKey, Statement)>, Untrusted> {
        if !self.is_configured() {
            return match kind {
                Kind::Component => Ok(None),
                Kind::Native => Err(Untrusted::NoNativeKey),
            };
        }
        let Some(text) = signatures else {
            return Err(Untrusted::Unsigned { keys: self.names() });
        };
        let signatures = signature::read(text)?;
        let mut worst: Option<Untrusted> = None;
        for signature in &signatures {
            let Some(trusted) = self.keys.iter().find(|trusted| trusted.key == signature.key()) else {
                continue;
            };
            match judge(trusted, signature.verify(&trusted.key), kind, sha256) {
                Ok(statement) => return Ok(Some((trusted, statement))),
                Err(refused) if worst.as_ref().is_none_or(|other| other.rank() < refused.rank()) => {
                    worst = Some(refused);
                }
                Err(_) => {}
            }
        }
        Err(worst.unwrap_or_else(|| Untrusted::UnknownKey {
            signers: join(signatures.iter().map(|signature| signature.key().to_string())),
            keys: self.names(),
        }))
    }

    fn names(&self) -> String {
        join(self.keys.iter().map(|key| key.name.clone()))
    }
}

/// One trusted key's signature, verified or not.
fn judge(
    trusted: &TrustedKey,
    statement: Option<&Statement>,
    kind: Kind,
    sha256: &[u8; 32],
) -> Result<Statement, Untrusted> {
    let key = trusted.name.clone();
    let Some(statement) = statement else { return Err(Untrusted::Forged { key }) };
    if statement.kind != kind {
        return Err(Untrusted::OtherKind { key, signed: words(statement.kind), found: words(kind) });
    }
    if statement.sha256 != *sha256 {
        return Err(Untrusted::Changed { key, signed: hex(&statement.sha256), found: hex(sha256) });
    }
    if kind == Kind::Native && !trusted.may_ship_native {
        return Err(Untrusted::NotNative { key });
    }
    Ok(statement.clone())
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Component => "a component",
        Kind::Native => "a bundle of compiled code",
    }
}

fn join(names: impl Iterator<Item = String>) -> String {
    clean(names.collect::<Vec<_>>().join(", "), 1 << 10)
}

impl Statement {
    /// Whether this is who the component says it is.
    ///
    /// # Errors
    /// [`Untrusted::OtherIdentity`].
    pub fn check_identity(&self, identity: &crate::Identity) -> Result<(), Untrusted> {
        let found = (identity.name.as_deref().unwrap_or(""), identity.version.as_deref().unwrap_or(""));
        if found == (self.name.as_str(), self.version.as_str()) {
            return Ok(());
        }
        let signed = clean(format!("`{}` `{}`", self.name, self.version), 256);
        Err(Untrusted::OtherIdentity { signed, found: clean(format!("`{}` `{}`", found.0, found.1), 256) })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Signature, key::SecretKey, write},
        *,
    };

    const BYTES: [u8; 32] = [1; 32];

    struct Signer(SecretKey, TrustedKey);

    fn signer(name: &str, may_ship_native: bool) -> Signer {
        let secret = SecretKey::generate().unwrap();
        let key = secret.public();
        Signer(secret, TrustedKey { name: name.to_owned(), key, may_ship_native })
    }

    fn sign(signer: &Signer, kind: Kind, sha256: [u8; 32]) -> Signature {
        let statement = Statement { kind, sha256, name: "uptime".into(), version: "1".into() };
        Signature::sign(&signer.0, statement).unwrap()
    }

    #[test]
    fn without_keys_any_component_is_taken_and_no_compiled_code() {
        let nobody = Trust::default();
        assert_eq!(nobody.check(Kind::Component, &BYTES, None), Ok(None));
        assert_eq!(nobody.check(Kind::Component, &BYTES, Some("junk")), Ok(None));
        let signed = write(&[sign(&signer("a", true), Kind::Native, BYTES)]);
        assert_eq!(nobody.check(Kind::Native, &BYTES, Some(&signed)), Err(Untrusted::NoNativeKey));
    }

    #[test]
    fn with_keys_only_what_one_of_them_signed_is_taken() {
        let (ours, theirs) = (signer("ours", false), signer("theirs", true));
        let trust = Trust { keys: vec![ours.1.clone()] };
        let check = |signatures: &[Signature]| {
            trust
                .check(Kind::Component, &BYTES, Some(&write(signatures)))
                .map(|it| it.unwrap().0.name.clone())
        };
        assert_eq!(check(&[sign(&ours, Kind::Component, BYTES)]), Ok("ours".to_owned()));
        let both = [sign(&theirs, Kind::Component, BYTES), sign(&ours, Kind::Component, BYTES)];
        assert_eq!(check(&both), Ok("ours".to_owned()), "whichever stands first");
        assert!(matches!(check(&both[..1]), Err(Untrusted::UnknownKey { .. })));
        assert!(matches!(check(&[sign(&ours, Kind::Component, [2; 32])]), Err(Untrusted::Changed { .. })));
        assert!(matches!(check(&[sign(&ours, Kind::Native, BYTES)]), Err(Untrusted::OtherKind { .. })));
        let unsigned = trust.check(Kind::Component, &BYTES, None).unwrap_err();
        assert!(unsigned.to_string().contains("whimbrel plugin sign"), "{unsigned}");
        assert!(matches!(trust.check(Kind::Component, &BYTES, Some("junk")), Err(Untrusted::Unreadable(_))));
    }

    #[test]
    fn a_signature_under_another_keys_name_is_forged() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let (ours, theirs) = (signer("ours", true), signer("theirs", true));
        let trust = Trust { keys: vec![ours.1.clone()] };
        let mut bytes = STANDARD.decode(write(&[sign(&theirs, Kind::Component, BYTES)]).trim()).unwrap();
        bytes[8..40].copy_from_slice(ours.1.key.as_bytes());
        let refused = trust.check(Kind::Component, &BYTES, Some(&STANDARD.encode(bytes)));
        assert_eq!(refused, Err(Untrusted::Forged { key: "ours".to_owned() }));
    }

    #[test]
    fn compiled_code_needs_a_key_that_may_ship_it() {
        let (sandboxed, native) = (signer("sandboxed", false), signer("native", true));
        let trust = Trust { keys: vec![sandboxed.1.clone(), native.1.clone()] };
        let check = |signatures: &[Signature]| {
            trust.check(Kind::Native, &BYTES, Some(&write(signatures))).map(|it| it.unwrap().0.name.clone())
        };
        let by_sandboxed = sign(&sandboxed, Kind::Native, BYTES);
        let by_native = sign(&native, Kind::Native, BYTES);
        let of_component = sign(&native, Kind::Component, BYTES);
        assert_eq!(check(&[by_sandboxed.clone(), by_native]), Ok("native".to_owned()));
        let refused = Untrusted::NotNative { key: "sandboxed".to_owned() };
        assert_eq!(check(&[of_component.clone(), by_sandboxed]), Err(refused));
        assert!(matches!(check(&[of_component]), Err(Untrusted::OtherKind { .. })));
    }

    #[test]
    fn name_and_version_are_held_against_the_metadata() {
        let statement = sign(&signer("a", false), Kind::Component, BYTES);
        let statement = statement.verify(&statement.key()).unwrap();
        let said = |name: Option<&str>, version: Option<&str>| crate::Identity {
            name: name.map(str::to_owned),
            version: version.map(str::to_owned),
            ..crate::Identity::default()
        };
        assert_eq!(statement.check_identity(&said(Some("uptime"), Some("1"))), Ok(()));
        assert!(statement.check_identity(&said(Some("uptime"), Some("2"))).is_err());
        assert!(statement.check_identity(&said(None, None)).is_err());
    }
}
