//! The contract, one module a released version: generated bindings, and a thin adapter from them to the
//! checked core in `guest.rs`. Limits and grants are checked there and nowhere else, so that no adapter of
//! an old version can pass a check by.

mod v0_1;

pub use v0_1::types::{Attribute, Value};
pub use v0_1::{Entity, Figure};

pub(crate) use v0_1::{Collector, CollectorPre, Context, add_to_linker, check_exports, error_from_guest};
