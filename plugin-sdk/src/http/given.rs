//! The value of a header in a plugin's configuration.

use serde::Deserialize;

use crate::{Error, secrets};

/// A header's value as an operator writes it: `text`, or `{secret: NAME, prefix: "Bearer "}` for a secret of the agent's
/// configuration, which the plugin is to be granted.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum HeaderValue {
    /// As it stands there.
    Text(String),
    /// A secret of the agent's configuration.
    Secret(HeaderSecret),
}

/// A secret by its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderSecret {
    /// Its name.
    secret: String,
    /// What stands before it.
    #[serde(default)]
    prefix: String,
}

impl HeaderValue {
    /// What is sent.
    ///
    /// # Errors
    /// A secret that is not granted.
    pub fn reveal(&self) -> Result<String, Error> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Secret(HeaderSecret { secret, prefix }) => {
                Ok(format!("{prefix}{}", secrets::reveal(secret)?))
            }
        }
    }
}
