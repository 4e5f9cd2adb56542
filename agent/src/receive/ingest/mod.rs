//! The receiver `ingest`.

use super::{Ground, ListenError, Started};
use crate::config::IngestReceiver;

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(_config: &IngestReceiver, _ground: Ground) -> Result<Started, ListenError> {
    Ok(Started::default())
}
