//! The one `unsafe` of Whimbrel: taking compiled code for what it says it is.
//!
//! wasmtime can't check machine code: whoever chooses the bytes chooses what the agent does. So the only way
//! in is [`Verified`], which is made from bytes that are in this process's memory and that either
//!
//! - came over a pipe from the compiler that this process has just started, or
//! - carry a MAC under a key that only this process and its like can read, for exactly this component, this
//!   engine and this CPU (see `cache.rs`), or
//! - are a bundle that a key has signed which the operator marked as one that may ship native code (`bundle.rs`,
//!   `trust/`): whoever holds that key is trusted as the maker of the agent is.
//!
//! Nobody else can write to the buffer between check and use: it is owned, and borrowed here. (A mapped file
//! would not have that property.) Truncated or older code is refused by wasmtime itself by version, target
//! and settings, which are part of it.

use wasmtime::{Engine, component::Component};

/// Compiled code that may be run.
#[derive(Debug)]
pub(crate) struct Verified<'a>(&'a [u8]);

impl<'a> Verified<'a> {
    /// Vouches for the code. The callers are the cache, after the MAC has been checked, the compiler's parent,
    /// and the host after it has checked a bundle's signature; a test holds that there are no others.
    pub(crate) fn vouch(code: &'a [u8]) -> Verified<'a> {
        Verified(code)
    }

    /// Makes a component of it.
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` asks that the bytes are what `Engine::precompile_component` of this version
        // of wasmtime made, unchanged. `vouch` is only called for such, as the module documentation says;
        // the bytes are borrowed for the whole call, which copies them, so they can't change meanwhile.
        #[allow(unsafe_code)]
        unsafe {
            Component::deserialize(engine, self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_cache_the_compilers_parent_and_a_checked_signature_vouch() {
        let call = ["Verified", "::vouch("].concat();
        let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
        let mut callers: Vec<String> = Vec::new();
        for file in sources.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let count = std::fs::read_to_string(&file).unwrap().matches(&call).count();
            callers.extend(vec![file.file_name().unwrap().to_string_lossy().into_owned(); count]);
        }
        callers.sort();
        assert_eq!(callers, ["cache.rs", "host.rs", "host.rs"]);
    }
}
