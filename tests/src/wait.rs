//! Waiting for a condition, with a bound and the last thing seen.

use std::{
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `look` until it gives `Ok`, at most `up_to`. The bound is generous where it is chosen: machines are shared.
///
/// # Panics
/// When the time is up: with `what` and the last `Err`.
pub fn until<T, E: Debug>(what: &str, up_to: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + up_to;
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) if Instant::now() > end => panic!("{what}: not within {up_to:?}; last seen: {last:?}"),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
