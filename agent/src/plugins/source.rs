//! The bytes that a reference stands for, and whether they are trusted.

use std::{
    borrow::Cow,
    collections::HashMap,
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
    /// By reference.
    seen: Mutex<HashMap<String, Seen>>,
}

/// What a reference named, by digest of the manifest.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Whoever asked last was given this.
    given: Option<Digest>,
    /// The registry said this last.
    latest: Option<Digest>,
}

/// A plugin's bytes, not judged yet.
#[derive(Debug, Clone)]
pub struct Component {
    /// A component or a bundle of compiled code.
    pub bytes: Cow<'static, [u8]>,
    /// The text of the `.sig` file beside it, or of the annotation.
    pub signatures: Option<String>,
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
        let Component { bytes, signatures } = self.get(plugin).await?;
        let loaded = match plugin {
            PluginRef::Builtin(_) => host.load_with_stack(&origin, &bytes, limits.stack).await,
            PluginRef::Path(_) | PluginRef::Registry(_) => {
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
            PluginRef::Builtin(_) | PluginRef::Path(_) => {
                let plugin = plugin.clone();
                blocking(move || {
                    let signatures = builtin::signatures(&plugin)?;
                    Ok(Component { bytes: builtin::read(&plugin)?, signatures })
                })
                .await
                .map_err(unreadable)
            }
            PluginRef::Registry(registered) => {
                let kept = self.fetched(registered).await?;
                self.note(registered, |seen| {
                    *seen = Seen { given: Some(kept.digest), latest: Some(kept.digest) }
                });
                Ok(Component { bytes: Cow::Owned(kept.bytes), signatures: kept.manifest.signatures })
            }
        }
    }

    /// Asks registries what the tags among these name now, side by side, for [`Plugins::stamp`] to tell. Those that
    /// nobody was given yet are left out: whoever starts with them asks.
    pub async fn refresh<'p>(&self, plugins: impl Iterator<Item = &'p PluginRef>) {
        let mut tags: Vec<&Registered> = plugins
            .filter_map(|plugin| match plugin {
                PluginRef::Registry(registered) if registered.reference.digest.is_none() => {
                    Some(&**registered)
                }
                _ => None,
            })
            .filter(|registered| self.seen(registered).given.is_some())
            .collect();
        tags.sort_by_key(|registered| registered.reference.to_string());
        tags.dedup_by_key(|registered| registered.reference.to_string());
        join_all(tags.into_iter().map(|registered| async move {
            // That it failed was said where it failed, and what runs goes on.
            if let Ok(kept) = self.fetched(registered).await {
                self.note(registered, |seen| seen.latest = Some(kept.digest));
            }
        }))
        .await;
    }

    /// The state of a plugin's file; of a registry's, its manifest, if that has moved since somebody was given it.
    /// `None`: there is nothing to compare, or nothing has changed.
    pub fn stamp(&self, plugin: &PluginRef) -> Option<Stamp> {
        match plugin {
            PluginRef::Registry(registered) => {
                let Seen { given, latest } = self.seen(registered);
                latest.filter(|latest| given.is_some_and(|given| given != *latest)).map(Stamp::Moved)
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
        let in_use: Vec<Digest> = self.lock().values().filter_map(|seen| seen.given).collect();
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

    fn seen(&self, registered: &Registered) -> Seen {
        self.lock().get(&registered.reference.to_string()).copied().unwrap_or_default()
    }

    fn note(&self, registered: &Registered, change: impl FnOnce(&mut Seen)) {
        change(self.lock().entry(registered.reference.to_string()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        // Entries are whole at any time: a panicking holder leaves a map.
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files may lie on a slow disk, and a plugin's hash takes some milliseconds.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
