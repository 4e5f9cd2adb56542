//! The writer's thread: waits for work, hands it to the core, and ends when asked.

use std::{
    io,
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Instant,
};

use super::core::Core;
use crate::shared::Shared;

/// The core needs little; threads' stacks are counted against small machines.
const STACK: usize = 256 * 1024;

/// Starts the writer. The lock is released when it ends.
pub(crate) fn start(core: Core, held: Box<dyn Send + Sync>) -> io::Result<JoinHandle<()>> {
    Builder::new().name("whimbrel-wal".to_owned()).stack_size(STACK).spawn(move || {
        let _gone = Gone(core.shared.clone());
        run(core, held);
    })
}

/// However the thread ends, nobody waits for it afterwards.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.queue.abandon();
        // Without the lock no cursor may be written.
        for consumer in self.0.consumers().iter() {
            consumer.close();
        }
    }
}

fn run(mut core: Core, held: Box<dyn Send + Sync>) {
    let shared = core.shared.clone();
    loop {
        let due = core.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        let mut work = shared.queue.wait(due);
        let now = Instant::now();
        core.note(&work, now);
        core.run(std::mem::take(&mut work.appends), work.reclaim, now);
        for task in work.tasks {
            task(&mut core);
        }
        if let Some(done) = work.close {
            let result = core.close();
            drop(core);
            drop(held);
            done(result);
            return;
        }
        if shared.queue.is_empty() {
            core.prepare_ahead();
        }
    }
}
