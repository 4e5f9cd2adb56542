//! What lies outside of a plugin's sandbox, and what of it no grant reaches: the agent itself.

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard},
};

use tokio::sync::Semaphore;

use super::{
    mounts,
    stage::{NoNames, Stage},
    tls::{self, Tls},
};
use crate::address;

/// The most files and sockets that all plugins hold together, where the agent's own limit is large or none.
const MOST_OPEN: usize = 1 << 16;

/// Finds the addresses of names.
pub trait Resolve: Send + Sync {
    /// The addresses of a name, in the order in which they are to be tried.
    fn resolve<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

/// As the system does it, on a thread for each name. The executor's threads for what blocks are few and everybody's, and
/// a resolver whose servers are gone keeps one for half a minute.
struct SystemResolver;

/// What a resolver's thread has of stack, in bytes.
const STACK: usize = 512 << 10;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let name = name.to_owned();
        Box::pin(async move {
            let (tell, told) = tokio::sync::oneshot::channel();
            std::thread::Builder::new().name("resolver".to_owned()).stack_size(STACK).spawn(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                // Nobody may wait any more.
                let _ = tell.send(found.map(|found| found.map(|address| address.ip()).collect()));
            })?;
            told.await.map_err(io::Error::other)?
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
    /// Half of what this process may have open.
    descriptors: Arc<Semaphore>,
    /// Read when the first request needs it.
    tls: OnceLock<Tls>,
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
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Outside {
            resolver: Box::new(resolver),
            reserved: RwLock::new(reserved),
            descriptors: Arc::new(Semaphore::new((limit / 2).min(MOST_OPEN))),
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

    /// What a plugin knows a folder as.
    pub(super) fn named(&self, real: PathBuf) -> PathBuf {
        match &self.stage {
            Some(stage) => stage.named(&real),
            None => real,
        }
    }

    /// Keeps plugins from another address: the agent begins to listen there.
    pub fn reserve(&self, listener: SocketAddr) {
        self.reserved.write().unwrap_or_else(PoisonError::into_inner).listeners.push(listener);
    }

    fn reserved(&self) -> RwLockReadGuard<'_, Reserved> {
        // A list that something is added to is whole whatever happened to who adds.
        self.reserved.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the resolver.
    pub(super) async fn find(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.resolver.resolve(name).await
    }

    /// What of files and sockets is left for plugins.
    pub(super) fn descriptors(&self) -> Arc<Semaphore> {
        Arc::clone(&self.descriptors)
    }

    /// Whether the agent itself listens there.
    pub(super) fn is_listener(&self, address: SocketAddr) -> bool {
        self.reserved().listeners.iter().any(|listener| address::reaches(address, *listener))
    }

    /// What of the agent this folder is, holds, or is in, by whatever mount; all links followed.
    pub(super) fn is_reserved(&self, folder: &Path) -> Option<&'static str> {
        let reserved = self.reserved();
        // Without procfs, links are all there is to look at.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = reserved.paths.iter().filter_map(|path| fs::canonicalize(path).ok());
        let mut own = own.flat_map(|path| mounts::seen_at(&mounts, &path));
        if own.any(|path| folder.starts_with(&path) || path.starts_with(folder)) {
            return Some("what the agent keeps");
        }
        let process = fs::canonicalize("/proc/self").ok()?;
        (folder.starts_with(&process) || process.starts_with(folder)).then_some("the agent's process")
    }

    /// For requests over TLS.
    pub(super) async fn tls(&self) -> io::Result<Tls> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        // Reads some hundred files.
        let tls = tokio::task::spawn_blocking(tls::config).await.map_err(io::Error::other)??;
        Ok(self.tls.get_or_init(|| tls).clone())
    }
}
