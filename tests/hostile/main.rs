//! Hostile plugins over the real agent: each is contained, counted and named in `status`, and the host collector beside
//! them keeps its second.
//!
//! `kinds` runs one plugin a misdeed, written by hand in `table`; `reaching` those that need WASI, which stand in `reach`; `garbage` the ways in which a push can be no OTLP; `shipped` what
//! the demo's hostile plugin does, and files that are no plugin at all.

mod garbage;
mod kinds;
mod reach;
mod reaching;
mod server;
mod shipped;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One agent with hostile plugins at a time: what is measured is what they do to it, not to each other's agents.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
