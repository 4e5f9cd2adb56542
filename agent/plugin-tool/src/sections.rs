//! Takes a core module's metadata out, and leaves what runs.
//!
//! The SDK's macro writes who a plugin is into custom sections of the core module. In a component they belong on
//! the outside, where they can be read without knowing what is inside.

use anyhow::Context as _;
use wasm_encoder::{Module, RawSection};
use wasmparser::{Parser, Payload};
use whimbrel_plugin_host::description::CONFIG_SCHEMA_SECTION;

use crate::assemble::Metadata;

/// Names of functions and the like: half the size, and of use to a debugger alone.
const NOT_SHIPPED: [&str; 3] = ["name", "producers", "target_features"];

/// A core module in parts.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Without metadata, and without names if it was stripped. What describes its world is still in it.
    pub(crate) module: Vec<u8>,
    pub(crate) metadata: Metadata,
    /// JSON text.
    pub(crate) config_schema: Option<String>,
}

/// Takes a module apart; stripped, names of functions go too.
///
/// # Errors
/// It is no core module, or its metadata is not UTF-8.
pub(crate) fn take_apart(module: &[u8], strip: bool) -> anyhow::Result<Parts> {
    let mut metadata = Metadata::default();
    let mut config_schema = None;
    let mut kept = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("the core module is damaged")?;
        if let Payload::CustomSection(section) = &payload {
            let name = section.name();
            let place = match name {
                CONFIG_SCHEMA_SECTION => Some(&mut config_schema),
                "whimbrel:name" => Some(&mut metadata.name),
                "version" => Some(&mut metadata.version),
                "description" => Some(&mut metadata.description),
                "authors" => Some(&mut metadata.authors),
                "licenses" => Some(&mut metadata.licenses),
                "source" => Some(&mut metadata.source),
                "revision" => Some(&mut metadata.revision),
                _ => None,
            };
            if let Some(place) = place {
                let text = std::str::from_utf8(section.data());
                let text = text.with_context(|| format!("the section {name} is not UTF-8"))?;
                *place = (!text.is_empty()).then(|| text.to_owned());
                continue;
            }
            if strip && NOT_SHIPPED.contains(&name) || name.starts_with(".debug") {
                continue;
            }
        }
        if let Some((id, range)) = payload.as_section() {
            let data = place(range.start).zip(place(range.end));
            let data = data.and_then(|(start, end)| module.get(start..end));
            kept.section(&RawSection { id, data: data.context("the core module is damaged")? });
        }
    }
    Ok(Parts { module: kept.finish(), metadata, config_schema })
}

/// Offsets are `usize` or `u64` in wasmparser, by version.
fn place(offset: impl TryInto<usize>) -> Option<usize> {
    offset.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use wasm_encoder::{CustomSection, MemorySection, MemoryType};

    use super::*;

    #[test]
    fn metadata_comes_out_and_what_runs_stays() {
        let mut module = Module::new();
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        module.section(&memories);
        let without = module.clone().finish();
        for (name, text) in [
            ("whimbrel:name", "host"),
            ("version", "0.1.0"),
            ("authors", ""),
            ("whimbrel:config-schema", "{}"),
            ("name", "\u{0}"),
            (".debug_info", "x"),
        ] {
            module.section(&CustomSection { name: name.into(), data: Cow::Borrowed(text.as_bytes()) });
        }
        let kept = CustomSection { name: "component-type:x".into(), data: Cow::Borrowed(b"world") };
        module.section(&kept);

        let parts = take_apart(&module.finish(), true).unwrap();
        assert_eq!(parts.metadata.name.as_deref(), Some("host"));
        assert_eq!(parts.metadata.version.as_deref(), Some("0.1.0"));
        assert_eq!(parts.metadata.authors, None, "empty is nothing");
        assert_eq!(parts.config_schema.as_deref(), Some("{}"));
        assert!(parts.module.starts_with(&without));
        let rest = &parts.module[without.len()..];
        assert!(rest.ends_with(b"component-type:xworld") && rest.len() == 2 + 1 + 16 + 5, "{rest:?}");
    }

    #[test]
    fn a_damaged_module_is_an_error() {
        assert!(take_apart(b"\0asm\x01\0\0\0\x05\xff", true).is_err());
    }
}
