//! One running plugin: its store, and the calls into it.
//!
//! An instance that faults is over: its memory is given back at once, and every later call answers
//! [`FaultKind::Ended`]. Starting another one, when and how often, is the embedder's business.

use std::{fmt, sync::Arc, time::Duration};

use wasmtime::{Store, StoreContextMut, Trap, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::{
    contract::{Collector, CollectorPre, Context, error_from_guest},
    fault::{CollectError, Fault, FaultKind},
    grants::Grants,
    guest::{CallCount, Guest, Stop},
    limits::{DeniedGrowth, Limits, mebibytes},
    meter::Meter,
    services::Services,
    text::clean,
    ticker::Ticker,
    wasi::Outside,
    watchdog::within,
};

/// What is handed over in one call beside the output: names, lengths, log lines.
const HOSTCALL_SLACK: u64 = 64 << 10;
/// What wasmtime says where a guest holds too many handles.
const HANDLES_EXCEEDED: &str = "store handle limit exceeded";
/// The most names in a fault's backtrace.
const MAX_FRAMES: usize = 8;

/// What an instance is made with.
pub struct Setup {
    /// The collector's name in the configuration.
    pub instance: String,
    /// The plugin's own configuration, as JSON.
    pub config_json: String,
    /// The last durable checkpoint.
    pub checkpoint: Option<Vec<u8>>,
    /// How often it is going to be called.
    pub interval: Duration,
    /// What it may use.
    pub limits: Limits,
    /// What it may reach.
    pub grants: Grants,
    /// What it is given.
    pub services: Arc<dyn Services>,
}

/// What a successful collect came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The guest has more: call again at once.
    pub more: bool,
    /// Batches taken.
    pub pushes: u32,
    /// Bytes taken, batches and checkpoints.
    pub bytes: u64,
    /// The time that the guest was charged with.
    pub took: Duration,
    /// The time until its batches were taken; not charged.
    pub waited: Duration,
    /// Linear memory in use afterwards, in bytes. It never shrinks.
    pub memory: u64,
    /// Table elements in use afterwards.
    pub table_elements: u64,
    /// Growth that it wanted last and was denied: it went on without.
    pub denied: Option<DeniedGrowth>,
    /// Pushes that were not taken, because they were over the limit of output: it went on without.
    pub refused: u32,
    /// Lines of log left out, because there were too many a second.
    pub lines_dropped: u64,
}

/// A running plugin.
pub struct Instance {
    /// `None`: it has ended.
    store: Option<Store<Guest>>,
    collector: Collector,
    /// A call is going on, or was abandoned half way: then the guest can't be entered again.
    busy: bool,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("alive", &self.is_alive()).field("memory", &self.memory()).finish()
    }
}

impl Instance {
    /// Instantiates and calls `init`; both together have `limits.init`.
    pub(crate) async fn start(
        pre: &CollectorPre<Guest>,
        ticker: &Arc<Ticker>,
        outside: Option<&Arc<Outside>>,
        setup: Setup,
    ) -> Result<Instance, Fault> {
        let Setup { instance, config_json, checkpoint, interval, limits, grants, services } = setup;
        let (init, fuel) = (limits.init, limits.output.saturating_add(HOSTCALL_SLACK));
        let handles = limits.resources;
        let mut guest = Guest::new(limits, grants, services, Meter::new(Arc::clone(ticker)));
        if let Some(outside) = outside {
            guest.with_wasi(outside);
        }
        let mut store = Store::try_new(pre.engine(), guest)
            .map_err(|error| host_fault(&error, "no memory for a new instance"))?;
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(usize::try_from(fuel).unwrap_or(usize::MAX));
        store.set_max_component_handles(handles);
        store.epoch_deadline_callback(on_tick);
        store.set_epoch_deadline(1);

        let call = store.data().meter.start(init);
        let meter = Arc::clone(&store.data().meter);
        let collector = match within(&meter, pre.instantiate_async(&mut store)).await {
            Ok(collector) => collector,
            Err(error) => return Err(fault(&mut store, &error, "starting")),
        };
        let context = Context {
            instance,
            config: config_json,
            checkpoint,
            interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
        };
        let lifecycle = collector.whimbrel_plugin_lifecycle();
        let answer = within(&meter, lifecycle.call_init(&mut store, &context)).await;
        drop(call);
        store.data_mut().settle();
        match answer {
            Ok(Ok(())) => Ok(Instance { store: Some(store), collector, busy: false }),
            Ok(Err(error)) => {
                let error = error_from_guest(error);
                let count = &store.data().call;
                Err(Fault {
                    message: format!("it refused to start: {error}"),
                    kind: FaultKind::Init(error),
                    backtrace: Vec::new(),
                    pushes: count.pushes,
                    bytes: count.bytes,
                    lines_dropped: count.lines_dropped,
                })
            }
            Err(error) => Err(fault(&mut store, &error, "init")),
        }
    }

    /// Asks the plugin for what it has. `deadline` is charged as [`Collected::took`] says.
    ///
    /// # Errors
    /// [`CollectError::Guest`]: the guest reports an error, and lives. [`CollectError::Fault`]: it has ended.
    /// Either way, what was pushed before stays pushed.
    ///
    /// # Cancel safety
    /// A call that is dropped half way ends the instance.
    pub async fn collect(&mut self, deadline: Duration) -> Result<Collected, CollectError> {
        let store = enter(&mut self.store, &mut self.busy)?;
        let call = begin(store, deadline);
        let meter = Arc::clone(&store.data().meter);
        let collect = self.collector.whimbrel_plugin_collect();
        let answer = within(&meter, collect.call_collect(&mut *store, milliseconds(deadline))).await;
        drop(call); // Stops the meter.
        let took = store.data().meter.spent();
        store.data_mut().settle();
        self.busy = false;
        match answer {
            Ok(Ok(more)) => {
                let guest = store.data_mut();
                Ok(Collected {
                    more,
                    pushes: guest.call.pushes,
                    bytes: guest.call.bytes,
                    took,
                    waited: guest.call.waited,
                    memory: guest.limiter.memory(),
                    table_elements: guest.limiter.table_elements(),
                    denied: guest.limiter.take_denied(),
                    refused: guest.call.refused,
                    lines_dropped: guest.call.lines_dropped,
                })
            }
            Ok(Err(error)) => Err(CollectError::Guest(error_from_guest(error))),
            Err(error) => {
                let fault = fault(store, &error, "collect");
                self.store = None;
                Err(fault.into())
            }
        }
    }

    /// Tells the plugin that it ends, and ends it.
    ///
    /// # Errors
    /// It did not end in good order; it is gone all the same.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<(), Fault> {
        let store = enter(&mut self.store, &mut self.busy)?;
        let call = begin(store, deadline);
        let meter = Arc::clone(&store.data().meter);
        let lifecycle = self.collector.whimbrel_plugin_lifecycle();
        let answer = within(&meter, lifecycle.call_shutdown(&mut *store, milliseconds(deadline))).await;
        store.data_mut().settle();
        let answer = answer.map_err(|error| fault(store, &error, "shutdown"));
        drop(call);
        answer
    }

    /// Linear memory in use, in bytes; 0 when it has ended.
    pub fn memory(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.data().limiter.memory())
    }

    /// Lines of log that were left out in the last call; 0 when it has ended: then they stand in the fault.
    pub fn lines_dropped(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.data().call.lines_dropped)
    }

    /// Whether it can be called.
    pub fn is_alive(&self) -> bool {
        self.store.is_some() && !self.busy
    }
}

/// The store, if the instance can be entered; else it is given back.
fn enter<'a>(store: &'a mut Option<Store<Guest>>, busy: &mut bool) -> Result<&'a mut Store<Guest>, Fault> {
    if std::mem::replace(busy, true) {
        *store = None;
    }
    store.as_mut().ok_or_else(|| Fault {
        kind: FaultKind::Ended,
        message: "the instance has ended before".to_owned(),
        backtrace: Vec::new(),
        pushes: 0,
        bytes: 0,
        lines_dropped: 0,
    })
}

fn begin(store: &mut Store<Guest>, deadline: Duration) -> crate::meter::Call {
    let guest = store.data_mut();
    guest.call = CallCount::default();
    guest.limiter.take_denied();
    let call = guest.meter.start(deadline);
    store.set_epoch_deadline(1);
    call
}

/// Every 10 ms of a running guest: the end, or a turn for the others on this executor.
///
/// tokio's own yield, because a task that wakes itself keeps a single-threaded executor from its timers.
fn on_tick(store: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    let meter = &store.data().meter;
    if meter.is_over() {
        return Err(Stop::deadline(meter, "").into());
    }
    meter.yielded();
    let meter = Arc::clone(meter);
    let turn = Box::pin(async move {
        tokio::task::yield_now().await;
        meter.resume();
    });
    Ok(UpdateDeadline::YieldCustom(1, turn))
}

fn milliseconds(of: Duration) -> u32 {
    u32::try_from(of.as_millis()).unwrap_or(u32::MAX)
}

fn host_fault(error: &wasmtime::Error, what: &str) -> Fault {
    Fault {
        kind: FaultKind::Host,
        message: format!("{what}: {}", error.root_cause()),
        backtrace: Vec::new(),
        pushes: 0,
        bytes: 0,
        lines_dropped: 0,
    }
}

/// What an error of wasmtime means.
fn fault(store: &mut Store<Guest>, error: &wasmtime::Error, during: &str) -> Fault {
    let stack = store.engine().get_max_wasm_stack();
    let guest = store.data_mut();
    let denied = guest.limiter.take_denied();
    let (kind, message) = classify(error, denied, guest, stack);
    let backtrace = error.downcast_ref::<WasmBacktrace>().map_or_else(Vec::new, |trace| {
        let names = trace.frames().iter().filter_map(|frame| frame.func_name());
        names.take(MAX_FRAMES).map(|name| clean(name.to_owned(), 256)).collect()
    });
    Fault {
        kind,
        message: format!("{message} (in {during})"),
        backtrace,
        pushes: guest.call.pushes,
        bytes: guest.call.bytes,
        lines_dropped: guest.call.lines_dropped,
    }
}

fn classify(
    error: &wasmtime::Error,
    denied: Option<DeniedGrowth>,
    guest: &Guest,
    stack: usize,
) -> (FaultKind, String) {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return (stop.kind.clone(), stop.message.clone());
    }
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        let said = guest.call.last_error.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        return (FaultKind::Exit, format!("it ended itself with exit code {code}{said}"));
    }
    let trap = error.downcast_ref::<Trap>().copied();
    if trap == Some(Trap::StackOverflow) {
        let message = format!(
            "it used up its stack of {} KiB (`limits.stack`): recursion without an end?",
            stack >> 10
        );
        return (FaultKind::Stack, message);
    }
    if let Some(denied) = denied {
        let kind = match denied {
            DeniedGrowth::Memory { .. } => FaultKind::Memory,
            DeniedGrowth::Table { .. } => FaultKind::Tables,
        };
        return (kind, format!("{denied}, and could not go on without"));
    }
    match trap {
        Some(Trap::UnreachableCodeReached) => {
            let message = match guest.call.last_error.as_deref() {
                // What the hook of the SDK writes begins so, too.
                Some(text) => format!("it panicked: {}", text.strip_prefix("panicked: ").unwrap_or(text)),
                None => "it panicked or aborted, and did not say why".to_owned(),
            };
            (FaultKind::Panic, message)
        }
        Some(trap) => {
            // `wasm trap: out of bounds memory access`
            let text = trap.to_string();
            let text = text.strip_prefix("wasm trap: ").unwrap_or(&text);
            (FaultKind::Trap, format!("it did what WebAssembly forbids: {text}"))
        }
        None => classify_untyped(error, guest),
    }
}

/// wasmtime keeps the types of these errors to itself; their texts are held by tests.
fn classify_untyped(error: &wasmtime::Error, guest: &Guest) -> (FaultKind, String) {
    let cause = error.root_cause().to_string();
    if cause.contains("fuel allocated for hostcalls has been exhausted") {
        let message = format!(
            "it handed over more in one call to the host than the {} that it may in a whole collect \
             (`limits.output`)",
            mebibytes(guest.output_limit())
        );
        return (FaultKind::Output, message);
    }
    if cause.contains(HANDLES_EXCEEDED) {
        let message = format!(
            "it held more than the {} handles of resources that it may at a time (`limits.resources`)",
            guest.handle_limit()
        );
        return (FaultKind::Resources, message);
    }
    if cause.contains("resource limit exceeded") {
        return (FaultKind::Resources, format!("it has too many parts: {cause}"));
    }
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        return (FaultKind::Host, format!("the machine could not run it: {io}"));
    }
    (FaultKind::Contract, format!("it broke the contract: {}", clean(cause, 512)))
}
