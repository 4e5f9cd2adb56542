//! Time and randomness. Needs no grant. (`std::time` and threads do not work in the sandbox.)

use crate::host;

/// Nanoseconds since the Unix epoch.
#[must_use]
pub fn now_ns() -> u64 {
    host::now_ns()
}

/// Nanoseconds since some fixed moment; never goes back.
#[must_use]
pub fn monotonic_ns() -> u64 {
    host::monotonic_ns()
}

/// Unpredictable bytes; at most 65536 a call.
#[must_use]
pub fn random(len: u32) -> Vec<u8> {
    host::random(len)
}
