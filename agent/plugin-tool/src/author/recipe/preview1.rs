//! What stands in for WASI preview 1: `preview1.wat`, made a module when this program was built.

use anyhow::Context as _;
use wit_component::StringEncoding;
use wit_parser::Resolve;

use crate::assemble::CONTRACT;

const MODULE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/preview1.wasm"));
/// What the module imports.
const WORLD: &str = "package whimbrel:preview1; world adapter { import whimbrel:plugin/clock@0.1.0; import whimbrel:plugin/log@0.1.0; }";

/// The module, with the types of what it imports.
pub(super) fn adapter() -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    resolve.push_str("whimbrel.wit", CONTRACT)?;
    let package = resolve.push_str("preview1.wit", WORLD)?;
    let world = resolve.select_world(&[package], None)?;
    let mut module = MODULE.to_vec();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .context("the adapter for WASI preview 1 can't be made")?;
    Ok(module)
}
