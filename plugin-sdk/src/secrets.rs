//! Secrets, granted by name.

use crate::{Error, host};

/// The secret of that name, as the agent's configuration gives it.
///
/// # Errors
/// [`Error::Denied`] if it is not granted: `grants: {secrets: [NAME]}`.
pub fn reveal(name: &str) -> Result<String, Error> {
    host::reveal(name)
}
