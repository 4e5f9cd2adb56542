//! `whimbrel plugin verify`: who has signed a plugin, and whether that is enough.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use whimbrel_plugin_host::{
    Trust, TrustedKey,
    text::whole,
    trust::{Kind, PublicKey},
};

use super::{
    super::{
        exit::{Exit, Outcome},
        print,
        source::Source,
    },
    reference,
};
use crate::config::PluginRef;

/// What `plugin verify` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A component or a bundle of compiled code: a file, or oci://registry/name:tag
    plugin: String,
    /// A public key to check with: a PEM file, or 32 bytes in base64; may be repeated. Without it, the keys of
    /// plugins.trust in the configuration
    #[arg(long = "key", value_name = "FILE|BASE64")]
    keys: Vec<String>,
    #[command(flatten)]
    source: Source,
}

/// Checks, and says whose signature it is.
pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let plugin = reference::parse(&args.plugin, &args.source)?;
    let trust = trust(args)?;
    if let PluginRef::Builtin(_) = plugin {
        print::text(format_args!("{plugin}: shipped in this agent, and trusted as it is\n"))?;
        return Ok(Exit::Done);
    }
    let component = reference::bytes(&plugin)?;
    let kind = Kind::of(&component.bytes);
    let sha256: [u8; 32] = Sha256::digest(&component.bytes).into();
    let checked = trust.check(kind, &sha256, component.signatures.as_deref());
    let Some((key, statement)) = checked.with_context(|| plugin.to_string())? else {
        return Err(anyhow::anyhow!("there is no key to check with").into());
    };
    let what = match kind {
        Kind::Component => "component",
        Kind::Native => "compiled code",
    };
    print::text(format_args!("{plugin}: {what}, signed by {} ({})\n  {statement}\n", key.name, key.key))?;
    Ok(Exit::Done)
}

fn trust(args: &Args) -> Result<Trust, super::super::exit::Failure> {
    if args.keys.is_empty() {
        let trust = args.source.load()?.config.plugins.trust;
        if !trust.is_configured() {
            let text = "there is no key to check with: name one with --key, or configure plugins.trust";
            return Err(anyhow::anyhow!(text).into());
        }
        return Ok(trust);
    }
    let keys = args.keys.iter().map(|key| named(key)).collect::<anyhow::Result<_>>()?;
    Ok(Trust { keys })
}

/// Whoever names a key asks whether it signed, not what it may.
fn named(text: &str) -> anyhow::Result<TrustedKey> {
    let key = if Path::new(text).exists() {
        let pem = fs::read_to_string(text).with_context(|| format!("{text} can't be read"))?;
        PublicKey::parse(&pem)
    } else {
        PublicKey::parse(text)
    };
    let key = key.with_context(|| format!("--key {text}"))?;
    Ok(TrustedKey { name: text.to_owned(), key, may_ship_native: true })
}

/// A configured plugin's file, as `check` looks at it: `None` where nothing is amiss.
pub(in crate::cli) fn untrusted(plugin: &PluginRef, trust: &Trust) -> Option<String> {
    let PluginRef::Path(_) = plugin else { return None };
    let judged = || -> anyhow::Result<()> {
        let component = reference::bytes(plugin)?;
        let sha256: [u8; 32] = Sha256::digest(&component.bytes).into();
        match trust.check(Kind::of(&component.bytes), &sha256, component.signatures.as_deref()) {
            Ok(_) => Ok(()),
            Err(error) => bail!("{plugin}: {error}"),
        }
    };
    judged().err().map(|error| whole(error.as_ref()))
}
