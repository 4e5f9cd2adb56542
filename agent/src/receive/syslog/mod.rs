//! The receiver `syslog`.

use super::{Ground, ListenError, Started};
use crate::config::SyslogReceiver;

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start(_config: &SyslogReceiver, _ground: Ground) -> Result<Started, ListenError> {
    Ok(Started::default())
}
