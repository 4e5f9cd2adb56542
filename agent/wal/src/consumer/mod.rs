//! One consumer. In reading order: the handle, its cursor and places, reading a lane, setting it
//! back.

mod handle;
mod read;
mod rewind;
mod state;

pub(crate) use handle::status;
pub use handle::{Consumer, Outcome, Plan, Read, ReadLimit};
pub use rewind::RewindTo;
#[cfg(test)]
pub(crate) use rewind::since;
pub(crate) use state::ConsumerState;
