//! `wasi:sockets/ip-name-lookup`, by our own resolver: only names that a grant for TCP or UDP has.
//!
//! Written here because the library's own asks for any name or none, and the system's resolver only. A lookup of any
//! name would be a way out for data.

use std::{io, net::IpAddr, vec};

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, ResourceType},
};
use wasmtime_wasi::{
    async_trait,
    p2::{
        Network,
        bindings::sockets::network::{ErrorCode, IpAddress},
    },
    runtime::AbortOnDropJoinHandle,
};
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use super::{Wasi, outside::Outside};
use crate::{address::Peer, guest::Guest, services::Denied};

type Found = Result<vec::IntoIter<IpAddr>, ErrorCode>;

/// A lookup that goes on, or has been answered.
pub(super) enum Lookup {
    /// Ends with this.
    Pending(AbortOnDropJoinHandle<io::Result<Vec<IpAddr>>>),
    /// What is left of the answer.
    Answered(Found),
}

impl Lookup {
    async fn answered(&mut self) {
        if let Lookup::Pending(task) = self {
            let found = match task.await {
                Ok(found) if found.is_empty() => Err(ErrorCode::NameUnresolvable),
                Ok(found) => Ok(found.into_iter()),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    Err(ErrorCode::TemporaryResolverFailure)
                }
                Err(_) => Err(ErrorCode::NameUnresolvable),
            };
            *self = Lookup::Answered(found);
        }
    }
}

#[async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        self.answered().await;
    }
}

/// The interface, under the version that wasmtime-wasi links its own by; any release of 0.2 finds it.
const INTERFACE: &str = "wasi:sockets/ip-name-lookup@0.2.12";

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, Guest>;
    let mut interface = linker.instance(INTERFACE)?;
    interface.resource("resolve-address-stream", ResourceType::host::<Lookup>(), |mut store, lookup| {
        store.data_mut().wasi().table.delete(Resource::<Lookup>::new_own(lookup))?;
        Ok(())
    })?;
    interface.func_wrap(
        "resolve-addresses",
        |mut store: Store<'_>, (network, name): (Resource<Network>, String)| {
            Ok((store.data_mut().wasi().resolve_addresses(&network, &name)?,))
        },
    )?;
    interface.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: Store<'_>, (lookup,): (Resource<Lookup>,)| {
            Ok((store.data_mut().wasi().table.get_mut(&lookup)?.next(),))
        },
    )?;
    interface.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: Store<'_>,
         (lookup,): (Resource<Lookup>,)|
         -> wasmtime::Result<(Resource<DynPollable>,)> {
            Ok((subscribe(&mut store.data_mut().wasi().table, lookup)?,))
        },
    )
}

impl Lookup {
    fn next(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if std::pin::pin!(self.answered()).poll(&mut context).is_pending() {
            return Err(ErrorCode::WouldBlock);
        }
        match self {
            Lookup::Answered(Ok(found)) => Ok(found.next().map(IpAddress::from)),
            Lookup::Answered(Err(error)) => Err(*error),
            Lookup::Pending(_) => Err(ErrorCode::WouldBlock),
        }
    }
}

impl Wasi {
    fn resolve_addresses(
        &mut self,
        network: &Resource<Network>,
        name: &str,
    ) -> wasmtime::Result<Result<Resource<Lookup>, ErrorCode>> {
        self.table.get(network)?;
        let lookup = match Peer::parse(name) {
            None => return Ok(Err(ErrorCode::InvalidArgument)),
            Some(Peer::Address(address)) => Lookup::Answered(Ok(vec![address].into_iter())),
            Some(Peer::Name(name)) if self.sockets.names(&name) => {
                Lookup::Pending(Outside::resolve_aside(&self.sockets.outside, name))
            }
            Some(Peer::Name(name)) => {
                self.sockets.denials.note(Denied::Name(name));
                return Ok(Err(ErrorCode::AccessDenied));
            }
        };
        Ok(Ok(self.table.push(lookup)?))
    }
}
