//! The writer: one thread that owns everything that changes files. In reading order: the queue in front of it, the
//! thread, the commit, beginning and sealing segments, the active one, what is prepared ahead of it, what happens when
//! the disk fails, making room, other keys, names.
//!
//! `Core` is synchronous and knows no thread, so that tests can drive it step by step.

pub(crate) mod queue;

pub(crate) mod thread;

pub(crate) mod core;

pub(crate) mod segments;

pub(crate) mod active;

pub(crate) mod ahead;

mod failing;

pub(crate) mod room;

mod rotate;

pub(crate) mod names;
