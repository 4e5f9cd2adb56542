//! The receiver `statsd`.

use super::{Ground, ListenError, Started};
use crate::config::StatsdReceiver;

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(_config: &StatsdReceiver, _ground: Ground) -> Result<Started, ListenError> {
    Ok(Started::default())
}
