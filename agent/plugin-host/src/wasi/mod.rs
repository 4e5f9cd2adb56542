//! WASI 0.2 for the plugins that import it, by wasmtime's own implementation: linked interface by interface, and only
//! what a component imports. A plugin without such an import costs nothing of it, neither memory nor time.
//!
//! What is imported can always be called; what is not granted answers with WASI's own error, and the operator is told
//! the grant that would allow it ([`Denied`](crate::Denied)).
//!
//! ```text
//!  clocks, random, io, cli      wasmtime-wasi as it is; stdout and stderr become log lines (output)
//!  filesystem                   wasmtime-wasi behind checks (files): folders only, no devices, no pipes, no procfs
//!  sockets                      wasmtime-wasi behind checks (sockets), names by our resolver (names)
//!  http                         wasmtime-wasi-http, with our own way out (http)
//! ```
//!
//! Every check of an address is made after the name is resolved, for each use (outside). Deliberately absent:
//! listening, standard input, arguments, a current folder, incoming HTTP, and Unix sockets other than for HTTP, which
//! WASI 0.2 has no way to name.

mod asks;
mod descriptor;
mod files;
mod http;
mod link;
mod names;
mod open;
mod output;
mod outside;
mod sockets;
mod stage;
mod tls;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{
    denials::Denials,
    grants::Grants,
    guest::{Guest, LineRate},
    services::Services,
};

pub use asks::{Asked, asks};
pub(crate) use link::{SUPPORTED, is_imported, linker};
pub use outside::{Outside, Reserved, Resolve};
pub use stage::{Answers, Stage};

/// How many things of the host one instance may hold: streams, sockets, files, requests, polls.
const MAX_TABLE: usize = 512;
/// The most random bytes in one call.
const MAX_RANDOM: u64 = 65_536;
/// Names and values of one request's or response's headers, in bytes.
const MAX_FIELDS: usize = 64 << 10;

/// What one instance has of WASI.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    requests: http::Requests,
    files: files::Granted,
    sockets: Arc<sockets::Granted>,
    output: Arc<output::Output>,
}

impl Wasi {
    pub(crate) fn new(
        grants: &Grants,
        services: &Arc<dyn Services>,
        lines: &Arc<Mutex<LineRate>>,
        denials: &Arc<Denials>,
        outside: &Arc<Outside>,
    ) -> Wasi {
        let output = Arc::new(output::Output::new(Arc::clone(services), Arc::clone(lines)));
        let sockets = Arc::new(sockets::Granted::new(grants, Arc::clone(outside), Arc::clone(denials)));
        let mut builder = WasiCtx::builder();
        builder
            .stdout(output.stream(output::Kind::Out))
            .stderr(output.stream(output::Kind::Err))
            .max_random_size(MAX_RANDOM)
            .wall_clock(WallClock(Arc::clone(services)))
            .allow_tcp(true)
            .allow_udp(true)
            .socket_addr_check(sockets.check());
        for name in &grants.env {
            if let Ok(value) = std::env::var(name) {
                builder.env(name, value);
            }
        }
        let files = files::Granted::open(grants, &mut builder, outside, services, Arc::clone(denials));
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_TABLE);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        Wasi {
            ctx: builder.build(),
            http,
            table,
            requests: http::Requests::new(grants, Arc::clone(outside), Arc::clone(denials)),
            files,
            sockets,
            output,
        }
    }

    /// What it wrote in this call, to its last byte, and how much of it was left out.
    pub(crate) fn settle(&self) -> output::Written {
        self.output.settle()
    }
}

/// The clock that the contract's `clock` shows, too.
struct WallClock(Arc<dyn Services>);

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.now_ns())
    }
}

impl Guest {
    fn wasi(&mut self) -> &mut Wasi {
        self.wasi.as_mut().expect("what links WASI is given its data before it starts")
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self.wasi();
        WasiHttpCtxView { ctx: &mut wasi.http, table: &mut wasi.table, hooks: &mut wasi.requests }
    }
}
