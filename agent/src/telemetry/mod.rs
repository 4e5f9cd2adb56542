//! What the agent says about itself: never the data that passes through it.

pub mod log;
