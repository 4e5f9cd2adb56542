//! What of a component's imports needs a grant: for those who decide what to grant, before it runs.

use std::fmt;

use crate::description::Description;

/// Something that a plugin can ask for, because it imports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// In words.
    pub what: &'static str,
    /// The keys under `grants` that allow it; one of them is enough.
    pub keys: &'static [&'static str],
    /// What stands behind them.
    pub example: &'static str,
    /// Standard libraries import it without being asked: it may be of no use to the plugin itself.
    pub incidental: bool,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.keys.iter().enumerate() {
            write!(f, "{}{key}: {}", if index == 0 { "" } else { ", or " }, self.example)?;
        }
        Ok(())
    }
}

const fn asked(what: &'static str, keys: &'static [&'static str], example: &'static str) -> Asked {
    Asked { what, keys, example, incidental: false }
}

const SYSTEM: Asked =
    asked("figures of this host (processor, memory, disks, ...), by part", &["system"], "[PART, ...]");
const SECRETS: Asked = asked("secrets of the configuration, by name", &["secrets"], "[NAME, ...]");

/// By the interface that gives the first access.
const WASI: &[(&str, Asked)] = &[
    (
        "wasi:http/outgoing-handler",
        asked("HTTP requests, by origin or over Unix sockets", &["http", "unix"], "[ORIGIN or PATH, ...]"),
    ),
    (
        "wasi:sockets/tcp-create-socket",
        asked("TCP connections, by address", &["tcp"], "[\"HOST:PORT\", ...]"),
    ),
    ("wasi:sockets/udp-create-socket", asked("UDP, by address", &["udp"], "[\"HOST:PORT\", ...]")),
    (
        "wasi:filesystem/preopens",
        Asked { incidental: true, ..asked("files, by folder", &["read", "write"], "[FOLDER, ...]") },
    ),
    (
        "wasi:cli/environment",
        Asked { incidental: true, ..asked("variables of the environment, by name", &["env"], "[NAME, ...]") },
    ),
];

/// All that the component can ask for and that needs a grant.
pub fn asks(description: &Description) -> Vec<Asked> {
    let imports =
        |name: &str| description.imports.iter().any(|import| import.name.split('@').next() == Some(name));
    let own = [("system", SYSTEM), ("secrets", SECRETS)];
    let own = own.into_iter().filter(|(interface, _)| description.imports_contract(interface));
    let wasi = WASI.iter().filter(|(interface, _)| imports(interface)).copied();
    own.chain(wasi).map(|(_, asked)| asked).collect()
}
