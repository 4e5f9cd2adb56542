//! A running stub: binds, starts its threads, and stops them.

use std::{
    future::{Future, pending},
    io,
    net::{self, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use http::Request;
use hyper::body::Incoming;
use tokio::{net::TcpListener, runtime, sync::watch, time::MissedTickBehavior};

use crate::{
    faults::Book,
    figures::Figures,
    listen::{self, Closed},
    options::{Data, Limits, Options},
    outage::Outage,
    receive::{Answer, Receiver, now_ns},
    store::{OpenError, Store, Worker},
    ui::{Demo, Ground, Live, Ui},
};

/// How often what is too old is looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);

/// A running stub. Dropped, it stops: it lets requests under way end for at most 5 s, and closes its data.
///
/// It has threads of its own, so that it can be started from anywhere, inside a tokio runtime or not.
#[derive(Debug)]
pub struct Stub {
    /// Where OTLP/HTTP is received, with the real port.
    pub http_addr: SocketAddr,
    /// Where OTLP/gRPC is received, with the real port.
    pub grpc_addr: SocketAddr,
    /// Where `/api` and `/control` are served, with the real port.
    pub ui_addr: SocketAddr,
    stop: watch::Sender<bool>,
    server: Option<thread::JoinHandle<()>>,
}

/// A stub could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken, is not of this machine, or needs rights.
    #[error("cannot listen on {address}")]
    Bind {
        /// As it was given.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Another process uses the data folder.
    #[error("{} is in use by another process", folder.display())]
    Locked {
        /// As it was given.
        folder: PathBuf,
    },
    /// The data cannot be opened, for a reason that the source names.
    #[error("cannot open the data in {data}")]
    Data {
        /// The folder, or "memory".
        data: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system has no thread for the stub.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl Stub {
    /// Starts a stub. When this returns, its sockets are open.
    ///
    /// # Errors
    /// See [`StartError`]; [`StartError::Locked`] is the one to try again after, once the other has stopped.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let (http, http_addr) = bind(options.http)?;
        let (grpc, grpc_addr) = bind(options.grpc)?;
        let (ui, ui_addr) = bind(options.ui)?;
        let (stop, stopped) = watch::channel(false);
        let (started, has_started) = mpsc::channel();
        let server = thread::Builder::new()
            .name("stub".to_owned())
            .spawn(move || run(options, [http, grpc, ui], stopped, &started))
            .map_err(StartError::Thread)?;
        // No word at all means that the thread panicked, which `is_running` shows.
        has_started.recv().unwrap_or(Ok(()))?;
        Ok(Self { http_addr, grpc_addr, ui_addr, stop, server: Some(server) })
    }

    /// Where a sender's OTLP/HTTP endpoint must point: `http://ADDRESS`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.http_addr)
    }

    /// Where a sender's OTLP/gRPC endpoint must point: `http://ADDRESS`.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://{}", self.grpc_addr)
    }

    /// Stops, and waits for it. The same as dropping it, with a name.
    pub fn stop(self) {
        drop(self);
    }

    /// Whether it still serves. False only after a panic inside it, which its log names.
    pub fn is_running(&self) -> bool {
        self.server.as_ref().is_some_and(|server| !server.is_finished())
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(server) = self.server.take()
            && server.join().is_err()
        {
            tracing::error!("the stub's thread panicked");
        }
    }
}

/// A socket, and its real address.
fn bind(address: SocketAddr) -> Result<(net::TcpListener, SocketAddr), StartError> {
    let bound = || {
        let listener = net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let real = listener.local_addr()?;
        Ok((listener, real))
    };
    bound().map_err(|source| StartError::Bind { address, source })
}

/// The stub's thread: says by `started` whether it could start, and serves until it is stopped.
fn run(
    options: Options,
    [http, grpc, ui]: [net::TcpListener; 3],
    stopped: watch::Receiver<bool>,
    started: &mpsc::Sender<Result<(), StartError>>,
) {
    let prepare = || {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let listeners = {
            let _entered = runtime.enter();
            let registered = |listener, address| {
                TcpListener::from_std(listener).map_err(|source| StartError::Bind { address, source })
            };
            [registered(http, options.http)?, registered(grpc, options.grpc)?, registered(ui, options.ui)?]
        };
        Ok((runtime, listeners, open(&options)?))
    };
    // Whoever started it waits for this, and so is there to hear it.
    let (runtime, listeners, (worker, store)) = match prepare() {
        Ok(prepared) => {
            let _ = started.send(Ok(()));
            prepared
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    runtime.block_on(serve(options, listeners, store, stopped));
    // Tasks that are left over hold the store; without them its thread ends, and is waited for.
    drop(runtime);
    drop(worker);
}

fn open(options: &Options) -> Result<(Worker, Store), StartError> {
    Store::open(&options.data, options.retention.clone()).map_err(|error| match (error, &options.data) {
        (OpenError::Locked, Data::Directory(folder)) => StartError::Locked { folder: folder.clone() },
        (OpenError::Thread(source), _) => StartError::Thread(source),
        (error, data) => StartError::Data { data: data.to_string(), source: Box::new(error) },
    })
}

async fn serve(
    options: Options,
    [http, grpc, ui]: [TcpListener; 3],
    store: Store,
    stopped: watch::Receiver<bool>,
) {
    let now = Instant::now();
    let listening = [("http/protobuf", &http), ("grpc", &grpc)]
        .into_iter()
        .filter_map(|(protocol, listener)| Some((protocol, listener.local_addr().ok()?)))
        .collect();
    let faults = Arc::new(Mutex::new(Book::new(now_ns())));
    let figures = Arc::new(Mutex::new(Figures::new(now)));
    let (release, released) = watch::channel(0);
    let receiver = Arc::new(Receiver::new(
        options.limits.clone(),
        store.clone(),
        Arc::clone(&faults),
        Arc::clone(&figures),
        released,
        stopped.clone(),
    ));
    let outage = Outage::new(2);
    let demo = options.demo.clone().map(|socket| Arc::new(Demo::new(socket, outage.clone())));
    let ground = Arc::new(Ground {
        store: store.clone(),
        figures,
        demo: demo.clone(),
        outage: outage.clone(),
        data: options.data.to_string(),
        started: now,
        endpoints: listening,
    });
    let page = Arc::new(Ui {
        live: Live::new(Arc::clone(&ground), stopped.clone()),
        ground,
        faults,
        release: release.clone(),
        started_ns: now_ns(),
    });
    let receive_http = {
        let receiver = Arc::clone(&receiver);
        otlp(http, &options.limits, &stopped, &outage, move |request| {
            let receiver = Arc::clone(&receiver);
            async move { receiver.handle(request).await }
        })
    };
    let receive_grpc = otlp(grpc, &options.limits, &stopped, &outage, move |request| {
        let receiver = Arc::clone(&receiver);
        async move { receiver.handle_grpc(request).await }
    });
    let show = listen::serve(ui, options.limits.clone(), stopped.clone(), pending(), move |request| {
        let page = Arc::clone(&page);
        async move { page.handle(request).await }
    });
    let follow = {
        let (store, stopped) = (store.clone(), stopped.clone());
        async {
            if let Some(demo) = demo {
                demo.follow(store, stopped).await;
            }
        }
    };
    let mut ending = stopped.clone();
    let expire = async {
        let mut every = tokio::time::interval(EXPIRE_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = listen::told(&mut ending) => break,
            }
            if let Err(error) = store.expire(now_ns()).await {
                tracing::error!(%error, "dropping what is too old failed; it is tried again");
            }
        }
        // Requests that hang on command would hold up the end.
        release.send_modify(|n| *n += 1);
        drop(store);
    };
    // The last one stands for no outage, so there is nothing in how it ended.
    let _ = tokio::join!(receive_http, receive_grpc, show, follow, expire);
}

/// Serves one protocol of OTLP, but for outages, which come and go at the address of the first socket.
async fn otlp<H, F>(
    listener: TcpListener,
    limits: &Limits,
    stopped: &watch::Receiver<bool>,
    outage: &Outage,
    handle: H,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Answer, Closed>> + Send + 'static,
{
    match listener.local_addr() {
        Ok(address) => {
            let (limits, stopped, outage) = (limits.clone(), stopped.clone(), outage.clone());
            listen::serve_with_outages(listener, address, limits, stopped, outage, handle).await;
        }
        Err(error) => tracing::error!(%error, "a listener has no address"),
    }
}
