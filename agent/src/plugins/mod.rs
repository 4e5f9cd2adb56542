//! Where plugins come from: shipped in the agent, files, and registries with a local store.
//!
//! ```text
//!  builtin:NAME ---------------------------------> bytes ---+
//!  path ---------------------------> bytes, X.sig ----------+--> trusted? --> plugin host
//!  oci:// -> child process -> store -> bytes, annotation ---+
//! ```
//!
//! Invariants
//! - A registry that can't be reached stops nothing that ran before: what the store has is used, and the log says so.
//! - Nothing is used that does not hash to what its manifest says, whether it came over the network or from the disk.
//! - A digest in a reference is never looked up again once it is here; a tag is, at each start and reload, and the log
//!   says when it has moved.

pub mod builtin;
mod source;
mod store;

pub use source::{Component, Plugins, SourceError, Stamp};
