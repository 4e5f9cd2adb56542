//! The receiver `ldjson`.

use super::{Ground, ListenError, Started};
use crate::config::LdjsonReceiver;

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(_config: &LdjsonReceiver, _ground: Ground) -> Result<Started, ListenError> {
    Ok(Started::default())
}
