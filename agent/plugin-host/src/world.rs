//! Whether a component fits this host, decided by names alone, before anything is compiled or linked.
//!
//! A refusal names both sides, what the component asks for and what there is: a raw linker error names one
//! at a time and no remedy. Types are compared later, by the linker.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    description::{Description, Interface},
    wasi,
};

/// The package of the contract.
const PACKAGE: &str = "whimbrel:plugin/";

/// The newest version of the contract that this host speaks.
pub const CONTRACT: Version = Version { major: 0, minor: 1, patch: 0 };

/// What this host offers: interface, functions.
const OFFERED: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("emit", &["push"]),
    ("clock", &["now-ns", "monotonic-ns", "random"]),
    ("log", &["write"]),
    ("secrets", &["reveal"]),
    ("system", &["snapshot"]),
    ("certificates", &["peer"]),
];

/// What a collector exports.
const COLLECTOR: &[(&str, &[&str])] = &[("lifecycle", &["init", "shutdown"]), ("collect", &["collect"])];

/// A version of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Version {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let mut parts = text.split('.').map(|part| part.parse::<u64>().ok());
        let version = Version { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }

    /// Whether something made for `self` runs on a host of `host`, as far as numbers tell: the same major
    /// version, and before 1.0 the same minor one. (A later patch may ask for functions that are not there.)
    fn runs_on(self, host: Version) -> bool {
        self.major == host.major && (self.major > 0 || self.minor == host.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Why a component does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Misfit {
    /// It was made for something else than Whimbrel, or for a world that this host does not know.
    #[error(
        "it is a component of another world: a Whimbrel collector exports {needed}, and this one exports {}",
        list(exports)
    )]
    OtherWorld {
        /// What a collector exports.
        needed: String,
        /// What it exports.
        exports: Vec<String>,
    },
    /// It was made for another version of the contract.
    #[error(
        "it was made for version {wants} of the plugin contract, and this host speaks {has}: {} \
         (it exports: {}; it asks for: {}; this host calls: {}; it offers: {})",
        if wants > has { "install a later Whimbrel, or build it with the SDK of this version" }
        else { "build it with the SDK of this version" },
        list(exports),
        list(asks),
        list(&names(&expected())),
        list(offers)
    )]
    Contract {
        /// The version it was made for.
        wants: Version,
        /// The version of this host.
        has: Version,
        /// All that it exports.
        exports: Vec<String>,
        /// What it imports, or what of this there is not.
        asks: Vec<String>,
        /// All that this host offers.
        offers: Vec<String>,
    },
    /// It asks for what this host lacks.
    #[error(
        "it asks for what this host lacks: {}{} (this host offers: {})",
        list(missing),
        if missing.iter().all(|name| name.starts_with("wasi:")) {
            "; of WASI this host has version 0.2, for clients only: build it with a tool of that version, or with the \
             stub option of its language's tool"
        } else { "" },
        list(offers)
    )]
    Missing {
        /// What it asks for and this host lacks.
        missing: Vec<String>,
        /// All that this host offers.
        offers: Vec<String>,
    },
}

fn names(interfaces: &[Interface]) -> Vec<String> {
    interfaces.iter().map(Interface::to_string).collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// The interfaces that this host offers to plugins.
pub fn offered() -> Vec<Interface> {
    interfaces(OFFERED)
}

/// The interfaces that a collector exports.
pub fn expected() -> Vec<Interface> {
    interfaces(COLLECTOR)
}

fn interfaces(of: &[(&str, &[&str])]) -> Vec<Interface> {
    of.iter()
        .map(|(name, functions)| Interface {
            name: format!("{PACKAGE}{name}@{CONTRACT}"),
            functions: functions.iter().map(|&function| function.to_owned()).collect(),
        })
        .collect()
}

/// Decides whether the component is a collector that this host can run; answers its contract version.
///
/// # Errors
/// Says what does not fit, with both sides by name.
pub fn check(description: &Description) -> Result<Version, Misfit> {
    let offers = || names(&offered());
    let other_world = || Misfit::OtherWorld {
        needed: names(&expected()).join(" and "),
        exports: names(&description.exports),
    };
    let contract = |wants, asks| {
        let exports = names(&description.exports);
        Misfit::Contract { wants, has: CONTRACT, exports, asks, offers: offers() }
    };
    let versions = description.imports.iter().chain(&description.exports).filter_map(ours);
    let latest = versions.map(|(_, version)| version).max().ok_or_else(other_world)?;
    if !latest.runs_on(CONTRACT) {
        return Err(contract(latest, names(&description.imports)));
    }
    let complete = COLLECTOR.iter().all(|(name, functions)| {
        description.exports.iter().any(|export| {
            ours(export).is_some_and(|(found, _)| found == *name)
                && functions.iter().all(|function| export.functions.iter().any(|f| f == function))
        })
    });
    if !complete {
        return Err(other_world());
    }
    let missing: Vec<String> = description.imports.iter().flat_map(missing).collect();
    if missing.is_empty() {
        return Ok(latest);
    }
    if latest > CONTRACT && missing.iter().all(|name| name.starts_with(PACKAGE)) {
        return Err(contract(latest, missing));
    }
    Err(Misfit::Missing { missing, offers: offers() })
}

/// Name and version, if the interface belongs to the contract.
fn ours(interface: &Interface) -> Option<(&str, Version)> {
    let (name, version) = interface.name.strip_prefix(PACKAGE)?.split_once('@')?;
    Some((name, Version::parse(version)?))
}

/// Whether it is an interface of WASI 0.2 that can be linked. Which of its functions there are, the linker says: no
/// release of 0.2 has taken one away.
fn is_wasi(interface: &Interface) -> bool {
    let Some((name, version)) = interface.name.split_once('@') else { return false };
    let fits = Version::parse(version).is_some_and(|version| version.major == 0 && version.minor == 2);
    fits && wasi::SUPPORTED.iter().any(|(supported, _)| *supported == name)
}

/// What this host lacks of an imported interface.
fn missing(import: &Interface) -> Vec<String> {
    if is_wasi(import) {
        return Vec::new();
    }
    let offered = ours(import)
        .filter(|(_, version)| version.runs_on(CONTRACT))
        .and_then(|(name, _)| OFFERED.iter().find(|(offered, _)| *offered == name));
    match offered {
        None => vec![import.to_string()],
        Some((_, functions)) => {
            let lacks = |function: &&String| !functions.contains(&function.as_str());
            import.functions.iter().filter(lacks).map(|f| format!("{}#{f}", import.name)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::Identity;

    fn description(imports: Vec<Interface>, exports: Vec<Interface>) -> Description {
        Description {
            identity: Identity::default(),
            imports,
            exports,
            config_schema: None,
            sha256: String::new(),
            size: 0,
        }
    }

    fn interface(name: &str, functions: &[&str]) -> Interface {
        Interface { name: name.into(), functions: functions.iter().map(|&f| f.into()).collect() }
    }

    fn later(version: &str) -> Vec<Interface> {
        expected().into_iter().map(|it| Interface { name: it.name.replace("0.1.0", version), ..it }).collect()
    }

    #[test]
    fn a_collector_that_imports_part_of_the_world_fits() {
        let imports = vec![offered().remove(1), interface("whimbrel:plugin/clock@0.1.0", &["random"])];
        assert_eq!(check(&description(imports, expected())), Ok(CONTRACT));
    }

    #[test]
    fn a_later_patch_fits_unless_it_asks_for_a_new_function() {
        let old = interface("whimbrel:plugin/system@0.1.7", &["snapshot"]);
        assert!(check(&description(vec![old], later("0.1.7"))).is_ok());
        let new = interface("whimbrel:plugin/system@0.1.7", &["snapshot", "watch"]);
        let text = check(&description(vec![new], later("0.1.7"))).unwrap_err().to_string();
        assert!(text.contains("system@0.1.7#watch") && text.contains("speaks 0.1.0"), "{text}");
    }

    #[test]
    fn a_later_contract_is_named_with_both_lists() {
        let asks = interface("whimbrel:plugin/spans@0.2.0", &["open"]);
        let text = check(&description(vec![asks], later("0.2.0"))).unwrap_err().to_string();
        for part in [
            "0.2.0",
            "0.1.0",
            "spans@0.2.0 (open)",
            "emit@0.1.0 (push)",
            "collect@0.2.0 (collect)",
            "collect@0.1.0 (collect)",
            "later Whimbrel",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn another_world_is_named_by_its_exports() {
        let exports = vec![interface("wasi:cli/run@0.2.6", &["run"])];
        let text = check(&description(vec![], exports)).unwrap_err().to_string();
        assert!(
            text.contains("exports wasi:cli/run@0.2.6 (run)") && text.contains("lifecycle@0.1.0"),
            "{text}"
        );
        let half = vec![expected().remove(0)];
        assert!(matches!(check(&description(vec![], half)), Err(Misfit::OtherWorld { .. })));
    }

    #[test]
    fn missing_imports_are_listed_with_what_there_is() {
        let imports = vec![
            interface("wasi:sockets/tcp@0.3.0", &["[method]tcp-socket.start-bind"]),
            interface("wasi:keyvalue/store@0.2.0", &[]),
        ];
        let text = check(&description(imports, expected())).unwrap_err().to_string();
        for part in
            ["wasi:sockets/tcp@0.3.0", "wasi:keyvalue/store@0.2.0", "has version 0.2", "emit@0.1.0 (push)"]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn wasi_of_any_release_of_0_2_fits() {
        let imports = ["wasi:io/streams@0.2.0", "wasi:http/outgoing-handler@0.2.3", "wasi:cli/stdout@0.2.99"];
        let imports = imports.iter().map(|name| interface(name, &[])).collect();
        assert_eq!(check(&description(imports, expected())), Ok(CONTRACT));
        for name in ["wasi:io/streams@0.2", "wasi:io/streams", "wasi:http/incoming-handler@0.2.0"] {
            assert!(check(&description(vec![interface(name, &[])], expected())).is_err(), "{name}");
        }
    }

    #[test]
    fn odd_versions_are_not_ours() {
        for name in ["whimbrel:plugin/emit", "whimbrel:plugin/emit@", "whimbrel:plugin/emit@0.1", "x@0.1.0"] {
            assert_eq!(ours(&interface(name, &[])), None, "{name}");
        }
        assert_eq!(Version::parse("0.1.0.1"), None);
    }
}
