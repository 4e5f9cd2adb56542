//! A registry's manifest of a plugin, read from the bytes that its digest was checked on.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::reference::Digest;
use crate::{text::clean, trust};

/// Of the manifest itself.
pub const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Of the configuration that `wkg` puts beside a component.
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// Of the layer that is a component.
pub const WASM_MEDIA_TYPE: &str = "application/wasm";
/// Of the layer that is a bundle of compiled code.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.whimbrel.plugin.bundle.v1";
/// Of the empty configuration beside a bundle.
pub const BUNDLE_CONFIG_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// A component's, before there was `application/wasm` (CNCF's older artifact layout).
const OLD_WASM_MEDIA_TYPE: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// What of a manifest matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Of the plugin's bytes.
    pub digest: Digest,
    /// Of the plugin, in bytes.
    pub size: u64,
    /// What it is said to be; its first bytes say it again.
    pub layer: LayerMediaType,
    /// Signatures, as in a `.sig` file.
    pub signatures: Option<String>,
}

/// What the one layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerMediaType {
    /// A component.
    Wasm,
    /// A bundle of compiled code.
    Bundle,
}

/// Why a manifest names no plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ManifestError {
    #[error("the registry's manifest can't be read: {detail}")]
    Json { detail: String },
    #[error(
        "it is a list of several platforms (an image index), and a plugin is one file: name the one that is meant by its digest"
    )]
    Index,
    #[error(
        "it is no plugin: its manifest has {count} layers, and a plugin's has one (`wkg oci push` makes such)"
    )]
    Layers { count: usize },
    #[error(
        "it is no plugin: its layer is {found}, and a component's is application/wasm (an image of containers?)"
    )]
    MediaType { found: String },
    #[error("its layer has the digest {found}, which can't be used: {error}")]
    Digest { found: String, error: super::ReferenceError },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    #[serde(default)]
    layers: Vec<Layer>,
    /// Of an image index.
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// It is not a plugin's.
    pub fn read(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let mut json: Json = serde_json::from_slice(bytes)
            .map_err(|error| ManifestError::Json { detail: clean(error.to_string(), 256) })?;
        if json.manifests.is_some() {
            return Err(ManifestError::Index);
        }
        let count = json.layers.len();
        let (Some(layer), 1) = (json.layers.pop(), count) else {
            return Err(ManifestError::Layers { count });
        };
        let kind = match layer.media_type.as_str() {
            WASM_MEDIA_TYPE | OLD_WASM_MEDIA_TYPE => LayerMediaType::Wasm,
            BUNDLE_MEDIA_TYPE => LayerMediaType::Bundle,
            other => return Err(ManifestError::MediaType { found: clean(other.to_owned(), 128) }),
        };
        let digest = layer
            .digest
            .parse()
            .map_err(|error| ManifestError::Digest { found: clean(layer.digest.clone(), 128), error })?;
        let signatures = json.annotations.and_then(|mut all| all.remove(trust::ANNOTATION));
        Ok(Manifest { digest, size: layer.size, layer: kind, signatures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// As `wkg oci push` 0.16 writes it.
    fn of_wkg(media_type: &str, digest: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_MEDIA_TYPE}",
            "config":{{"mediaType":"{CONFIG_MEDIA_TYPE}","digest":"{SHA}","size":323}},
            "layers":[{{"mediaType":"{media_type}","digest":"{digest}","size":42}}],
            "annotations":{{"org.opencontainers.image.version":"1.2.3","{}":"abc\ndef"}}}}"#,
            trust::ANNOTATION
        )
    }

    #[test]
    fn the_layout_of_wkg_is_read() {
        let manifest = Manifest::read(of_wkg(WASM_MEDIA_TYPE, SHA).as_bytes()).unwrap();
        let expected = Manifest {
            digest: SHA.parse().unwrap(),
            size: 42,
            layer: LayerMediaType::Wasm,
            signatures: Some("abc\ndef".to_owned()),
        };
        assert_eq!(manifest, expected);
        let bundle = Manifest::read(of_wkg(BUNDLE_MEDIA_TYPE, SHA).as_bytes()).unwrap();
        assert_eq!(bundle.layer, LayerMediaType::Bundle);
    }

    #[test]
    fn what_is_no_plugin_is_told_apart() {
        let read = |text: &str| Manifest::read(text.as_bytes()).unwrap_err();
        assert!(matches!(read("<html>"), ManifestError::Json { .. }));
        assert!(matches!(read(r#"{"manifests":[]}"#), ManifestError::Index));
        assert!(matches!(read(r#"{"layers":[]}"#), ManifestError::Layers { count: 0 }));
        let image = of_wkg("application/vnd.oci.image.layer.v1.tar+gzip", SHA);
        assert!(matches!(read(&image), ManifestError::MediaType { .. }));
        assert!(matches!(read(&of_wkg(WASM_MEDIA_TYPE, "sha512:00")), ManifestError::Digest { .. }));
    }
}
