//! Datagrams over UDP and Unix sockets: bound, received one by one, within the rate of each peer.
//!
//! Nobody can be told of one that is not taken; it is counted.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::net::{UdpSocket, UnixDatagram};

use super::{Ground, ListenError, Peer, listen::bind_private_datagrams};
use crate::config::Address;

/// The largest datagram: UDP's own limit.
const LARGEST: usize = 65_536;

/// A bound socket.
pub(crate) enum Datagrams {
    Udp(UdpSocket),
    Unix(UnixDatagram, PathBuf),
}

impl Datagrams {
    /// Over UDP.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) async fn over_udp(address: SocketAddr) -> Result<Self, ListenError> {
        UdpSocket::bind(address).await.map(Self::Udp).map_err(|source| ListenError::Bind {
            what: "udp",
            address: address.to_string(),
            source,
        })
    }

    /// Over a Unix socket that only this user may open.
    ///
    /// # Errors
    /// When the path cannot be had.
    pub(crate) fn over_unix(path: &Path) -> Result<Self, ListenError> {
        let bound = bind_private_datagrams(path).map(|socket| Self::Unix(socket, path.to_owned()));
        bound.map_err(|source| ListenError::Bind {
            what: "unix",
            address: Address::Unix(path.to_owned()).to_string(),
            source,
        })
    }

    /// As `status` shows it, with the port that port 0 became.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Udp(socket) => {
                socket.local_addr().map_or_else(|_| "udp ?".to_owned(), |address| format!("udp {address}"))
            }
            Self::Unix(_, path) => format!("unix {}", path.display()),
        }
    }

    /// Hands out datagrams until the agent stops.
    pub(crate) async fn serve(self, ground: Ground, take: impl Fn(&[u8])) {
        let mut buffer = vec![0; LARGEST];
        loop {
            let received = tokio::select! {
                () = ground.stop.wait() => break,
                received = self.receive(&mut buffer) => received,
            };
            match received {
                Ok((_, peer)) if ground.pace.may(peer).is_err() => ground.counts.refused("rate"),
                Ok((length, _)) => take(&buffer[..length]),
                // One that could not be received is no reason to stop.
                Err(error) => {
                    tracing::debug!(%error, "a datagram could not be received");
                    ground.counts.refused("receive");
                }
            }
        }
        if let Self::Unix(_, path) = &self {
            // Nobody is left to tell; the next start removes a stale socket.
            let _ = std::fs::remove_file(path);
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> std::io::Result<(usize, Peer)> {
        match self {
            Self::Udp(socket) => {
                let (length, from) = socket.recv_from(buffer).await?;
                Ok((length, Peer::Ip(from.ip().to_canonical())))
            }
            Self::Unix(socket, _) => Ok((socket.recv(buffer).await?, Peer::Local)),
        }
    }
}
