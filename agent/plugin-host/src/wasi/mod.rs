//! WASI 0.2 for the plugins that import it, by wasmtime's own implementation: linked interface by interface, and only
//! what a component imports. A plugin without such an import costs nothing of it, neither memory nor time.
//!
//! What is imported can always be called; what is not granted answers with WASI's own error, and the operator is told
//! the grant that would allow it ([`Denied`](crate::Denied)).
//!
//! ```text
//!  clocks, random, io, cli      wasmtime-wasi as it is; stdout and stderr become log lines (output), and the monotonic
//!                               clock and its timers go with the contract's (timers)
//!  filesystem                   wasmtime-wasi behind checks (files): folders only, no devices, no pipes, no procfs
//!  sockets                      wasmtime-wasi behind checks (sockets), names by our resolver (names)
//!  http                         wasmtime-wasi-http, with our own way out (http)
//!  certificates                 of the contract, not of WASI: the same way out, as far as the handshake (certificates)
//! ```
//!
//! Every check of an address is made after the name is resolved, for each use (outside). All that is held for a guest is
//! bounded: resources by `limits.resources`, files and sockets by a sixteenth of that (open), lookups (lookups), requests
//! and their answers (http). Deliberately absent:
//! listening, standard input, arguments, a current folder, incoming HTTP, and Unix sockets other than for HTTP, which
//! WASI 0.2 has no way to name.

mod asks;
mod certificates;
mod descriptor;
mod files;
mod http;
mod link;
mod lookups;
mod mounts;
mod names;
mod open;
mod output;
mod outside;
mod sockets;
mod stage;
mod timers;
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
    limits::{DeniedGrowth, Limits},
    services::Services,
};

pub use asks::{Asked, asks};
pub(crate) use certificates::{Certificate, Flaw};
pub(crate) use link::{SUPPORTED, is_imported, linker};
pub use outside::{Outside, Reserved, Resolve};
pub use stage::{Answers, Stage};

/// The most random bytes in one call.
const MAX_RANDOM: u64 = 65_536;
/// Names and values of the headers of one request, in bytes: kept by the agent, for each request that is made.
const MAX_FIELDS: usize = 16 << 10;

/// What one instance has of WASI.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    requests: http::Requests,
    files: files::Granted,
    sockets: Arc<sockets::Granted>,
    output: Arc<output::Output>,
    open: open::Open,
    shortage: Arc<open::Shortage>,
    monotonic: timers::Monotonic,
}

impl Wasi {
    pub(crate) fn new(
        grants: &Grants,
        limits: &Limits,
        services: &Arc<dyn Services>,
        lines: &Arc<Mutex<LineRate>>,
        denials: &Arc<Denials>,
        outside: &Arc<Outside>,
    ) -> Wasi {
        let output = Arc::new(output::Output::new(Arc::clone(services), Arc::clone(lines)));
        let lookups = Arc::new(lookups::Lookups::new(Arc::clone(outside)));
        let sockets = Arc::new(sockets::Granted::new(grants, Arc::clone(&lookups), Arc::clone(denials)));
        let shortage = Arc::new(open::Shortage::default());
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
        // Behind a handle there may be a second thing: what a poll waits for.
        table.set_max_capacity(limits.resources.saturating_mul(2));
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        Wasi {
            ctx: builder.build(),
            http,
            table,
            requests: http::Requests::new(grants, lookups, Arc::clone(denials), Arc::clone(&shortage)),
            files,
            sockets,
            output,
            open: open::Open::new(limits.resources, outside.descriptors(), Arc::clone(&shortage)),
            shortage,
            monotonic: timers::Monotonic::new(services),
        }
    }

    /// What it wrote in this call, to its last byte, and how much of it was left out; and what there was no room for.
    pub(crate) fn settle(&mut self) -> (output::Written, Option<DeniedGrowth>) {
        self.open.settle(&mut self.table);
        (self.output.settle(), self.shortage.take())
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
