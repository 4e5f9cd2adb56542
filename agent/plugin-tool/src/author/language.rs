//! The languages that there are templates and recipes for.

use std::fmt;

use clap::ValueEnum;
use serde::Deserialize;

/// A language that plugins are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    /// With the SDK, for wasm32-unknown-unknown
    Rust,
    /// With zig or clang, for wasm32-wasi
    C,
    /// The standard Go, for wasip1
    Go,
    /// JavaScript, on QuickJS
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
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
