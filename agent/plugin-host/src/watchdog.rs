//! Ends a call whose deadline passes while no guest code runs.
//!
//! A guest that runs is stopped by epochs. One that waits in a function of the host (a server that does not answer, a
//! lock) runs no code, and no epoch reaches it: this does. Waiting that is not charged (`push` until there is room,
//! the turn of others) does not count here either, because the meter stands still meanwhile.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use tokio::time::{Sleep, sleep};

use crate::{guest::Stop, meter::Meter, ticker::TICK};

/// Drives the call to its end, or drops it when the meter's deadline has passed. Most calls are over before a timer is
/// made.
///
/// The call is polled once each time that this is: one that gives up its turn has to have given it up.
///
/// # Errors
/// The call's own; [`Stop`] with a deadline where it was dropped: then the instance can't be entered again.
pub(crate) async fn within<T>(
    meter: &Arc<Meter>,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let (mut call, mut timer) = (pin!(call), pin!(None::<Sleep>));
    poll_fn(|context| {
        if let Poll::Ready(answer) = call.as_mut().poll(context) {
            return Poll::Ready(answer);
        }
        loop {
            if let Some(timer) = timer.as_mut().as_pin_mut() {
                match timer.poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) if meter.is_over() => {
                        let stop = Stop::deadline(meter, ", waiting for an answer of the host");
                        return Poll::Ready(Err(stop.into()));
                    }
                    Poll::Ready(()) => {}
                }
            }
            // A tick more, so that a guest that runs is stopped where it is, with its names.
            timer.as_mut().set(Some(sleep(meter.left() + TICK)));
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicBool, Ordering::SeqCst},
        time::{Duration, Instant},
    };

    use super::*;
    use crate::ticker::Ticker;

    const DEADLINE: Duration = Duration::from_millis(50);

    fn meter() -> Arc<Meter> {
        let engine = wasmtime::Engine::new(&crate::engine::config().unwrap()).unwrap();
        Arc::new(Meter::new(Arc::new(Ticker::start(&engine).unwrap())))
    }

    #[tokio::test]
    async fn a_call_that_waits_for_the_host_ends_at_its_deadline() {
        let meter = meter();
        let _call = meter.start(DEADLINE);
        let since = Instant::now();
        let error = within(&meter, pending::<wasmtime::Result<()>>()).await.unwrap_err();
        assert!(since.elapsed() >= DEADLINE);
        let text = error.to_string();
        assert!(text.contains("deadline of 50ms") && text.contains("waiting for an answer"), "{text}");
    }

    #[tokio::test]
    async fn a_call_that_gives_up_its_turn_goes_on_when_the_others_had_theirs() {
        let meter = meter();
        let _call = meter.start(Duration::from_secs(60));
        let others = Arc::new(AtomicBool::new(false));
        let had = Arc::clone(&others);
        tokio::spawn(async move { had.store(true, SeqCst) });
        let gives_up = async {
            tokio::task::yield_now().await;
            Ok(others.load(SeqCst))
        };
        assert!(within(&meter, gives_up).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_not_charged_ends_nothing() {
        let meter = meter();
        let _call = meter.start(DEADLINE);
        let waits = async {
            meter.pause();
            tokio::time::sleep(DEADLINE * 4).await;
            meter.resume();
            Ok(7)
        };
        assert_eq!(within(&meter, waits).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_is_charged_after_a_pause_is_added_up() {
        let meter = meter();
        let _call = meter.start(DEADLINE);
        let waits = async {
            meter.pause();
            tokio::time::sleep(DEADLINE * 2).await;
            meter.resume();
            pending::<()>().await;
            Ok(())
        };
        let since = Instant::now();
        assert!(within(&meter, waits).await.is_err());
        assert!(since.elapsed() >= DEADLINE * 3);
    }
}
