//! TCP and UDP: whom a guest may speak with, and how many sockets it may hold.
//!
//! A socket can always be made; the check comes with its first use, when the address is known, so that the operator
//! is told the very grant that is missing.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::{
    p2::{
        Network, SocketError, SocketResult, TcpSocket, UdpSocket,
        bindings::sockets::{
            network::{self, ErrorCode, IpAddressFamily},
            tcp_create_socket, udp_create_socket,
        },
    },
    sockets::{SocketAddrUse, WasiSocketsCtxView, WasiSocketsView as _},
};

use super::{open, outside::Outside};
use crate::{
    address::{Endpoint, Peer},
    denials::Denials,
    grants::Grants,
    guest::Guest,
    services::Denied,
};

type Verdict = Pin<Box<dyn Future<Output = bool> + Send + Sync>>;

/// What of the network one instance is granted, beside HTTP.
pub(crate) struct Granted {
    tcp: Vec<Endpoint>,
    udp: Vec<Endpoint>,
    pub(super) outside: Arc<Outside>,
    pub(super) denials: Arc<Denials>,
}

impl Granted {
    pub(crate) fn new(grants: &Grants, outside: Arc<Outside>, denials: Arc<Denials>) -> Granted {
        Granted { tcp: grants.tcp.clone(), udp: grants.udp.clone(), outside, denials }
    }

    /// What wasmtime-wasi asks before each use of an address.
    pub(crate) fn check(
        self: &Arc<Granted>,
    ) -> impl Fn(SocketAddr, SocketAddrUse) -> Verdict + Send + Sync + 'static {
        let granted = Arc::clone(self);
        move |address, usage| {
            let granted = Arc::clone(&granted);
            Box::pin(async move { granted.allows(address, usage).await })
        }
    }

    async fn allows(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        let (endpoints, denied) = match usage {
            // Where the answers come to: any free port.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind
                if address.ip().is_unspecified() && address.port() == 0 =>
            {
                return true;
            }
            SocketAddrUse::TcpBind
            | SocketAddrUse::UdpBind
            | SocketAddrUse::TcpListen
            | SocketAddrUse::TcpAccept => {
                self.denials.note(Denied::Listen(address));
                return false;
            }
            SocketAddrUse::TcpConnect => (&self.tcp, Some(Denied::Tcp(address))),
            SocketAddrUse::UdpSend => (&self.udp, Some(Denied::Udp(address))),
            // Not asked for by the guest: whoever sends it is no line's cause.
            SocketAddrUse::UdpReceive => (&self.udp, None),
        };
        if self.outside.is_listener(address) {
            self.denials.note(Denied::Agent(format!("the agent's own listener on {address}")));
            return false;
        }
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.port == address.port()) {
            if endpoint.covers(address.ip()) && self.is_of(endpoint, address).await {
                return true;
            }
        }
        if let Some(denied) = denied {
            self.denials.note(denied);
        }
        false
    }

    /// Whether the granted peer has this address now.
    async fn is_of(&self, endpoint: &Endpoint, address: SocketAddr) -> bool {
        match &endpoint.peer {
            Peer::Address(_) => true,
            // Spawned because the library wants what can be shared between threads.
            Peer::Name(name) => match Outside::resolve_aside(&self.outside, name.clone()).await {
                Ok(found) => found.contains(&address.ip().to_canonical()),
                Err(_) => false,
            },
        }
    }

    /// Whether any grant is for this name.
    pub(super) fn names(&self, name: &str) -> bool {
        let is = |endpoint: &Endpoint| matches!(&endpoint.peer, Peer::Name(granted) if granted == name);
        self.tcp.iter().chain(&self.udp).any(is)
    }
}

/// Makes sockets.
pub(crate) struct Creation;

impl HasData for Creation {
    type Data<'a> = Creator<'a>;
}

pub(crate) struct Creator<'a>(WasiSocketsCtxView<'a>);

impl Guest {
    pub(super) fn creation(&mut self) -> Creator<'_> {
        Creator(self.sockets())
    }
}

impl Creator<'_> {
    fn room(&mut self) -> SocketResult<()> {
        if open::has_room(self.0.table) { Ok(()) } else { Err(ErrorCode::NewSocketLimit.into()) }
    }
}

// The interfaces of creation use the types of this one.
impl network::Host for Creator<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        network::Host::network_error_code(&mut self.0, error)
    }
}

impl network::HostNetwork for Creator<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.0, network)
    }
}

impl tcp_create_socket::Host for Creator<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        self.room()?;
        tcp_create_socket::Host::create_tcp_socket(&mut self.0, family)
    }
}

impl udp_create_socket::Host for Creator<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        self.room()?;
        udp_create_socket::Host::create_udp_socket(&mut self.0, family).await
    }
}
