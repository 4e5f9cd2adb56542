//! How many files and sockets one instance holds open, so that no plugin uses up those of the agent.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    filesystem::Descriptor,
    p2::{TcpSocket, UdpSocket},
};

/// Files, folders and sockets that one instance may hold open at a time.
pub(crate) const MAX_OPEN: usize = 64;

/// Whether there is room for another.
pub(crate) fn has_room(table: &mut ResourceTable) -> bool {
    let open = table
        .iter_mut()
        .filter(|entry| entry.is::<Descriptor>() || entry.is::<TcpSocket>() || entry.is::<UdpSocket>());
    open.count() < MAX_OPEN
}
