//! The world that a plugin is written against: the contract, and of WASI 0.2 what it uses.
//!
//! Languages that are compiled ahead import what they call and nothing else; they see all of it. Where an interpreter
//! goes into the component, all of the world is imported, so that `plugin.yaml` says what there is of it.

use std::fmt::Write as _;

use serde::Deserialize;
use wit_parser::{Resolve, WorldId};

use crate::assemble::{CONTRACT, WORLD};

/// The packages, in the order in which they need each other.
const PACKAGES: [(&str, &str); 4] = [
    ("io.wit", include_str!("../../wit/wasi-0.2/io.wit")),
    ("clocks.wit", include_str!("../../wit/wasi-0.2/clocks.wit")),
    ("filesystem.wit", include_str!("../../wit/wasi-0.2/filesystem.wit")),
    ("http.wit", include_str!("../../wit/wasi-0.2/http.wit")),
];
/// The namespace they are in.
pub(super) const NAME: &str = "wasi";
/// Their version.
pub(super) const VERSION: &str = "0.2.12";

/// Something of WASI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wasi {
    /// `wasi:http`, outgoing.
    Http,
    /// `wasi:filesystem`.
    Files,
}

impl Wasi {
    /// All there is.
    pub(super) const ALL: [Wasi; 2] = [Wasi::Http, Wasi::Files];

    /// As in plugin.yaml.
    pub(super) fn name(self) -> &'static str {
        match self {
            Wasi::Http => "http",
            Wasi::Files => "files",
        }
    }

    /// By this the rest is reached.
    fn interface(self) -> &'static str {
        match self {
            Wasi::Http => "wasi:http/outgoing-handler",
            Wasi::Files => "wasi:filesystem/preopens",
        }
    }
}

/// The world, in WIT.
fn world(wasi: &[Wasi]) -> String {
    let mut text =
        format!("package whimbrel:author;\n\nworld {WORLD} {{\n  include whimbrel:plugin/{WORLD}@0.1.0;\n");
    for one in wasi {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  import {}@{VERSION};", one.interface());
    }
    text.push_str("}\n");
    text
}

/// The world with all that it needs.
///
/// # Errors
/// What this program was built with does not fit together.
pub(super) fn resolve(wasi: &[Wasi]) -> anyhow::Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    resolve.push_str("whimbrel.wit", CONTRACT)?;
    for (name, text) in PACKAGES {
        resolve.push_str(name, text)?;
    }
    let package = resolve.push_str("author.wit", &world(wasi))?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    Ok((resolve, world))
}

/// All of WASI that there is here, and nothing else: for a module that brings the types of the contract along.
///
/// # Errors
/// What this program was built with does not fit together.
pub(super) fn beside() -> anyhow::Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    for (name, text) in PACKAGES {
        resolve.push_str(name, text)?;
    }
    let imports: String =
        Wasi::ALL.iter().map(|one| format!("import {}@{VERSION}; ", one.interface())).collect();
    let package =
        resolve.push_str("beside.wit", &format!("package whimbrel:beside; world beside {{ {imports}}}"))?;
    let world = resolve.select_world(&[package], None)?;
    Ok((resolve, world))
}

/// The same as files of a folder, with WASI under this name, for tools that read WIT.
pub(super) fn files(wasi: &[Wasi], name: &str) -> Vec<(String, String)> {
    if wasi.is_empty() {
        return vec![("whimbrel.wit".to_owned(), CONTRACT.to_owned())];
    }
    let under = |text: &str| text.replace(&format!("{NAME}:"), &format!("{name}:"));
    let packages = PACKAGES.iter().map(|(file, text)| (format!("deps/{file}"), under(text)));
    let own = [
        ("world.wit".to_owned(), under(&world(wasi))),
        ("deps/whimbrel.wit".to_owned(), CONTRACT.to_owned()),
    ];
    own.into_iter().chain(packages).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_the_contract_and_what_is_used_of_wasi() {
        let imports = |wasi: &[Wasi]| {
            let (resolve, world) = resolve(wasi).unwrap();
            let names = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key));
            names.collect::<Vec<_>>()
        };
        let contract = imports(&[]);
        assert!(contract.iter().all(|name| name.starts_with("whimbrel:plugin/")), "{contract:?}");
        let all = imports(&Wasi::ALL);
        for one in Wasi::ALL {
            let name = format!("{}@{VERSION}", one.interface());
            assert!(all.contains(&name), "{all:?}");
        }
        assert!(contract.iter().all(|name| all.contains(name)));
    }
}
