//! Plugins in registries: what names one, what a registry says about it, and the process that fetches it.
//!
//! The layout is the one that `wkg` reads and writes: an OCI image manifest with one layer of media type
//! `application/wasm`, which is the component. Signatures stand in an annotation of the manifest, so that every
//! registry keeps them, and the manifest's digest covers them. (Referrers, the other way, are not served by every
//! registry, and can be withheld without a trace.)
//!
//! A registry is a stranger: client, TLS and parsing of what it answers live in a child process with limits
//! (`whimbrel-plugin fetch`), and every byte is held against its digest here once more.

pub mod fetch;
pub mod frame;
mod manifest;
mod reference;

pub use manifest::{
    BUNDLE_CONFIG_MEDIA_TYPE, BUNDLE_MEDIA_TYPE, CONFIG_MEDIA_TYPE, LayerMediaType, MANIFEST_MEDIA_TYPE,
    Manifest, ManifestError, WASM_MEDIA_TYPE,
};
pub use reference::{Digest, Reference, ReferenceError, is_loopback};
