//! The languages that there are templates and recipes for.

use std::fmt;

use clap::ValueEnum;
use serde::Deserialize;
use whimbrel_plugin_host::description::INTERPRETED;

/// A language that plugins are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    /// With the SDK, for wasm32-unknown-unknown
    Rust,
    /// With zig or clang, for wasm32-wasi
    C,
    /// The standard Go, for wasip1
    #[value(alias = "golang")]
    Go,
    /// JavaScript, on QuickJS
    #[value(alias = "javascript")]
    Js,
    /// CPython
    Python,
}

impl Language {
    /// As on the command line, in plugin.yaml, and as the template's folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::C => "c",
            Language::Go => "go",
            Language::Js => "js",
            Language::Python => "python",
        }
    }

    /// Its name in the component's metadata, if an interpreter goes into the component.
    pub(crate) fn interpreted(self) -> Option<&'static str> {
        INTERPRETED.into_iter().find(|name| *name == self.title())
    }

    /// As its people write it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Language::Rust => "Rust",
            Language::C => "C",
            Language::Go => "Go",
            Language::Js => "JavaScript",
            Language::Python => "Python",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
