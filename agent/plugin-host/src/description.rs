//! What a component says about itself and asks for: all that can be known without running it.
//!
//! Read by `whimbrel-plugin` (the agent parses no WebAssembly) and handed over as JSON; kept with the
//! compiled code in the cache. Its texts come from strangers: they were cleaned of control characters and
//! cut to a sane length where they were read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of the custom section with the JSON Schema of a plugin's configuration.
pub const CONFIG_SCHEMA_SECTION: &str = "whimbrel:config-schema";

/// Languages, as a component's metadata names them, whose interpreter goes into the component.
pub const INTERPRETED: [&str; 2] = ["JavaScript", "Python"];

/// What a component is and asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Who it is, by its metadata sections.
    pub identity: Identity,
    /// What it calls, in the order in which it stands in the component.
    pub imports: Vec<Interface>,
    /// What can be called.
    pub exports: Vec<Interface>,
    /// JSON Schema of its configuration, from the section `whimbrel:config-schema`.
    pub config_schema: Option<serde_json::Value>,
    /// SHA-256 of the component's bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// Size of the component, in bytes.
    pub size: u64,
}

/// The standard metadata of a component; what is missing there is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What it is called.
    pub name: Option<String>,
    /// Its own version, of whatever scheme.
    pub version: Option<String>,
    /// One sentence or more.
    pub description: Option<String>,
    /// Whom to ask.
    pub authors: Option<String>,
    /// An SPDX license expression.
    pub licenses: Option<String>,
    /// Where the source is.
    pub source: Option<String>,
    /// Where more is to be read.
    pub homepage: Option<String>,
    /// The source's commit.
    pub revision: Option<String>,
    /// Languages and tools that made it, as `name version`.
    pub made_with: Vec<String>,
}

/// An imported or exported interface, or a bare function of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// `whimbrel:plugin/emit@0.1.0`, or a bare name.
    pub name: String,
    /// The functions of it that the component needs or has; resources' methods as `[method]r.f`.
    pub functions: Vec<String>,
}

impl Description {
    /// The name and the version by the metadata, or as much of them as there is.
    pub fn title(&self) -> String {
        let name = self.identity.name.as_deref().unwrap_or("(no name)");
        match &self.identity.version {
            Some(version) => format!("{name} {version}"),
            None => name.to_owned(),
        }
    }

    /// Whether it says that an interpreter runs it: then it imports what the interpreter could ever be told to call.
    pub fn is_interpreted(&self) -> bool {
        self.identity.made_with.iter().any(|name| INTERPRETED.contains(&name.as_str()))
    }

    /// Whether it imports this interface of the contract, of whatever version: `system`, `secrets`, ...
    pub fn imports_contract(&self, interface: &str) -> bool {
        self.imports.iter().any(|import| {
            import.name.strip_prefix("whimbrel:plugin/").and_then(|rest| rest.split('@').next())
                == Some(interface)
        })
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.functions.is_empty() {
            write!(f, " ({})", self.functions.join(", "))?;
        }
        Ok(())
    }
}
