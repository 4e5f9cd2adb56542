//! The writer's thread: waits for work, hands it to the core, and ends when asked. An appender that waits for its answer
//! anyway takes the core's turn itself when nobody has it: waking two threads costs as much as a fast disk's sync.
//!
//! Whoever has the turn takes everything that waits, so that order is kept; what is due later, zeros ahead, and the end are
//! the thread's.

use std::{
    io,
    sync::{Arc, Mutex},
    thread::{Builder, JoinHandle},
    time::Instant,
};

use super::{core::Core, queue::Work};
use crate::shared::Shared;

/// The core needs little; threads' stacks are counted against small machines.
const STACK: usize = 256 * 1024;

/// The core, for whoever has its turn; `None` once the WAL is closed.
pub(crate) type Seat = Arc<Mutex<Option<Core>>>;

/// Starts the writer. The lock is released when it ends.
pub(crate) fn start(core: Core, held: Box<dyn Send + Sync>) -> io::Result<(Seat, JoinHandle<()>)> {
    let shared = core.shared.clone();
    let seat = Arc::new(Mutex::new(Some(core)));
    let own = seat.clone();
    let thread = Builder::new().name("whimbrel-wal".to_owned()).stack_size(STACK).spawn(move || {
        run(&own, Gone { shared, _held: held });
    })?;
    Ok((seat, thread))
}

/// However the thread ends, nobody waits for it afterwards, and no cursor is written once the lock is released.
struct Gone {
    shared: Arc<Shared>,
    /// Released after what `drop` does.
    _held: Box<dyn Send + Sync>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.shared.queue.abandon();
        for consumer in self.shared.consumers().iter() {
            consumer.close();
        }
    }
}

/// Ends when the WAL is closed, or when somebody panicked in his turn: the core may be half changed then.
fn run(seat: &Seat, gone: Gone) {
    let shared = gone.shared.clone();
    loop {
        let due = match seat.lock().as_deref_mut() {
            Ok(Some(core)) => core.note_due(),
            _ => return,
        };
        shared.queue.wait(due.map(|due| due.saturating_duration_since(Instant::now())));
        let Ok(mut turn) = seat.lock() else { return };
        let Some(core) = turn.as_mut() else { return };
        let mut work = shared.queue.take();
        do_all(core, &mut work);
        if let Some(done) = work.close {
            let result = core.close();
            *turn = None;
            drop(turn);
            drop(gone);
            done(result);
            return;
        }
        if shared.queue.is_empty() {
            core.prepare_ahead();
        }
    }
}

/// Does what waits, on this thread, if nobody else is at it; `false` if somebody is, who may not see what was added last.
pub(crate) fn try_turn(seat: &Seat, shared: &Shared) -> bool {
    let Ok(mut turn) = seat.try_lock() else { return false };
    let Some(core) = turn.as_mut() else { return false };
    let mut work = shared.queue.take_but_close();
    do_all(core, &mut work);
    if core.is_due_earlier() || core.wants_ahead() {
        shared.queue.hint_look();
    }
    true
}

fn do_all(core: &mut Core, work: &mut Work) {
    let now = Instant::now();
    core.note(work, now);
    core.run(std::mem::take(&mut work.appends), work.reclaim, now);
    for task in std::mem::take(&mut work.tasks) {
        task(core);
    }
}
