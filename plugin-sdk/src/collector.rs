//! What a collector is.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Emit, Error};

/// A collector: asked once an interval, it emits what it finds.
///
/// One instance lives in one sandbox, on one thread. After a fault the host makes a new one, with the last durable
/// checkpoint.
pub trait Collector: Sized {
    /// The plugin's own configuration, read from what stands under `config:`. Use `#[serde(deny_unknown_fields)]`,
    /// so that a misspelled key is an error, and [`NoConfig`] where there is nothing to configure.
    type Config: DeserializeOwned;

    /// Called once, before anything else.
    ///
    /// # Errors
    /// [`Error::Config`] for what the configuration's type can't refuse by itself; anything else if the collector
    /// can't start. The agent shows the message and does not start the plugin.
    fn new(context: Context<Self::Config>) -> Result<Self, Error>;

    /// Called once an interval. What is emitted is pushed when about 1000 items are reached, and at the end.
    ///
    /// # Errors
    /// The agent logs and counts it, and asks again at the next interval. What was emitted and not yet pushed is
    /// dropped, then; [`Emit::flush`] first what is worth keeping.
    fn collect(&mut self, out: &mut Emit) -> Result<More, Error>;

    /// Called when emitted data was dropped because [`collect`](Self::collect) failed or a push was refused:
    /// `cause` says why. A collector that follows something (a file, a journal) goes back to `durable`, the last
    /// checkpoint that was pushed, so that nothing is skipped. One that takes readings has nothing to do.
    fn rewind(&mut self, durable: Option<&[u8]>, cause: &Error) {
        let _ = (durable, cause);
    }

    /// Called once at the end, in good order; not after a fault.
    fn shutdown(self) {}
}

/// What a collector is given at its start.
#[derive(Clone, Debug)]
pub struct Context<C> {
    /// The collector's name in the agent's configuration.
    pub instance: String,
    /// Its own configuration.
    pub config: C,
    /// What was last pushed as a checkpoint with a durable batch, if anything.
    pub checkpoint: Option<Vec<u8>>,
    /// How often [`Collector::collect`] is called.
    pub interval: Duration,
}

/// Whether there is more to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// That was all for this interval.
    No,
    /// Call again at once.
    Yes,
}

/// The configuration of a plugin that has none: any key is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Who a plugin is. [`collector!`](crate::collector) fills it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its name, which is also the name of its instrumentation scope.
    pub name: &'static str,
    /// Its version, from `Cargo.toml`.
    pub version: &'static str,
    /// What it does, in one sentence.
    pub description: &'static str,
    /// A JSON Schema of its configuration; empty if none was given.
    pub config_schema: &'static str,
}

/// Implemented by [`collector!`](crate::collector).
pub trait Described {
    /// Who the plugin is.
    const PLUGIN: Plugin;
}
