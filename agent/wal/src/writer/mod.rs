//! The writer: one thread that owns everything that changes files. In reading order: the queue in front of it, the
//! thread, the commit, the active segment, making room, names.
//!
//! `Core` is synchronous and knows no thread, so that tests can drive it step by step.

pub(crate) mod core;
pub(crate) mod names;
pub(crate) mod queue;
pub(crate) mod room;
pub(crate) mod segments;
pub(crate) mod thread;
