//! Bundles of compiled code: a component that was compiled elsewhere, for fleets that should not compile.
//!
//! `whimbrel plugin compile X.wasm --target TRIPLE -o X.bundle` writes one. It is native code and runs outside the
//! sandbox's guarantees, so it is taken only with a signature by a key that `plugins.trust` marks `may_ship_native`
//! ([`crate::trust`]); then it is loaded without a compiler, where wasmtime, the engine's settings and the processor
//! are those that it was compiled for.
//!
//! ```text
//!  0        8          12       16              24
//!  +--------+----------+--------+---------------+------------------+--------------------+
//!  | magic  | json len | zero   | code len      | JSON: Manifest   | compiled code      |
//!  | 8      | u32 LE   | u32    | u64 LE        | json len bytes   | code len bytes     |
//!  +--------+----------+--------+---------------+------------------+--------------------+
//! ```
//!
//! Nothing may follow the code. The signature is over the SHA-256 of all of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    description::Description,
    engine::{self, WASMTIME_VERSION},
};

/// The first bytes; the last of them is the version of the layout and of the JSON.
const MAGIC: [u8; 8] = *b"WHNATIV\x01";
const HEADER: usize = 24;
/// A description is some KiB; its schema at most a MiB.
const MAX_JSON: usize = 16 << 20;

/// What a bundle says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What it runs on.
    pub machine: Machine,
    /// What the component is.
    pub description: Description,
}

/// What compiled code needs of engine and processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// [`engine::build_id`]: wasmtime's version and our settings.
    pub build: String,
    /// As [`std::env::consts::ARCH`].
    pub arch: String,
    /// As [`std::env::consts::OS`].
    pub os: String,
    /// Features of the processor that the code may use, beside those that all of its kind have.
    pub cpu: BTreeSet<String>,
}

/// Why a bundle, though trusted, can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BundleError {
    #[error("it begins like a bundle of compiled code and is cut off or damaged: fetch it anew")]
    Shape,
    #[error(
        "its description can't be read ({0}): it was made by another version of `whimbrel plugin compile`"
    )]
    Json(#[from] serde_json::Error),
    #[error(
        "it was compiled for {wanted}, and this agent is {found}: compile it with the `whimbrel-plugin` of this agent's \
         release (`whimbrel plugin compile`), or give the .wasm file"
    )]
    Build { wanted: String, found: String },
    #[error(
        "it was compiled for {wanted}, and this machine is {found}: compile it with `whimbrel plugin compile --target` \
         for this one, or give the .wasm file"
    )]
    Target { wanted: String, found: String },
    #[error(
        "it was compiled for a processor with {missing}, which this one has not: compile it with `whimbrel plugin \
         compile --target`, which uses only what every processor of the kind has"
    )]
    Cpu { missing: String },
}

impl Machine {
    /// This one, with all that its processor can do.
    pub fn here() -> Machine {
        Machine {
            cpu: engine::cpu_features().into_iter().map(str::to_owned).collect(),
            ..Machine::baseline(std::env::consts::ARCH, std::env::consts::OS)
        }
    }

    /// Any of this kind.
    pub fn baseline(arch: &str, os: &str) -> Machine {
        Machine { build: engine::build_id(), arch: arch.to_owned(), os: os.to_owned(), cpu: BTreeSet::new() }
    }

    /// Whether code for this machine runs on that one.
    ///
    /// # Errors
    /// Says what differs, and what to do.
    pub fn check_on(&self, other: &Machine) -> Result<(), BundleError> {
        if self.build != other.build {
            return Err(BundleError::Build {
                wanted: clean(&self.build),
                found: format!("{} (wasmtime {WASMTIME_VERSION})", other.build),
            });
        }
        let target = |machine: &Machine| clean(&format!("{}-{}", machine.arch, machine.os));
        if target(self) != target(other) {
            return Err(BundleError::Target { wanted: target(self), found: target(other) });
        }
        let missing: Vec<&str> = self.cpu.difference(&other.cpu).map(String::as_str).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(BundleError::Cpu { missing: clean(&missing.join(", ")) })
        }
    }
}

/// Whether this begins like a bundle.
pub fn is_bundle(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The bytes of a bundle.
///
/// # Errors
/// The description has no JSON, or more than 16 MiB of it.
pub fn write(manifest: &Manifest, code: &[u8]) -> Result<Vec<u8>, BundleError> {
    let json = serde_json::to_vec(manifest)?;
    if json.len() > MAX_JSON {
        return Err(BundleError::Shape);
    }
    let length = u32::try_from(json.len()).map_err(|_| BundleError::Shape)?;
    let mut bytes = Vec::with_capacity(HEADER + json.len() + code.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(code.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(code);
    Ok(bytes)
}

/// Takes a bundle apart that is to run on this machine.
///
/// # Errors
/// [`BundleError`]: each says what to do.
pub fn read_for<'b>(bytes: &'b [u8], machine: &Machine) -> Result<(Manifest, &'b [u8]), BundleError> {
    let (manifest, code) = read(bytes)?;
    manifest.machine.check_on(machine)?;
    Ok((manifest, code))
}

/// Takes a bundle apart. Checks its shape only: neither who made it nor whether it runs here.
///
/// # Errors
/// [`BundleError::Shape`], [`BundleError::Json`].
pub fn read(bytes: &[u8]) -> Result<(Manifest, &[u8]), BundleError> {
    let (header, rest) = bytes.split_at_checked(HEADER).ok_or(BundleError::Shape)?;
    let number = |range: std::ops::Range<usize>| {
        header[range].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (json, code) = (number(8..12), number(16..24));
    let (json, left) = usize::try_from(json)
        .ok()
        .filter(|length| *length <= MAX_JSON)
        .and_then(|length| rest.split_at_checked(length))
        .ok_or(BundleError::Shape)?;
    if header[..8] != MAGIC || number(12..16) != 0 || left.len() as u64 != code {
        return Err(BundleError::Shape);
    }
    Ok((serde_json::from_slice(json)?, left))
}

fn clean(text: &str) -> String {
    crate::text::clean(text.to_owned(), 256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::Identity;

    fn manifest() -> Manifest {
        let description = Description {
            identity: Identity { name: Some("x".into()), ..Identity::default() },
            imports: vec![],
            exports: vec![],
            config_schema: None,
            sha256: "00".into(),
            size: 1,
        };
        Manifest { machine: Machine::here(), description }
    }

    #[test]
    fn what_was_written_is_read_and_no_cut_is() {
        let whole = write(&manifest(), b"machine code").unwrap();
        assert!(is_bundle(&whole));
        let (read_back, code) = read(&whole).unwrap();
        assert_eq!((read_back, code), (manifest(), &b"machine code"[..]));
        for at in 0..whole.len() {
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        assert!(read(&[&whole[..], b"x"].concat()).is_err());
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let whole = write(&manifest(), b"machine code").unwrap();
        for at in 8..HEADER {
            let mut changed = whole.clone();
            changed[at] = 0xff;
            assert!(read(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn code_for_any_processor_runs_here_and_other_code_does_not() {
        let here = Machine::here();
        assert!(here.check_on(&here).is_ok());
        let any = Machine::baseline(std::env::consts::ARCH, std::env::consts::OS);
        assert!(any.check_on(&here).is_ok());
        let other_build = Machine { build: "whimbrel-1.2.3-0".into(), ..here.clone() };
        assert!(matches!(other_build.check_on(&here), Err(BundleError::Build { .. })));
        let other_arch = Machine { arch: "riscv64".into(), ..here.clone() };
        assert!(matches!(other_arch.check_on(&here), Err(BundleError::Target { .. })));
        let wants_more = Machine { cpu: BTreeSet::from(["quantum".to_owned()]), ..here.clone() };
        let text = wants_more.check_on(&here).unwrap_err().to_string();
        assert!(text.contains("quantum"), "{text}");
    }
}
