//! Why a host could not be made, or a component not be loaded: each a sentence that says what to do.

use std::{io, path::PathBuf, time::Duration};

use crate::{bundle::BundleError, frame::Refusal, trust::Untrusted};

/// No plugin host could be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum HostError {
    #[error("the plugin cache {}: {what}: {source}", path.display())]
    Cache { path: PathBuf, what: &'static str, source: io::Error },
    #[error("the plugin cache {} belongs to user {owner} and not to the agent's user {us}: compiled code \
             from there can't be trusted; remove it, or name another data directory", path.display())]
    ForeignCache { path: PathBuf, owner: u32, us: u32 },
    #[error("the WebAssembly engine could not be set up: {0}")]
    Engine(String),
    #[error("the plugin clock could not be started: {0}")]
    Ticker(io::Error),
}

/// A component was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {reason}")]
pub struct LoadError {
    /// Where the component came from, as the caller named it.
    pub origin: String,
    /// Why.
    #[source]
    pub reason: LoadReason,
}

/// Why a component was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadReason {
    /// It is more than `HostOptions::max_component`.
    #[error("it has {size} bytes; a component of more than {limit} is not taken")]
    TooLarge {
        /// Its size, in bytes.
        size: u64,
        /// The most that is taken, in bytes.
        limit: u64,
    },
    /// What it is or asks for is not accepted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its functions have the right names and other types than the contract says.
    #[error(
        "it was built against another text of the contract under the same version: {detail}; build it \
             again with the SDK of this version"
    )]
    Types {
        /// What differs.
        detail: String,
    },
    /// It is not signed as `plugins.trust` asks.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It is a bundle of compiled code that does not fit this agent.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// It could not be compiled, for no fault of what it is.
    #[error(transparent)]
    Compiler(#[from] CompileError),
    /// The engine does not take what its own compiler made.
    #[error("the compiled code could not be loaded: {detail}")]
    Engine {
        /// What wasmtime says.
        detail: String,
    },
}

impl LoadError {
    /// Whether trying again later, with the same file, may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(&self.reason, LoadReason::Compiler(error) if error.is_retryable())
    }
}

/// The compiler did not answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CompileError {
    #[error(
        "it is not in the cache of compiled plugins, and the program that compiles is missing: \
             `whimbrel-plugin` is not at {}; install it there or in the PATH, or name it in \
             WHIMBREL_PLUGIN_TOOL",
        paths(looked)
    )]
    Missing { looked: Vec<PathBuf> },
    #[error("the compiler {} could not be started: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("talking to the compiler failed: {0}")]
    Pipe(io::Error),
    #[error("compiling it took longer than {limit:?}, and was stopped")]
    TimedOut { limit: Duration },
    #[error("compiling it used more than {limit:?} of processor time, and was stopped")]
    OutOfTime { limit: Duration },
    #[error("compiling it needs more than the {} MiB of memory that the compiler may use", limit >> 20)]
    OutOfMemory { limit: u64 },
    #[error("the compiled code is more than {} MiB", limit >> 20)]
    TooLarge { limit: u64 },
    #[error("the compiler was killed by signal {signal} (9: often the system, for want of memory)")]
    Killed { signal: i32 },
    #[error("the compiler failed ({status}){}", said(stderr))]
    Failed { status: String, stderr: String },
    #[error("the compiler {} does not belong to this agent: {detail}; install both from one release",
            program.display())]
    Foreign { program: PathBuf, detail: String },
}

impl CompileError {
    /// Whether the same component may compile at another time on this machine, unchanged.
    pub fn is_retryable(&self) -> bool {
        match self {
            CompileError::Missing { .. }
            | CompileError::Start { .. }
            | CompileError::Pipe(_)
            | CompileError::TimedOut { .. }
            | CompileError::Killed { .. } => true,
            CompileError::OutOfTime { .. }
            | CompileError::OutOfMemory { .. }
            | CompileError::TooLarge { .. }
            | CompileError::Failed { .. }
            | CompileError::Foreign { .. } => false,
        }
    }
}

fn paths(looked: &[PathBuf]) -> String {
    let all: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
    if all.is_empty() { "any known place".to_owned() } else { all.join(", ") }
}

fn said(stderr: &str) -> String {
    let stderr = stderr.trim();
    if stderr.is_empty() { " and said nothing".to_owned() } else { format!(": {stderr}") }
}
