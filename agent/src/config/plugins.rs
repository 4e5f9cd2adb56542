//! `plugins:`, checked: whose plugins are taken, how registries are spoken to, and how much of what they gave is kept.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use whimbrel_plugin_host::{
    Trust,
    registry::{Reference, fetch::Access, frame::Credentials},
};

use super::types::{Collector, PluginRef, Secret};

/// The largest plugin that is taken from a registry, bytes.
pub const LARGEST_FETCHED: u64 = 128 << 20;

/// Where the signatures of a component's file stand: beside it, with `.sig` behind its whole name.
pub fn signature_file(component: &Path) -> PathBuf {
    let mut name = OsString::from(component);
    name.push(".sig");
    PathBuf::from(name)
}

/// `plugins:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugins {
    /// `trust`. Default: no key, and then every component is taken and no compiled code.
    pub trust: Trust,
    /// `registries`, by host, with its port where it has one.
    pub registries: BTreeMap<String, Registry>,
    /// `store.max_size`: how much of what came from registries is kept on disk, bytes. Default 1 GiB, 16 MiB to 1 TiB.
    pub store_max_size: u64,
    /// `fetch_timeout`: how long fetching one plugin may take. Default 2 min, 1 s to 1 h.
    pub fetch_timeout: Duration,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            registries: BTreeMap::new(),
            store_max_size: 1 << 30,
            fetch_timeout: Duration::from_secs(120),
        }
    }
}

/// `plugins.registries.HOST`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    /// Over `http://`. Default: only where the registry is on this machine, by its literal address.
    pub plain_http: Option<bool>,
    /// `ca_file` and its text, PEM: the authorities to trust instead of the system's.
    pub ca: Option<(PathBuf, String)>,
    /// Default: what docker's configuration file says.
    pub login: Option<Login>,
}

/// What a registry wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// `username` and `password`
    Password(Secret, Secret),
    /// `token`
    Token(Secret),
}

/// A plugin in a registry, and the way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Registered {
    /// Which.
    pub reference: Reference,
    /// How its registry is spoken to.
    pub registry: Registry,
    /// See [`Plugins::fetch_timeout`].
    pub timeout: Duration,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reference, f)
    }
}

impl Registered {
    /// One that nothing is configured for.
    pub fn new(reference: Reference) -> Self {
        Self { reference, registry: Registry::default(), timeout: Plugins::default().fetch_timeout }
    }

    /// What fetching it takes.
    pub fn access(&self) -> Access {
        let Registry { plain_http, ca, login } = &self.registry;
        Access {
            plain_http: plain_http.unwrap_or_else(|| self.reference.is_loopback()),
            ca_pem: ca.as_ref().map(|(_, pem)| pem.clone()),
            credentials: login.as_ref().map(|login| match login {
                Login::Password(username, password) => Credentials::Basic {
                    username: username.reveal().to_owned(),
                    password: password.reveal().to_owned(),
                },
                Login::Token(token) => Credentials::Token(token.reveal().to_owned()),
            }),
            timeout: self.timeout,
            max_size: LARGEST_FETCHED,
        }
    }
}

impl Plugins {
    /// Gives each collector what it takes to load its plugin, so that a change of it is a change of the collector.
    pub(super) fn equip(&self, collectors: &mut [Collector]) {
        for collector in collectors {
            match &mut collector.plugin {
                // What is shipped in the agent is trusted as the agent is; a program is allowed otherwise.
                PluginRef::Builtin(_) | PluginRef::Exec(_) => continue,
                PluginRef::Path(_) => {}
                PluginRef::Registry(registered) => self.equip_registered(registered),
            }
            collector.trust = self.trust.clone();
        }
    }

    /// The same for a plugin that is no configured collector's.
    pub fn equip_registered(&self, registered: &mut Registered) {
        if let Some(registry) = self.registries.get(&registered.reference.registry) {
            registered.registry = registry.clone();
        }
        registered.timeout = self.fetch_timeout;
    }
}

impl PluginRef {
    /// Whether it is a program, outside the sandbox.
    pub fn is_program(&self) -> bool {
        matches!(self, Self::Exec(_))
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "builtin:{name}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Registry(registered) => write!(f, "{}", registered.reference),
            Self::Exec(exec) => write!(f, "exec:{}", exec.program.display()),
        }
    }
}
