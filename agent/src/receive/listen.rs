//! Listeners: TCP and Unix sockets, TLS, and a bound on the connections of a receiver.
//!
//! At the bound a new connection takes the place of the one that has been idle longest, so that ten thousand idle ones
//! cannot keep a working one out. Connections on which nothing happens are closed after `limits.idle`. A protocol says
//! on its [`Connection`] when something happens.

use std::{
    fs,
    future::Future,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::Notify,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{Counts, Ground, Peer, Stop, tls};
use crate::{
    clock::Clock,
    config::{Address, Endpoint},
};

/// After a failed accept (no file descriptors left), so that it is not retried in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A TLS handshake must be over after this.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long connections may take to end once the agent stops.
const GRACE: Duration = Duration::from_secs(5);
/// Most time between two looks for idle connections.
const SWEEP: Duration = Duration::from_secs(1);

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had.
    #[error("{what} {address}: {source}{}", remedy(source))]
    Bind {
        /// Which of the receiver's endpoints.
        what: &'static str,
        /// It.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// TLS cannot be offered there.
    #[error("{what} {address}: {problem}")]
    Tls {
        /// Which of the receiver's endpoints.
        what: &'static str,
        /// It.
        address: String,
        /// The file, and what is wrong with it.
        problem: String,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there: stop it, or give another port",
        io::ErrorKind::PermissionDenied => "; give another port or folder, or let this user have it",
        _ => "",
    }
}

/// A connection's bytes, plain or through TLS.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
/// See [`Io`].
pub(crate) type Stream = Box<dyn Io>;

/// The connections of a receiver, bounded, over all its endpoints.
pub(crate) struct Places {
    limit: usize,
    idle: Duration,
    open: Mutex<Vec<Arc<Connection>>>,
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
}

impl Places {
    pub(crate) fn new(limit: usize, idle: Duration, counts: Arc<Counts>, clock: Arc<dyn Clock>) -> Self {
        Self { limit, idle, open: Mutex::default(), counts, clock }
    }

    /// A place for a connection; `None` where there is none and all are at work.
    fn take(&self, peer: Peer) -> Option<Arc<Connection>> {
        let mut open = lock(&self.open);
        if open.len() >= self.limit {
            let idle = open.iter().enumerate().filter(|(_, one)| !one.is_busy());
            let Some((index, _)) = idle.min_by_key(|(_, one)| one.last_ms.load(Relaxed)) else {
                self.counts.refused("connections");
                return None;
            };
            open.swap_remove(index).close();
            self.counts.refused("displaced");
        }
        let connection = Arc::new(Connection {
            peer,
            busy: AtomicU32::new(0),
            last_ms: AtomicU64::new(self.now_ms()),
            closed: AtomicBool::new(false),
            close: Notify::new(),
            clock: self.clock.clone(),
        });
        open.push(connection.clone());
        self.counts.connected();
        Some(connection)
    }

    fn give_back(&self, connection: &Arc<Connection>) {
        lock(&self.open).retain(|one| !Arc::ptr_eq(one, connection));
        self.counts.disconnected();
    }

    /// Closes what has been idle for too long.
    fn sweep(&self) {
        let idle_ms = u64::try_from(self.idle.as_millis()).unwrap_or(u64::MAX);
        let now = self.now_ms();
        lock(&self.open).retain(|one| {
            let stays = one.is_busy() || now.saturating_sub(one.last_ms.load(Relaxed)) < idle_ms;
            if !stays {
                one.close();
                self.counts.refused("idle");
            }
            stays
        });
    }

    fn now_ms(&self) -> u64 {
        self.clock.monotonic().as_millis() as u64
    }
}

/// What is known of an open connection.
pub(crate) struct Connection {
    /// Who is at the other end.
    pub(crate) peer: Peer,
    busy: AtomicU32,
    last_ms: AtomicU64,
    closed: AtomicBool,
    close: Notify,
    clock: Arc<dyn Clock>,
}

impl Connection {
    /// Something happened.
    pub(crate) fn touch(&self) {
        self.last_ms.store(self.clock.monotonic().as_millis() as u64, Relaxed);
    }

    /// At work until what is returned is dropped: not idle, however long it takes.
    pub(crate) fn at_work(self: &Arc<Self>) -> AtWork {
        self.busy.fetch_add(1, Relaxed);
        AtWork(self.clone())
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Relaxed) > 0
    }

    fn close(&self) {
        self.closed.store(true, Relaxed);
        self.close.notify_one();
    }

    /// Returns when the connection is to be closed.
    async fn closing(&self) {
        while !self.closed.load(Relaxed) {
            self.close.notified().await;
        }
    }
}

/// See [`Connection::at_work`].
pub(crate) struct AtWork(Arc<Connection>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

/// A bound socket.
pub(crate) struct Listener {
    socket: Socket,
    tls: Option<TlsAcceptor>,
    places: Arc<Places>,
    counts: Arc<Counts>,
    stop: Stop,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds an endpoint of a receiver. `what` it is called; `http`: whether HTTP is spoken, for ALPN.
    ///
    /// # Errors
    /// [`ListenError`].
    pub(crate) async fn bind(
        what: &'static str,
        endpoint: &Endpoint,
        http: bool,
        ground: &Ground,
    ) -> Result<Self, ListenError> {
        let address = endpoint.listen.to_string();
        let tls = match &endpoint.tls {
            None => None,
            Some(tls) => Some(tls::acceptor(tls, http).map_err(|error| ListenError::Tls {
                what,
                address: address.clone(),
                problem: error.to_string(),
            })?),
        };
        let bound = match &endpoint.listen {
            Address::Tcp(address) => TcpListener::bind(address).await.map(Socket::Tcp),
            Address::Unix(path) => bind_private(path).map(|listener| Socket::Unix(listener, path.clone())),
        };
        let socket = bound.map_err(|source| ListenError::Bind { what, address, source })?;
        let (places, counts, stop) = (ground.places.clone(), ground.counts.clone(), ground.stop.clone());
        Ok(Self { socket, tls, places, counts, stop })
    }

    /// Where, with the port that port 0 became: an address, or a path.
    pub(crate) fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string())
            }
            Socket::Unix(_, path) => path.display().to_string(),
        }
    }

    /// Hands out connections until the agent stops; then lets them end, for at most 5 s. A connection is over when
    /// `handle` returns.
    pub(crate) async fn serve<F, A>(self, handle: F)
    where
        F: Fn(Stream, Arc<Connection>) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let Self { socket, tls, places, counts, stop } = self;
        let handle = Arc::new(handle);
        let mut connections = JoinSet::new();
        let mut sweep = tokio::time::interval(SWEEP.min(places.idle));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                () = stop.wait() => break,
                // Collects what ended, so that the set does not grow.
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                // Without connections nothing wakes up.
                _ = sweep.tick(), if !connections.is_empty() => {
                    places.sweep();
                    continue;
                }
                accepted = accept(&socket) => accepted,
            };
            match accepted {
                Ok((raw, peer)) => {
                    let Some(connection) = places.take(peer) else { continue };
                    let (tls, counts) = (tls.clone(), counts.clone());
                    let (places, handle) = (places.clone(), handle.clone());
                    connections.spawn(async move {
                        let work = async {
                            if let Some(stream) = begin(raw, tls, &counts).await {
                                handle(stream, connection.clone()).await;
                            }
                        };
                        tokio::select! {
                            () = work => {}
                            () = connection.closing() => {}
                        }
                        places.give_back(&connection);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    counts.refused("accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if let Socket::Unix(_, path) = &socket {
            // Nobody is left to tell; the next start removes a stale socket.
            let _ = fs::remove_file(path);
        }
        drop(socket);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            connections.shutdown().await;
        }
    }
}

enum Raw {
    Tcp(TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn accept(socket: &Socket) -> io::Result<(Raw, Peer)> {
    match socket {
        Socket::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            // Answers are small and waited for. Where it can't be set, they are merely later.
            let _ = stream.set_nodelay(true);
            Ok((Raw::Tcp(stream), Peer::Ip(from.ip().to_canonical())))
        }
        Socket::Unix(listener, _) => Ok((Raw::Unix(listener.accept().await?.0), Peer::Local)),
    }
}

/// The connection's bytes, once a handshake is over; `None` where it failed.
async fn begin(raw: Raw, tls: Option<TlsAcceptor>, counts: &Counts) -> Option<Stream> {
    match (raw, tls) {
        (Raw::Unix(stream), _) => Some(Box::new(stream)),
        (Raw::Tcp(stream), None) => Some(Box::new(stream)),
        (Raw::Tcp(stream), Some(tls)) => {
            match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
                Ok(Ok(stream)) => Some(Box::new(stream)),
                Ok(Err(error)) => {
                    counts.refused("tls");
                    tracing::debug!(%error, "a TLS handshake failed");
                    None
                }
                Err(_) => {
                    counts.refused("tls");
                    None
                }
            }
        }
    }
}

/// Binds a Unix socket that only this user may open, in place of a stale one. Bound under another name, closed to
/// others, and only then put in its place.
pub(crate) fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let unready = in_place_of_stale(path)?;
    let listener = UnixListener::bind(&unready)?;
    make_private(&unready, path)?;
    Ok(listener)
}

/// The same for datagrams.
pub(crate) fn bind_private_datagrams(path: &Path) -> io::Result<tokio::net::UnixDatagram> {
    let unready = in_place_of_stale(path)?;
    let socket = tokio::net::UnixDatagram::bind(&unready)?;
    make_private(&unready, path)?;
    Ok(socket)
}

/// The name to bind under first. A socket that somebody listens on, and what is no socket, is left alone.
fn in_place_of_stale(path: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        _ => {}
    }
    let unready = path.with_extension("new");
    match fs::remove_file(&unready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(unready),
    }
}

fn make_private(unready: &Path, path: &Path) -> io::Result<()> {
    fs::set_permissions(unready, fs::Permissions::from_mode(0o600))?;
    fs::rename(unready, path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each lock guards one short, whole change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
