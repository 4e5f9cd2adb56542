//! `whimbrel-plugin fetch`: what the agent starts to fetch a plugin from a registry.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use futures_util::StreamExt as _;
use oci_client::{
    errors::DigestError,
    manifest::{IMAGE_MANIFEST_MEDIA_TYPE, OciDescriptor},
};
use whimbrel_plugin_host::registry::{
    MANIFEST_MEDIA_TYPE, Manifest, Reference,
    fetch::MAX_MANIFEST,
    frame::{self, Failure, Reply, Request},
};

use crate::{
    confine::Confinement,
    registry::{Place, failure},
};

/// Address space: the plugin goes through in pieces but is held whole at the end, beside the client.
const BESIDE_PLUGIN: u64 = 768 << 20;
const CPU_SECONDS: u64 = 120;
/// A request of the agent's is some hundred bytes, and certificates.
const MAX_REQUEST: u64 = 1 << 20;

/// Fetch a plugin for the agent: a request in, manifest and plugin out.
///
/// The agent starts this; there is seldom a reason to do so by hand. Reads a request as JSON from the standard input
/// and writes a framed reply to the standard output. Either way it ends with 0; another status means that the fetching
/// itself failed. Before it speaks with the registry it limits its own memory and processor time.
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {}

impl FetchArgs {
    /// Reads the request, fetches, replies.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut json = Vec::new();
        io::stdin().lock().take(MAX_REQUEST).read_to_end(&mut json).context("reading the request failed")?;
        let request: Request = serde_json::from_slice(&json).context("the request can't be read")?;
        let reference = Reference::parse(&request.reference)?;
        // Before the limits, which docker's helpers might not live with.
        let place = Place::new(
            &reference,
            request.plain_http,
            request.ca_pem.as_deref(),
            request.credentials.clone(),
        );
        Confinement {
            memory: BESIDE_PLUGIN.saturating_add(request.max_size.saturating_mul(2)),
            cpu_seconds: CPU_SECONDS,
            file_size: 1 << 40,
            open_files: true,
        }
        .enter()
        .context("the limits could not be set")?;
        let (reply, manifest, plugin) = match place {
            Err(failure) => (Reply::Failed(failure), Vec::new(), Vec::new()),
            Ok(place) => fetch_within(&place, &request)?,
        };
        frame::write(&reply, &manifest, &plugin, &mut io::stdout().lock()).context("writing the reply failed")
    }
}

type Answer = (Reply, Vec<u8>, Vec<u8>);

fn fetch_within(place: &Place, request: &Request) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limit = Duration::from_millis(request.timeout_ms);
    let fetched = runtime.block_on(async {
        tokio::time::timeout(limit, fetch(place, request)).await.unwrap_or_else(|_| {
            Err(Failure::Unreachable { detail: format!("it took longer than {limit:?}, and was stopped") })
        })
    });
    // A look-up of a name may still wait in its thread.
    runtime.shutdown_background();
    Ok(fetched.unwrap_or_else(|failure| (Reply::Failed(failure), Vec::new(), Vec::new())))
}

async fn fetch(place: &Place, request: &Request) -> Result<Answer, Failure> {
    // An index is asked for too, so that it can be told what it is.
    let accepted =
        [MANIFEST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, "application/vnd.oci.image.index.v1+json"];
    let raw = place.client.pull_manifest_raw(&place.image, &place.auth, &accepted).await;
    let (bytes, _) = raw.map_err(failure)?;
    if bytes.len() > MAX_MANIFEST {
        let detail = format!("its manifest has {} bytes, and at most {MAX_MANIFEST} are taken", bytes.len());
        return Err(Failure::Unsuitable { detail });
    }
    let unsuitable = |error: &dyn std::fmt::Display| Failure::Unsuitable { detail: error.to_string() };
    let manifest = Manifest::read(&bytes).map_err(|error| unsuitable(&error))?;
    if frame::is_known(request, &bytes) {
        return Ok((Reply::Known, bytes.to_vec(), Vec::new()));
    }
    if manifest.size > request.max_size {
        return Err(Failure::TooLarge { size: manifest.size, limit: request.max_size });
    }
    let plugin = blob(place, &manifest).await?;
    Ok((Reply::Fetched, bytes.to_vec(), plugin))
}

/// In pieces, so that a registry that sends more than the manifest says is stopped there.
async fn blob(place: &Place, manifest: &Manifest) -> Result<Vec<u8>, Failure> {
    let descriptor = OciDescriptor {
        digest: manifest.digest.to_string(),
        size: i64::try_from(manifest.size).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    };
    let mut stream = place.client.pull_blob_stream(&place.image, &descriptor).await.map_err(failure)?.stream;
    let mut plugin = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece =
            piece.map_err(|error| match error.get_ref().is_some_and(|inner| inner.is::<DigestError>()) {
                true => Failure::Altered { detail: error.to_string() },
                false => Failure::Unreachable { detail: format!("the transfer broke off: {error}") },
            })?;
        plugin.extend_from_slice(&piece);
        if plugin.len() as u64 > manifest.size {
            let detail = format!("more than the {} bytes that its manifest says", manifest.size);
            return Err(Failure::Altered { detail });
        }
    }
    Ok(plugin)
}
