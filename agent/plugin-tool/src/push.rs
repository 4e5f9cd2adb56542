//! `whimbrel-plugin push`: a plugin, and its signatures, into a registry.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use oci_client::{
    client::{Config, ImageLayer},
    manifest::OciImageManifest,
};
use serde_json::json;
use whimbrel_plugin_host::{
    Identity,
    registry::{
        BUNDLE_CONFIG_MEDIA_TYPE, BUNDLE_MEDIA_TYPE, CONFIG_MEDIA_TYPE, Digest, MANIFEST_MEDIA_TYPE,
        Reference, WASM_MEDIA_TYPE,
    },
    trust::{ANNOTATION, Kind},
};

use crate::{
    describe::describe,
    registry::{Place, failure},
    sign,
};

/// The configuration of an artifact has a time, and the same plugin shall be the same manifest.
const CREATED: &str = "1970-01-01T00:00:00Z";

const EXAMPLE: &str = "\
Example:
  whimbrel plugin push uptime.wasm oci://registry.example.com/team/uptime:1.2.3";

/// Push a plugin into a registry, with its signatures.
///
/// The layout is that of `wkg oci push`: one layer of media type application/wasm. A file FILE.sig goes along as an
/// annotation of the manifest. Prints the reference with the digest, which is what a configuration should name: a tag
/// can be moved. Credentials are those of `docker login`, or $WHIMBREL_REGISTRY_USERNAME and
/// $WHIMBREL_REGISTRY_PASSWORD.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct PushArgs {
    /// The component or bundle
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where it goes: oci://registry/name:tag
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Over http instead of https; without it only to a registry on this machine
    #[arg(long)]
    plain_http: bool,
    /// PEM file of the authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl PushArgs {
    /// Pushes, and prints what to write into a configuration.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut reference = Reference::parse(&self.reference).with_context(|| self.reference.clone())?;
        anyhow::ensure!(
            reference.digest.is_none() && reference.tag.is_some(),
            "{reference}: what is pushed needs a tag, and its digest comes of itself"
        );
        let bytes = sign::read(&self.file)?;
        let signatures = sign::signatures(&self.file)?;
        let parts = parts(bytes, signatures).with_context(|| self.file.display().to_string())?;
        let ca = self
            .ca_file
            .as_ref()
            .map(std::fs::read_to_string)
            .transpose()
            .context("--ca-file can't be read")?;
        let plain_http = self.plain_http || reference.is_loopback();
        let place = Place::new(&reference, plain_http, ca.as_deref(), from_environment())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        reference.digest =
            Some(runtime.block_on(push(&place, parts)).with_context(|| reference.to_string())?);
        runtime.shutdown_background();
        let said = format!("{reference}\n");
        io::stdout().lock().write_all(said.as_bytes()).context("writing to the standard output failed")
    }
}

fn from_environment() -> Option<whimbrel_plugin_host::registry::frame::Credentials> {
    let username = std::env::var("WHIMBREL_REGISTRY_USERNAME").ok()?;
    let password = std::env::var("WHIMBREL_REGISTRY_PASSWORD").unwrap_or_default();
    Some(whimbrel_plugin_host::registry::frame::Credentials::Basic { username, password })
}

/// What makes a plugin in a registry.
struct Parts {
    layer: ImageLayer,
    config: Config,
    annotations: BTreeMap<String, String>,
}

async fn push(place: &Place, parts: Parts) -> Result<Digest, whimbrel_plugin_host::registry::frame::Failure> {
    let mut manifest =
        OciImageManifest::build(std::slice::from_ref(&parts.layer), &parts.config, Some(parts.annotations));
    manifest.media_type = Some(MANIFEST_MEDIA_TYPE.to_owned());
    let Place { client, image, auth } = place;
    client.store_auth_if_needed(image.resolve_registry(), auth).await;
    client.push_blob(image, parts.layer.data, &manifest.layers[0].digest).await.map_err(failure)?;
    client.push_blob(image, parts.config.data, &manifest.config.digest).await.map_err(failure)?;
    let json = serde_json::to_vec(&manifest).expect("a manifest is maps of texts and numbers");
    let digest = Digest::of(&json);
    let media_type = MANIFEST_MEDIA_TYPE.parse().expect("a media type is a header's value");
    client.push_manifest_raw(image, json, media_type).await.map_err(failure)?;
    Ok(digest)
}

fn parts(bytes: Vec<u8>, signatures: Option<String>) -> anyhow::Result<Parts> {
    let (layer, config_type, config, identity) = match Kind::of(&bytes) {
        Kind::Component => {
            let description = describe(&bytes)?;
            let names = |interfaces: &[whimbrel_plugin_host::Interface]| {
                interfaces.iter().map(|interface| interface.name.clone()).collect::<Vec<_>>()
            };
            // Field for field what `wkg` writes.
            let config = json!({
                "created": CREATED,
                "author": description.identity.authors,
                "architecture": "wasm",
                "os": "wasip2",
                "layerDigests": [Digest::of(&bytes).to_string()],
                "component": {
                    "exports": names(&description.exports),
                    "imports": names(&description.imports),
                    "target": null,
                },
            });
            (WASM_MEDIA_TYPE, CONFIG_MEDIA_TYPE, config, description.identity)
        }
        Kind::Native => (BUNDLE_MEDIA_TYPE, BUNDLE_CONFIG_MEDIA_TYPE, json!({}), sign::identity(&bytes)?),
    };
    let mut annotations = standard(&identity);
    if let Some(signatures) = signatures {
        annotations.insert(ANNOTATION.to_owned(), signatures);
    }
    Ok(Parts {
        layer: ImageLayer::new(bytes, layer.to_owned(), None),
        config: Config::new(serde_json::to_vec(&config)?, config_type.to_owned(), None),
        annotations,
    })
}

/// The annotations of the OCI image specification, from the metadata.
fn standard(identity: &Identity) -> BTreeMap<String, String> {
    let known = [
        ("title", &identity.name),
        ("version", &identity.version),
        ("description", &identity.description),
        ("authors", &identity.authors),
        ("licenses", &identity.licenses),
        ("source", &identity.source),
        ("url", &identity.homepage),
        ("revision", &identity.revision),
    ];
    let there = known.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
    there.map(|(key, value)| (format!("org.opencontainers.image.{key}"), value)).collect()
}
