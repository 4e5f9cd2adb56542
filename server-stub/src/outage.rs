//! The OTLP listeners down and up again, on command: a backend that is gone, and comes back at the same address.
//!
//! Down means that the sockets are closed and their connections cut, under whatever is under way: connecting is
//! refused, as after a crash. The data stays, and the user interface goes on.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, sync::watch};

use crate::listen::{ACCEPT_PAUSE, told};

/// How long coming up again may take before whoever asked for it is told how it stands.
const PATIENCE: Duration = Duration::from_secs(5);

/// That the listeners are to be down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Down {
    /// Since when, ns since 1970.
    pub(crate) since_ns: u64,
    /// Until when, ns since 1970; `None`: until somebody says so.
    pub(crate) until_ns: Option<u64>,
    until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    down: Option<Down>,
    /// Listeners whose sockets are open.
    open: usize,
}

/// Tells the listeners, and knows how they stand. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    state: Arc<watch::Sender<State>>,
    listeners: usize,
}

impl Outage {
    /// For so many listeners, all up.
    pub(crate) fn new(listeners: usize) -> Self {
        Self { state: Arc::new(watch::Sender::new(State { down: None, open: listeners })), listeners }
    }

    /// Since and until when the listeners are told to be down.
    pub(crate) fn state(&self) -> Option<Down> {
        self.state.borrow().down
    }

    /// Closes the listeners, for a time or until [`Outage::up`]. Returns once they are closed. Where they are down
    /// already, only the end changes.
    pub(crate) async fn down(&self, length: Option<Duration>, now_ns: u64) {
        let until = length.and_then(|length| Instant::now().checked_add(length));
        let until_ns = length.map(|l| now_ns.saturating_add(u64::try_from(l.as_nanos()).unwrap_or(u64::MAX)));
        self.state.send_modify(|state| {
            let since_ns = state.down.map_or(now_ns, |down| down.since_ns);
            state.down = Some(Down { since_ns, until_ns, until });
        });
        self.settled(|state| state.down.is_none() || state.open == 0).await;
    }

    /// Opens the listeners again. Returns once they are open, or after 5 s where something else took their ports;
    /// whether they are open.
    pub(crate) async fn up(&self) -> bool {
        self.state.send_modify(|state| state.down = None);
        self.settled(|state| state.down.is_some() || state.open == self.listeners).await;
        self.state.borrow().open == self.listeners
    }

    async fn settled(&self, fits: impl Fn(&State) -> bool) {
        let mut state = self.state.subscribe();
        // The sender is ours; what is left to tell is how it stands.
        let _ = tokio::time::timeout(PATIENCE, state.wait_for(|state| fits(state))).await;
    }

    /// Returns when the listeners are to be down. Cancel safe.
    pub(crate) async fn begins(&self) {
        // The guard that this returns must not be held across an await.
        drop(self.state.subscribe().wait_for(|state| state.down.is_some()).await);
    }

    /// A listener that has closed its socket: waits for the end of the outage, and opens it again. `None`: the stub
    /// stops.
    pub(crate) async fn reopen(
        &self,
        address: SocketAddr,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<TcpListener> {
        self.state.send_modify(|state| state.open -= 1);
        loop {
            tokio::select! {
                () = self.ends() => {}
                () = told(stop) => return None,
            }
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    self.state.send_modify(|state| state.open += 1);
                    return Some(listener);
                }
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot listen again, and tries on");
                    tokio::select! {
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                        () = told(stop) => return None,
                    }
                }
            }
        }
    }

    /// Returns when nobody wants the listeners down any more. Cancel safe.
    async fn ends(&self) {
        let mut state = self.state.subscribe();
        loop {
            let Some(down) = state.borrow_and_update().down else { return };
            let over = async {
                match down.until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {
                    // Unless somebody has said something else meanwhile.
                    self.state.send_if_modified(|state| {
                        let over = state.down == Some(down);
                        if over {
                            state.down = None;
                        }
                        over
                    });
                }
                // The sender is ours.
                _ = state.changed() => {}
            }
        }
    }
}
