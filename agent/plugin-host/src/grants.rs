//! What the configuration lets one plugin reach. Nothing by default.

use std::path::PathBuf;

use crate::{
    address::{Endpoint, Origin},
    services::Denied,
};

/// What one plugin may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Parts of the host's figures.
    pub system: SystemGrant,
    /// Secrets, by name.
    pub secrets: Vec<String>,
    /// Whom it may send requests to.
    pub http: Vec<Origin>,
    /// Folders that it may read, all below them included. Absolute; it sees them under the same path.
    pub read: Vec<PathBuf>,
    /// Folders that it may read and change.
    pub write: Vec<PathBuf>,
    /// Whom it may connect to.
    pub tcp: Vec<Endpoint>,
    /// Whom it may exchange datagrams with.
    pub udp: Vec<Endpoint>,
    /// Unix sockets on which it may send requests, by path.
    pub unix: Vec<PathBuf>,
    /// Variables of the agent's environment that it sees, by name.
    pub env: Vec<String>,
}

/// Which parts of the host's figures are granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SystemGrant {
    /// None.
    #[default]
    None,
    /// Every part there is.
    All,
    /// These parts.
    Parts(Vec<String>),
}

/// A part with a dot is a detail of the part before it, and comes with its grant.
fn covers(granted: &str, part: &str) -> bool {
    part.strip_prefix(granted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Grants {
    /// Whether the part of the host's figures is granted.
    pub(crate) fn system(&self, part: &str) -> Result<(), Denied> {
        let granted = match &self.system {
            SystemGrant::None => false,
            SystemGrant::All => true,
            SystemGrant::Parts(parts) => parts.iter().any(|granted| covers(granted, part)),
        };
        if granted { Ok(()) } else { Err(Denied::System(part.to_owned())) }
    }

    /// Whether the secret is granted.
    pub(crate) fn secret(&self, name: &str) -> Result<(), Denied> {
        if self.secrets.iter().any(|granted| granted == name) {
            Ok(())
        } else {
            Err(Denied::Secret(name.to_owned()))
        }
    }
}
