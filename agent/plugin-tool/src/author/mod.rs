//! What a plugin's author needs: a folder to begin with, and the way from its sources to a component.
//!
//! ```text
//!  new: template + SDK + contract --> folder with plugin.yaml
//!  build: plugin.yaml --> recipe of the language --> module or component --> metadata, schema, check --> build/NAME.wasm
//! ```
//!
//! Everything that is ours is in this program; what is the language's (its compiler, its packages) is asked for by
//! name, with the command that installs it. Trying a plugin in the sandbox (`test`, `dev`, `run`) is the agent's
//! business: there the sandbox is.

mod language;
mod project;
mod tools;
mod wasi;

mod new;
mod template;

mod build;
mod fresh;
mod recipe;

pub(crate) use build::BuildArgs;
pub(crate) use new::NewArgs;
