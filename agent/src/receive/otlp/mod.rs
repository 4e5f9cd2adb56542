//! The receiver `otlp`.

use super::{Ground, ListenError, Started};
use crate::config::OtlpReceiver;

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(_config: &OtlpReceiver, _ground: Ground) -> Result<Started, ListenError> {
    Ok(Started::default())
}
