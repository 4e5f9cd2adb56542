//! One consumer. In reading order: the handle, its cursor and places, reading a lane.

mod handle;
mod read;
mod state;

pub(crate) use handle::status;
pub use handle::{Consumer, Outcome, Plan, Read, ReadLimit};
pub(crate) use state::ConsumerState;
