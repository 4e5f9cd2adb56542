//! Which interfaces there are, and how each is linked.

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::{
    WasiView as _,
    cli::{WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    p2::bindings::{cli, clocks, filesystem, random, sockets as net},
    random::WasiRandom,
    sockets::{WasiSockets, WasiSocketsView as _},
};
use wasmtime_wasi_http::{WasiHttp, WasiHttpView as _, p2::bindings::http};
use wasmtime_wasi_io::bindings::wasi::io;

use super::{files, names, sockets, timers};
use crate::{description::Description, guest::Guest};

type Link = fn(&mut Linker<Guest>) -> wasmtime::Result<()>;

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// The interfaces of WASI 0.2 that a plugin may import, without their versions.
pub(crate) const SUPPORTED: &[(&str, Link)] = &[
    ("wasi:cli/environment", |l| cli::environment::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:cli/exit", |l| cli::exit::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:cli/stdin", |l| cli::stdin::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:cli/stdout", |l| cli::stdout::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:cli/stderr", |l| cli::stderr::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-input", |l| cli::terminal_input::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-output", |l| cli::terminal_output::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-stdin", |l| cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-stdout", |l| cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-stderr", |l| cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(l, Guest::cli)),
    ("wasi:clocks/monotonic-clock", |l| timers::add_to_linker(l)),
    ("wasi:clocks/wall-clock", |l| clocks::wall_clock::add_to_linker::<Guest, WasiClocks>(l, Guest::clocks)),
    ("wasi:filesystem/preopens", |l| {
        filesystem::preopens::add_to_linker::<Guest, files::Files>(l, Guest::files)
    }),
    ("wasi:filesystem/types", |l| filesystem::types::add_to_linker::<Guest, files::Files>(l, Guest::files)),
    ("wasi:http/outgoing-handler", |l| {
        http::outgoing_handler::add_to_linker::<Guest, WasiHttp>(l, Guest::http)
    }),
    ("wasi:http/types", |l| {
        let options = http::types::LinkOptions::default();
        http::types::add_to_linker::<Guest, WasiHttp>(l, &options, Guest::http)
    }),
    ("wasi:io/error", |l| io::error::add_to_linker::<Guest, Table>(l, |guest| guest.ctx().table)),
    ("wasi:io/poll", |l| io::poll::add_to_linker::<Guest, Table>(l, |guest| guest.ctx().table)),
    ("wasi:io/streams", |l| io::streams::add_to_linker::<Guest, Table>(l, |guest| guest.ctx().table)),
    ("wasi:random/insecure", |l| {
        random::insecure::add_to_linker::<Guest, WasiRandom>(l, Guest::random_source)
    }),
    ("wasi:random/insecure-seed", |l| {
        random::insecure_seed::add_to_linker::<Guest, WasiRandom>(l, Guest::random_source)
    }),
    ("wasi:random/random", |l| random::random::add_to_linker::<Guest, WasiRandom>(l, Guest::random_source)),
    ("wasi:sockets/instance-network", |l| {
        net::instance_network::add_to_linker::<Guest, WasiSockets>(l, Guest::sockets)
    }),
    ("wasi:sockets/ip-name-lookup", |l| names::add_to_linker(l)),
    ("wasi:sockets/network", |l| {
        let options = net::network::LinkOptions::default();
        net::network::add_to_linker::<Guest, WasiSockets>(l, &options, Guest::sockets)
    }),
    ("wasi:sockets/tcp", |l| net::tcp::add_to_linker::<Guest, WasiSockets>(l, Guest::sockets)),
    ("wasi:sockets/tcp-create-socket", |l| {
        net::tcp_create_socket::add_to_linker::<Guest, sockets::Creation>(l, Guest::creation)
    }),
    ("wasi:sockets/udp", |l| net::udp::add_to_linker::<Guest, WasiSockets>(l, Guest::sockets)),
    ("wasi:sockets/udp-create-socket", |l| {
        net::udp_create_socket::add_to_linker::<Guest, sockets::Creation>(l, Guest::creation)
    }),
];

impl Guest {
    /// The contract has a `random` of its own.
    fn random_source(&mut self) -> &mut wasmtime_wasi::random::WasiRandomCtx {
        wasmtime_wasi::random::WasiRandomView::random(self)
    }
}

/// Whether a component imports any of it, or what goes the same way out.
pub(crate) fn is_imported(description: &Description) -> bool {
    description.imports.iter().any(|import| import.name.starts_with("wasi:"))
        || description.imports_contract("certificates")
}

/// The linker of the contract with what the component imports of WASI beside it; `world` has made sure that there is
/// nothing else.
pub(crate) fn linker(base: &Linker<Guest>, description: &Description) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = base.clone();
    let imported =
        |name: &str| description.imports.iter().any(|import| import.name.split('@').next() == Some(name));
    for (_, link) in SUPPORTED.iter().filter(|(name, _)| imported(name)) {
        link(&mut linker)?;
    }
    Ok(linker)
}
