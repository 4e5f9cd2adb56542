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
    /// Standard libraries and interpreters import it without being asked: it may be of no use to the plugin itself.
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
const CERTIFICATES: Asked = asked("certificates of servers, by origin", &["http"], "[ORIGIN, ...]");

/// An interpreter has this where the plugin's author has asked for it.
const ON_DEMAND: &str = "wasi:http/outgoing-handler";

/// By the interface that gives the first access.
const WASI: &[(&str, Asked)] = &[
    (
        ON_DEMAND,
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
    let interpreted = description.is_interpreted();
    let own = [("system", SYSTEM), ("secrets", SECRETS), ("certificates", CERTIFICATES)];
    let own = own.into_iter().filter(|(interface, _)| description.imports_contract(interface));
    let wasi = WASI.iter().filter(|(interface, _)| imports(interface)).copied();
    let judged = |(interface, asked): (&str, Asked)| Asked {
        incidental: asked.incidental || interpreted && interface != ON_DEMAND,
        ..asked
    };
    own.chain(wasi).map(judged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::{Identity, Interface};

    #[test]
    fn what_an_interpreter_imports_is_no_demand_and_what_its_author_named_is() {
        let imports = ["whimbrel:plugin/system@0.1.0", "wasi:http/outgoing-handler@0.2.12"];
        let import = |name: &&str| Interface { name: (*name).to_owned(), functions: Vec::new() };
        let demanded = |made_with: &str| {
            let description = Description {
                identity: Identity { made_with: vec![made_with.to_owned()], ..Identity::default() },
                imports: imports.iter().map(import).collect(),
                exports: Vec::new(),
                config_schema: None,
                sha256: String::new(),
                size: 0,
            };
            let asks = asks(&description);
            asks.iter().filter(|asked| !asked.incidental).map(|asked| asked.keys[0]).collect::<Vec<_>>()
        };
        assert_eq!(demanded("Rust"), ["system", "http"]);
        assert_eq!(demanded("Python"), ["http"]);
    }
}
