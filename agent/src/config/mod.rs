//! Configuration: text -> a tree with positions -> checked types.

mod types;

pub use types::*;
