//! The bytes that a reference stands for, and whether they are trusted.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use whimbrel_plugin_host::{
    Host, LoadError, Plugin,
    registry::{
        Digest,
        fetch::{FetchError, Fetched, fetch},
    },
};

use super::{
    builtin,
    store::{Kept, Store},
};
use crate::config::{self, LARGEST_FETCHED, PluginRef, Registered};

/// Child processes that fetch at a time: each may hold a plugin twice.
const FETCHES: usize = 2;

/// What tells one state of a plugin from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// Of a file, and of the signatures beside it.
    File(builtin::Stamp),
    /// Of a manifest in a registry that names other bytes than those that run.
    Moved(Digest),
}

/// Where plugins come from. Cheap to clone; all clones share the store.
#[derive(Debug, Clone)]
pub struct Plugins(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    turn: Semaphore,
    seen: Mutex<Seen>,
}

/// What references have named, by digest of the manifest.
#[derive(Debug, Default)]
struct Seen {
    /// By name of the collector: the reference, and what it was given for it.
    given: HashMap<String, (String, Digest)>,
    /// By reference: what the registry has said last.
    latest: HashMap<String, Digest>,
}

impl Seen {
    /// What the collector was given, if it was for this reference.
    fn given(&self, collector: &str, reference: &str) -> Option<Digest> {
        let (asked, given) = self.given.get(collector)?;
        (asked == reference).then_some(*given)
    }
}

/// A plugin's bytes, not judged yet.
#[derive(Debug, Clone)]
pub struct Component {
    /// A component or a bundle of compiled code.
    pub bytes: Cow<'static, [u8]>,
    /// The text of the `.sig` file beside it, or of the annotation.
    pub signatures: Option<String>,
    /// Of its manifest, where it is a registry's.
    pub manifest: Option<Digest>,
}

/// Why there is no plugin.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file.
    #[error("{plugin} cannot be read: {cause}")]
    Read {
        /// Which.
        plugin: String,
        /// Why not.
        cause: io::Error,
    },
    /// The registry, and the store has nothing either.
    #[error("{plugin}: {source}; and it has never been here before")]
    Fetch {
        /// Which.
        plugin: String,
        /// Why not.
        source: FetchError,
    },
    /// What was found can't be used.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl SourceError {
    /// Whether trying again later may succeed without anybody doing anything about it here.
    pub fn is_retryable(&self) -> bool {
        match self {
            SourceError::Read { .. } => false,
            SourceError::Fetch { source, .. } => source.is_retryable(),
            SourceError::Load(error) => error.is_retryable(),
        }
    }

    /// Whether it is the registry that is waited for: no fault of the plugin's, however often it happens.
    pub fn is_of_registry(&self) -> bool {
        matches!(self, SourceError::Fetch { .. })
    }
}

impl Plugins {
    /// With a store in this folder of at most so many bytes. Nothing is read or made before it is needed.
    pub fn new(store: PathBuf, max_size: u64) -> Plugins {
        let store = Store::new(store, max_size);
        Plugins(Arc::new(Inner { store, turn: Semaphore::new(FETCHES), seen: Mutex::default() }))
    }

    /// Reads or fetches a collector's plugin, and loads it if those that it trusts have signed it.
    ///
    /// # Errors
    /// [`SourceError`].
    ///
    /// # Cancel safety
    /// Can be dropped at any time; children at work are killed.
    pub async fn load(&self, host: &Host, collector: &config::Collector) -> Result<Plugin, SourceError> {
        let config::Collector { plugin, trust, limits, .. } = collector;
        let origin = plugin.to_string();
        let Component { bytes, signatures, manifest } = self.get(plugin).await?;
        if let Some(digest) = manifest {
            // Even if it is not taken: it is tried again when the tag has moved on.
            let mut seen = self.lock();
            seen.latest.insert(origin.clone(), digest);
            seen.given.insert(collector.name.clone(), (origin.clone(), digest));
        }
        let loaded = match plugin {
            PluginRef::Builtin(_) => host.load_with_stack(&origin, &bytes, limits.stack).await,
            PluginRef::Path(_) | PluginRef::Registry(_) | PluginRef::Exec(_) => {
                host.load_signed(&origin, &bytes, signatures.as_deref(), trust, limits.stack).await
            }
        };
        Ok(loaded?)
    }

    /// The bytes of a plugin. Of a registry's, what it names now; or what it named last, if the registry does not say.
    ///
    /// # Errors
    /// [`SourceError::Read`], [`SourceError::Fetch`].
    pub async fn get(&self, plugin: &PluginRef) -> Result<Component, SourceError> {
        let unreadable = |cause| SourceError::Read { plugin: plugin.to_string(), cause };
        match plugin {
            PluginRef::Builtin(_) | PluginRef::Path(_) | PluginRef::Exec(_) => {
                let plugin = plugin.clone();
                blocking(move || {
                    let signatures = builtin::signatures(&plugin)?;
                    Ok(Component { bytes: builtin::read(&plugin)?, signatures, manifest: None })
                })
                .await
                .map_err(unreadable)
            }
            PluginRef::Registry(registered) => {
                let kept = self.fetched(registered).await?;
                Ok(Component {
                    bytes: Cow::Owned(kept.bytes),
                    signatures: kept.manifest.signatures,
                    manifest: Some(kept.digest),
                })
            }
        }
    }

    /// Asks registries what the tags among these collectors' plugins name now, side by side, for [`Plugins::stamp`] to
    /// tell. Those that a collector was not given yet are left out: it asks when it starts.
    ///
    /// # Cancel safety
    /// Can be dropped at any time; what a registry has not said yet counts as unmoved.
    pub async fn refresh(&self, wanted: &[config::Collector]) {
        let mut tags = BTreeMap::<String, &Registered>::new();
        {
            let mut seen = self.lock();
            seen.given.retain(|name, _| wanted.iter().any(|one| one.name == *name));
            for one in wanted {
                let PluginRef::Registry(registered) = &one.plugin else { continue };
                let reference = registered.reference.to_string();
                if registered.reference.digest.is_none() && seen.given(&one.name, &reference).is_some() {
                    tags.insert(reference, registered);
                }
            }
        }
        join_all(tags.into_iter().map(|(reference, registered)| async move {
            // That it failed was said where it failed, and what runs goes on.
            if let Ok(kept) = self.fetched(registered).await {
                self.lock().latest.insert(reference, kept.digest);
            }
        }))
        .await;
    }

    /// The state of a collector's plugin's file; of a registry's, its manifest, if that is another than the collector
    /// was given. `None`: there is nothing to compare, or nothing has changed.
    pub fn stamp(&self, collector: &config::Collector) -> Option<Stamp> {
        match &collector.plugin {
            PluginRef::Registry(registered) => {
                let reference = registered.reference.to_string();
                let seen = self.lock();
                let given = seen.given(&collector.name, &reference)?;
                seen.latest.get(&reference).copied().filter(|latest| *latest != given).map(Stamp::Moved)
            }
            other => builtin::stamp(other).map(Stamp::File),
        }
    }

    /// From the registry, or else from the store; both are said where they surprise.
    async fn fetched(&self, registered: &Registered) -> Result<Kept, SourceError> {
        let reference = &registered.reference;
        let kept = self.in_store(registered).await;
        if let Some(kept) = kept.as_ref().filter(|_| reference.digest.is_some()) {
            return Ok(kept.clone());
        }
        let known = kept.as_ref().map(|kept| kept.digest);
        let fetched = {
            let _turn = self.0.turn.acquire().await;
            fetch(reference, &registered.access(), known).await
        };
        match (fetched, kept) {
            (Ok(Fetched { plugin: None, .. }), Some(kept)) => Ok(kept),
            (Ok(fetched), before) => {
                if let Some(before) = before {
                    tracing::warn!(
                        plugin = %reference, before = %before.digest, now = %fetched.digest,
                        "the tag has moved: it names another plugin than before"
                    );
                } else {
                    tracing::info!(plugin = %reference, digest = %fetched.digest, "fetched from the registry");
                }
                self.keep(registered, fetched).await
            }
            (Err(error), Some(kept)) => {
                tracing::warn!(
                    plugin = %reference, %error, digest = %kept.digest,
                    "the registry gave nothing: what it gave before is used"
                );
                Ok(kept)
            }
            (Err(source), None) => Err(SourceError::Fetch { plugin: reference.to_string(), source }),
        }
    }

    async fn in_store(&self, registered: &Registered) -> Option<Kept> {
        let (plugins, reference) = (self.clone(), registered.reference.clone());
        match blocking(move || plugins.0.store.find(&reference, LARGEST_FETCHED)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(plugin = %registered.reference, %error, "the store of plugins can't be read");
                None
            }
        }
    }

    /// A disk that is full costs the next start a fetch, and nothing now.
    async fn keep(&self, registered: &Registered, fetched: Fetched) -> Result<Kept, SourceError> {
        let reference = registered.reference.clone();
        let failed = |source: FetchError| SourceError::Fetch { plugin: reference.to_string(), source };
        let manifest = whimbrel_plugin_host::registry::Manifest::read(&fetched.manifest)
            .map_err(|error| failed(error.into()))?;
        let in_use: Vec<Digest> = self.lock().given.values().map(|(_, digest)| *digest).collect();
        let (plugins, to_keep) = (self.clone(), reference.clone());
        let (fetched, kept) = blocking(move || {
            let kept = plugins.0.store.keep(&to_keep, &fetched, &in_use);
            Ok((fetched, kept))
        })
        .await
        .map_err(|cause| SourceError::Read { plugin: reference.to_string(), cause })?;
        if let Err(error) = kept {
            tracing::warn!(
                plugin = %reference, %error,
                "a plugin could not be kept in the store: it is used, and has to be fetched again at the next start"
            );
        }
        let bytes = fetched.plugin.unwrap_or_default();
        Ok(Kept { digest: fetched.digest, manifest, bytes })
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Entries are whole at any time: a panicking holder leaves maps.
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files may lie on a slow disk, and a plugin's hash takes some milliseconds.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use whimbrel_plugin_host::{Trust, registry::Reference};

    use super::*;
    use crate::config::{Collector, Grants, Limits};

    fn collector(name: &str, reference: &str) -> Collector {
        let interval = Duration::from_secs(1);
        let registered = Registered::new(Reference::parse(reference).unwrap());
        Collector {
            name: name.to_owned(),
            plugin: PluginRef::Registry(Box::new(registered)),
            interval,
            config: serde_json::json!({}),
            grants: Grants::default(),
            limits: Limits::for_interval(interval),
            trust: Trust::default(),
        }
    }

    #[test]
    fn a_tag_has_moved_for_those_that_were_given_another_and_for_nobody_else() {
        const TAG: &str = "oci://127.0.0.1:5000/x:1";
        let plugins = Plugins::new(PathBuf::from("/nowhere"), 1);
        let (before, now) = (Digest([1; 32]), Digest([2; 32]));
        for (name, digest) in [("behind", before), ("resumed", now)] {
            plugins.lock().given.insert(name.to_owned(), (TAG.to_owned(), digest));
        }
        assert_eq!(plugins.stamp(&collector("behind", TAG)), None, "the registry has said nothing yet");
        plugins.lock().latest.insert(TAG.to_owned(), now);
        assert_eq!(plugins.stamp(&collector("behind", TAG)), Some(Stamp::Moved(now)));
        assert_eq!(plugins.stamp(&collector("resumed", TAG)), None);
        assert_eq!(plugins.stamp(&collector("new", TAG)), None);
        let other = "oci://127.0.0.1:5000/x:2";
        assert_eq!(plugins.stamp(&collector("behind", other)), None, "another reference is another matter");
    }
}
