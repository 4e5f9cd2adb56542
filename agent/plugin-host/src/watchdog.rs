//! Ends a call whose deadline passes while no guest code runs.
//!
//! A guest that runs is stopped by epochs. One that waits in a function of the host (a server that does not answer, a
//! lock) runs no code, and no epoch reaches it: this does. Waiting that is not charged (`push` until there is room,
//! the turn of others) does not count here either, because the meter stands still meanwhile.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{guest::Stop, meter::Meter, ticker::TICK};

/// Drives the call to its end, or drops it when the meter's deadline has passed. Most calls are over before a timer is
/// made.
///
/// # Errors
/// The call's own; [`Stop`] with a deadline where it was dropped: then the instance can't be entered again.
pub(crate) async fn within<T>(
    meter: &Arc<Meter>,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut call = pin!(call);
    let at_once = std::future::poll_fn(|context: &mut Context<'_>| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    });
    if let Some(answer) = at_once.await {
        return answer;
    }
    loop {
        // A tick more, so that a guest that runs is stopped where it is, with its names.
        let timer = tokio::time::sleep(meter.left() + TICK);
        tokio::select! {
            biased;
            answer = &mut call => return answer,
            () = timer => if meter.is_over() {
                return Err(Stop::deadline(meter, ", waiting for an answer of the host").into());
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
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
