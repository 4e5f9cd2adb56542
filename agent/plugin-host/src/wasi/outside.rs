//! What lies outside of a plugin's sandbox, and what of it no grant reaches: the agent itself.

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use wasmtime_wasi::runtime::{self, AbortOnDropJoinHandle};

use super::{
    stage::{NoNames, Stage},
    tls,
};
use crate::address;

/// How long a name may take to be resolved.
const RESOLVE_TIME: Duration = Duration::from_secs(10);

/// Finds the addresses of names.
pub trait Resolve: Send + Sync {
    /// The addresses of a name, in the order in which they are to be tried.
    fn resolve<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

/// As the system does it.
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// What belongs to the agent, and is reached by no grant.
#[derive(Debug, Clone, Default)]
pub struct Reserved {
    /// Where the agent listens. An unspecified address stands for all of this machine's.
    pub listeners: Vec<SocketAddr>,
    /// The agent's folders and files: neither they, nor what is in them, nor what they are in is mounted.
    pub paths: Vec<PathBuf>,
}

/// What plugins are connected with; one for all of a host.
pub struct Outside {
    resolver: Box<dyn Resolve>,
    reserved: RwLock<Reserved>,
    /// Read when the first request needs it.
    tls: OnceLock<Arc<rustls::ClientConfig>>,
    /// In tests of plugins.
    stage: Option<Stage>,
}

impl Default for Outside {
    fn default() -> Outside {
        Outside::new(Reserved::default())
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("reserved", &self.reserved).finish_non_exhaustive()
    }
}

impl Outside {
    /// With the system's resolver.
    pub fn new(reserved: Reserved) -> Outside {
        Outside::with_resolver(reserved, SystemResolver)
    }

    /// With another one.
    pub fn with_resolver(reserved: Reserved, resolver: impl Resolve + 'static) -> Outside {
        Outside {
            resolver: Box::new(resolver),
            reserved: RwLock::new(reserved),
            tls: OnceLock::new(),
            stage: None,
        }
    }

    /// For tests of plugins: nothing but the stage, no names, and nothing of the agent's to keep.
    pub fn staged(stage: Stage) -> Outside {
        Outside { stage: Some(stage), ..Outside::with_resolver(Reserved::default(), NoNames) }
    }

    /// What stands in for the outside, in tests of plugins.
    pub(super) fn stage(&self) -> Option<&Stage> {
        self.stage.as_ref()
    }

    /// Where a granted folder lies.
    pub(super) fn place(&self, folder: &Path) -> PathBuf {
        self.stage.as_ref().map_or_else(|| folder.to_owned(), |stage| stage.place(folder))
    }

    /// Keeps plugins from another address: the agent begins to listen there.
    pub fn reserve(&self, listener: SocketAddr) {
        self.reserved.write().unwrap_or_else(PoisonError::into_inner).listeners.push(listener);
    }

    fn reserved(&self) -> RwLockReadGuard<'_, Reserved> {
        // A list that something is added to is whole whatever happened to who adds.
        self.reserved.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of a name, IPv4 ones never as IPv6 ones.
    pub(super) async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::time::timeout(RESOLVE_TIME, self.resolver.resolve(name)).await;
        let found = found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(found.into_iter().map(|address| address.to_canonical()).collect())
    }

    /// The same as a task of its own, which ends with its handle.
    pub(super) fn resolve_aside(
        outside: &Arc<Outside>,
        name: String,
    ) -> AbortOnDropJoinHandle<io::Result<Vec<IpAddr>>> {
        let outside = Arc::clone(outside);
        runtime::spawn(async move { outside.resolve(&name).await })
    }

    /// Whether the agent itself listens there.
    pub(super) fn is_listener(&self, address: SocketAddr) -> bool {
        self.reserved().listeners.iter().any(|listener| address::reaches(address, *listener))
    }

    /// What of the agent this folder is, holds, or is in; all links followed.
    pub(super) fn is_reserved(&self, folder: &Path) -> Option<&'static str> {
        let reserved = self.reserved();
        let own = reserved.paths.iter().filter_map(|path| fs::canonicalize(path).ok());
        if own.into_iter().any(|path| folder.starts_with(&path) || path.starts_with(folder)) {
            return Some("what the agent keeps");
        }
        let process = fs::canonicalize("/proc/self").ok()?;
        (folder.starts_with(&process) || process.starts_with(folder)).then_some("the agent's process")
    }

    /// For requests over TLS.
    pub(super) async fn tls(&self) -> io::Result<Arc<rustls::ClientConfig>> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        // Reads some hundred files.
        let config = tokio::task::spawn_blocking(tls::config).await.map_err(io::Error::other)??;
        Ok(Arc::clone(self.tls.get_or_init(|| config)))
    }
}
