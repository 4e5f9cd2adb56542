//! `wasi:sockets/ip-name-lookup`, by our own resolver: only names that a grant for TCP or UDP has.
//!
//! Written here because the library's own asks for any name or none, and the system's resolver only. A lookup of any
//! name would be a way out for data.

use std::{io, net::IpAddr, sync::Arc, task::Poll, vec};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::{async_trait, p2::Network, runtime::AbortOnDropJoinHandle};
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use super::{outside::Outside, sockets::Granted};
use crate::{address::Peer, guest::Guest, services::Denied, text::clean};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        inline: r#"
            package whimbrel:names;

            world names { import wasi:sockets/ip-name-lookup@0.2.12; }

            package wasi:io@0.2.12 {
                interface poll { resource pollable; }
            }

            package wasi:sockets@0.2.12 {
                interface network {
                    resource network;
                    enum error-code {
                        unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
                        concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
                        address-not-bindable, address-in-use, remote-unreachable, connection-refused,
                        connection-reset, connection-aborted, datagram-too-large, name-unresolvable,
                        temporary-resolver-failure, permanent-resolver-failure,
                    }
                    type ipv4-address = tuple<u8, u8, u8, u8>;
                    type ipv6-address = tuple<u16, u16, u16, u16, u16, u16, u16, u16>;
                    variant ip-address { ipv4(ipv4-address), ipv6(ipv6-address) }
                }

                interface ip-name-lookup {
                    use wasi:io/poll@0.2.12.{pollable};
                    use network.{network, error-code, ip-address};

                    resource resolve-address-stream {
                        resolve-next-address: func() -> result<option<ip-address>, error-code>;
                        subscribe: func() -> pollable;
                    }
                    resolve-addresses: func(network: borrow<network>, name: string)
                        -> result<resolve-address-stream, error-code>;
                }
            }
        "#,
        imports: { default: trappable },
        with: {
            "wasi:io/poll": wasmtime_wasi_io::bindings::wasi::io::poll,
            "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
            "wasi:sockets/ip-name-lookup.resolve-address-stream": super::Lookup,
        },
    });
}

use bindings::wasi::sockets::ip_name_lookup::{self as wit, ErrorCode, IpAddress};

type Found = Result<vec::IntoIter<IpAddr>, ErrorCode>;

/// A lookup that goes on, or has been answered.
pub enum Lookup {
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

struct Names;

impl HasData for Names {
    type Data<'a> = NamesView<'a>;
}

struct NamesView<'a> {
    table: &'a mut ResourceTable,
    granted: &'a Arc<Granted>,
}

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Guest, Names>(linker, |guest| {
        let wasi = guest.wasi();
        NamesView { table: &mut wasi.table, granted: &wasi.sockets }
    })
}

impl wit::Host for NamesView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Lookup>, ErrorCode>> {
        self.table.get(&network)?;
        let lookup = match Peer::parse(&name) {
            None => return Ok(Err(ErrorCode::InvalidArgument)),
            Some(Peer::Address(address)) => Lookup::Answered(Ok(vec![address].into_iter())),
            Some(Peer::Name(name)) if self.granted.names(&name) => {
                Lookup::Pending(Outside::resolve_aside(&self.granted.outside, name))
            }
            Some(Peer::Name(name)) => {
                self.granted.denials.note(Denied::Name(clean(name, 253)));
                return Ok(Err(ErrorCode::AccessDenied));
            }
        };
        Ok(Ok(self.table.push(lookup)?))
    }
}

impl wit::HostResolveAddressStream for NamesView<'_> {
    fn resolve_next_address(
        &mut self,
        lookup: Resource<Lookup>,
    ) -> wasmtime::Result<Result<Option<IpAddress>, ErrorCode>> {
        let lookup = self.table.get_mut(&lookup)?;
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if let Poll::Pending = std::pin::pin!(lookup.answered()).poll(&mut context) {
            return Ok(Err(ErrorCode::WouldBlock));
        }
        Ok(match lookup {
            Lookup::Answered(Ok(found)) => Ok(found.next().map(IpAddress::from)),
            Lookup::Answered(Err(error)) => Err(*error),
            Lookup::Pending(_) => Err(ErrorCode::WouldBlock),
        })
    }

    fn subscribe(&mut self, lookup: Resource<Lookup>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, lookup)
    }

    fn drop(&mut self, lookup: Resource<Lookup>) -> wasmtime::Result<()> {
        self.table.delete(lookup)?;
        Ok(())
    }
}
