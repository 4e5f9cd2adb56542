//! Work on a large body, done so that small ones need not wait for it.
//!
//! Unpacking, walking and compressing 16 MiB takes a core for tens of milliseconds without a break. A worker of the
//! runtime has other connections' tasks queued meanwhile, and the one that it woke last is nobody else's to take: so
//! the worker hands them all to another thread first. That costs some ten microseconds, which is why a batch of the
//! usual size is worked on where it is.

use std::{
    future::{Future, poll_fn},
    pin::pin,
};

use tokio::runtime::{Handle, RuntimeFlavor};

/// Bytes, unpacked, from which on a body is large: one or two milliseconds of work.
const LARGE: usize = 1 << 20;

/// Does work on a body of so many bytes. Cancel safe as far as the work is.
pub(crate) async fn aside<W: Future>(bytes: usize, work: W) -> W::Output {
    // A runtime of one thread has nobody to hand anything to, and says so by a panic.
    let large = bytes >= LARGE && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    let mut work = pin!(work);
    poll_fn(|context| match large {
        true => tokio::task::block_in_place(|| work.as_mut().poll(context)),
        false => work.as_mut().poll(context),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_a_large_body_is_worked_on() {
        let (tell, told) = mpsc::channel();
        let large = tokio::spawn(async move {
            // On the only worker, and in its queue behind this task.
            tokio::spawn(async move { tell.send(()) });
            aside(LARGE, async move { told.recv_timeout(Duration::from_secs(20)) }).await
        });
        assert_eq!(large.await.unwrap(), Ok(()), "the other task ran before the large one ended");
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_it_all_the_same() {
        assert_eq!(aside(LARGE, async { 7 }).await, 7);
    }
}
