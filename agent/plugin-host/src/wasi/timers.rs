//! `wasi:clocks/monotonic-clock`, which runs as the contract's does: ahead by what [`Services::skipped`] says.
//!
//! Written here because the library's timers know the machine's clock only. A timer that a guest holds from one collect
//! to the next, with an hour skipped between them, would keep it waiting for that hour; here it is due. Nobody skips
//! time while a guest waits: what is left is worked out when the waiting begins.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use crate::{guest::Guest, services::Services};

/// The interface, under the version that wasmtime-wasi links its own by; any release of 0.2 finds it.
const INTERFACE: &str = "wasi:clocks/monotonic-clock@0.2.12";

/// The clock of one instance, in nanoseconds since it was made.
#[derive(Clone)]
pub(super) struct Monotonic {
    origin: Instant,
    services: Arc<dyn Services>,
}

impl Monotonic {
    pub(super) fn new(services: &Arc<dyn Services>) -> Monotonic {
        Monotonic { origin: Instant::now(), services: Arc::clone(services) }
    }

    fn now(&self) -> u64 {
        let passed = self.origin.elapsed().saturating_add(self.services.skipped());
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }

    fn timer(&self, due: u64) -> Timer {
        Timer { clock: self.clone(), due, to_yield: due <= self.now() }
    }
}

/// Ready when its time has come.
struct Timer {
    clock: Monotonic,
    due: u64,
    /// It was due from the beginning, which is how a guest asks what is ready: the executor looks at its sockets first.
    to_yield: bool,
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        if std::mem::take(&mut self.to_yield) {
            tokio::task::yield_now().await;
        }
        loop {
            match self.due.saturating_sub(self.clock.now()) {
                0 => return,
                left => tokio::time::sleep(Duration::from_nanos(left)).await,
            }
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, Guest>;
    let mut interface = linker.instance(INTERFACE)?;
    interface
        .func_wrap("now", |mut store: Store<'_>, (): ()| Ok((store.data_mut().wasi().monotonic.now(),)))?;
    interface.func_wrap("resolution", |_: Store<'_>, (): ()| Ok((1_u64,)))?;
    interface.func_wrap("subscribe-instant", |mut store: Store<'_>, (due,): (u64,)| {
        Ok((subscribe_at(store.data_mut(), |_| due)?,))
    })?;
    interface.func_wrap("subscribe-duration", |mut store: Store<'_>, (pause,): (u64,)| {
        Ok((subscribe_at(store.data_mut(), |now| now.saturating_add(pause))?,))
    })
}

fn subscribe_at(guest: &mut Guest, due: impl FnOnce(u64) -> u64) -> wasmtime::Result<Resource<DynPollable>> {
    let wasi = guest.wasi();
    let timer = wasi.monotonic.timer(due(wasi.monotonic.now()));
    let timer = wasi.table.push(timer)?;
    subscribe(&mut wasi.table, timer)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        sync::Mutex,
        task::{Context, Waker},
    };

    use super::*;
    use crate::services::{Batch, Denied, Entity, GuestError, LogLine};

    /// Skips as much as it is told.
    #[derive(Default)]
    struct Skipping(Mutex<Duration>);

    impl Services for Skipping {
        fn push(
            &self,
            _: Batch,
            _: Option<Vec<u8>>,
        ) -> Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send + '_>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn snapshot(&self, _: &str, _: &[(String, String)]) -> Result<Vec<Entity>, GuestError> {
            Ok(Vec::new())
        }

        fn log(&self, _: LogLine) {}

        fn reveal(&self, name: &str) -> Result<String, GuestError> {
            Ok(name.to_owned())
        }

        fn denied(&self, _: &Denied) {}

        fn now_ns(&self) -> u64 {
            0
        }

        fn skipped(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn clock() -> (Arc<Skipping>, Monotonic) {
        let services = Arc::new(Skipping::default());
        let dynamic: Arc<dyn Services> = Arc::clone(&services) as _;
        (services, Monotonic::new(&dynamic))
    }

    fn is_ready(timer: &mut Timer) -> bool {
        pin!(timer.ready()).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn a_timer_that_is_held_while_time_is_skipped_is_due() {
        let (services, clock) = clock();
        let before = clock.now();
        let mut timer = clock.timer(before + HOUR.as_nanos() as u64);
        assert!(!is_ready(&mut timer));
        *services.0.lock().unwrap() += HOUR;
        assert!(clock.now() - before >= HOUR.as_nanos() as u64);
        assert!(is_ready(&mut timer));
    }

    #[tokio::test]
    async fn timers_end_in_real_time_where_nothing_is_skipped() {
        let (_services, clock) = clock();
        let due = clock.now() + Duration::from_millis(20).as_nanos() as u64;
        clock.timer(due).ready().await;
        assert!(clock.now() >= due);
        assert!(!is_ready(&mut clock.timer(u64::MAX)), "as long as can be said");
    }

    #[tokio::test]
    async fn one_that_is_due_at_once_lets_the_executor_look_around_first_and_once() {
        let (_services, clock) = clock();
        let mut timer = clock.timer(0);
        assert!(!is_ready(&mut timer));
        assert!(is_ready(&mut timer) && is_ready(&mut timer));
    }
}
